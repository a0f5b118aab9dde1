//! Moving the bytes of an established connection, until either end or the drain ends it.

use hbone::copy::{self, Side};

use crate::error::Error;
use crate::pod::Pod;
use crate::report::Counting;

/// Copies between client and server until both have ended.
///
/// A pod that is let go keeps its connections until the drain's deadline.
pub(crate) async fn run<A, B>(
    pod: &Pod,
    client: A,
    server: B,
    counters: Counting,
) -> Result<(), Error>
where
    A: Side + Unpin,
    B: Side + Unpin,
{
    let mut drain = pod.drain.clone();
    let copied = tokio::select! {
        copied = copy::bidirectional(client, server, counters) => copied,
        () = drain.expired() => return Err(Error::Drained),
    };
    match copied.failure {
        Some(failure) => Err(Error::Copy(failure)),
        None => Ok(()),
    }
}
