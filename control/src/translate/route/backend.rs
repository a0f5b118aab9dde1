//! Where routes lead.
//!
//! A backend in another namespace needs no grant: in a mesh that is a matter of authorization
//! (Gateway API, GAMMA). A backend that cannot be used keeps its share, which gets 500.

use k8s_openapi::api::core::v1::Service;
use proto::cairn::waypoint::{RouteBackend, ServiceRef};

use super::spec::{BackendRef, ObjectRef};
use super::{Consequence, Problem, Reader, filter};
use crate::status::wording;
use crate::translate::{names, port, service};

impl Reader<'_, '_> {
    /// Converts a backend and notes what is wrong with it.
    pub(super) fn backend(&mut self, field: &str, backend: &BackendRef) -> RouteBackend {
        let known = self.defects.len();
        let (_, kind) = backend.object.group_kind();
        let filters = self.filters(
            &format!("{field}.filters"),
            &backend.filters,
            filter::Place::Backend,
        );
        let (service, port) = match self.service(&backend.object) {
            Ok((service, port)) => (Some(service), u32::from(port)),
            Err(problem) => {
                self.note(field, problem);
                (None, 0)
            }
        };
        let invalid = self
            .since(known)
            .find(|problem| problem.consequence() == Consequence::Refused)
            .map(|problem| wording::route::problem(problem).what);
        RouteBackend {
            service,
            port,
            weight: backend.weight.unwrap_or(1),
            filters,
            invalid: invalid.unwrap_or_default(),
            kind: kind.to_owned(),
            name: backend.object.name.clone(),
        }
    }

    /// Resolves a reference to a Service and its port.
    pub(super) fn service(&self, reference: &ObjectRef) -> Result<(ServiceRef, u16), Problem> {
        let settings = self.view.settings;
        let (namespace, name, hostname) = match reference.group_kind() {
            ("" | "core", "Service") => {
                let namespace = reference
                    .namespace
                    .as_deref()
                    .unwrap_or(&self.object.key.namespace);
                (
                    namespace,
                    reference.name.as_str(),
                    settings.hostname(namespace, &reference.name),
                )
            }
            (names::NETWORKING_GROUP, "Hostname") => {
                let hostname = reference.name.clone();
                let (name, namespace) = settings
                    .service_of(&reference.name)
                    .ok_or_else(|| Problem::BackendNotFound(hostname.clone()))?;
                (namespace, name, hostname)
            }
            (group, kind) => return Err(Problem::BackendKind(group.to_owned(), kind.to_owned())),
        };
        let (_, found) = self
            .view
            .typed::<Service>(namespace, name)
            .ok_or_else(|| Problem::BackendNotFound(hostname.clone()))?;
        let Some(spec) = service::discovered(found) else {
            return Err(Problem::BackendAlias(hostname));
        };
        let wanted = reference.port.unwrap_or_default();
        let mut ports = spec.ports.iter().flatten();
        match ports.find(|port| port.port == i32::from(wanted)) {
            None => Err(Problem::BackendPort(hostname, wanted)),
            Some(found) if !port::is_tcp(found.protocol.as_deref()) => {
                Err(Problem::BackendProtocol(hostname, wanted))
            }
            Some(_) => Ok((
                ServiceRef {
                    namespace: namespace.to_owned(),
                    hostname,
                },
                wanted,
            )),
        }
    }
}
