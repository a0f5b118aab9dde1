//! What a policy or plugin with `targetRefs` is attached to, and which waypoints that concerns.
//!
//! Scenario 22, and 23 for classes. Targets are in the namespace of the policy; a GatewayClass has
//! none, so it can be named from the root namespace only.

use std::collections::BTreeMap;
use std::sync::Arc;

use gateway_api::experimental::gatewayclasses::GatewayClass;
use k8s_openapi::api::core::v1::Service;
use proto::cairn::waypoint::{ServiceRef, Target, target};
use serde_json::Value;

use super::binding::{Binding, Refusal, bind};
use super::gateway::{Role, role_of_class};
use super::names;
use super::port::Spoken;
use super::resources::WaypointName;
use super::view::View;
use super::waypoint::{Traffic, Waypoint};
use crate::index::{GATEWAY, GATEWAY_CLASS, SERVICE, SERVICE_ENTRY};
use crate::kinds::selection::TargetReference;
use crate::object::{Key, Object};

/// A target, resolved.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Resolved {
    /// The target as it was written.
    pub(crate) reference: TargetReference,
    /// What became of it.
    pub(crate) outcome: Outcome,
    /// The waypoints that are told, each with what the target is to them.
    reached: Vec<(WaypointName, Target)>,
}

/// What became of a target.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// It is in force at this waypoint or class.
    Bound(String),
    /// There is no such object.
    NotFound,
    /// The Gateway has no address yet.
    NotReady,
    /// The Service has no waypoint, and if it asks for one, why not.
    Unbound(Option<Refusal>),
    /// A class is named outside the root namespace.
    NotInRootNamespace,
    /// The class or Gateway is not one of waypoints.
    NotOfWaypoints,
    /// Nothing is known of this kind.
    UnknownKind,
    /// The host names of the ServiceEntry lead to no waypoint yet, whatever it is bound to.
    NotServed,
}

impl Outcome {
    /// Whether the target is in force.
    pub(crate) fn is_bound(&self) -> bool {
        matches!(self, Self::Bound(_))
    }
}

impl Resolved {
    /// What is spoken on the ports in `wanted` (none is all) of the Service that it names, or of all
    /// Services that go through the Gateway that it names; `None` if it is of another kind or not
    /// in force, and for a Gateway that more comes to, or nothing yet.
    pub(crate) fn spoken(
        &self,
        view: &View<'_>,
        object: &Object,
        wanted: &[u32],
    ) -> Option<Spoken> {
        if !self.outcome.is_bound() {
            return None;
        }
        let (namespace, name) = (&object.key.namespace, &self.reference.name);
        match self.reference.kind.as_str() {
            "Service" => {
                let (_, service) = view.typed::<Service>(namespace, name)?;
                Some(Spoken::of(service, wanted))
            }
            "Gateway" => behind(view, view.waypoint(namespace, name)?, wanted),
            _ => None,
        }
    }

    /// The waypoints that are told because of it.
    pub(crate) fn waypoints(&self) -> impl Iterator<Item = &WaypointName> {
        self.reached.iter().map(|(name, _)| name)
    }
}

/// What is spoken on the ports in `wanted` of the Services behind a waypoint.
fn behind(view: &View<'_>, waypoint: &Waypoint, wanted: &[u32]) -> Option<Spoken> {
    if !waypoint.is_of_own_services() {
        return None;
    }
    let services = view.in_namespace(&SERVICE, &waypoint.name.namespace);
    let is_behind = |service: &&Arc<Object>| {
        let bound = bind(view, service, Traffic::Service).waypoints();
        bound.iter().any(|bound| bound.name == waypoint.name)
    };
    let mut all = None;
    for service in services.into_iter().filter(is_behind) {
        let service = service.decoded::<Service>()?;
        all.get_or_insert_with(Spoken::default)
            .add(Spoken::of(service, wanted));
    }
    all
}

/// Resolves the targets of a policy or plugin.
pub(crate) fn resolve<'r>(
    view: &View<'_>,
    object: &Object,
    references: impl Iterator<Item = &'r TargetReference>,
) -> Vec<Resolved> {
    references
        .map(|reference| resolve_one(view, object, reference))
        .collect()
}

/// Returns what the targets are to each waypoint that is told, in the order of their names.
pub(crate) fn by_waypoint(targets: &[Resolved]) -> BTreeMap<WaypointName, Vec<Target>> {
    let mut by_waypoint: BTreeMap<WaypointName, Vec<Target>> = BTreeMap::new();
    for (name, target) in targets.iter().flat_map(|resolved| &resolved.reached) {
        let targets = by_waypoint.entry(name.clone()).or_default();
        if !targets.contains(target) {
            targets.push(target.clone());
        }
    }
    by_waypoint
}

fn resolve_one(view: &View<'_>, object: &Object, reference: &TargetReference) -> Resolved {
    let (outcome, reached) = match (reference.group.as_str(), reference.kind.as_str()) {
        ("" | "core", "Service") => service(view, object, reference),
        (names::NETWORKING_GROUP, "ServiceEntry") => service_entry(view, object, reference),
        (names::GATEWAY_GROUP, "Gateway") => gateway(view, object, reference),
        (names::GATEWAY_GROUP, "GatewayClass") => class(view, object, reference),
        _ => (Outcome::UnknownKind, Vec::new()),
    };
    Resolved {
        reference: reference.clone(),
        outcome,
        reached,
    }
}

type Attached = (Outcome, Vec<(WaypointName, Target)>);

fn service(view: &View<'_>, object: &Object, reference: &TargetReference) -> Attached {
    let namespace = &object.key.namespace;
    let Some((service, _)) = view.typed::<Service>(namespace, &reference.name) else {
        return (Outcome::NotFound, Vec::new());
    };
    let binding = bind(view, service, Traffic::Service);
    let target = Target {
        kind: Some(target::Kind::Service(ServiceRef {
            namespace: namespace.to_string(),
            hostname: view.settings.hostname(namespace, &reference.name),
        })),
    };
    let reached = binding
        .waypoints()
        .into_iter()
        .map(|waypoint| (waypoint.name.clone(), target.clone()));
    let reached = reached.collect();
    let outcome = match binding {
        Binding::Bound(bound) => Outcome::Bound(bound.primary.name.to_string()),
        Binding::None => Outcome::Unbound(None),
        Binding::Refused { refusal, .. } => Outcome::Unbound(Some(refusal)),
    };
    (outcome, reached)
}

/// The waypoint of a ServiceEntry is told, and the target is not said to be in force: nobody is
/// told of the ServiceEntry itself, so that no traffic to it comes to a waypoint.
fn service_entry(view: &View<'_>, object: &Object, reference: &TargetReference) -> Attached {
    let namespace = &object.key.namespace;
    let key = Key::new(SERVICE_ENTRY, namespace, &reference.name);
    let Some(entry) = view.object(&key) else {
        return (Outcome::NotFound, Vec::new());
    };
    let binding = bind(view, entry, Traffic::Service);
    let hosts = entry.value.pointer("/spec/hosts").and_then(Value::as_array);
    let hosts = hosts.into_iter().flatten().filter_map(Value::as_str);
    let targets = hosts.map(|host| Target {
        kind: Some(target::Kind::Service(ServiceRef {
            namespace: namespace.to_string(),
            hostname: host.to_owned(),
        })),
    });
    let targets: Vec<Target> = targets.collect();
    let reached = binding.waypoints().into_iter().flat_map(|waypoint| {
        let name = waypoint.name.clone();
        targets
            .iter()
            .map(move |target| (name.clone(), target.clone()))
    });
    let reached = reached.collect();
    let outcome = match binding {
        Binding::Bound(_) => Outcome::NotServed,
        Binding::None => Outcome::Unbound(None),
        Binding::Refused { refusal, .. } => Outcome::Unbound(Some(refusal)),
    };
    (outcome, reached)
}

fn everything() -> Target {
    Target {
        kind: Some(target::Kind::Waypoint(true)),
    }
}

/// A Gateway without address is told all the same: it must not serve its first request before it
/// knows its policies.
fn gateway(view: &View<'_>, object: &Object, reference: &TargetReference) -> Attached {
    let Some(waypoint) = view.waypoint(&object.key.namespace, &reference.name) else {
        return (Outcome::NotFound, Vec::new());
    };
    if waypoint.role == Role::Ingress {
        return (Outcome::NotOfWaypoints, Vec::new());
    }
    let outcome = match waypoint.address {
        Some(_) => Outcome::Bound(waypoint.name.to_string()),
        None => Outcome::NotReady,
    };
    (outcome, vec![(waypoint.name.clone(), everything())])
}

fn class(view: &View<'_>, object: &Object, reference: &TargetReference) -> Attached {
    if *object.key.namespace != *view.settings.root_namespace {
        return (Outcome::NotInRootNamespace, Vec::new());
    }
    let Some((_, class)) = view.typed::<GatewayClass>("", &reference.name) else {
        return (Outcome::NotFound, Vec::new());
    };
    if role_of_class(class) != Role::Waypoint {
        return (Outcome::NotOfWaypoints, Vec::new());
    }
    let key = Key::new(GATEWAY_CLASS, "", &reference.name);
    let gateways = view.attached(&GATEWAY, &key).into_iter();
    let names =
        gateways.map(|gateway| WaypointName::new(&gateway.key.namespace, &gateway.key.name));
    (
        Outcome::Bound(reference.name.clone()),
        names.map(|name| (name, everything())).collect(),
    )
}
