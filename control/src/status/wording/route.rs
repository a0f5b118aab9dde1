//! Routes.

use super::{Words, words};
use crate::translate::names;
use crate::translate::route::spec::ParentRef;
use crate::translate::route::{Force, Problem};

/// References of a Gateway or route.
pub(in crate::status) const REFERENCES_RESOLVED: &str = "all references resolve";
/// A route.
pub(in crate::status) const ROUTE_ACCEPTED: &str = "the route is attached";
/// Waypoints of a route.
pub(in crate::status) const WAYPOINTS_RESOLVED: &str = "a waypoint has the route";
/// What becomes of a rule that cannot be honoured.
const RULE: &str = "requests of the rule get 500";

/// A problem of a route.
pub(crate) fn problem(problem: &Problem) -> Words {
    const SHARE: &str = "its share of requests gets 500";
    const LEFT_OUT: &str = "the rule is left out";
    match problem {
        Problem::BackendNotFound(host) => {
            words(format!("backend \"{host}\" does not exist"), SHARE, "")
        }
        Problem::BackendPort(host, port) => {
            words(format!("backend \"{host}\" has no port {port}"), SHARE, "")
        }
        Problem::BackendAlias(host) => words(
            format!("backend \"{host}\" is an ExternalName, which may point anywhere"),
            SHARE,
            "refer to a Service with endpoints",
        ),
        Problem::BackendProtocol(host, port) => words(
            format!("port {port} of backend \"{host}\" is not TCP"),
            SHARE,
            "",
        ),
        Problem::BackendKind(group, kind) => {
            let kind = if group.is_empty() {
                kind.clone()
            } else {
                format!("{group}/{kind}")
            };
            words(
                format!("kind {kind} cannot be a backend"),
                SHARE,
                "refer to a Service",
            )
        }
        Problem::FilterUnknown(kind) => words(
            format!("filter {kind} is not known here"),
            RULE,
            "remove the filter",
        ),
        Problem::FilterUnsupported(kind) => words(
            format!("filter {kind} is not supported yet"),
            RULE,
            "remove the filter",
        ),
        Problem::ExtensionKind(..)
        | Problem::ExtensionNotFound(_)
        | Problem::ExtensionNetwork(_)
        | Problem::ExtensionLua(_) => extension(problem),
        Problem::HeaderFixed(name) => words(
            format!("header {name} cannot be edited, because it frames the message"),
            RULE,
            "remove it from the filter",
        ),
        Problem::Expression(text) => {
            words(format!("\"{text}\" is no regular expression"), LEFT_OUT, "")
        }
        Problem::Word(text) => words(format!("\"{text}\" is not known here"), LEFT_OUT, ""),
        Problem::Duration(text) => words(
            format!("\"{text}\" is no duration"),
            LEFT_OUT,
            "write whole numbers with h, m, s or ms",
        ),
        Problem::Ignored("hostnames") => words(
            "host names mean nothing for a route of a Service",
            "requests match whatever host they ask for",
            "match on the header Host instead",
        ),
        Problem::Ignored(field) => words(
            format!("{field} is not supported yet"),
            "it has no effect",
            "",
        ),
    }
}

/// A filter that names a plugin.
fn extension(problem: &Problem) -> Words {
    match problem {
        Problem::ExtensionKind(group, kind) => words(
            format!("{group}/{kind} is no kind of filter"),
            RULE,
            "refer to a WasmPlugin or TrafficExtension of extensions.istio.io",
        ),
        Problem::ExtensionNotFound(what) => words(
            format!("{what} does not exist in the namespace of the route"),
            RULE,
            "create it, or correct the name",
        ),
        Problem::ExtensionNetwork(what) => words(
            format!("{what} is of type NETWORK, which sees no requests"),
            RULE,
            "refer to a plugin of type HTTP",
        ),
        Problem::ExtensionLua(what) => words(
            format!("{what} is a Lua script, which waypoints do not run"),
            RULE,
            "write the filter as a module (cairn filter new)",
        ),
        _ => Words::default(),
    }
}

/// A parent that does not exist.
pub(in crate::status) fn parent_not_found(service: &str) -> Words {
    words(
        format!("Service {service} does not exist"),
        "the route has no effect there",
        "",
    )
}

/// A parent that lacks the port or section.
pub(in crate::status) fn parent_without_port(parent: &ParentRef, service: &str) -> Words {
    let port = parent.port.map(|port| format!("port {port}"));
    let section = parent
        .section_name
        .as_ref()
        .map(|name| format!("port named \"{name}\""));
    let wanted: Vec<String> = [port, section].into_iter().flatten().collect();
    words(
        format!("Service {service} has no {}", wanted.join(" that is a ")),
        "the route has no effect there",
        "",
    )
}

/// A parent that requests cannot be sent to.
pub(in crate::status) fn parent_without_address(service: &str) -> Words {
    words(
        format!("Service {service} has no cluster IP"),
        "its traffic never passes a service waypoint and the route has no effect",
        "give it a cluster IP",
    )
}

/// A parent of another kind.
pub(in crate::status) fn parent_not_ours(group: &str, kind: &str) -> Words {
    let kind = if group.is_empty() {
        kind.to_owned()
    } else {
        format!("{group}/{kind}")
    };
    words(
        format!("kind {kind} is no parent in the mesh"),
        "the route has no effect there",
        "attach the route to a Service (group \"\", kind Service)",
    )
}

/// What is said of waypoints where a route is not attached.
pub(in crate::status) fn parent_not_attached(service: &str) -> String {
    format!("the route is not attached to Service {service}")
}

/// An attached route that no waypoint has; `None` if one has it.
pub(in crate::status) fn force(force: &Force, service: &str) -> Option<Words> {
    const NO_EFFECT: &str = "the route has no effect";
    let namespace = service
        .split_once('/')
        .map_or("", |(namespace, _)| namespace);
    match force {
        Force::Told => None,
        Force::NoLabel => Some(words(
            format!("Service {service} has no waypoint"),
            NO_EFFECT,
            format!(
                "label the Service or its namespace {}: NAME",
                names::USE_WAYPOINT
            ),
        )),
        Force::OptedOut => Some(words(
            format!("Service {service} has opted out of waypoints"),
            NO_EFFECT,
            format!("name a waypoint in the label {}", names::USE_WAYPOINT),
        )),
        Force::Unread(ports) => Some(words(
            super::declared_as_bytes(service, ports),
            NO_EFFECT,
            super::DECLARE_HTTP,
        )),
        Force::Refused(refusal) => {
            let Words { what, remedy, .. } = super::refusal(refusal, namespace);
            Some(words(what, NO_EFFECT, remedy))
        }
    }
}
