//! Answers that come after the answer: resources that were applied and turn out to be unusable.

use tokio::sync::mpsc;

use super::Rejected;

/// Says later what became of resources that a handler has applied, such as of a module that had to
/// be fetched first. Clones speak for the same client.
///
/// What is refused is told to every server until it is accepted, or until the resource is replaced
/// or removed: then it has not been refused yet. A refusal must be sent before a handler applies
/// the next version of its resource, or else it counts for that.
#[derive(Clone, Debug)]
pub struct Refusals(mpsc::UnboundedSender<Verdict>);

/// What became of a resource.
#[derive(Debug)]
pub(super) enum Verdict {
    Accepted {
        type_url: String,
        name: String,
    },
    Refused {
        type_url: String,
        rejected: Rejected,
    },
}

/// A handle, and where the client hears what it is told.
pub(super) fn channel() -> (Refusals, mpsc::UnboundedReceiver<Verdict>) {
    // Unbounded because whoever speaks must not wait; a verdict follows a resource that was
    // received, so no more come than responses bring.
    let (told, heard) = mpsc::unbounded_channel();
    (Refusals(told), heard)
}

impl Refusals {
    /// A handle of no client: what is said to it is heard by nobody.
    pub fn unheard() -> Self {
        channel().0
    }

    /// Refuses a resource. One that the client does not hold any more is not spoken of.
    pub fn refuse(&self, type_url: &str, name: &str, reason: impl Into<String>) {
        let rejected = Rejected {
            name: name.to_owned(),
            reason: reason.into(),
        };
        self.send(Verdict::Refused {
            type_url: type_url.to_owned(),
            rejected,
        });
    }

    /// Takes a refusal back, if there is one.
    pub fn accept(&self, type_url: &str, name: &str) {
        self.send(Verdict::Accepted {
            type_url: type_url.to_owned(),
            name: name.to_owned(),
        });
    }

    fn send(&self, verdict: Verdict) {
        // Without a client there is nobody to tell.
        let _ = self.0.send(verdict);
    }
}
