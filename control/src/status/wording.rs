//! Every sentence that control says about an object.
//!
//! What is wrong is told in three parts, [`Words`]: what, its effect on traffic now, what to do.
//! How parts become a sentence is [`Finding`]'s affair alone, so that a condition's message and the
//! line of `cairn status` about the same thing are the same words.

use std::collections::BTreeSet;
use std::fmt;

use gateway_api::experimental::gateways::GatewayListeners;

use crate::finding::{Finding, Severity};
use crate::object::{Key, Kind};
use crate::translate::binding::Refusal;
use crate::translate::gateway::Unreachable;
use crate::translate::names;
use crate::translate::resources::WaypointName;
use crate::translate::route::spec::ParentRef;
use crate::translate::route::{Force, Problem};
use crate::translate::target::{Outcome, Resolved};

/// Something that is wrong, in its three parts.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Words {
    /// What is wrong.
    pub(crate) what: String,
    /// What that does to traffic now.
    pub(crate) effect: String,
    /// What to do about it; empty if that is plain.
    pub(crate) remedy: String,
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, effect, remedy } = self.clone();
        let finding = Finding {
            file: None,
            line: 0,
            column: 0,
            object: None,
            field: None,
            severity: Severity::Warning,
            what,
            effect,
            remedy,
        };
        finding.fmt(f)
    }
}

fn words(what: impl Into<String>, effect: impl Into<String>, remedy: impl Into<String>) -> Words {
    Words { what: what.into(), effect: effect.into(), remedy: remedy.into() }
}

/// The GatewayClass of waypoints.
pub(super) const CLASS_ACCEPTED: &str = "waypoints of this class are deployed and configured";
/// The GatewayClass of gateways elsewhere.
pub(super) const CLASS_REMOTE: &str = "Gateways of this class stand for gateways elsewhere";
/// The version of Gateway API.
pub(super) const VERSION: &str = "Gateway API v1.6 is known";
/// A Gateway of ours.
pub(super) const GATEWAY_ACCEPTED: &str = "the Gateway is accepted";
/// A Gateway that stands for one elsewhere.
pub(super) const GATEWAY_REMOTE: &str = "the Gateway is somewhere else, nothing is deployed for it";
/// Listeners of which some are refused.
pub(super) const LISTENERS_SOME: &str = "some listeners are refused";
/// Listeners of which all are refused.
pub(super) const LISTENERS_NONE: &str = "all listeners are refused";
/// A listener with nothing wrong.
pub(super) const LISTENER_FINE: &str = "nothing is wrong with the listener";
/// References of a Gateway or route.
pub(super) const REFERENCES_RESOLVED: &str = "all references resolve";
/// A route.
pub(super) const ROUTE_ACCEPTED: &str = "the route is attached";
/// Waypoints of a route.
pub(super) const WAYPOINTS_RESOLVED: &str = "a waypoint has the route";
/// A policy at ztunnels.
pub(super) const AT_ZTUNNEL: &str = "ztunnels enforce the policy";

/// A Service with a waypoint.
pub(super) fn bound_to(waypoint: &WaypointName) -> String {
    format!("traffic goes through waypoint {waypoint}")
}

/// What is added for a Service that speaks about ingress.
pub(super) fn ingress(through: bool) -> &'static str {
    if through { "; so does ingress traffic" } else { "; ingress traffic does not" }
}

/// What is added for a Service whose canary gets nothing.
pub(super) fn no_canary(refusal: &Refusal, namespace: &str) -> String {
    format!("; its canary gets no share: {}", self::refusal(refusal, namespace))
}

const AROUND: &str = "traffic does not go through it";

/// A waypoint that cannot be had by an object of `namespace`.
pub(super) fn refusal(refusal: &Refusal, namespace: &str) -> Words {
    match refusal {
        Refusal::Missing(name) => words(
            format!("waypoint \"{name}\" does not exist"),
            AROUND,
            format!("create the Gateway or correct the label {}", names::USE_WAYPOINT),
        ),
        Refusal::NotReady(name) => words(
            format!("waypoint \"{name}\" has no address yet"),
            AROUND,
            "see why its Gateway is not Programmed",
        ),
        Refusal::Denied(name) => words(
            format!("waypoint \"{name}\" admits no objects of namespace \"{namespace}\""),
            AROUND,
            "set allowedRoutes.namespaces on the listener of its Gateway",
        ),
        Refusal::Unserved(name, traffic) => words(
            format!("waypoint \"{name}\" serves no traffic addressed to a {}", traffic.word()),
            AROUND,
            format!("label its Gateway {}: {} or all", names::WAYPOINT_FOR, traffic.word()),
        ),
        Refusal::CanaryWeight(name) => words(
            format!("the weight of canary \"{name}\" is no whole number from 0 to 100"),
            "it gets no share",
            format!("correct the annotation {}", names::USE_WAYPOINT_CANARY_WEIGHT),
        ),
        Refusal::CanaryIsPrimary(name) => words(
            format!("canary \"{name}\" is the waypoint itself"),
            "it gets no share",
            format!("correct the label {}", names::USE_WAYPOINT_CANARY),
        ),
    }
}

/// A class or Gateway of the class `istio`.
pub(super) fn ingress_not_served() -> Words {
    words(
        "this class is for ingress gateways, which Cairn does not serve",
        "nothing is deployed or configured for it",
        "use class istio-waypoint for a waypoint, or run an ingress gateway beside Cairn",
    )
}

/// A listener that is not a waypoint's.
pub(super) fn listener(listener: &GatewayListeners) -> Words {
    words(
        format!("a waypoint listens on port 15008 with protocol HBONE alone, not on {} with {}", listener.port, listener.protocol),
        "nothing is served on this listener",
        "keep one listener with port 15008 and protocol HBONE",
    )
}

/// `parametersRef` to something that holds no parameters.
pub(super) fn parameters(group: &str, kind: &str) -> Words {
    let kind = if group.is_empty() { kind.to_owned() } else { format!("{group}/{kind}") };
    words(
        format!("parameters of kind {kind} are not supported"),
        "they are not applied",
        "refer to a ConfigMap",
    )
}

/// `parametersRef` to a ConfigMap.
pub(super) fn parameters_not_applied() -> Words {
    words("parameters are not supported yet", "the waypoint is deployed without them", "")
}

/// Several fixed addresses.
pub(super) fn addresses(addresses: &[String]) -> Words {
    words(
        format!("cannot have the addresses {}", addresses.join(" ")),
        "the waypoint has none",
        "leave spec.addresses out, or name one Service by its host name",
    )
}

/// A Gateway that is reached.
pub(super) fn programmed(assigned: &[String]) -> String {
    format!("reached at {}", assigned.join(" and "))
}

/// A Gateway that is not reached.
pub(super) fn unreachable(missing: &Unreachable) -> Words {
    match missing {
        Unreachable::Unsupported(addresses) => self::addresses(addresses),
        Unreachable::NoService(hostname) => {
            words(format!("there is no Service \"{hostname}\""), "it cannot be reached", "")
        }
        Unreachable::NoEndpoints(hostname) => words(
            format!("Service \"{hostname}\" has no endpoint"),
            "it cannot be reached",
            "see why its pods do not start",
        ),
        Unreachable::Pending(hostname) => words(
            format!("Service \"{hostname}\" waits for an address from outside"),
            "it is reached inside the mesh only",
            "",
        ),
    }
}

/// A problem of a route.
pub(crate) fn problem(problem: &Problem) -> Words {
    const SHARE: &str = "its share of requests gets 500";
    const RULE: &str = "requests of the rule get 500";
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
        Problem::BackendProtocol(host, port) => {
            words(format!("port {port} of backend \"{host}\" is not TCP"), SHARE, "")
        }
        Problem::BackendKind(group, kind) => {
            let kind = if group.is_empty() { kind.clone() } else { format!("{group}/{kind}") };
            words(format!("kind {kind} cannot be a backend"), SHARE, "refer to a Service")
        }
        Problem::FilterUnknown(kind) => {
            words(format!("filter {kind} is not known here"), RULE, "remove the filter")
        }
        Problem::FilterUnsupported(kind) => {
            words(format!("filter {kind} is not supported yet"), RULE, "remove the filter")
        }
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
        Problem::Ignored(field) => {
            words(format!("{field} is not supported yet"), "it has no effect", "")
        }
    }
}

/// A parent that does not exist.
pub(super) fn parent_not_found(service: &str) -> Words {
    words(format!("Service {service} does not exist"), "the route has no effect there", "")
}

/// A parent that lacks the port or section.
pub(super) fn parent_without_port(parent: &ParentRef, service: &str) -> Words {
    let port = parent.port.map(|port| format!("port {port}"));
    let section = parent.section_name.as_ref().map(|name| format!("port named \"{name}\""));
    let wanted: Vec<String> = [port, section].into_iter().flatten().collect();
    words(
        format!("Service {service} has no {}", wanted.join(" that is a ")),
        "the route has no effect there",
        "",
    )
}

/// A parent that requests cannot be sent to.
pub(super) fn parent_without_address(service: &str) -> Words {
    words(
        format!("Service {service} has no cluster IP"),
        "its traffic never passes a service waypoint and the route has no effect",
        "give it a cluster IP",
    )
}

/// A parent of another kind.
pub(super) fn parent_not_ours(group: &str, kind: &str) -> Words {
    let kind = if group.is_empty() { kind.to_owned() } else { format!("{group}/{kind}") };
    words(
        format!("kind {kind} is no parent in the mesh"),
        "the route has no effect there",
        "attach the route to a Service (group \"\", kind Service)",
    )
}

/// What is said of waypoints where a route is not attached.
pub(super) fn parent_not_attached(service: &str) -> String {
    format!("the route is not attached to Service {service}")
}

/// An attached route that no waypoint has; `None` if one has it.
pub(super) fn force(force: &Force, service: &str) -> Option<Words> {
    const NO_EFFECT: &str = "the route has no effect";
    let namespace = service.split_once('/').map_or("", |(namespace, _)| namespace);
    match force {
        Force::InForce => None,
        Force::NoLabel => Some(words(
            format!("Service {service} has no waypoint"),
            NO_EFFECT,
            format!("label the Service or its namespace {}: NAME", names::USE_WAYPOINT),
        )),
        Force::OptedOut => Some(words(
            format!("Service {service} has opted out of waypoints"),
            NO_EFFECT,
            format!("name a waypoint in the label {}", names::USE_WAYPOINT),
        )),
        Force::Refused(refusal) => {
            let Words { what, remedy, .. } = self::refusal(refusal, namespace);
            Some(words(what, NO_EFFECT, remedy))
        }
    }
}

/// Targets that are all in force.
pub(super) fn bound(targets: &[Resolved]) -> String {
    let names = targets.iter().filter_map(|target| match &target.outcome {
        Outcome::Bound(name) => Some(name.as_str()),
        _ => None,
    });
    let distinct: BTreeSet<&str> = names.collect();
    format!("in force at {}", distinct.into_iter().collect::<Vec<_>>().join(", "))
}

/// A target that is not in force; `None` if it is.
pub(super) fn target(target: &Resolved, namespace: &str) -> Option<Words> {
    let (kind, name) = (&target.reference.kind, &target.reference.name);
    let not = "it has no effect there";
    Some(match &target.outcome {
        Outcome::Bound(_) => return None,
        Outcome::NotFound => words(format!("{kind} {name} does not exist"), not, ""),
        Outcome::NotReady => words(
            format!("{kind} {name} has no address yet"),
            not,
            "see why it is not Programmed",
        ),
        Outcome::Unbound(None) => words(
            format!("{kind} {name} has no waypoint"),
            not,
            format!("label the {kind} or its namespace {}: NAME", names::USE_WAYPOINT),
        ),
        Outcome::Unbound(Some(refusal)) => {
            let Words { what, remedy, .. } = self::refusal(refusal, namespace);
            words(what, not, remedy)
        }
        Outcome::NotInRootNamespace => words(
            format!("{kind} {name} can be named from the root namespace only"),
            not,
            "move the object to the root namespace, or name a Gateway",
        ),
        Outcome::NotOfWaypoints => {
            words(format!("{kind} {name} is not one of waypoints"), not, "use class istio-waypoint")
        }
        Outcome::UnknownKind => words(
            format!("kind {kind} cannot be a target"),
            not,
            "name a Service, Gateway or GatewayClass",
        ),
    })
}

/// An action that ztunnels do not know.
pub(super) fn action_at_ztunnel(action: &str) -> Words {
    words(
        format!("ztunnels do not know the action {action}"),
        "the policy has no effect",
        "attach it to a Service or Gateway with a waypoint by targetRefs",
    )
}

/// A policy for ztunnels that only logs.
pub(super) fn dry_run_at_ztunnel() -> Words {
    words(
        "ztunnels are not told about policies that are only tried out",
        "the policy has no effect",
        "attach it to a Service or Gateway with a waypoint by targetRefs",
    )
}

/// Attributes that ztunnels do not see.
pub(super) fn dropped_at_ztunnel(
    dropped: &BTreeSet<String>,
    is_allow: bool,
    never_matches: bool,
) -> Words {
    let names: Vec<&str> = dropped.iter().map(String::as_str).collect();
    let effect = match (is_allow, never_matches) {
        (true, true) => "all of its rules are left out and it allows nothing",
        (true, false) => "rules that need them are left out and it allows less than written",
        (false, true) => "the policy has no effect",
        (false, false) => "it is enforced without them and may deny more than written",
    };
    words(
        format!("ztunnels do not see {}", names.join(", ")),
        effect,
        "use a waypoint: attach the policy to a Service or Gateway by targetRefs",
    )
}

/// `CUSTOM` while the mesh has no provider.
pub(super) fn unknown_provider() -> Words {
    words(
        "the mesh has no external authorization provider of this name",
        "requests that match are denied",
        "",
    )
}

/// A PeerAuthentication that selects in the root namespace.
pub(super) fn selector_in_root_namespace() -> Words {
    words(
        "a selector in the root namespace selects nothing in ambient",
        "the policy has no effect",
        "remove the selector, or move the policy to the namespace of the workloads",
    )
}

/// A PeerAuthentication beside an older one.
pub(super) fn older_wins(winner: &Key) -> Words {
    words(
        format!("{winner} is older and speaks for the same workloads"),
        "this policy has no effect",
        "remove one of the two",
    )
}

/// Ports of a PeerAuthentication without selector.
pub(super) fn ports_without_selector() -> Words {
    words("ports count with a selector only", "they have no effect", "select the workloads")
}

/// `DISABLE`.
pub(super) fn disable_is_permissive() -> Words {
    words(
        "traffic to captured workloads is always encrypted",
        "DISABLE means PERMISSIVE",
        "write PERMISSIVE",
    )
}

/// A WasmPlugin without targets.
pub(super) fn plugin_without_targets() -> Words {
    words(
        "plugins run at waypoints, and nothing says at which",
        "the plugin has no effect",
        "attach it to a Service, Gateway or GatewayClass by targetRefs",
    )
}

/// A WasmPlugin for outbound traffic.
pub(super) fn plugin_without_traffic() -> Words {
    words(
        "traffic at a waypoint is SERVER, which no match has",
        "the plugin has no effect",
        "remove mode CLIENT",
    )
}

/// An environment variable from the proxy.
pub(super) fn plugin_host_variable() -> Words {
    words(
        "the environment of the waypoint is not handed to plugins",
        "the variable is not set",
        "write its value with valueFrom INLINE",
    )
}

/// An object of a kind that is kept as it stands.
pub(super) fn kind_without_effect(kind: &Kind) -> Words {
    words(format!("kind {kind} is not supported yet"), "the object has no effect", "")
}

/// A resource that a proxy refused.
pub(crate) fn rejected(proxy: &str, reason: &str) -> Words {
    words(
        format!("{proxy} cannot use it: {reason}"),
        "the last good version stays in effect there",
        "",
    )
}
