//! Who is connected, and what each client has acknowledged.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{ack::Holding, session::Session};

/// One connected client.
#[derive(Clone, Debug)]
pub struct Connected<P> {
    /// The stream's number; a client that reconnects gets another.
    pub stream: u64,
    /// Who it is, as authenticated.
    pub peer: P,
    /// Who it says it is: its node id, empty before the first request.
    pub node: String,
    /// What it has acknowledged, by type URL.
    pub holdings: BTreeMap<Arc<str>, Holding>,
}

impl<P> Connected<P> {
    /// Whether the client has answered all that is published for it, of every type it wants.
    pub fn is_current(&self) -> bool {
        !self.holdings.is_empty() && self.holdings.values().all(Holding::is_current)
    }
}

/// All connected clients.
#[derive(Debug)]
pub(super) struct Registry<P> {
    clients: Mutex<BTreeMap<u64, Connected<P>>>,
    changed: watch::Sender<()>,
}

impl<P: Clone> Registry<P> {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            clients: Mutex::default(),
            changed: watch::Sender::new(()),
        })
    }

    pub(super) fn enter(self: &Arc<Self>, stream: u64, peer: P) -> Ticket<P> {
        let client = Connected {
            stream,
            peer,
            node: String::new(),
            holdings: BTreeMap::new(),
        };
        self.clients.lock().insert(stream, client);
        self.changed.send_replace(());
        Ticket {
            registry: Arc::clone(self),
            stream,
        }
    }

    pub(super) fn clients(&self) -> Vec<Connected<P>> {
        self.clients.lock().values().cloned().collect()
    }

    pub(super) fn changed(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn leave(&self, stream: u64) {
        self.clients.lock().remove(&stream);
        self.changed.send_replace(());
    }
}

/// A client's place in the registry, given back when dropped.
#[derive(Debug)]
pub(super) struct Ticket<P: Clone> {
    registry: Arc<Registry<P>>,
    stream: u64,
}

impl<P: Clone> Ticket<P> {
    /// Shows what the client has acknowledged by now.
    pub(super) fn show(&self, session: &Session) {
        if let Some(client) = self.registry.clients.lock().get_mut(&self.stream) {
            client.node.clone_from(&session.node().id);
            client.holdings = session
                .holdings()
                .map(|(url, held)| (Arc::clone(url), held.clone()))
                .collect();
        }
        self.registry.changed.send_replace(());
    }
}

impl<P: Clone> Drop for Ticket<P> {
    fn drop(&mut self) {
        self.registry.leave(self.stream);
    }
}
