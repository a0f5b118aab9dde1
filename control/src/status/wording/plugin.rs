//! Plugins.

use std::collections::{BTreeMap, BTreeSet};

use super::{Words, words};
use crate::object::Key;
use crate::status::Truth;
use crate::status::plugin::{Part, Place, Verdict};
use crate::translate::plugin::Module;
use crate::translate::plugin::secret::Found;
use crate::translate::plugin::settings::{Fault, Problem};
use crate::translate::resources::WaypointName;

const NO_EFFECT: &str = "the plugin has no effect";

/// So many waypoints are quoted at most.
const QUOTED: usize = 4;

/// What the waypoints of a plugin say about a part of it, where `truth` is the worst of it.
pub(in crate::status) fn stage(part: Part, truth: Truth, verdicts: &[Verdict<'_>]) -> String {
    match truth {
        Truth::True => good(part, verdicts),
        Truth::False | Truth::Unknown => {
            let bad = verdicts.iter().filter(|verdict| verdict.truth == truth);
            quoted(bad.map(said).collect())
        }
    }
}

/// What has failed; `None` if nothing has.
pub(in crate::status) fn failures(verdicts: &[Verdict<'_>]) -> Option<String> {
    let failed = verdicts
        .iter()
        .filter(|verdict| verdict.truth == Truth::False);
    let said: Vec<String> = failed.map(said).collect();
    (!said.is_empty()).then(|| quoted(said))
}

fn quoted(mut texts: Vec<String>) -> String {
    let n_more = texts.len().saturating_sub(QUOTED);
    texts.truncate(QUOTED);
    let mut text = texts.join("; ");
    if n_more > 0 {
        text = format!("{text}; and {n_more} more waypoints");
    }
    text
}

fn said(verdict: &Verdict<'_>) -> String {
    let waypoint = verdict.waypoint;
    let Some(pod) = verdict.pod else {
        return format!("no waypoint is connected ({waypoint})");
    };
    let whose = format!("waypoint {waypoint} (pod {pod})");
    match (verdict.truth, &*verdict.message, verdict.report) {
        (Truth::Unknown, "", None) => format!("{whose} has not said anything yet"),
        (Truth::Unknown, "", Some(_)) if verdict.is_current => format!("{whose} does not know yet"),
        (Truth::Unknown, "", Some(report)) => {
            format!("{whose} still speaks of generation {}", report.generation)
        }
        (_, message, _) => match older(verdict) {
            Some(serving) => format!("{whose}, where generation {serving} still serves: {message}"),
            None => format!("{whose}: {message}"),
        },
    }
}

/// The generation that serves where it is not the one spoken of.
fn older(verdict: &Verdict<'_>) -> Option<i64> {
    let report = verdict.report.filter(|_| verdict.is_current)?;
    let is_older = report.serving != 0 && report.serving < report.generation;
    is_older.then_some(report.serving)
}

fn good(part: Part, verdicts: &[Verdict<'_>]) -> String {
    let all = || listed(verdicts.iter().map(|verdict| verdict.waypoint));
    match part {
        Part::Programmed => format!("in force at {}", all()),
        Part::Healthy => {
            let mut by_generation: BTreeMap<_, Vec<&WaypointName>> = BTreeMap::new();
            for verdict in verdicts {
                let waypoints = by_generation.entry(older(verdict)).or_default();
                waypoints.push(verdict.waypoint);
            }
            let one = |(older, waypoints): (&Option<i64>, &Vec<&WaypointName>)| {
                let waypoints = listed(waypoints.iter().copied());
                match older {
                    Some(generation) => {
                        format!("generation {generation} still runs at {waypoints}")
                    }
                    None => format!("runs at {waypoints}"),
                }
            };
            by_generation.iter().map(one).collect::<Vec<_>>().join("; ")
        }
        Part::Fetched => {
            let mut by_module: BTreeMap<(&str, &str), Vec<&WaypointName>> = BTreeMap::new();
            for verdict in verdicts {
                let module = verdict
                    .report
                    .map_or(("", ""), |report| (&report.sha256, &report.url));
                by_module.entry(module).or_default().push(verdict.waypoint);
            }
            let one = |((sha256, url), waypoints): (&(&str, &str), &Vec<&WaypointName>)| {
                let module = match *sha256 {
                    "" => "the module".to_owned(),
                    digest => format!("module sha256:{digest}"),
                };
                let of = if url.is_empty() {
                    String::new()
                } else {
                    format!(" of {url}")
                };
                let waypoints = listed(waypoints.iter().copied());
                format!("{module}{of} is at {waypoints}")
            };
            by_module.iter().map(one).collect::<Vec<_>>().join("; ")
        }
    }
}

fn listed<'n>(waypoints: impl Iterator<Item = &'n WaypointName>) -> String {
    let distinct: BTreeSet<String> = waypoints.map(ToString::to_string).collect();
    distinct.into_iter().collect::<Vec<_>>().join(", ")
}

/// A plugin that nothing says where to run.
pub(in crate::status) fn without_targets(has_selector: bool) -> Words {
    let what = if has_selector {
        "a selector selects pods, and plugins run at waypoints"
    } else {
        "plugins run at waypoints, and nothing says at which"
    };
    words(
        what,
        NO_EFFECT,
        "attach it to a Service, Gateway or GatewayClass by targetRefs",
    )
}

/// A plugin for outbound traffic.
pub(in crate::status) fn without_traffic() -> Words {
    words(
        "traffic at a waypoint is SERVER, which no match has",
        NO_EFFECT,
        "remove mode CLIENT",
    )
}

/// A selector beside routes that name the plugin.
pub(in crate::status) fn selector_without_effect() -> Words {
    words(
        "a selector selects pods, and plugins run at waypoints",
        "it has no effect",
        "remove it",
    )
}

/// A TrafficExtension with a script.
pub(in crate::status) fn lua() -> Words {
    words(
        "waypoints do not run Lua",
        NO_EFFECT,
        "write the filter as a module (cairn filter new) and name it in spec.wasm",
    )
}

/// Routes that run a plugin.
pub(in crate::status) fn by_routes(routes: &[(Key, BTreeSet<WaypointName>)]) -> String {
    let told = routes.iter().filter(|(_, waypoints)| !waypoints.is_empty());
    let (names, waypoints): (Vec<_>, Vec<_>) = told.map(|(key, at)| (&*key.name, at)).unzip();
    let waypoints = listed(waypoints.into_iter().flatten());
    format!(
        "run by rules of HTTPRoute {} at {waypoints}",
        names.join(", ")
    )
}

/// Routes that name a plugin where no waypoint is.
pub(in crate::status) fn routes_without_waypoint(
    routes: &[(Key, BTreeSet<WaypointName>)],
) -> Words {
    let names: Vec<&str> = routes.iter().map(|(key, _)| &*key.name).collect();
    words(
        format!(
            "no waypoint is told of HTTPRoute {}, whose rules name it",
            names.join(", ")
        ),
        NO_EFFECT,
        "see the status of the route",
    )
}

/// A Service without any of the ports that a plugin asks for.
pub(in crate::status) fn no_such_port(place: &Place<'_>, wanted: &[u32]) -> Words {
    let Place {
        namespace, name, ..
    } = place;
    let (who, has) = if place.is_service() {
        (format!("Service {namespace}/{name}"), "has no")
    } else {
        (
            format!("no Service behind waypoint {namespace}/{name}"),
            "has",
        )
    };
    let what = if wanted.is_empty() {
        let article = if place.is_service() { "" } else { "a " };
        format!("{who} {has} {article}TCP port")
    } else {
        let (ports, _) = super::listed_ports(wanted);
        format!("{who} {has} {ports}, which match asks for")
    };
    words(
        what,
        "the plugin has no effect there",
        "write the port of the Service, not of its pods",
    )
}

/// A plugin for requests where a waypoint reads none.
pub(in crate::status) fn unread(place: &Place<'_>, ports: &[u32]) -> Words {
    let Place {
        namespace, name, ..
    } = place;
    let what = if place.is_service() {
        super::declared_as_bytes(&format!("{namespace}/{name}"), ports)
    } else {
        format!(
            "all ports of the Services behind waypoint {namespace}/{name} are declared to be TCP \
             or TLS and not HTTP"
        )
    };
    words(what, "the plugin sees nothing there", super::DECLARE_HTTP)
}

/// `verificationKey`.
pub(in crate::status) fn unverified() -> Words {
    words(
        "nothing verifies signatures of modules",
        "the module runs whoever signed it",
        "pin the module with sha256 and remove the key",
    )
}

/// An annotation.
pub(in crate::status) fn annotation(problem: &Problem) -> Words {
    const LEFT_OUT: &str = "the default counts";
    match &problem.fault {
        Fault::Bytes(text) => words(
            format!("\"{text}\" is no number of bytes"),
            LEFT_OUT,
            "write 64Mi, for example",
        ),
        Fault::Duration(text) => words(
            format!("\"{text}\" is no duration"),
            LEFT_OUT,
            "write 10ms, for example",
        ),
        Fault::Bool(text) => words(
            format!("\"{text}\" is neither true nor false"),
            LEFT_OUT,
            "",
        ),
        Fault::Range {
            written,
            counts,
            range,
        } => words(
            format!("\"{written}\" is not within {range}"),
            format!("{counts} counts"),
            "",
        ),
        Fault::Upstream(text) => words(
            format!("\"{text}\" is no HOST or HOST:PORT"),
            "the plugin may not call it",
            "write the host name of a Service",
        ),
    }
}

/// Why a module cannot be fetched, as far as it is for its pull secret: a reason and its words.
pub(crate) fn unfetchable(secret: &Found, module: &Module<'_>) -> Option<(&'static str, Words)> {
    const EFFECT: &str = "the module is not fetched; what ran before goes on";
    let name = module.pull_secret;
    let types = "kubernetes.io/dockerconfigjson or kubernetes.io/dockercfg";
    match secret {
        Found::None | Found::Credentials(_) | Found::Silent | Found::NoImage => None,
        Found::Missing => Some((
            "SecretNotFound",
            words(
                format!("Secret {name} does not exist in the namespace of the plugin"),
                EFFECT,
                "create it there",
            ),
        )),
        Found::WrongType(kind) => Some((
            "SecretInvalid",
            words(
                format!("Secret {name} is of type {kind} and not of {types}"),
                EFFECT,
                "create it with kubectl create secret docker-registry",
            ),
        )),
        Found::Unreadable(why) => Some((
            "SecretInvalid",
            words(
                format!("Secret {name} cannot be read: {why}"),
                EFFECT,
                "create it with kubectl create secret docker-registry",
            ),
        )),
    }
}

/// A pull secret that does not do what its author thinks.
pub(in crate::status) fn secret(secret: &Found, module: &Module<'_>) -> Option<Words> {
    let name = module.pull_secret;
    match secret {
        Found::NoImage => Some(words(
            "a pull secret is for registries, and url names no image",
            "it is not used",
            "use oci://, or remove it",
        )),
        Found::Silent => Some(words(
            format!("Secret {name} has no entry for the registry that url names"),
            "the registry is asked without credentials",
            "add the registry to the Secret",
        )),
        other => unfetchable(other, module).map(|(_, words)| words),
    }
}
