//! The mesh most tests share: two echo services behind a waypoint, clients with identities of
//! their own, and services without a waypoint.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use testkit::Mesh;

static SHARED: Mutex<Weak<Mesh>> = Mutex::new(Weak::new());

/// The shared mesh; it lives for as long as a test holds it. `None` where there is no root.
pub(crate) fn shared() -> Option<Arc<Mesh>> {
    if !testkit::require_root() {
        return None;
    }
    let mut shared = SHARED.lock();
    if let Some(mesh) = shared.upgrade() {
        return Some(mesh);
    }
    let mesh = Arc::new(Mesh::builder().manifest("world.yaml", WORLD).up());
    *shared = Arc::downgrade(&mesh);
    Some(mesh)
}

/// A Deployment that serves, its Service and its ServiceAccount.
pub(crate) fn server(namespace: &str, name: &str, version: &str) -> String {
    let app = name.strip_suffix(&format!("-{version}")).unwrap_or(name);
    format!(
        "---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  selector: {{app: {app}, version: {version}}}
  ports: [{{name: http, port: 80, targetPort: 8080}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  selector: {{matchLabels: {{app: {app}, version: {version}}}}}
  template:
    metadata: {{labels: {{app: {app}, version: {version}}}}}
    spec:
      containers:
      - name: server
        image: sample
        command: [cairn, sample, server, --quiet, --name, {app}, --version, {version}]
"
    )
}

/// A Deployment that does nothing, to call from, under a ServiceAccount of its name.
pub(crate) fn client(namespace: &str, name: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: ServiceAccount
metadata: {{name: {name}, namespace: {namespace}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      serviceAccountName: {name}
      containers:
      - {{name: client, image: none, command: [sleep, infinity]}}
"
    )
}

const WORLD: &str = include_str!("world.yaml");
