//! Objects that exist without anyone writing them.

use serde_json::json;

use super::{Key, Kind};
use crate::source::{Document, Origin};

/// Gateway classes that are always there, with their controllers. Names are Istio's, so that
/// manifests written for it work.
const CLASSES: [(&str, &str); 3] = [
    ("istio-waypoint", "istio.io/mesh-controller"),
    ("istio", "istio.io/gateway-controller"),
    ("istio-remote", "istio.io/unmanaged-gateway"),
];

/// The namespace of objects that name none.
pub(super) const DEFAULT_NAMESPACE: &str = "default";

const NAMESPACE: Kind = Kind::of("", "Namespace");

fn document(value: serde_json::Value) -> Document {
    Document {
        value,
        origin: Origin::default(),
    }
}

/// The classes.
pub(super) fn classes() -> impl Iterator<Item = (Key, Document)> {
    CLASSES.into_iter().map(|(name, controller)| {
        let key = Key::new(
            Kind::of("gateway.networking.k8s.io", "GatewayClass"),
            "",
            name,
        );
        let value = json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "GatewayClass",
            "metadata": {"name": name},
            "spec": {"controllerName": controller},
        });
        (key, document(value))
    })
}

/// What every namespace has: itself, and the account that pods use which name none.
pub(super) fn of_namespace(namespace: &str) -> [(Key, Document); 2] {
    let account = json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "default", "namespace": namespace},
    });
    let itself = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": namespace},
    });
    [
        (Key::new(NAMESPACE, "", namespace), document(itself)),
        (
            Key::new(Kind::of("", "ServiceAccount"), namespace, "default"),
            document(account),
        ),
    ]
}

/// The namespace that an object keeps alive: its own, or the one that it is.
pub(super) fn namespace_of(key: &Key) -> Option<&str> {
    match &*key.namespace {
        "" if key.kind == NAMESPACE => Some(&key.name),
        "" => None,
        namespace => Some(namespace),
    }
}
