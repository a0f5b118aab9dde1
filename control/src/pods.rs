//! What the authority and discovery ask about pods, answered from the objects.

use std::sync::Arc;

use gateway_api::experimental::gatewayclasses::GatewayClass;
use gateway_api::experimental::gateways::Gateway;
use k8s_openapi::api::core::v1::Pod as ApiPod;

use crate::ca::{Pod, PodLookup, ServiceAccount};
use crate::deploy::{gateway_label, service_account_name};
use crate::object::{Handle, Object, Objects};
use crate::translate::{WaypointName, names};

/// Looks pods up among the objects as they are now.
#[derive(Clone, Debug)]
pub(crate) struct ObjectPods(Handle);

impl ObjectPods {
    /// Pods of the objects behind `handle`.
    pub(crate) fn new(handle: Handle) -> Self {
        Self(handle)
    }
}

impl PodLookup for ObjectPods {
    fn pod(&self, namespace: &str, name: &str) -> Option<Pod> {
        let objects = self.0.objects();
        let (object, pod) = objects.named::<ApiPod>(namespace, name)?;
        if !is_live(object) {
            return None;
        }
        Some(Pod {
            uid: object.life.uid.clone(),
            service_account: account(pod).into(),
            node: node(pod).map(Arc::from),
            waypoint: waypoint(&objects, object, account(pod)),
        })
    }

    fn runs_on(&self, wanted: &str, of: &ServiceAccount) -> bool {
        self.0.objects().list::<ApiPod>().any(|(object, pod)| {
            *object.key.namespace == *of.namespace
                && account(pod) == &*of.name
                && node(pod) == Some(wanted)
                && is_live(object)
        })
    }
}

/// A pod that has run to its end acts as nobody.
pub(crate) fn is_live(pod: &Object) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.get("phase"));
    !matches!(
        phase.and_then(serde_json::Value::as_str),
        Some("Failed" | "Succeeded")
    )
}

fn account(pod: &ApiPod) -> &str {
    let spec = pod.spec.as_ref();
    spec.and_then(|spec| spec.service_account_name.as_deref())
        .unwrap_or("default")
}

fn node(pod: &ApiPod) -> Option<&str> {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref())
}

/// The waypoint a pod is an instance of: labelled so, of a Gateway that is ours to serve, and
/// running as the account that was made for it. The label alone is anyone's to write.
pub(crate) fn waypoint(objects: &Objects, pod: &Object, account: &str) -> Option<WaypointName> {
    let label = pod.label(names::GATEWAY_NAME)?;
    let gateways = objects.list::<Gateway>().filter(|(gateway, spec)| {
        gateway.key.namespace == pod.key.namespace
            && gateway_label(&gateway.key.name) == label
            && is_waypoint_class(objects, &spec.spec.gateway_class_name)
    });
    let mut ours = gateways.filter(|(gateway, _)| service_account_name(gateway) == account);
    let (gateway, _) = ours.next()?;
    Some(WaypointName::new(&gateway.key.namespace, &gateway.key.name))
}

/// Whether Gateways of a class are waypoints that we run.
pub(crate) fn is_waypoint_class(objects: &Objects, class: &str) -> bool {
    let class = objects.named::<GatewayClass>("", class);
    class.is_some_and(|(_, class)| class.spec.controller_name == names::MESH_CONTROLLER)
}
