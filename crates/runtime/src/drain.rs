//! Telling every part of a process, on every thread, to stop taking new work and to finish.
//!
//! A drain starts once, gets a deadline, and can only be hastened. Watching it costs a few
//! words; a part that watches holds nothing up.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

#[cfg(test)]
mod tests;

/// How far a drain is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// Serve.
    Serving,
    /// Take nothing new; what is open may go on until then.
    Draining(Instant),
}

/// Starts the drain. Clones start the same one. When the last is dropped without that, the drain
/// starts and ends at once: whoever was to decide about it is gone.
#[derive(Clone, Debug)]
pub struct Trigger(watch::Sender<Phase>);

/// Watches a drain. Clones watch the same one.
#[derive(Clone, Debug)]
pub struct Drain(watch::Receiver<Phase>);

/// Makes a drain that has not started.
pub fn channel() -> (Trigger, Drain) {
    let (sender, receiver) = watch::channel(Phase::Serving);
    (Trigger(sender), Drain(receiver))
}

impl Trigger {
    /// Starts the drain: what is open may go on for `grace`. A second call can only shorten it.
    pub fn start(&self, grace: Duration) {
        let deadline = Instant::now() + grace;
        self.0.send_if_modified(|phase| {
            let sooner = match *phase {
                Phase::Serving => true,
                Phase::Draining(known) => deadline < known,
            };
            if sooner {
                *phase = Phase::Draining(deadline);
            }
            sooner
        });
    }

    /// Starts the drain and ends it: everything that is open is closed now.
    pub fn now(&self) {
        self.start(Duration::ZERO);
    }

    /// Another watch on this drain.
    pub fn watch(&self) -> Drain {
        Drain(self.0.subscribe())
    }
}

impl Drain {
    /// Whether the drain has started.
    pub fn is_started(&self) -> bool {
        *self.0.borrow() != Phase::Serving || self.0.has_changed().is_err()
    }

    /// Resolves when the drain starts, with the time until which open work may go on. Cancel safe.
    pub async fn started(&mut self) -> Instant {
        match self
            .0
            .wait_for(|phase| *phase != Phase::Serving)
            .await
            .as_deref()
        {
            Ok(Phase::Draining(deadline)) => *deadline,
            Ok(Phase::Serving) | Err(_) => Instant::now(),
        }
    }

    /// Resolves when open work must end. Cancel safe.
    pub async fn expired(&mut self) {
        loop {
            let deadline = self.started().await;
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => return,
                // A trigger that did its work may go; the deadline it set stands.
                Ok(()) = self.0.changed() => {}
            }
        }
    }
}
