//! `cairn get`: objects as control holds them, with the status it computed.

use std::process::ExitCode;

use anyhow::bail;
use clap::ValueEnum;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::target;
use crate::{
    local_api::{LocalApi, ObjectQuery},
    print,
    state::{MeshName, StateDir},
};

/// Which objects, and how to print them.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A kind as kubectl names it: plural, singular or short, in any case. Several with commas
    /// between them, or `KIND/NAME`.
    kind: String,
    /// The names of objects; all there are without any.
    name: Vec<String>,
    /// The namespace.
    #[arg(long, short, default_value = "default")]
    namespace: String,
    /// All namespaces.
    #[arg(long, short = 'A', conflicts_with = "namespace")]
    all_namespaces: bool,
    /// Print the whole objects.
    #[arg(long, short, value_enum)]
    output: Option<Output>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Output {
    Json,
    Yaml,
}

/// Prints the objects. Fails, with nothing on stdout, when there is none.
pub(super) async fn run(mesh: &MeshName, args: Args) -> anyhow::Result<ExitCode> {
    let state = StateDir::new(mesh);
    target::pods(mesh)?;
    let api = LocalApi::new(&state.control_socket());
    let namespace = Some(args.namespace.as_str()).filter(|_| !args.all_namespaces);
    let queries = queries(&args)?;
    let mut objects = Vec::new();
    let mut all_found = true;
    for query in &queries {
        // Kinds without a namespace are found from every one, so the choice is made here.
        let mut found = api.objects(query).await?;
        found.retain(|object| is_in(object, namespace));
        if found.is_empty() && (!query.name.is_empty() || queries.len() == 1) {
            all_found = false;
            let what = format!("{} {}", query.kind, query.name);
            let place = namespace.map_or_else(String::new, |it| format!(" in namespace {it}"));
            print::fail(format_args!("there is no {}{place}", what.trim_end()));
        }
        objects.append(&mut found);
    }
    if objects.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    let is_one = queries.len() == 1 && queries.iter().all(|query| !query.name.is_empty());
    let whole = match objects.as_slice() {
        [only] if is_one => only.clone(),
        _ => json!({"apiVersion": "v1", "kind": "List", "items": objects}),
    };
    match args.output {
        Some(Output::Json) => print::out(serde_json::to_string_pretty(&whole)?),
        Some(Output::Yaml) => print::out(serde_saphyr::to_string(&whole)?.trim_end()),
        None if objects
            .iter()
            .all(|object| text(object, "/kind") == "Event") =>
        {
            events(&objects, args.all_namespaces);
        }
        None => table(&objects, args.all_namespaces, args.kind.contains(',')),
    }
    Ok(if all_found {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What to ask control for: each kind, or each name.
fn queries(args: &Args) -> anyhow::Result<Vec<ObjectQuery>> {
    let query = |kind: &str, name: &str| ObjectQuery {
        kind: kind.to_owned(),
        namespace: String::new(),
        name: name.to_owned(),
    };
    let (kinds, first) = match args.kind.split_once('/') {
        Some((kinds, name)) => (kinds, Some(name)),
        None => (args.kind.as_str(), None),
    };
    let wanted: Vec<&str> = first
        .into_iter()
        .chain(args.name.iter().map(String::as_str))
        .collect();
    // Empty means all to control; a slip of the finger should not.
    if kinds.split(',').any(str::is_empty) || wanted.contains(&"") {
        bail!(
            "{} names nothing; write KIND, KIND,KIND or KIND/NAME",
            args.kind
        );
    }
    let of = |kind| match wanted.as_slice() {
        [] => vec![query(kind, "")],
        wanted => wanted.iter().map(|name| query(kind, name)).collect(),
    };
    Ok(kinds.split(',').flat_map(of).collect())
}

fn text<'o>(object: &'o Value, pointer: &str) -> &'o str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn is_in(object: &Value, namespace: Option<&str>) -> bool {
    let own = text(object, "/metadata/namespace");
    namespace.is_none_or(|namespace| own.is_empty() || own == namespace)
}

fn table(objects: &[Value], with_namespace: bool, with_kind: bool) {
    let mut header = vec!["NAME", "STATUS", "AGE"];
    if with_namespace {
        header.insert(0, "NAMESPACE");
    }
    let row = |object: &Value| {
        let name = text(object, "/metadata/name");
        let kind = text(object, "/kind").to_ascii_lowercase();
        let mut row = vec![
            if with_kind {
                format!("{kind}/{name}")
            } else {
                name.to_owned()
            },
            if kind == "pod" {
                pod_status(object)
            } else {
                condition(object)
            },
            age(object, Timestamp::now()),
        ];
        if with_namespace {
            row.insert(0, text(object, "/metadata/namespace").to_owned());
        }
        row
    };
    print::table(&header, &objects.iter().map(row).collect::<Vec<_>>());
}

/// Events, the latest last, as kubectl shows them.
fn events(events: &[Value], with_namespace: bool) {
    let mut header = vec!["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"];
    if with_namespace {
        header.insert(0, "NAMESPACE");
    }
    let rows: Vec<_> = events
        .iter()
        .map(|event| event_row(event, with_namespace, Timestamp::now()))
        .collect();
    print::table(&header, &rows);
}

fn event_row(event: &Value, with_namespace: bool, now: Timestamp) -> Vec<String> {
    let seen = since(text(event, "/lastTimestamp"), now);
    let seen = match event["count"].as_u64() {
        Some(count @ 2..) => format!("{seen} (x{count})"),
        _ => seen,
    };
    let kind = text(event, "/involvedObject/kind").to_ascii_lowercase();
    let name = text(event, "/involvedObject/name");
    let mut row = vec![
        seen,
        text(event, "/type").to_owned(),
        text(event, "/reason").to_owned(),
        format!("{kind}/{name}"),
        text(event, "/message").to_owned(),
    ];
    if with_namespace {
        row.insert(0, text(event, "/metadata/namespace").to_owned());
    }
    row
}

/// What a pod is at: why a container does not run, or how many are ready.
fn pod_status(pod: &Value) -> String {
    let containers = pod
        .pointer("/status/containerStatuses")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    let mut waiting = containers
        .iter()
        .map(|container| text(container, "/state/waiting/reason"));
    if let Some(reason) = waiting.find(|reason| !reason.is_empty()) {
        return reason.to_owned();
    }
    let ready = containers
        .iter()
        .filter(|container| container["ready"] == true)
        .count();
    let phase = text(pod, "/status/phase");
    format!("{phase} {ready}/{}", containers.len())
}

/// The conditions of an object, or of the parents of a route: `Accepted,Programmed`, those that do
/// not hold with their reason, `Accepted=InvalidParameters`.
fn condition(object: &Value) -> String {
    let list = |value: &Value| {
        value
            .get("conditions")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let status = object.get("status").cloned().unwrap_or_default();
    let parents = status
        .get("parents")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let conditions = list(&status)
        .into_iter()
        .chain(parents.iter().flat_map(list));
    let words: Vec<String> = conditions
        .map(|condition| match text(&condition, "/status") {
            "True" => text(&condition, "/type").to_owned(),
            _ => format!(
                "{}={}",
                text(&condition, "/type"),
                text(&condition, "/reason")
            ),
        })
        .collect();
    if words.is_empty() {
        text(&status, "/phase").to_owned()
    } else {
        words.join(",")
    }
}

/// How long an object has been there, in its largest unit.
fn age(object: &Value, now: Timestamp) -> String {
    since(text(object, "/metadata/creationTimestamp"), now)
}

/// How long ago something was, in the largest unit.
fn since(then: &str, now: Timestamp) -> String {
    let Ok(created) = then.parse::<Timestamp>() else {
        return String::new();
    };
    match now.as_second() - created.as_second() {
        seconds @ ..120 => format!("{}s", seconds.max(0)),
        seconds @ ..7200 => format!("{}m", seconds / 60),
        seconds @ ..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_kind_or_name_does_not_mean_all() {
        let asked = |kind: &str, name: &[&str]| {
            let args = Args {
                kind: kind.to_owned(),
                name: name.iter().map(|&name| name.to_owned()).collect(),
                namespace: "default".to_owned(),
                all_namespaces: false,
                output: None,
            };
            let queries = queries(&args).ok()?;
            let pairs = queries.into_iter().map(|query| (query.kind, query.name));
            Some(pairs.collect::<Vec<_>>())
        };
        let pair = |kind: &str, name: &str| (kind.to_owned(), name.to_owned());
        assert_eq!(asked("svc", &[]), Some(vec![pair("svc", "")]));
        assert_eq!(
            asked("svc/a", &["b"]),
            Some(vec![pair("svc", "a"), pair("svc", "b")])
        );
        assert_eq!(
            asked("svc,po", &[]),
            Some(vec![pair("svc", ""), pair("po", "")])
        );
        for (kind, name) in [(",", &[][..]), ("svc,", &[]), ("svc/", &[]), ("svc", &[""])] {
            assert_eq!(asked(kind, name), None, "{kind}");
        }
    }

    #[test]
    fn conditions_that_do_not_hold_say_why() {
        let gateway = json!({"status": {"conditions": [
            {"type": "Accepted", "status": "True", "reason": "Accepted"},
            {"type": "Programmed", "status": "False", "reason": "AddressNotAssigned"},
        ]}});
        assert_eq!(
            condition(&gateway),
            "Accepted,Programmed=AddressNotAssigned"
        );
        let route = json!({"status": {"parents": [{"conditions": [{"type": "Accepted", "status": "True"}]}]}});
        assert_eq!(condition(&route), "Accepted");
        assert_eq!(
            condition(&json!({"status": {"phase": "Running"}})),
            "Running"
        );
        assert_eq!(condition(&json!({})), "");
    }

    #[test]
    fn an_event_says_when_what_and_how_often() {
        let event = json!({
            "metadata": {"namespace": "shop"},
            "involvedObject": {"kind": "WasmPlugin", "name": "header"},
            "type": "Warning", "reason": "CompileFailed", "message": "no such function",
            "count": 3, "lastTimestamp": "2026-01-01T00:00:00Z",
        });
        let now: Timestamp = "2026-01-01T00:00:05Z".parse().unwrap();
        let expected = [
            "shop",
            "5s (x3)",
            "Warning",
            "CompileFailed",
            "wasmplugin/header",
            "no such function",
        ];
        assert_eq!(event_row(&event, true, now), expected);
    }

    #[test]
    fn ages_are_told_in_their_largest_unit() {
        let object = json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}});
        let created: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        for (seconds, expected) in [
            (5, "5s"),
            (300, "5m"),
            (10_800, "3h"),
            (432_000, "5d"),
            (-5, "0s"),
        ] {
            let now = Timestamp::from_second(created.as_second() + seconds).unwrap();
            assert_eq!(age(&object, now), expected);
        }
    }

    #[test]
    fn kinds_without_namespace_are_in_every_namespace() {
        let node = json!({"metadata": {"name": "node1"}});
        let pod = json!({"metadata": {"name": "web", "namespace": "shop"}});
        assert!(is_in(&node, Some("default")) && is_in(&pod, Some("shop")) && is_in(&pod, None));
        assert!(!is_in(&pod, Some("default")));
    }
}
