//! Whether a connection into a pod may be, at its begin and for as long as it lasts.

use std::time::Duration;

use mesh::authz::{self, Attributes};
use mesh::store::Store;
use mesh::workload::Workload;
use tokio::time::timeout;

use crate::error::Error;
use crate::pod::Pod;

/// How long a connection waits for a policy its workload refers to and nobody has sent yet.
const POLICY_WAIT: Duration = Duration::from_secs(1);

/// Authorizes a new connection.
///
/// # Errors
/// [`Error::Denied`], or [`Error::MissingPolicy`] when what would decide is not known: an unknown
/// policy denies.
pub(crate) async fn check(
    pod: &Pod,
    workload: &Workload,
    attributes: &Attributes<'_>,
) -> Result<(), Error> {
    match decide(&pod.store.current(), workload, attributes) {
        Err(Error::MissingPolicy(_)) => {}
        decided => return decided,
    }
    let mut changes = pod.store.changes();
    let arrival = async {
        loop {
            let decided = decide(&pod.store.current(), workload, attributes);
            if !matches!(decided, Err(Error::MissingPolicy(_))) || changes.changed().await.is_err()
            {
                return decided;
            }
        }
    };
    match timeout(POLICY_WAIT, arrival).await {
        Ok(decided) => decided,
        Err(_) => decide(&pod.store.current(), workload, attributes),
    }
}

/// Resolves when a connection that was admitted no longer would be.
///
/// A workload that is gone from the store decides nothing: its connections drain.
pub(crate) async fn revoked(pod: &Pod, uid: &str, attributes: &Attributes<'_>) -> Error {
    let mut changes = pod.store.changes();
    loop {
        if changes.changed().await.is_err() {
            return std::future::pending().await;
        }
        let store = pod.store.current();
        let Some(workload) = store.workload(uid) else {
            continue;
        };
        if let Err(Error::Denied(denied)) = decide(&store, workload, attributes) {
            tracing::debug!(%denied, "an open connection is no longer allowed");
            return Error::PolicyChanged;
        }
    }
}

fn decide(store: &Store, workload: &Workload, attributes: &Attributes<'_>) -> Result<(), Error> {
    let policies = store.policies_for(workload)?;
    let verdict = authz::decide(&policies, attributes);
    if let Some(dry_run) = &verdict.dry_run {
        tracing::debug!(?dry_run, "dry-run policies would decide");
    }
    verdict.decision.check().map_err(Error::Denied)
}
