//! What the authority and the resource server need to know about pods.

use std::sync::Arc;

use super::tokens::ServiceAccount;
use crate::translate::WaypointName;

/// A live pod, as far as identity goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pod {
    /// Its uid: a pod of the same name that came later is another one.
    pub uid: Arc<str>,
    /// Its service account.
    pub service_account: Arc<str>,
    /// The node it is bound to; `None` until it is.
    pub node: Option<Arc<str>>,
    /// The waypoint it is an instance of. Set only if the Gateway exists, is ours to serve, and
    /// the pod runs as the service account that was made for it: a label alone is anyone's to
    /// write.
    pub waypoint: Option<WaypointName>,
}

/// Where pods are looked up; the object store, or a cluster's cache.
pub trait PodLookup: Send + Sync + 'static {
    /// The pod `name` of `namespace` as it is now, unless it has run to its end.
    fn pod(&self, namespace: &str, name: &str) -> Option<Pod>;

    /// Whether a pod that has not run to its end acts as `account` on `node`.
    fn runs_on(&self, node: &str, account: &ServiceAccount) -> bool;
}
