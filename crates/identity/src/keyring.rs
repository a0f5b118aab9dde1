//! A certificate per identity, obtained in time and renewed before it is needed.
//!
//! [`Keyring`] is the handle everyone holds; [`Renewal`] is the one task, on the control thread,
//! that asks the authority. They share a table under a short lock; nothing is queued in between,
//! so a thousand wishes for one identity are one entry. A reader on a worker thread holds a
//! [`CertSource`] and looks at a watched value.
//!
//! Order of requests: what a connection waits for, then what was announced, then renewals; at
//! most [`MAX_FETCHES`] at once. Source: the ambient wire contract, "CA service"; ztunnel's
//! secret manager.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use mesh::Str;
use mesh::spiffe::SpiffeId;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::{Certified, Error};

mod dump;
mod entry;
mod renewal;

#[cfg(test)]
mod tests;

pub use dump::{CertificateDump, IdentityDump};
use entry::{Entry, Urgency};
pub use renewal::{FETCH_TIMEOUT, MAX_FETCHES, Renewal};

/// Where certificates come from.
pub trait Fetcher: Send + Sync + 'static {
    /// Obtains a fresh certificate, for a fresh key, for `id`.
    fn fetch(&self, id: &SpiffeId) -> impl Future<Output = Result<Certified, Error>> + Send;
}

/// What there is for an identity.
#[derive(Clone, Debug)]
pub enum State {
    /// The first request is under way.
    Initializing,
    /// A certificate that is valid now.
    Available(Arc<Certified>),
    /// Nothing, and why.
    Unavailable(Str),
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Initializing => f.write_str("Initializing"),
            Self::Available(_) => f.write_str("Available"),
            Self::Unavailable(reason) => write!(f, "Unavailable: {reason}"),
        }
    }
}

/// There is no certificate to act as an identity with.
#[derive(Clone, Debug, thiserror::Error)]
#[error("identity error: no certificate for {id}: {reason}")]
pub struct Unavailable {
    /// Whose certificate is missing.
    pub id: SpiffeId,
    /// Why, for the operator.
    pub reason: Str,
}

/// Every identity this process may act as. Cloning shares it.
#[derive(Clone)]
pub struct Keyring(Arc<Shared>);

struct Shared {
    table: Mutex<Table>,
    /// Rung whenever the renewal has something new to look at.
    changed: Notify,
    now: Box<dyn Fn() -> SystemTime + Send + Sync>,
}

#[derive(Default)]
struct Table {
    entries: BTreeMap<SpiffeId, Entry>,
    /// Counts requests for certificates: an answer is for the entry that asked, or for nobody.
    turns: u64,
}

impl Keyring {
    /// An empty keyring, and the task that fills it; nothing happens until that task runs.
    pub fn new<F: Fetcher>(fetcher: F) -> (Self, Renewal<F>) {
        Self::with_clock(fetcher, SystemTime::now)
    }

    /// Like [`new`](Self::new), with a wall clock to judge certificates by.
    pub fn with_clock<F: Fetcher>(
        fetcher: F,
        now: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) -> (Self, Renewal<F>) {
        let keyring = Self(Arc::new(Shared {
            table: Mutex::default(),
            changed: Notify::new(),
            now: Box::new(now),
        }));
        (keyring.clone(), Renewal::new(keyring, fetcher))
    }

    /// Returns the certificate of `id`, waiting for the first one if need be.
    ///
    /// An identity nobody asked for before is fetched ahead of all background work. Cancel safe.
    ///
    /// # Errors
    /// When the attempt under way, or the next one, fails; see [`CertSource::get`].
    pub async fn get(&self, id: &SpiffeId) -> Result<Arc<Certified>, Unavailable> {
        self.source(id).get().await
    }

    /// The narrow view of one identity; begins to obtain its certificate.
    pub fn source(&self, id: &SpiffeId) -> CertSource {
        CertSource {
            id: id.clone(),
            state: self.want(id, Urgency::Announced),
            keyring: self.clone(),
        }
    }

    /// Begins to obtain the certificate of `id`, so that it is there when a connection needs it.
    pub fn prefetch(&self, id: &SpiffeId) {
        self.want(id, Urgency::Announced);
    }

    /// Drops the certificate and key of `id`; an answer still under way is thrown away.
    ///
    /// Connections that use it go on; nobody can open another.
    pub fn forget(&self, id: &SpiffeId) {
        if let Some(entry) = self.0.table.lock().entries.remove(id) {
            // Sources outlive the entry, and must not keep the key alive.
            entry.retire();
            tracing::debug!(identity = %id, "certificate dropped");
        }
    }

    /// What there is for `id`, or `None` when nobody asked for it.
    pub fn state(&self, id: &SpiffeId) -> Option<State> {
        self.0.table.lock().entries.get(id).map(Entry::state)
    }

    /// Everything there is, in the order of the identities, as `/config_dump` shows it.
    pub fn dump(&self) -> Vec<IdentityDump> {
        let states: Vec<_> = {
            let table = self.0.table.lock();
            table
                .entries
                .iter()
                .map(|(id, entry)| (id.clone(), entry.state()))
                .collect()
        };
        states
            .into_iter()
            .map(|(id, state)| IdentityDump::new(id, &state))
            .collect()
    }

    fn want(&self, id: &SpiffeId, urgency: Urgency) -> watch::Receiver<State> {
        let (state, pressing) = {
            let mut table = self.0.table.lock();
            let Table { entries, turns } = &mut *table;
            let entry = entries.entry(id.clone()).or_insert_with(|| {
                *turns += 1;
                Entry::new(*turns)
            });
            (entry.subscribe(), entry.press(urgency))
        };
        if pressing {
            self.0.changed.notify_one();
        }
        state
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.0.table.lock();
        let states = table
            .entries
            .iter()
            .map(|(id, entry)| (id, entry.state().to_string()));
        f.debug_map().entries(states).finish()
    }
}

/// The certificate of one identity, now and after every renewal.
#[derive(Clone, Debug)]
pub struct CertSource {
    id: SpiffeId,
    state: watch::Receiver<State>,
    keyring: Keyring,
}

impl CertSource {
    /// Whose certificate it is.
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// The certificate as it is now, without waiting.
    ///
    /// # Errors
    /// When there is none that is valid.
    pub fn current(&self) -> Result<Arc<Certified>, Unavailable> {
        match &*self.state.borrow() {
            State::Available(certified) => Ok(Arc::clone(certified)),
            State::Initializing => Err(self.unavailable("it is being requested".into())),
            State::Unavailable(reason) => Err(self.unavailable(Arc::clone(reason))),
        }
    }

    /// The certificate; if there is none, what comes of the attempt under way or the next one, which
    /// is made within a second. Cancel safe.
    ///
    /// # Errors
    /// When that attempt fails.
    pub async fn get(&self) -> Result<Arc<Certified>, Unavailable> {
        let mut state = self.state.clone();
        let lacks = !matches!(*state.borrow_and_update(), State::Available(_));
        // Of a forgotten identity nothing will come.
        if lacks && state.has_changed().is_ok() {
            self.keyring.want(&self.id, Urgency::Awaited);
            // A retired entry says so in its last state.
            let _ = state.changed().await;
        }
        self.current()
    }

    /// The certificate, waiting through failures until there is one. Cancel safe.
    ///
    /// # Errors
    /// When the identity was forgotten.
    pub async fn available(&self) -> Result<Arc<Certified>, Unavailable> {
        let mut state = self.state.clone();
        let _ = state
            .wait_for(|state| matches!(state, State::Available(_)))
            .await;
        self.current()
    }

    /// Waits for the next change of the certificate or its absence. Cancel safe.
    ///
    /// # Errors
    /// When the identity was forgotten: nothing will change any more.
    pub async fn changed(&mut self) -> Result<(), Unavailable> {
        match self.state.changed().await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.unavailable(entry::FORGOTTEN.into())),
        }
    }

    fn unavailable(&self, reason: Str) -> Unavailable {
        Unavailable {
            id: self.id.clone(),
            reason,
        }
    }
}
