//! Connections at rest, and connections that are shared.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use mesh::Str;
use mesh::spiffe::SpiffeId;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Takeover, identity};
use crate::endpoint::Endpoint;
use crate::http::body::AttemptBody;

/// How long a connection rests before it is closed.
const IDLE_LIMIT: Duration = Duration::from_mins(1);
/// Connections that rest for one endpoint.
const MAX_IDLE: usize = 64;

/// Everything that makes two connections differ. Our own identity is the same for all.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Key {
    address: SocketAddr,
    /// Through a tunnel: who must be at its end.
    identities: Option<(SpiffeId, Vec<SpiffeId>)>,
    host: Option<Str>,
    http2: bool,
}

impl Key {
    pub(super) fn new(endpoint: &Endpoint, host: Option<&Str>, http2: bool) -> Self {
        let identities = identity(endpoint).map(|(first, rest)| (first.clone(), rest.to_vec()));
        Self {
            address: endpoint.address,
            identities,
            host: host.cloned(),
            http2,
        }
    }

    pub(super) fn host(&self) -> Option<&Str> {
        self.host.as_ref()
    }
}

/// The connections of one worker.
#[derive(Debug, Default)]
pub(super) struct Pool {
    idle: RefCell<HashMap<Key, Vec<Idle>>>,
    shared: RefCell<HashMap<Key, Entry>>,
}

#[derive(Debug)]
struct Idle {
    sender: http1::SendRequest<AttemptBody>,
    takeover: Rc<Takeover>,
    since: Instant,
}

/// HTTP/2 connections for one key.
#[derive(Debug, Default)]
struct Entry {
    connections: Vec<Connection>,
    /// A connection is being made; told when that is over.
    attempt: Option<Rc<Notify>>,
}

#[derive(Debug)]
struct Connection {
    sender: http2::SendRequest<AttemptBody>,
    streams: Rc<Cell<u32>>,
    used: Instant,
}

/// A place on an HTTP/2 connection.
#[derive(Debug)]
pub(super) struct Shared {
    sender: http2::SendRequest<AttemptBody>,
    streams: Rc<Cell<u32>>,
}

impl Shared {
    fn new(sender: http2::SendRequest<AttemptBody>, streams: Rc<Cell<u32>>) -> Self {
        streams.set(streams.get() + 1);
        Self { sender, streams }
    }

    pub(super) fn sender(&mut self) -> &mut http2::SendRequest<AttemptBody> {
        &mut self.sender
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.streams.set(self.streams.get().saturating_sub(1));
    }
}

impl Pool {
    /// Takes the connection that rested last: the others may then become idle and go.
    pub(super) fn take(
        &self,
        key: &Key,
    ) -> Option<(http1::SendRequest<AttemptBody>, Rc<Takeover>)> {
        let mut idle = self.idle.borrow_mut();
        let resting = idle.get_mut(key)?;
        while let Some(candidate) = resting.pop() {
            if !candidate.sender.is_closed() && candidate.since.elapsed() < IDLE_LIMIT {
                return Some((candidate.sender, candidate.takeover));
            }
        }
        idle.remove(key);
        None
    }

    /// Lets a connection rest.
    pub(super) fn put(
        &self,
        key: Key,
        sender: http1::SendRequest<AttemptBody>,
        takeover: Rc<Takeover>,
    ) {
        if sender.is_closed() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        let resting = idle.entry(key).or_default();
        if resting.len() < MAX_IDLE {
            resting.push(Idle {
                sender,
                takeover,
                since: Instant::now(),
            });
        }
    }

    /// A place on an HTTP/2 connection that has one.
    pub(super) fn share(&self, key: &Key, limit: u32) -> Option<Shared> {
        let mut shared = self.shared.borrow_mut();
        let entry = shared.get_mut(key)?;
        entry
            .connections
            .retain(|connection| !connection.sender.is_closed());
        let mut connections = entry.connections.iter_mut();
        let connection = connections.find(|connection| connection.streams.get() < limit)?;
        connection.used = Instant::now();
        Some(Shared::new(
            connection.sender.clone(),
            Rc::clone(&connection.streams),
        ))
    }

    /// The right to make a connection for a key, unless somebody has it.
    pub(super) fn connecting(self: &Rc<Self>, key: &Key) -> Option<Connecting> {
        let mut shared = self.shared.borrow_mut();
        let entry = shared.entry(key.clone()).or_default();
        if entry.attempt.is_some() {
            return None;
        }
        entry.attempt = Some(Rc::default());
        Some(Connecting {
            pool: Rc::clone(self),
            key: key.clone(),
        })
    }

    /// Waits until the attempt under way for a key is over. Cancel safe.
    pub(super) async fn connected(&self, key: &Key) {
        let attempt = {
            let shared = self.shared.borrow();
            shared.get(key).and_then(|entry| entry.attempt.clone())
        };
        if let Some(attempt) = attempt {
            attempt.notified().await;
        }
    }

    /// Closes what has rested too long, until the pool is gone.
    pub(super) async fn sweep(pool: Weak<Self>) {
        loop {
            tokio::time::sleep(IDLE_LIMIT / 2).await;
            let Some(pool) = pool.upgrade() else { return };
            pool.idle.borrow_mut().retain(|_, resting| {
                resting
                    .retain(|idle| !idle.sender.is_closed() && idle.since.elapsed() < IDLE_LIMIT);
                !resting.is_empty()
            });
            pool.shared.borrow_mut().retain(|_, entry| {
                entry.connections.retain(|connection| {
                    let resting = connection.streams.get() == 0;
                    let tired = resting && connection.used.elapsed() > IDLE_LIMIT;
                    !connection.sender.is_closed() && !tired
                });
                !entry.connections.is_empty() || entry.attempt.is_some()
            });
        }
    }
}

/// The right, and the duty, to make a connection for a key. Dropping it in whatever way lets the
/// others try.
#[derive(Debug)]
pub(super) struct Connecting {
    pool: Rc<Pool>,
    key: Key,
}

impl Connecting {
    /// Shares the connection that was made; the first place on it is the caller's.
    pub(super) fn succeed(self, sender: http2::SendRequest<AttemptBody>) -> Shared {
        let streams = Rc::<Cell<u32>>::default();
        let shared = Shared::new(sender.clone(), Rc::clone(&streams));
        let mut entries = self.pool.shared.borrow_mut();
        let entry = entries.entry(self.key.clone()).or_default();
        entry.connections.push(Connection {
            sender,
            streams,
            used: Instant::now(),
        });
        drop(entries);
        shared
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        let mut entries = self.pool.shared.borrow_mut();
        if let Some(entry) = entries.get_mut(&self.key)
            && let Some(attempt) = entry.attempt.take()
        {
            attempt.notify_waiters();
        }
    }
}
