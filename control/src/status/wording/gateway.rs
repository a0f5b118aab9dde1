//! Gateways and their classes.

use gateway_api::experimental::gateways::GatewayListeners;

use super::{Words, words};
use crate::deploy::settings::{Fault, NAMES};
use crate::translate::gateway::Unreachable;

/// The GatewayClass of waypoints.
pub(in crate::status) const CLASS_ACCEPTED: &str =
    "waypoints of this class are deployed and configured";
/// The GatewayClass of gateways elsewhere.
pub(in crate::status) const CLASS_REMOTE: &str =
    "Gateways of this class stand for gateways elsewhere";
/// The version of Gateway API.
pub(in crate::status) const VERSION: &str = "Gateway API v1.6 is known";
/// A Gateway of ours.
pub(in crate::status) const GATEWAY_ACCEPTED: &str = "the Gateway is accepted";
/// A Gateway that stands for one elsewhere.
pub(in crate::status) const GATEWAY_REMOTE: &str =
    "the Gateway is somewhere else, nothing is deployed for it";
/// Listeners of which some are refused.
pub(in crate::status) const LISTENERS_SOME: &str = "some listeners are refused";
/// Listeners of which all are refused.
pub(in crate::status) const LISTENERS_NONE: &str = "all listeners are refused";
/// A listener with nothing wrong.
pub(in crate::status) const LISTENER_FINE: &str = "nothing is wrong with the listener";
/// A class or Gateway of the class `istio`.
pub(in crate::status) fn ingress_not_served() -> Words {
    words(
        "this class is for ingress gateways, which Cairn does not serve",
        "nothing is deployed or configured for it",
        "use class istio-waypoint for a waypoint, or run an ingress gateway beside Cairn",
    )
}

/// A Gateway of a class that does not exist.
pub(in crate::status) fn class_missing(class: &str) -> Words {
    words(
        format!("class \"{class}\" does not exist"),
        "nothing is deployed or configured for it",
        "use class istio-waypoint for a waypoint, or create the class",
    )
}

/// A listener that is not a waypoint's.
pub(in crate::status) fn listener(listener: &GatewayListeners) -> Words {
    words(
        format!(
            "a waypoint listens on port 15008 with protocol HBONE alone, not on {} with {}",
            listener.port, listener.protocol
        ),
        "nothing is served on this listener",
        "keep one listener with port 15008 and protocol HBONE",
    )
}

/// `parametersRef` to something that holds no parameters.
pub(in crate::status) fn parameters(group: &str, kind: &str) -> Words {
    let kind = if group.is_empty() {
        kind.to_owned()
    } else {
        format!("{group}/{kind}")
    };
    words(
        format!("parameters of kind {kind} are not supported"),
        "they are not applied",
        "refer to a ConfigMap",
    )
}

/// `parametersRef` to a map of configuration.
pub(in crate::status) fn parameters_not_applied() -> Words {
    words(
        "parameters are not supported yet",
        "the waypoint is deployed without them",
        "",
    )
}

/// Part of `proxy.istio.io/config`.
pub(in crate::status) fn setting(fault: &Fault) -> Words {
    const NONE: &str = "it has no effect";
    match fault {
        Fault::Unreadable(why) => words(
            why.clone(),
            "the waypoint runs with the usual settings",
            "write proxyMetadata: {NAME: \"value\"}",
        ),
        Fault::Field(field) => words(
            format!("{field} of ProxyConfig is not read, or not what it should be"),
            NONE,
            "write proxyMetadata: {NAME: \"value\"}",
        ),
        Fault::Variable(name) => words(
            format!("{name} is not for a Gateway to set"),
            NONE,
            format!("remove it; these are: {}", NAMES.join(", ")),
        ),
        Fault::Value(name) => words(
            format!("the value of {name} is no text"),
            NONE,
            "put it in quotes",
        ),
    }
}

/// Several fixed addresses.
pub(in crate::status) fn addresses(addresses: &[String]) -> Words {
    words(
        format!("cannot have the addresses {}", addresses.join(" ")),
        "the waypoint has none",
        "leave spec.addresses out, or name one Service by its host name",
    )
}

/// A Gateway that is reached.
pub(in crate::status) fn programmed(assigned: &[String]) -> String {
    format!("reached at {}", assigned.join(" and "))
}

/// A Gateway that is not reached.
pub(in crate::status) fn unreachable(missing: &Unreachable) -> Words {
    match missing {
        Unreachable::Unsupported(addresses) => self::addresses(addresses),
        Unreachable::NoService(hostname) => words(
            format!("there is no Service \"{hostname}\""),
            "it cannot be reached",
            "",
        ),
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
