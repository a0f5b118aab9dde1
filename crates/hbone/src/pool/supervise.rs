//! The background life of one pooled connection.

use std::hash::Hash;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::Connecting;
use crate::client::{Connection, Driver, Error, Load};

/// Drives a connection to its end: puts it into the pool once the peer's limit is known, and takes
/// it out when it ends or no tunnel has used it for the time the settings allow.
///
/// An idle connection is not cut: once the pool's handle is gone, HTTP/2 says goodbye and closes.
pub(super) async fn run<Io, K, E>(
    driver: Driver<Io>,
    connection: Connection,
    connecting: Connecting<K, E>,
) where
    Io: AsyncRead + AsyncWrite + Unpin,
    K: Clone + Eq + Hash,
{
    let mut driver = pin!(driver);
    let load = Rc::clone(connection.load());
    // From here on a weak reference: a connection must not keep its pool alive.
    let pool = Rc::downgrade(&connecting.pool);
    let key = connecting.key.clone();
    let idle_release = connecting.pool.settings.idle_release;

    tokio::select! {
        biased;
        ended = &mut driver => return report(ended),
        () = load.settled() => {}
    }
    connecting.succeed(connection);

    let ended = tokio::select! {
        biased;
        ended = &mut driver => Some(ended),
        () = unused(&load, idle_release) => None,
    };
    if let Some(pool) = pool.upgrade() {
        pool.retire(&key, &load);
    }
    match ended {
        Some(ended) => report(ended),
        None => report(driver.await),
    }
}

fn report(ended: Result<(), Error>) {
    if let Err(error) = ended {
        debug!(
            error = &error as &dyn std::error::Error,
            "pooled connection ended"
        );
    }
}

/// Resolves when no tunnel has been open for `timeout`. Looks only when its timer fires, so that
/// opening and closing tunnels costs nothing here.
async fn unused(load: &Load, timeout: Duration) {
    let mut look = Instant::now() + timeout;
    loop {
        sleep_until(look).await;
        let now = Instant::now();
        match load.idle_since() {
            Some(since) if since + timeout <= now => return,
            Some(since) => look = since + timeout,
            None => look = now + timeout,
        }
    }
}
