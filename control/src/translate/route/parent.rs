//! What routes are attached to.
//!
//! A parent that is no Service gets no entry in the status, as with istiod: a Gateway of ours
//! serves no routes of its own, and what other controllers make of other kinds is theirs to say.

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use proto::cairn::waypoint::{RouteParent, ServiceRef};

use super::spec::ParentRef;
use crate::object::Object;
use crate::translate::binding::{self, Binding, Refusal, bind};
use crate::translate::port::Spoken;
use crate::translate::resources::WaypointName;
use crate::translate::view::View;
use crate::translate::waypoint::Traffic;

/// A parent, resolved.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parent {
    /// Its place in `spec.parentRefs`.
    pub(crate) index: usize,
    /// The reference as it was written.
    pub(crate) reference: ParentRef,
    /// The namespace it is in.
    pub(crate) namespace: String,
    /// What became of it.
    pub(crate) attachment: Attachment,
}

/// What became of a parent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Attachment {
    /// The route is attached.
    Attached {
        /// The Service and port.
        message: RouteParent,
        /// The waypoints that are told.
        waypoints: Vec<WaypointName>,
        /// Whether the route is in force, and if not, why.
        force: Force,
    },
    /// There is no such Service.
    NotFound,
    /// The Service has no such port or section.
    NoPort,
    /// The Service has no virtual address that requests could be sent to.
    NoAddress,
    /// Not a parent that we look after (group, kind).
    NotOurs(String, String),
}

/// Whether an attached route is in force.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Force {
    /// A waypoint has it.
    Told,
    /// Neither the Service nor its namespace names a waypoint.
    NoLabel,
    /// The Service has opted out.
    OptedOut,
    /// The waypoint cannot be had.
    Refused(Refusal),
    /// A waypoint has it, and reads no requests on any of these ports, which are all there are.
    Unread(Vec<u32>),
}

/// Resolves the parents of a route.
pub(super) fn resolve(view: &View<'_>, route: &Object, parents: &[ParentRef]) -> Vec<Parent> {
    let resolve = |(index, reference): (usize, &ParentRef)| {
        let namespace = reference
            .namespace
            .as_deref()
            .unwrap_or(&route.key.namespace);
        Parent {
            index,
            reference: reference.clone(),
            namespace: namespace.to_owned(),
            attachment: attach(view, reference, namespace),
        }
    };
    parents.iter().enumerate().map(resolve).collect()
}

fn attach(view: &View<'_>, parent: &ParentRef, namespace: &str) -> Attachment {
    let (group, kind) = parent.group_kind();
    if (group, kind) != ("", "Service") {
        return Attachment::NotOurs(group.to_owned(), kind.to_owned());
    }
    let Some((object, service)) = view.typed::<Service>(namespace, &parent.name) else {
        return Attachment::NotFound;
    };
    let Some(spec) = service.spec.as_ref() else {
        return Attachment::NotFound;
    };
    if spec.type_.as_deref() == Some("ExternalName") || spec.cluster_ip.as_deref() == Some("None") {
        return Attachment::NoAddress;
    }
    let Ok(port) = port_of(spec, parent) else {
        return Attachment::NoPort;
    };
    let binding = bind(view, object, Traffic::Service);
    let hostname = view.settings.hostname(namespace, &parent.name);
    Attachment::Attached {
        message: RouteParent {
            service: Some(ServiceRef {
                namespace: namespace.to_owned(),
                hostname,
            }),
            port,
        },
        waypoints: binding
            .waypoints()
            .into_iter()
            .map(|found| found.name.clone())
            .collect(),
        force: match force(view, object, binding) {
            Force::Told => {
                let wanted: Vec<u32> = Some(port).filter(|port| *port != 0).into_iter().collect();
                let spoken = Spoken::of(service, &wanted);
                if spoken.is_bytes() {
                    Force::Unread(spoken.bytes)
                } else {
                    Force::Told
                }
            }
            other => other,
        },
    }
}

fn force(view: &View<'_>, service: &Object, binding: Binding<'_>) -> Force {
    match binding {
        Binding::Bound(_) => Force::Told,
        Binding::Refused { refusal, .. } => Force::Refused(refusal),
        Binding::None => {
            let inherits = view
                .namespace_labels(&service.key.namespace)
                .is_some_and(binding::asks);
            if binding::asks(&service.labels) || inherits {
                Force::OptedOut
            } else {
                Force::NoLabel
            }
        }
    }
}

/// Returns the port a parent means, 0 for every port.
fn port_of(spec: &ServiceSpec, parent: &ParentRef) -> Result<u32, ()> {
    let (port, section) = (parent.port.map(i32::from), parent.section_name.as_deref());
    if port.is_none() && section.is_none() {
        return Ok(0);
    }
    spec.ports
        .iter()
        .flatten()
        .find(|found| {
            port.is_none_or(|port| found.port == port)
                && section.is_none_or(|section| found.name.as_deref() == Some(section))
        })
        .map(|found| crate::translate::port::number(found.port))
        .ok_or(())
}
