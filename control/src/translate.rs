//! Objects in; resources, statuses and manifests out.
//!
//! One pure function per object ([`unit`]) over a view of the others ([`view`]), repeated when a
//! fact it looked at has changed ([`translator`]). Two layers: Gateways first become waypoints
//! ([`waypoint`]), everything else looks at those.
//!
//! One room per question: which waypoint does it have ([`binding`]), what does a port speak
//! ([`port`]), who enforces a policy ([`authz`], [`peer`]), what is a policy attached to
//! ([`target`]), where does a route lead ([`route`]). Each names the recorded scenarios
//! (`conformance/vectors/istiod`) that show its rules.
//!
//! Nothing here does IO, reads a clock, or keeps anything that does not follow from the objects.

pub(crate) mod authz;
pub(crate) mod binding;
pub(crate) mod gateway;
pub mod json;
pub(crate) mod names;
pub(crate) mod peer;
pub(crate) mod plugin;
pub(crate) mod port;
mod remote;
pub mod reports;
pub(crate) mod resources;
pub(crate) mod route;
pub(crate) mod service;
mod settings;
pub(crate) mod target;
#[cfg(test)]
pub(crate) mod tests;
mod translator;
pub(crate) mod unit;
pub(crate) mod view;
pub(crate) mod waypoint;
pub(crate) mod workload;

use proto::cairn::waypoint::Origin;

pub use resources::{
    Edits, Named, ResourceEdits, Resources, WaypointEdits, WaypointName, WaypointResources,
};
pub use settings::Settings;
pub use translator::{Delta, Rejection, Translator};

use crate::object::Object;

/// Returns where a resource comes from.
pub(crate) fn origin(object: &Object) -> Origin {
    Origin {
        kind: object.key.kind.name().to_owned(),
        namespace: object.key.namespace.to_string(),
        name: object.key.name.to_string(),
        generation: object.life.generation,
        created_at: object.life.created.as_millisecond(),
    }
}
