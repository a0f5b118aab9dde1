//! One object, and everything that follows from it.
//!
//! This is the function control is: an object and a view of the others go in; resources, a status,
//! warnings and manifests come out. It is called again whenever a fact it looked at is altered.

use std::sync::Arc;

use gateway_api::experimental::gatewayclasses::GatewayClass;
use gateway_api::experimental::gateways::Gateway;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use proto::security::Authorization;
use proto::workload::{Address, Workload, address};
use serde_json::Value;

use super::binding::{bind, refused_to_namespace};
use super::gateway::{PARAMETERS, Role, front, is_managed, parameters, role};
use super::resources::Resources;
use super::view::View;
use super::waypoint::Traffic;
use super::{authz, peer, plugin, remote, route, service, target, workload};
use crate::deploy;
use crate::index::{
    AUTHORIZATION_POLICY, ENDPOINT_SLICE, GATEWAY, GATEWAY_CLASS, NAMESPACE, PEER_AUTHENTICATION,
    POD, SERVICE, TRAFFIC_EXTENSION, WASM_PLUGIN,
};
use crate::kinds::authorization::AuthorizationPolicy;
use crate::kinds::peer_authentication::PeerAuthentication;
use crate::object::{Kind, Object};
use crate::status::{self, Course, Judged, Note, Status};

/// What follows from one object.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Output {
    /// What proxies are told.
    pub(crate) resources: Resources,
    /// What is written to the object; `None` if its status is not ours.
    pub(crate) status: Option<Status>,
    /// What is worth a warning.
    pub(crate) notes: Vec<Note>,
    /// What waypoints are expected to say of a plugin.
    pub(crate) course: Option<Course>,
    /// What is deployed.
    pub(crate) manifests: Vec<Value>,
}

impl Output {
    fn judge(&mut self, (status, notes): Judged) {
        self.status = Some(status);
        self.notes = notes;
    }

    fn add_workload(&mut self, workload: Workload) {
        let name = workload.uid.clone();
        let address = Address {
            r#type: Some(address::Type::Workload(workload)),
        };
        self.resources.addresses.insert(name, Arc::new(address));
    }

    fn add_authorization(&mut self, policy: Authorization) {
        let name = format!("{}/{}", policy.namespace, policy.name);
        self.resources.authorizations.insert(name, Arc::new(policy));
    }
}

/// Whether anything, and be it a warning, follows from objects of a kind.
pub(crate) fn is_translated(kind: &Kind) -> bool {
    const KINDS: &[Kind] = &[
        NAMESPACE,
        POD,
        ENDPOINT_SLICE,
        SERVICE,
        GATEWAY,
        GATEWAY_CLASS,
        AUTHORIZATION_POLICY,
        PEER_AUTHENTICATION,
        WASM_PLUGIN,
        TRAFFIC_EXTENSION,
    ];
    KINDS.contains(kind) || route::KINDS.contains(kind) || status::is_expected(kind)
}

/// Works out what follows from an object.
pub(crate) fn translate(view: &View<'_>, object: &Object) -> Output {
    let mut output = Output::default();
    if let Some(found) = object.decoded::<Pod>() {
        pod(view, object, found, &mut output);
    } else if let Some(found) = object.decoded::<EndpointSlice>() {
        for workload in workload::of_slice(view, object, found) {
            output.add_workload(workload);
        }
    } else if let Some(found) = object.decoded::<Service>() {
        service(view, object, found, &mut output);
    } else if let Some(found) = object.decoded::<GatewayClass>() {
        if let Some(judged) = status::gateway::gateway_class(object, found) {
            output.judge(judged);
        }
    } else if let Some(found) = object.decoded::<Gateway>() {
        gateway(view, object, found, &mut output);
    } else if let Some(found) = object.decoded::<AuthorizationPolicy>() {
        authorization_policy(view, object, found, &mut output);
    } else if let Some(found) = object.decoded::<PeerAuthentication>() {
        if let Some(policy) = peer::convert(view, object, &found.spec) {
            output.add_authorization(policy);
        }
        output.judge(status::peer_authentication(view, object, &found.spec));
    } else if let Some(spec) = plugin::Spec::of(object) {
        translate_plugin(view, object, &spec, &mut output);
    } else if object.key.kind == NAMESPACE {
        let refusal = refused_to_namespace(view, object);
        output.notes = status::namespace(object, refusal.as_ref());
    } else if let Some(resolved) = route::resolve(view, object) {
        for (waypoint, routes) in route::convert(object, &resolved) {
            output
                .resources
                .waypoints
                .entry(waypoint)
                .or_default()
                .routes = routes;
        }
        output.judge(status::route(object, &resolved));
    } else {
        output.notes.extend(status::unsupported(object));
    }
    output
}

/// Works out what follows from the mesh as a whole.
pub(crate) fn translate_mesh(view: &View<'_>) -> Output {
    let mut output = Output::default();
    if let Some(policy) = peer::static_strict(view) {
        output.add_authorization(policy);
    }
    output
}

fn pod(view: &View<'_>, object: &Object, pod: &Pod, output: &mut Output) {
    if let Some(workload) = workload::of_pod(view, object, pod) {
        output.add_workload(workload);
    }
    output.notes = status::pod(object, &bind(view, object, Traffic::Workload));
}

fn service(view: &View<'_>, object: &Object, service: &Service, output: &mut Output) {
    if service::discovered(service).is_none() {
        output.status = Some(Status::default());
        return;
    }
    let binding = bind(view, object, Traffic::Service);
    if let Some(found) = service::of_service(view, object, service, &binding) {
        let address = Address {
            r#type: Some(address::Type::Service(found)),
        };
        let name = service::key(view, &object.key);
        output.resources.addresses.insert(name, Arc::new(address));
    }
    output.judge(status::service(view, object, &binding));
}

fn gateway(view: &View<'_>, object: &Object, gateway: &Gateway, output: &mut Output) {
    let role = role(view, &gateway.spec);
    let front = front(view, object, gateway, role);
    if let Some(judged) = status::gateway::gateway(object, gateway, role, &front) {
        output.judge(judged);
    } else if view
        .typed::<GatewayClass>("", &gateway.spec.gateway_class_name)
        .is_none()
    {
        output.notes = vec![status::gateway::without_class(&gateway.spec)];
    }
    let is_understood = parameters(&gateway.spec).is_none_or(|found| found == PARAMETERS);
    if role == Role::Waypoint && is_managed(&gateway.spec) && is_understood {
        output.manifests = deploy::render(object, gateway, &view.settings.waypoint);
    }
    if role == Role::Remote {
        for workload in remote::workloads(object, &front) {
            output.add_workload(workload);
        }
    }
}

fn authorization_policy(
    view: &View<'_>,
    object: &Object,
    policy: &AuthorizationPolicy,
    output: &mut Output,
) {
    let targets = target::resolve(view, object, policy.spec.targets());
    let converted = authz::ztunnel::convert(view, object, &policy.spec);
    output.judge(status::authorization_policy(
        view,
        object,
        &policy.spec,
        converted.as_ref(),
        &targets,
    ));
    if let Some(converted) = converted {
        output.add_authorization(converted.authorization);
    }
    for (waypoint, policy) in authz::waypoint::convert(object, &policy.spec, &targets) {
        let resources = output.resources.waypoints.entry(waypoint).or_default();
        resources.policies.insert(resource_name(object), policy);
    }
}

fn translate_plugin(
    view: &View<'_>,
    object: &Object,
    spec: &plugin::Spec<'_>,
    output: &mut Output,
) {
    let attached = plugin::attach(view, object, spec);
    let converted = plugin::convert(view, object, spec);
    let (judged, course) = status::plugin(view, object, spec, &attached, converted.as_ref());
    output.judge(judged);
    output.course = course;
    let Some(converted) = converted else {
        return;
    };
    let name = plugin::resource_name(&object.key);
    for (waypoint, plugin) in plugin::resources(spec, &attached, &converted) {
        let resources = output.resources.waypoints.entry(waypoint).or_default();
        resources.plugins.insert(name.clone(), plugin);
    }
}

fn resource_name(object: &Object) -> String {
    format!("{}/{}", object.key.namespace, object.key.name)
}
