//! Client connections kept warm, by a key the caller chooses.
//!
//! A pool belongs to one worker thread. Callers that need a connection for the same key at the
//! same time share one attempt to make it; other keys are not held up. A connection that is full,
//! draining or broken gets no new tunnels: another one is made, and what the peer did not look at
//! is asked for again there.

mod supervise;

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::client::{self, ConnectRequest, Connection, Opened, Slot};
use crate::settings::Settings;

/// How often one call asks again after a peer turned it away unseen.
///
/// Twice covers a connection that starts to drain while its replacement, too, is being drained.
const MAX_RETRIES: usize = 2;

/// Runs the futures that move the bytes of connections, until they end or the owner gives up.
///
/// A trait and not a call to the runtime: tasks have owners, and the pool is not one.
pub trait Spawn {
    /// Runs `driver` on the current thread.
    fn spawn(&self, driver: Pin<Box<dyn Future<Output = ()>>>);
}

impl<F: Fn(Pin<Box<dyn Future<Output = ()>>>)> Spawn for F {
    fn spawn(&self, driver: Pin<Box<dyn Future<Output = ()>>>) {
        self(driver);
    }
}

/// Why [`Pool::open`] failed.
#[derive(Debug, thiserror::Error)]
pub enum Error<E: std::error::Error + 'static> {
    /// The caller's `connect` failed; nothing reached the peer. Shared by all who waited for it.
    #[error("cannot connect")]
    Connect(#[source] Arc<E>),
    /// HTTP/2 failed, the peer refused, or time ran out.
    #[error(transparent)]
    Tunnel(#[from] client::Error),
}

/// Pooled client connections. Clones share the pool; dropping the last one closes connections as
/// their tunnels end.
///
/// `K` must hold everything that makes two connections differ: own identity, accepted peer
/// identities, address, source address. A connection is never used for another key.
pub struct Pool<K, E> {
    inner: Rc<Inner<K, E>>,
}

struct Inner<K, E> {
    entries: RefCell<HashMap<K, Entry<E>>>,
    settings: Settings,
    spawner: Box<dyn Spawn>,
}

/// What there is for one key.
struct Entry<E> {
    connections: Vec<Connection>,
    attempt: Option<Rc<Attempt<E>>>,
}

/// A connection being made.
struct Attempt<E> {
    done: Notify,
    failure: RefCell<Option<Arc<E>>>,
}

/// What a caller without a connection does next.
enum Role<K: Clone + Eq + Hash, E> {
    Connect(Connecting<K, E>),
    Wait(Rc<Attempt<E>>),
}

impl<K: Clone + Eq + Hash + 'static, E: std::error::Error + 'static> Pool<K, E> {
    /// Makes an empty pool whose connections run on `spawner`.
    pub fn new(settings: Settings, spawner: impl Spawn + 'static) -> Self {
        let inner = Inner {
            entries: RefCell::new(HashMap::new()),
            settings,
            spawner: Box::new(spawner),
        };
        Self {
            inner: Rc::new(inner),
        }
    }

    /// Opens a tunnel for `key`, on a pooled connection if one has room.
    ///
    /// * `connect` — makes the transport (TCP and TLS); called only when needed, and by one caller
    ///   per key at a time.
    /// * `deadline` — for everything together: waiting, connecting, and the peer's answer.
    ///
    /// Cancel safe: when the caller that connects goes away, one that waits takes over.
    ///
    /// # Errors
    /// [`Error::Connect`] with the caller's own error, or [`Error::Tunnel`].
    pub async fn open<Io, F>(
        &self,
        key: &K,
        connect: F,
        request: &ConnectRequest,
        deadline: Instant,
    ) -> Result<Opened, Error<E>>
    where
        Io: AsyncRead + AsyncWrite + Unpin + 'static,
        F: AsyncFnMut() -> Result<Io, E>,
    {
        let opening = self.open_in_any(key, connect, request);
        let late = |_| Err(client::Error::Deadline.into());
        timeout_at(deadline, opening).await.unwrap_or_else(late)
    }

    async fn open_in_any<Io, F>(
        &self,
        key: &K,
        mut connect: F,
        request: &ConnectRequest,
    ) -> Result<Opened, Error<E>>
    where
        Io: AsyncRead + AsyncWrite + Unpin + 'static,
        F: AsyncFnMut() -> Result<Io, E>,
    {
        let mut retries = 0;
        loop {
            let (connection, slot, reused) = self.checkout(key, &mut connect).await?;
            let error = match connection.open_in(slot, request).await {
                Ok(opened) => return Ok(opened),
                Err(error) => error,
            };
            // A connection that broke before may have been dead for long: the request carried no
            // bytes of the application, so asking once more on a fresh one is legal.
            let unseen = match &error {
                client::Error::Draining(_) => true,
                client::Error::Closed(_) => reused,
                _ => false,
            };
            if !unseen || retries == MAX_RETRIES {
                return Err(error.into());
            }
            retries += 1;
        }
    }

    /// Returns a connection with a place on it, and whether it was there before.
    async fn checkout<Io, F>(
        &self,
        key: &K,
        connect: &mut F,
    ) -> Result<(Connection, Rc<Slot>, bool), Error<E>>
    where
        Io: AsyncRead + AsyncWrite + Unpin + 'static,
        F: AsyncFnMut() -> Result<Io, E>,
    {
        loop {
            if let Some((connection, slot)) = self.inner.reserve(key) {
                return Ok((connection, slot, true));
            }
            match self.inner.role(key) {
                Role::Wait(attempt) => {
                    attempt.done.notified().await;
                    // A place may have become free meanwhile, on another connection.
                    let failure = attempt.failure.borrow().clone();
                    if let Some(failure) = failure {
                        let free = self.inner.reserve(key);
                        let free = free.map(|(connection, slot)| (connection, slot, true));
                        return free.ok_or(Error::Connect(failure));
                    }
                }
                // Boxed: two handshakes are large, and most callers find a connection.
                Role::Connect(connecting) => {
                    return Box::pin(self.connect(connecting, connect)).await;
                }
            }
        }
    }

    /// Makes a connection on behalf of all who wait for `connecting`. They go on waiting until it
    /// is known how many of them the peer lets in; the caller does not.
    async fn connect<Io, F>(
        &self,
        connecting: Connecting<K, E>,
        connect: &mut F,
    ) -> Result<(Connection, Rc<Slot>, bool), Error<E>>
    where
        Io: AsyncRead + AsyncWrite + Unpin + 'static,
        F: AsyncFnMut() -> Result<Io, E>,
    {
        let io = match connect().await {
            Ok(io) => io,
            Err(error) => {
                let error = Arc::new(error);
                connecting.fail(Arc::clone(&error));
                return Err(Error::Connect(error));
            }
        };
        let settings = &self.inner.settings;
        let (connection, driver) = Connection::handshake(io, settings).await?;
        // Ours before the others see it: who connected must not have to connect again.
        let slot = connection.reserve().ok_or(client::Error::Unavailable)?;
        let task = supervise::run(driver, connection.clone(), connecting);
        self.inner.spawner.spawn(Box::pin(task));
        Ok((connection, slot, false))
    }

    /// Forgets the connections of all keys that `keep` does not want, for example because an
    /// identity was withdrawn. Tunnels on them go on; there are no new ones.
    pub fn retain(&self, mut keep: impl FnMut(&K) -> bool) {
        self.inner.entries.borrow_mut().retain(|key, _| keep(key));
    }

    /// Returns the number of connections that may get new tunnels.
    pub fn connections(&self) -> usize {
        let entries = self.inner.entries.borrow();
        entries.values().map(|entry| entry.connections.len()).sum()
    }

    /// Returns the number of tunnels on those connections.
    pub fn tunnels(&self) -> usize {
        let entries = self.inner.entries.borrow();
        let connections = entries.values().flat_map(|entry| &entry.connections);
        connections.map(Connection::active).sum()
    }
}

impl<K: Clone + Eq + Hash, E> Inner<K, E> {
    /// Takes a place on the first connection that has one: filling connections in order lets the
    /// others become idle and go.
    fn reserve(&self, key: &K) -> Option<(Connection, Rc<Slot>)> {
        let mut entries = self.entries.borrow_mut();
        let entry = entries.get_mut(key)?;
        let place = |connection: &Connection| {
            let slot = connection.reserve()?;
            Some((connection.clone(), slot))
        };
        let found = entry.connections.iter().find_map(place);
        if found.is_none() {
            entry.connections.retain(Connection::is_open);
        }
        found
    }

    /// Joins the attempt under way for `key`, or becomes it.
    fn role(self: &Rc<Self>, key: &K) -> Role<K, E> {
        let mut entries = self.entries.borrow_mut();
        let entry = match entries.entry(key.clone()) {
            hash_map::Entry::Occupied(entry) => entry.into_mut(),
            hash_map::Entry::Vacant(entry) => entry.insert(Entry {
                connections: Vec::new(),
                attempt: None,
            }),
        };
        if let Some(attempt) = &entry.attempt {
            return Role::Wait(Rc::clone(attempt));
        }
        let attempt = Rc::new(Attempt {
            done: Notify::new(),
            failure: RefCell::new(None),
        });
        entry.attempt = Some(Rc::clone(&attempt));
        Role::Connect(Connecting {
            pool: Rc::clone(self),
            key: key.clone(),
            attempt,
        })
    }

    /// Drops the pool's handle of a connection.
    fn retire(&self, key: &K, load: &Rc<client::Load>) {
        let mut entries = self.entries.borrow_mut();
        if let Some(entry) = entries.get_mut(key) {
            entry.connections.retain(|c| !Rc::ptr_eq(c.load(), load));
            if entry.is_empty() {
                entries.remove(key);
            }
        }
    }
}

impl<E> Entry<E> {
    fn is_empty(&self) -> bool {
        self.connections.is_empty() && self.attempt.is_none()
    }
}

/// The right, and the duty, to connect for a key. Dropping it in whatever way wakes the others.
struct Connecting<K: Clone + Eq + Hash, E> {
    pool: Rc<Inner<K, E>>,
    key: K,
    attempt: Rc<Attempt<E>>,
}

impl<K: Clone + Eq + Hash, E> Connecting<K, E> {
    fn fail(self, error: Arc<E>) {
        *self.attempt.failure.borrow_mut() = Some(error);
    }

    fn succeed(self, connection: Connection) {
        if let Some(entry) = self.entry(&mut self.pool.entries.borrow_mut()) {
            entry.connections.push(connection);
        }
    }

    /// Returns the entry, unless [`Pool::retain`] has thrown it out meanwhile: then the connection
    /// serves the one who made it and nobody else.
    fn entry<'a>(&self, entries: &'a mut HashMap<K, Entry<E>>) -> Option<&'a mut Entry<E>> {
        let ours = |attempt: &Rc<Attempt<E>>| Rc::ptr_eq(attempt, &self.attempt);
        let entry = entries.get_mut(&self.key)?;
        entry.attempt.as_ref().is_some_and(ours).then_some(entry)
    }
}

impl<K: Clone + Eq + Hash, E> Drop for Connecting<K, E> {
    fn drop(&mut self) {
        let mut entries = self.pool.entries.borrow_mut();
        if let Some(entry) = self.entry(&mut entries) {
            entry.attempt = None;
            if entry.is_empty() {
                entries.remove(&self.key);
            }
        }
        self.attempt.done.notify_waiters();
    }
}

impl<K, E> Clone for Pool<K, E> {
    fn clone(&self) -> Self {
        Self {
            inner: Rc::clone(&self.inner),
        }
    }
}

impl<K, E> fmt::Debug for Pool<K, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.inner.entries.borrow().len();
        f.debug_struct("Pool")
            .field("keys", &keys)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
