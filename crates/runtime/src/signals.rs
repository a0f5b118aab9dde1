//! Ending on request: SIGTERM and SIGINT.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::drain::Trigger;

/// The signals that ask a process to end. They no longer end it by themselves once this exists.
#[derive(Debug)]
pub struct Termination {
    terminate: Signal,
    interrupt: Signal,
}

impl Termination {
    /// Begins to listen. Must be called inside a runtime.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Resolves with the name of the next signal. Cancel safe.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Starts the drain on the first signal, giving what is open `grace`, and ends it on the
    /// second.
    pub async fn drain(mut self, trigger: Trigger, grace: Duration) {
        let signal = self.next().await;
        tracing::info!(signal, grace = ?grace, "draining");
        trigger.start(grace);
        let signal = self.next().await;
        tracing::info!(signal, "ending now");
        trigger.now();
    }
}

/// Drains on SIGTERM or SIGINT, see [`Termination::drain`].
///
/// Where signals cannot be listened for they end the process, as they do by default.
pub async fn drain_on_termination(trigger: Trigger, grace: Duration) {
    match Termination::listen() {
        Ok(termination) => termination.drain(trigger, grace).await,
        Err(error) => {
            tracing::warn!(%error, "cannot listen for signals; the process will end without a drain");
            // The trigger must live as long as the process: without it everything would end now.
            std::future::pending::<()>().await;
            drop(trigger);
        }
    }
}

#[cfg(test)]
mod tests;
