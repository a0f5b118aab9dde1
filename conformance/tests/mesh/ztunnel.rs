//! What operators see of a ztunnel, held against what was recorded of Istio's: metrics, access
//! log, dump. The world is the recorded one: `app/echo` on both nodes, an identity that is denied,
//! STRICT, and a client outside of the mesh.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Weak};

use conformance::{differences, vectors};
use parking_lot::Mutex;
use serde_json::Value;
use testkit::{Mesh, eventually};

use crate::places::{self, Place};

const MANIFEST: &str = include_str!("ztunnel.yaml");

static SHARED: Mutex<Weak<Mesh>> = Mutex::new(Weak::new());

/// The recorded world.
struct World {
    mesh: Arc<Mesh>,
    near: Place,
    far: Place,
    bad: Place,
    plain: Place,
}

fn world() -> Option<World> {
    if !testkit::require_root() {
        return None;
    }
    let mut shared = SHARED.lock();
    let mesh = shared.upgrade().unwrap_or_else(|| {
        let mesh = Arc::new(Mesh::builder().manifest("ztunnel.yaml", MANIFEST).up());
        *shared = Arc::downgrade(&mesh);
        mesh
    });
    drop(shared);
    let [near, far] = places::pods(&mesh, "app", "echo").try_into().unwrap();
    let bad = places::pod(&mesh, "app", "bad");
    let plain = places::pod(&mesh, "plain", "plain");
    Some(World {
        mesh,
        near,
        far,
        bad,
        plain,
    })
}

impl World {
    /// Our names and addresses in the words of the recording.
    fn theirs(&self, text: &str) -> String {
        let pairs = [
            (self.near.pod.clone(), "echo-744674bb66-c5wb9"),
            (self.far.pod.clone(), "echo-744674bb66-xlphv"),
            (self.bad.pod.clone(), "bad"),
            (self.plain.pod.clone(), "plain"),
            (self.near.ip.to_string(), "10.244.1.5"),
            (self.far.ip.to_string(), "10.244.2.5"),
            (self.bad.ip.to_string(), "10.244.2.6"),
            (self.plain.ip.to_string(), "10.244.1.6"),
            (
                places::vip(&self.mesh, "app/echo").to_string(),
                "10.96.119.254",
            ),
        ];
        pairs.iter().fold(text.to_owned(), |text, (ours, theirs)| {
            text.replace(ours, theirs)
        })
    }

    /// Everything that was done while the recording ran. Who serves is chosen at random, so it is
    /// done until the first pod has called the second, and both strangers have.
    fn call_until(&self, what: &str, enough: impl Fn() -> bool) {
        let http = |from: &Place| {
            let url = "http://echo.app.svc.cluster.local/";
            let curl = ["curl", "-s", "-m", "5", url];
            let namespace = if from.pod == self.plain.pod {
                "plain"
            } else {
                "app"
            };
            let target = format!("{namespace}/{}", from.pod);
            self.mesh.exec(&target, curl)
        };
        eventually(what, || {
            http(&self.near);
            http(&self.bad);
            http(&self.plain);
            enough().then_some(())
        });
    }
}

/// One access log line: level and header, then keys and values in order.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Line {
    head: Vec<String>,
    fields: Vec<(String, String)>,
}

/// A line of the `access` target, without what differs from run to run: the time, ports that
/// clients get, how much and how long.
fn line(text: &str) -> Option<Line> {
    let columns: Vec<&str> = text.split('\t').collect();
    let [_, head @ .., fields] = columns.as_slice() else {
        return None;
    };
    if head.get(1) != Some(&"access") {
        return None;
    }
    let mut rest = *fields;
    let mut normal = vec![];
    while let Some((key, after)) = rest.split_once('=') {
        let end = if after.starts_with('"') { "\" " } else { " " };
        let (value, more) = match after.split_once(end) {
            Some((value, more)) => (format!("{value}{}", end.trim_end()), more),
            None => (after.to_owned(), ""),
        };
        normal.push((key.to_owned(), without_chance(key, &value)));
        rest = more;
    }
    Some(Line {
        head: head.iter().map(|&column| column.to_owned()).collect(),
        fields: normal,
    })
}

fn without_chance(key: &str, value: &str) -> String {
    let number = |text: &str| text.parse::<u64>().is_ok();
    match key {
        "bytes_sent" | "bytes_recv" if number(value) && value != "0" => "N".to_owned(),
        "duration" => {
            let digits = value.trim_start_matches('"').trim_end_matches("ms\"");
            assert!(number(digits), "{value}");
            "\"Nms\"".to_owned()
        }
        "src.addr" | "dst.addr" => {
            let (ip, port) = value.rsplit_once(':').unwrap();
            // The recording kept ports that are not made up, such as 8080.
            let kept = port.len() < 5 && number(port);
            format!("{ip}:{}", if kept { port } else { "PORT" })
        }
        _ => value.to_owned(),
    }
}

#[test]
fn every_recorded_access_log_line_is_one_of_ours() {
    let Some(world) = world() else { return };
    let recorded = vectors::text("ztunnel/access-log.txt").unwrap();
    let theirs: BTreeSet<_> = recorded.lines().filter_map(line).collect();
    assert_eq!(theirs.len(), 5, "{theirs:#?}");
    let ours = || -> BTreeSet<Line> {
        let logs = ["node1", "node2"].map(|node| places::ztunnel_log(&world.mesh, node));
        let logs = world.theirs(&logs.concat());
        logs.lines().filter_map(line).collect()
    };
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        world.call_until("every line has come", || theirs.is_subset(&ours()));
    }));
    assert!(
        told.is_ok(),
        "missing: {:#?}\nours: {:#?}",
        theirs.difference(&ours()).collect::<Vec<_>>(),
        ours()
    );
}

/// Labels whose values are those of the machine or of the build.
const OWN_VALUES: [&str; 6] = [
    "tag",
    "worker",
    "source_region",
    "source_zone",
    "destination_region",
    "destination_zone",
];

/// A sample without its value, and without label values of our own.
fn sample(line: &str) -> String {
    let (series, _) = line.rsplit_once(' ').unwrap();
    let Some((name, labels)) = series.split_once('{') else {
        return series.to_owned();
    };
    let labels = labels.trim_end_matches('}').split(',').map(|label| {
        let (name, value) = label.split_once('=').unwrap();
        let value = if OWN_VALUES.contains(&name) {
            "…"
        } else {
            value
        };
        format!("{name}={value}")
    });
    format!("{name}{{{}}}", labels.collect::<Vec<_>>().join(","))
}

/// Types, units and series of a metrics page.
fn families(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| !line.starts_with("# HELP"));
    let lines = lines.map(|line| {
        if line.starts_with('#') {
            line.to_owned()
        } else {
            sample(line)
        }
    });
    lines.collect()
}

#[test]
fn every_recorded_metric_is_one_of_ours_with_type_and_labels() {
    let Some(world) = world() else { return };
    let theirs = families(&vectors::text("ztunnel/metrics.txt").unwrap());
    let ours = || {
        let args = ["curl", "-s", "localhost:15020/stats/prometheus"];
        families(&world.mesh.exec("ztunnel-node1", args).ok())
    };
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        world.call_until("every metric has come", || theirs.is_subset(&ours()));
    }));
    let missing: Vec<_> = theirs.difference(&ours()).cloned().collect();
    assert!(told.is_ok(), "missing: {missing:#?}\nours: {:#?}", ours());
}

/// The recorded name of each node.
fn their_nodes(text: &str) -> String {
    text.replace("\"node1\"", "\"m1\"")
        .replace("\"node2\"", "\"m2\"")
}

/// The dump of the first node's ztunnel in the words of the recording.
fn our_dump(world: &World) -> Value {
    let dump = places::config_dump(&world.mesh, &world.near.node);
    let text = their_nodes(&world.theirs(&dump.to_string()));
    serde_json::from_str(&text).unwrap()
}

/// Elements of a list, by a key, that belong to the recorded world.
fn by_key(list: &Value, key: &str) -> BTreeMap<String, Value> {
    let world = ["app", "plain", "istio-system"];
    let elements = list.as_array().unwrap().iter();
    let elements = elements.filter(|element| {
        let namespace = element["namespace"].as_str().unwrap();
        world.contains(&namespace)
    });
    let name = |element: &Value| element[key].as_str().unwrap().to_owned();
    elements
        .map(|element| (name(element), element.clone()))
        .collect()
}

#[test]
fn what_the_dump_says_of_the_mesh_is_what_istios_says() {
    let Some(world) = world() else { return };
    let (theirs, mut ours) = (
        vectors::json("ztunnel/config_dump.json").unwrap(),
        our_dump(&world),
    );
    assert_eq!(ours["policies"], theirs["policies"]);
    // Our nodes have places, theirs had none.
    for workload in ours["workloads"].as_array_mut().unwrap() {
        workload.as_object_mut().unwrap().remove("locality");
    }
    for (list, key, names) in [
        (
            "workloads",
            "name",
            &[
                "bad",
                "plain",
                "echo-744674bb66-c5wb9",
                "echo-744674bb66-xlphv",
            ][..],
        ),
        ("services", "name", &["echo"]),
    ] {
        let (theirs, ours) = (by_key(&theirs[list], key), by_key(&ours[list], key));
        for name in names {
            assert_eq!(ours.get(*name), theirs.get(*name), "{list} {name}");
        }
    }
}

/// Where `ours` lacks a key of `theirs` or has another sort of value there. A list is compared by
/// its first element, and what is null says nothing of its sort.
fn lacks(path: &str, theirs: &Value, ours: &Value, found: &mut BTreeSet<String>) {
    let kind = |value: &Value| match value {
        Value::Null => None,
        Value::Bool(_) => Some("bool"),
        Value::Number(_) => Some("number"),
        Value::String(_) => Some("string"),
        Value::Array(_) => Some("array"),
        Value::Object(_) => Some("object"),
    };
    if kind(theirs).zip(kind(ours)).is_some_and(|(a, b)| a != b) {
        found.insert(format!("{path} is another sort"));
    }
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            for (key, value) in theirs {
                let path = format!("{path}.{key}");
                match ours.get(key) {
                    Some(ours) => lacks(&path, value, ours, found),
                    None => {
                        found.insert(path);
                    }
                }
            }
        }
        (Value::Array(theirs), Value::Array(ours)) => {
            if let Some((theirs, ours)) = theirs.first().zip(ours.first()) {
                lacks(&format!("{path}[]"), theirs, ours, found);
            }
        }
        _ => {}
    }
}

#[test]
fn the_dump_has_every_recorded_key() {
    let Some(world) = world() else { return };
    let theirs = vectors::json("ztunnel/config_dump.json").unwrap();
    let ours = eventually("there is a certificate", || {
        let dump = our_dump(&world);
        let state = dump.pointer("/certificates/0/state")?;
        (state == "Available").then_some(dump)
    });
    let identity = |dump: &Value| dump.pointer("/certificates/0/identity").cloned();
    assert_eq!(identity(&ours), identity(&theirs));
    let mut found = BTreeSet::new();
    for (key, value) in theirs.as_object().unwrap() {
        match (key.as_str(), ours.get(key)) {
            (_, None) => {
                found.insert(key.clone());
            }
            // By the pod's uid, which is made up.
            ("workloadState", Some(ours)) => {
                let first = |value: &Value| value.as_object().unwrap().values().next().cloned();
                lacks(
                    "workloadState.*",
                    &first(value).unwrap(),
                    &first(ours).unwrap(),
                    &mut found,
                );
            }
            // Compared as a whole, by another test.
            ("workloads" | "services" | "policies", Some(ours)) => {
                assert!(
                    ours.as_array().is_some_and(|list| !list.is_empty()),
                    "{key}"
                );
            }
            (_, Some(ours)) => lacks(key, value, ours, &mut found),
        }
    }
    let listed = differences::of("ztunnel", "config_dump.json").unwrap();
    assert_eq!(found, listed);
}

/// The connections of a pod, in the dump of its node's ztunnel.
fn connections(world: &World, of: &Place, direction: &str) -> Vec<Value> {
    let dump = places::config_dump(&world.mesh, &of.node);
    let states = dump["workloadState"].as_object().unwrap();
    let name = |state: &&Value| state["info"]["name"] == *of.pod;
    let state = states.values().find(name).unwrap();
    assert_eq!(state["state"], "Up");
    assert_eq!(state["info"]["serviceAccount"], "default");
    let list = state["connections"][direction].as_array().unwrap();
    let text = world.theirs(&Value::Array(list.clone()).to_string());
    serde_json::from_str(&text).unwrap()
}

#[test]
fn the_dump_shows_a_connection_at_both_ends_while_it_is_open() {
    let Some(world) = world() else { return };
    let to = SocketAddr::new(world.far.ip.into(), 8080);
    let mut call = places::inside(&world.near.netns, || TcpStream::connect(to)).unwrap();
    call.write_all(b"GET / HTTP/1.1\r\nHost: echo\r\n\r\n")
        .unwrap();
    let mut answer = [0; 1];
    call.read_exact(&mut answer).unwrap();
    let source = world.theirs(&call.local_addr().unwrap().to_string());

    let ours = |list: Vec<Value>| list.into_iter().find(|open| open["src"] == *source);
    let outbound = ours(connections(&world, &world.near, "outbound"));
    let expected = serde_json::json!({
        "src": source, "originalDst": "10.244.2.5:8080",
        "actualDst": "10.244.2.5:15008", "protocol": "HBONE",
    });
    assert_eq!(outbound, Some(expected));
    // The tunnel comes from a port of ztunnel's own.
    let inbound = connections(&world, &world.far, "inbound");
    let inbound = inbound.iter().find(|open| {
        let from_near = open["src"].as_str().unwrap().starts_with("10.244.1.5:");
        from_near && open["actualDst"] == "10.244.2.5:8080"
    });
    let inbound = inbound.expect("the other end is shown");
    assert_eq!(inbound["protocol"], "HBONE");
    assert_eq!(inbound["originalDst"], "echo.app.svc.cluster.local");

    drop(call);
    eventually("a closed connection is gone", || {
        let open = connections(&world, &world.near, "outbound");
        ours(open).is_none().then_some(())
    });
}
