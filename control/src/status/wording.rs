//! Every sentence that control says about an object.
//!
//! What is wrong is told in three parts, [`Words`]: what, its effect on traffic now, what to do.
//! How parts become a sentence is [`Finding`]'s affair alone, so that a condition's message and the
//! line of `cairn status` about the same thing are the same words.

pub(super) mod gateway;
pub(crate) mod plugin;
pub(super) mod policy;
pub(crate) mod route;

use std::fmt;

use crate::finding::{Finding, Severity};
use crate::object::Kind;
use crate::translate::binding::Refusal;
use crate::translate::names;
use crate::translate::resources::WaypointName;

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
        let Self {
            what,
            effect,
            remedy,
        } = self.clone();
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
    Words {
        what: what.into(),
        effect: effect.into(),
        remedy: remedy.into(),
    }
}

/// A Service with a waypoint.
pub(super) fn bound_to(waypoint: &WaypointName) -> String {
    format!("traffic goes through waypoint {waypoint}")
}

/// What is added for a Service that speaks about ingress.
pub(super) fn ingress(through: bool) -> &'static str {
    if through {
        "; so does ingress traffic"
    } else {
        "; ingress traffic does not"
    }
}

/// What is added for a Service whose canary gets nothing.
pub(super) fn no_canary(refusal: &Refusal, namespace: &str) -> String {
    format!(
        "; its canary gets no share: {}",
        self::refusal(refusal, namespace)
    )
}

const AROUND: &str = "traffic does not go through it";

/// A waypoint that cannot be had by an object of `namespace`.
pub(super) fn refusal(refusal: &Refusal, namespace: &str) -> Words {
    match refusal {
        Refusal::Missing(name) => words(
            format!("waypoint \"{name}\" does not exist"),
            AROUND,
            format!(
                "create the Gateway or correct the label {}",
                names::USE_WAYPOINT
            ),
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
            format!(
                "waypoint \"{name}\" serves no traffic addressed to a {}",
                traffic.word()
            ),
            AROUND,
            format!(
                "label its Gateway {}: {} or all",
                names::WAYPOINT_FOR,
                traffic.word()
            ),
        ),
        Refusal::CanaryWeight(name) => words(
            format!("the weight of canary \"{name}\" is no whole number from 0 to 100"),
            "it gets no share",
            format!(
                "correct the annotation {}",
                names::USE_WAYPOINT_CANARY_WEIGHT
            ),
        ),
        Refusal::CanaryIsPrimary(name) => words(
            format!("canary \"{name}\" is the waypoint itself"),
            "it gets no share",
            format!("correct the label {}", names::USE_WAYPOINT_CANARY),
        ),
    }
}

/// What to do about a port that is declared not to be HTTP.
const DECLARE_HTTP: &str = "if it speaks HTTP, say so in its appProtocol or name";

/// Ports on which waypoints read no requests.
fn declared_as_bytes(service: &str, ports: &[u32]) -> String {
    let (ports, are) = listed_ports(ports);
    format!("{ports} of Service {service} {are} declared to be TCP or TLS and not HTTP")
}

/// `port 1`, `ports 1, 2`, with the verb.
fn listed_ports(ports: &[u32]) -> (String, &'static str) {
    match ports {
        [port] => (format!("port {port}"), "is"),
        ports => {
            let ports: Vec<String> = ports.iter().map(u32::to_string).collect();
            (format!("ports {}", ports.join(", ")), "are")
        }
    }
}

/// An object of a kind that is kept as it stands.
pub(super) fn kind_without_effect(kind: &Kind) -> Words {
    words(
        format!("kind {kind} is not supported yet"),
        "the object has no effect",
        "",
    )
}

/// A resource that a proxy refused; the proxy says what that means for its traffic.
pub(crate) fn rejected(proxy: &str, reason: &str) -> Words {
    words(format!("{proxy} cannot use it: {reason}"), "", "")
}
