//! Which identities this node has a certificate for: those something here needs, and no other.
//!
//! A workload of the node needs one from the moment the control plane says it is meshed, a served
//! pod for as long as it is served; either may come first and either may go last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use identity::{CertSource, Keyring};
use mesh::spiffe::SpiffeId;
use parking_lot::Mutex;

#[cfg(test)]
mod tests;

/// The identities in use. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Certificates {
    keyring: Keyring,
    holders: Arc<Mutex<Holders>>,
}

#[derive(Debug, Default)]
struct Holders {
    by_holder: BTreeMap<String, SpiffeId>,
    by_identity: BTreeMap<SpiffeId, BTreeSet<String>>,
}

impl Certificates {
    /// Nobody holds anything yet.
    pub(crate) fn new(keyring: Keyring) -> Self {
        Self {
            keyring,
            holders: Arc::default(),
        }
    }

    /// Notes that `holder` needs the certificate of `identity`, and no longer any other.
    pub(crate) fn hold(&self, holder: &str, identity: &SpiffeId) {
        let mut holders = self.holders.lock();
        if holders.by_holder.get(holder) == Some(identity) {
            return;
        }
        // First the new, then the old: the same identity must not be dropped in between.
        self.keyring.prefetch(identity);
        let dropped = holders.release(holder);
        holders
            .by_holder
            .insert(holder.to_owned(), identity.clone());
        holders
            .by_identity
            .entry(identity.clone())
            .or_default()
            .insert(holder.to_owned());
        if let Some(dropped) = dropped.filter(|dropped| dropped != identity) {
            self.keyring.forget(&dropped);
        }
    }

    /// Notes that `holder` needs no certificate any more.
    pub(crate) fn release(&self, holder: &str) {
        let dropped = self.holders.lock().release(holder);
        if let Some(identity) = dropped {
            self.keyring.forget(&identity);
        }
    }

    /// The certificate of an identity somebody holds.
    pub(crate) fn source(&self, identity: &SpiffeId) -> CertSource {
        self.keyring.source(identity)
    }
}

impl Holders {
    /// Removes a holder and returns the identity nobody holds any more.
    fn release(&mut self, holder: &str) -> Option<SpiffeId> {
        let identity = self.by_holder.remove(holder)?;
        let others = self.by_identity.get_mut(&identity)?;
        others.remove(holder);
        if others.is_empty() {
            self.by_identity.remove(&identity);
            return Some(identity);
        }
        None
    }
}
