//! Who may be certified in another's name (C-05).
//!
//! A node proxy holds the certificates of the pods of its node, and of no others: a stolen node
//! token is worth no more than that node's pods.
//! Source: istio/istio `security/pkg/server/ca/node_auth.go`; stricter in that pods that succeeded
//! count as little as those that failed, and that the trust domain is checked.

use std::collections::BTreeSet;

use mesh::spiffe::{InvalidSpiffeId, SpiffeId};

use super::pods::PodLookup;
use super::tokens::{Authenticated, ServiceAccount};

#[cfg(test)]
mod tests;

/// Why nobody may be certified in another's name; for the log, never for the caller.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("{0} is not an account of node proxies")]
    Account(ServiceAccount),
    #[error("the caller's pod is gone, another one now, or runs as another account")]
    Caller,
    #[error("the caller's pod is on no node")]
    NoNode,
    #[error("the wanted identity is invalid")]
    Invalid(#[from] InvalidSpiffeId),
    #[error("the wanted identity {0} is not one of a workload of this mesh")]
    Foreign(SpiffeId),
    #[error("no live pod of {account} is on node {node}")]
    NotThere {
        account: ServiceAccount,
        node: String,
    },
}

/// Accounts that may ask for their node's pods.
pub(super) type TrustedAccounts = BTreeSet<ServiceAccount>;

/// Returns the identity `wanted`, if `caller` may have its certificate.
pub(super) fn check(
    caller: &Authenticated,
    wanted: &str,
    trust_domain: &str,
    trusted: &TrustedAccounts,
    pods: &dyn PodLookup,
) -> Result<SpiffeId, Refused> {
    if !trusted.contains(&caller.account) {
        return Err(Refused::Account(caller.account.clone()));
    }
    let pod = pods
        .pod(&caller.account.namespace, &caller.pod.name)
        .filter(|pod| *pod.uid == *caller.pod.uid && pod.service_account == caller.account.name)
        .ok_or(Refused::Caller)?;
    let node = pod.node.ok_or(Refused::NoNode)?;
    let wanted: SpiffeId = wanted.parse()?;
    let account = match (wanted.namespace(), wanted.service_account()) {
        (Some(namespace), Some(name)) if wanted.trust_domain() == trust_domain => {
            ServiceAccount::new(namespace, name)
        }
        _ => return Err(Refused::Foreign(wanted)),
    };
    if !pods.runs_on(&node, &account) {
        return Err(Refused::NotThere {
            account,
            node: node.to_string(),
        });
    }
    Ok(wanted)
}
