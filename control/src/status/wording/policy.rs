//! Policies and plugins.

use std::collections::BTreeSet;

use super::{Words, words};
use crate::object::Key;
use crate::translate::names;
use crate::translate::target::{Outcome, Resolved};

/// A policy at ztunnels.
pub(in crate::status) const AT_ZTUNNEL: &str = "ztunnels enforce the policy";

/// Targets that are all in force.
pub(in crate::status) fn bound(targets: &[Resolved]) -> String {
    let names = targets.iter().filter_map(|target| match &target.outcome {
        Outcome::Bound(name) => Some(name.as_str()),
        _ => None,
    });
    let distinct: BTreeSet<&str> = names.collect();
    format!(
        "in force at {}",
        distinct.into_iter().collect::<Vec<_>>().join(", ")
    )
}

/// A target that is not in force; `None` if it is.
pub(in crate::status) fn target(target: &Resolved, namespace: &str) -> Option<Words> {
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
            format!(
                "label the {kind} or its namespace {}: NAME",
                names::USE_WAYPOINT
            ),
        ),
        Outcome::Unbound(Some(refusal)) => {
            let Words { what, remedy, .. } = super::refusal(refusal, namespace);
            words(what, not, remedy)
        }
        Outcome::NotInRootNamespace => words(
            format!("{kind} {name} can be named from the root namespace only"),
            not,
            "move the object to the root namespace, or name a Gateway",
        ),
        Outcome::NotOfWaypoints => words(
            format!("{kind} {name} is not one of waypoints"),
            not,
            "use class istio-waypoint",
        ),
        Outcome::NotServed => words(
            format!("{kind} {name} is not served by waypoints yet"),
            not,
            "attach it to a Service",
        ),
        Outcome::UnknownKind => words(
            format!("kind {kind} cannot be a target"),
            not,
            "name a Service, ServiceEntry, Gateway or GatewayClass",
        ),
    })
}

/// An action that ztunnels do not know.
pub(in crate::status) fn action_at_ztunnel(action: &str) -> Words {
    words(
        format!("ztunnels do not know the action {action}"),
        "the policy has no effect",
        "attach it to a Service or Gateway with a waypoint by targetRefs",
    )
}

/// A policy for ztunnels that only logs.
pub(in crate::status) fn dry_run_at_ztunnel() -> Words {
    words(
        "ztunnels are not told about policies that are only tried out",
        "the policy has no effect",
        "attach it to a Service or Gateway with a waypoint by targetRefs",
    )
}

/// Attributes that ztunnels do not see.
pub(in crate::status) fn dropped_at_ztunnel(
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
pub(in crate::status) fn unknown_provider() -> Words {
    words(
        "the mesh has no external authorization provider of this name",
        "requests that match are denied",
        "",
    )
}

/// A PeerAuthentication that selects in the root namespace.
pub(in crate::status) fn selector_in_root_namespace() -> Words {
    words(
        "a selector in the root namespace selects nothing in ambient",
        "the policy has no effect",
        "remove the selector, or move the policy to the namespace of the workloads",
    )
}

/// A PeerAuthentication beside an older one.
pub(in crate::status) fn older_wins(winner: &Key) -> Words {
    words(
        format!("{winner} is older and speaks for the same workloads"),
        "this policy has no effect",
        "remove one of the two",
    )
}

/// Ports of a PeerAuthentication without selector.
pub(in crate::status) fn ports_without_selector() -> Words {
    words(
        "ports count with a selector only",
        "they have no effect",
        "select the workloads",
    )
}

/// `DISABLE`.
pub(in crate::status) fn disable_is_permissive() -> Words {
    words(
        "traffic to captured workloads is always encrypted",
        "DISABLE means PERMISSIVE",
        "write PERMISSIVE",
    )
}

/// A policy about requests where a waypoint reads none.
pub(in crate::status) fn unread(service: &str, ports: &[u32], is_deny: bool) -> Words {
    let effect = if is_deny {
        "rules are enforced there without what only requests have and deny more than written"
    } else {
        "rules that need requests match nothing there"
    };
    words(
        super::declared_as_bytes(service, ports),
        effect,
        super::DECLARE_HTTP,
    )
}
