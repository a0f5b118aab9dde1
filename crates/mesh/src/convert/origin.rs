//! What every resource of a waypoint has: where it comes from and what it is attached to.

use std::sync::Arc;

use proto::cairn::waypoint as wire;

use super::Rejected;
use super::authz::each;
use crate::address::NamespacedHostname;
use crate::origin::{Origin, Target};

pub(super) fn origin(message: Option<&wire::Origin>) -> Result<Arc<Origin>, Rejected> {
    let message = message.ok_or_else(|| Rejected::new("origin", "it is missing"))?;
    if message.name.is_empty() {
        return Err(Rejected::new("origin.name", "it is empty"));
    }
    Ok(Arc::new(Origin {
        kind: message.kind.as_str().into(),
        namespace: message.namespace.as_str().into(),
        name: message.name.as_str().into(),
        generation: message.generation,
        created_at: message.created_at,
    }))
}

pub(super) fn service(message: Option<&wire::ServiceRef>) -> Result<NamespacedHostname, Rejected> {
    let message = message.ok_or_else(|| Rejected::new("service", "it is missing"))?;
    if message.namespace.is_empty() || message.hostname.is_empty() {
        return Err(Rejected::new(
            "service",
            "it needs a namespace and a host name",
        ));
    }
    Ok(NamespacedHostname::new(
        message.namespace.as_str(),
        message.hostname.as_str(),
    ))
}

pub(super) fn targets(list: &[wire::Target]) -> Result<Vec<Target>, Rejected> {
    use wire::target::Kind;
    if list.is_empty() {
        return Err(Rejected::new("targets", "there is none"));
    }
    each("targets", list, |target| match &target.kind {
        Some(Kind::Waypoint(true)) => Ok(Target::Waypoint),
        Some(Kind::Service(reference)) => service(Some(reference)).map(Target::Service),
        Some(Kind::Waypoint(false)) | None => {
            Err(Rejected::new("kind", "it is missing or not one we know"))
        }
    })
}

/// The targets that can be read, for a stand-in: everything when none can.
pub(super) fn readable_targets(list: &[wire::Target]) -> Vec<Target> {
    targets(list).unwrap_or_else(|_| vec![Target::Waypoint])
}
