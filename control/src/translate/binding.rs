//! Which waypoint a destination is bound to.
//!
//! The rules, and the scenarios that show them (`ambient` waypoint resolution of Istio):
//! 1. what belongs to a waypoint has none (06);
//! 2. a label on the object counts, `none` included; there is no way back to the namespace's when
//!    its waypoint is missing or not ready (06, 12);
//! 3. otherwise the label of the namespace (06, 07);
//! 4. the waypoint must admit the object's namespace (11);
//! 5. the waypoint must serve this kind of traffic; a workload that merely inherits is quietly not
//!    bound (07 to 10);
//! 6. a canary gets a share of what the primary would (13).

use super::names;
use super::resources::WaypointName;
use super::view::View;
use super::waypoint::{Traffic, Waypoint};
use crate::deploy;
use crate::index::{GATEWAY, Labels, NAMESPACE};
use crate::object::{Key, Object};

/// What became of a destination's wish for a waypoint.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Binding<'a> {
    /// It has none.
    None,
    /// It is bound.
    Bound(Bound<'a>),
    /// It asks for one that it cannot have; it has none, and `intended` is the one that it will
    /// have once that has an address.
    Refused {
        /// Why.
        refusal: Refusal,
        /// The waypoint, if only its address is missing.
        intended: Option<&'a Waypoint>,
    },
}

/// A binding that holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bound<'a> {
    /// The waypoint.
    pub(crate) primary: &'a Waypoint,
    /// The waypoint that gets a share, with its share in percent.
    pub(crate) canary: Option<(&'a Waypoint, u32)>,
    /// Why the canary that was asked for gets no share.
    pub(crate) canary_refusal: Option<Refusal>,
}

/// Why a destination is not bound to the waypoint it asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Refusal {
    /// There is no such Gateway.
    Missing(WaypointName),
    /// The Gateway has no address yet.
    NotReady(WaypointName),
    /// The waypoint does not admit this namespace.
    Denied(WaypointName),
    /// The waypoint does not serve this kind of traffic.
    Unserved(WaypointName, Traffic),
    /// The canary's weight is no percentage.
    CanaryWeight(WaypointName),
    /// The canary is the primary.
    CanaryIsPrimary(WaypointName),
}

impl<'a> Binding<'a> {
    /// Returns the waypoints that handle the destination's traffic, now or as soon as they have an
    /// address: the ones that must know its routes and policies.
    pub(crate) fn waypoints(&self) -> Vec<&'a Waypoint> {
        match self {
            Self::None => Vec::new(),
            Self::Bound(bound) => std::iter::once(bound.primary)
                .chain(bound.canary.map(|(canary, _)| canary))
                .collect(),
            Self::Refused { intended, .. } => intended.iter().copied().collect(),
        }
    }

    /// Returns the binding that holds.
    pub(crate) fn bound(&self) -> Option<&Bound<'a>> {
        match self {
            Self::Bound(bound) => Some(bound),
            Self::None | Self::Refused { .. } => None,
        }
    }
}

/// Whether an object names a waypoint itself, `none` included.
pub(crate) fn asks(labels: &Labels) -> bool {
    labels.contains_key(names::USE_WAYPOINT)
}

/// Works out the waypoint of a Service or Pod.
pub(crate) fn bind<'a>(view: &View<'a>, object: &Object, traffic: Traffic) -> Binding<'a> {
    if is_part_of_waypoint(view, object, traffic) {
        return Binding::None;
    }
    let namespace_labels = view.namespace_labels(&object.key.namespace);
    let own = requested(object, &object.labels, &PRIMARY);
    let inherited = own.is_none();
    let request = own
        .or_else(|| requested(object, namespace_labels?, &PRIMARY))
        .flatten();
    let Some(name) = request else {
        return Binding::None;
    };
    match lookup(view, object, &name, traffic) {
        Ok(primary) => Binding::Bound(with_canary(view, object, primary, inherited, traffic)),
        Err((Refusal::Unserved(..), _)) if inherited && traffic == Traffic::Workload => {
            Binding::None
        }
        Err((refusal, intended)) => Binding::Refused { refusal, intended },
    }
}

/// Why the objects of a namespace cannot have the waypoint that it names for them all.
pub(crate) fn refused_to_namespace(view: &View<'_>, namespace: &Object) -> Option<Refusal> {
    let name = namespace
        .label(names::USE_WAYPOINT)
        .filter(|name| *name != names::NONE)?;
    let holder = namespace
        .label(names::USE_WAYPOINT_NAMESPACE)
        .unwrap_or(&namespace.key.name);
    let name = WaypointName::new(holder, name);
    let Some(waypoint) = view.waypoint(&name.namespace, &name.name) else {
        return Some(Refusal::Missing(name));
    };
    if waypoint.address.is_none() {
        return Some(Refusal::NotReady(name));
    }
    let admits = waypoint.admits(&namespace.key.name, Some(&namespace.labels));
    (!admits).then_some(Refusal::Denied(name))
}

/// Labels that name a waypoint.
struct LabelPair {
    name: &'static str,
    namespace: &'static str,
}

const PRIMARY: LabelPair = LabelPair {
    name: names::USE_WAYPOINT,
    namespace: names::USE_WAYPOINT_NAMESPACE,
};
const CANARY: LabelPair = LabelPair {
    name: names::USE_WAYPOINT_CANARY,
    namespace: names::USE_WAYPOINT_CANARY_NAMESPACE,
};

/// Returns the waypoint that labels ask for: `None` if they are silent, `Some(None)` if they ask
/// for none. An empty value is a name, of a Gateway that cannot exist.
#[expect(
    clippy::option_option,
    reason = "silence and a refusal differ: only silence inherits"
)]
fn requested(object: &Object, labels: &Labels, pair: &LabelPair) -> Option<Option<WaypointName>> {
    let name = labels.get(pair.name)?;
    if name == names::NONE {
        return Some(None);
    }
    let namespace = labels
        .get(pair.namespace)
        .map_or(&*object.key.namespace, String::as_str);
    Some(Some(WaypointName::new(namespace, name)))
}

/// Finds a waypoint and checks that it can be had; otherwise says why not, and gives it anyway if
/// only its address is missing.
fn lookup<'a>(
    view: &View<'a>,
    object: &Object,
    name: &WaypointName,
    traffic: Traffic,
) -> Result<&'a Waypoint, (Refusal, Option<&'a Waypoint>)> {
    let Some(waypoint) = view.waypoint(&name.namespace, &name.name) else {
        return Err((Refusal::Missing(name.clone()), None));
    };
    let namespace = &object.key.namespace;
    let refusal = if !waypoint.admits(namespace, view.namespace_labels(namespace)) {
        Some(Refusal::Denied(name.clone()))
    } else if waypoint.serves(traffic) {
        None
    } else {
        Some(Refusal::Unserved(name.clone(), traffic))
    };
    match (waypoint.address.is_some(), refusal) {
        (true, None) => Ok(waypoint),
        (true, Some(refusal)) => Err((refusal, None)),
        // As long as it has no address nobody knows more about it.
        (false, None) => Err((Refusal::NotReady(name.clone()), Some(waypoint))),
        (false, Some(_)) => Err((Refusal::NotReady(name.clone()), None)),
    }
}

fn with_canary<'a>(
    view: &View<'a>,
    object: &Object,
    primary: &'a Waypoint,
    inherited: bool,
    traffic: Traffic,
) -> Bound<'a> {
    let alone = |canary_refusal| Bound {
        primary,
        canary: None,
        canary_refusal,
    };
    if traffic == Traffic::Workload {
        return alone(None);
    }
    let namespace = view
        .object(&Key::new(NAMESPACE, "", &object.key.namespace))
        .filter(|_| inherited);
    let holders = std::iter::once(object).chain(namespace.map(AsRef::as_ref));
    let request = holders
        .into_iter()
        .find_map(|holder| Some((holder, requested(object, &holder.labels, &CANARY)?)));
    let Some((holder, Some(name))) = request else {
        return alone(None);
    };
    if name.name.is_empty() {
        return alone(None);
    }
    if name == primary.name {
        return alone(Some(Refusal::CanaryIsPrimary(name)));
    }
    let Some(weight) = weight(holder) else {
        return alone(Some(Refusal::CanaryWeight(name)));
    };
    match lookup(view, object, &name, traffic) {
        Ok(canary) => Bound {
            primary,
            canary: Some((canary, weight)),
            canary_refusal: None,
        },
        Err((refusal, _)) => alone(Some(refusal)),
    }
}

fn weight(holder: &Object) -> Option<u32> {
    match holder.annotation(names::USE_WAYPOINT_CANARY_WEIGHT) {
        None => Some(0),
        Some(text) => text.parse().ok().filter(|weight| *weight <= 100),
    }
}

fn is_part_of_waypoint(view: &View<'_>, object: &Object, traffic: Traffic) -> bool {
    match traffic {
        Traffic::Service => matches!(
            object.label(names::MANAGED),
            Some(names::MANAGED_WAYPOINT | names::MANAGED_EAST_WEST)
        ),
        Traffic::Workload => instance_of(view, object).is_some(),
    }
}

/// Returns the waypoint that a pod is an instance of.
pub(crate) fn instance_of<'a>(view: &View<'a>, pod: &Object) -> Option<&'a Waypoint> {
    let label = pod.label(names::GATEWAY_NAME)?;
    let namespace = &pod.key.namespace;
    view.waypoint(namespace, label).or_else(|| {
        // A longer name does not fit into a label and was shortened.
        let gateways = view.in_namespace(&GATEWAY, namespace).into_iter();
        let mut long = gateways.filter(|gateway| deploy::gateway_label(&gateway.key.name) == label);
        view.waypoint(namespace, &long.next()?.key.name)
    })
}
