//! What tests of the authority and the server stand on: real files, real keys, real tokens.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::{
    AUDIENCE, Authority, LocalTokens, Pod, PodLookup, PodRef, ServiceAccount, Subject, Validity,
};
use crate::translate::WaypointName;

/// A folder that goes with the test.
pub(crate) struct TempFolder(PathBuf);

impl TempFolder {
    pub(crate) fn new() -> Self {
        static FOLDERS: AtomicUsize = AtomicUsize::new(0);
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("cairn-control-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        // What is left behind in a temporary folder is no reason to fail.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Pods as a test puts them, by namespace and name.
#[derive(Default)]
pub(crate) struct Pods(Mutex<BTreeMap<(String, String), Pod>>);

impl Pods {
    pub(crate) fn put(&self, namespace: &str, name: &str, pod: Pod) {
        self.0
            .lock()
            .insert((namespace.to_owned(), name.to_owned()), pod);
    }

    pub(crate) fn remove(&self, namespace: &str, name: &str) {
        self.0
            .lock()
            .remove(&(namespace.to_owned(), name.to_owned()));
    }
}

impl PodLookup for Pods {
    fn pod(&self, namespace: &str, name: &str) -> Option<Pod> {
        self.0
            .lock()
            .get(&(namespace.to_owned(), name.to_owned()))
            .cloned()
    }

    fn runs_on(&self, node: &str, account: &ServiceAccount) -> bool {
        self.0.lock().iter().any(|((namespace, _), pod)| {
            **namespace == *account.namespace
                && pod.service_account == account.name
                && pod.node.as_deref() == Some(node)
        })
    }
}

/// A pod of this account on this node; its uid is its account's name and node.
pub(crate) fn pod(account: &str, node: &str) -> Pod {
    Pod {
        uid: format!("uid-{account}-{node}").into(),
        service_account: account.into(),
        node: Some(node.into()),
        waypoint: None,
    }
}

/// A small mesh: a ztunnel on each of two nodes, a cart on the first, a waypoint on the second.
pub(crate) struct Mesh {
    pub(crate) folder: TempFolder,
    pub(crate) pods: Arc<Pods>,
    pub(crate) tokens: Arc<LocalTokens>,
    pub(crate) authority: Arc<Authority>,
}

impl Mesh {
    pub(crate) fn new() -> Self {
        let folder = TempFolder::new();
        let pods = Arc::<Pods>::default();
        pods.put("istio-system", "ztunnel-1", pod("ztunnel", "node-1"));
        pods.put("istio-system", "ztunnel-2", pod("ztunnel", "node-2"));
        pods.put("shop", "cart-1", pod("cart", "node-1"));
        let waypoint = Some(WaypointName::new("shop", "waypoint"));
        pods.put(
            "shop",
            "waypoint-1",
            Pod {
                waypoint,
                ..pod("waypoint", "node-2")
            },
        );
        let lookup: Arc<dyn PodLookup> = Arc::<Pods>::clone(&pods);
        let tokens = LocalTokens::open(folder.path(), lookup).unwrap();
        let authority = Authority::self_made(
            &folder.path().join("ca"),
            "cluster.local",
            Validity::default(),
        );
        Self {
            folder,
            pods,
            tokens: Arc::new(tokens),
            authority: Arc::new(authority.unwrap()),
        }
    }

    /// Whom a token for a pod is issued to.
    pub(crate) fn subject(&self, namespace: &str, name: &str) -> Subject {
        let pod = self.pods.pod(namespace, name).unwrap();
        Subject {
            account: ServiceAccount::new(namespace, &pod.service_account),
            pod: PodRef {
                name: name.to_owned(),
                uid: pod.uid.to_string(),
            },
            node: pod.node.as_deref().unwrap().to_owned(),
        }
    }

    /// A token as the kubelet mounts it into a pod.
    pub(crate) fn token(&self, namespace: &str, name: &str) -> String {
        let token = self
            .tokens
            .issue(&self.subject(namespace, name), AUDIENCE)
            .unwrap();
        token.token.expose().to_owned()
    }
}
