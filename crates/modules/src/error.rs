//! Why a module cannot be had.

/// What was being done when it failed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Phase {
    /// Finding the address of a host, and deciding whether it may be called.
    Resolve,
    /// Opening a connection, TLS included, and getting an answer.
    Connect,
    /// Proving to a registry who asks.
    Authenticate,
    /// Reading the manifest of an image.
    Manifest,
    /// Reading the bytes of a module or of a layer.
    Blob,
    /// Comparing digests.
    Verify,
    /// Finding the module in what was read.
    Unpack,
    /// Publishing.
    Upload,
}

/// A module that cannot be had, or published.
///
/// Its text names what was asked for, without anything secret in it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{subject}: {why}")]
pub struct Error {
    /// What was being done.
    pub phase: Phase,
    /// Whether the same request may succeed in a moment.
    pub is_retryable: bool,
    /// What was asked for.
    subject: String,
    why: String,
}

/// What a step of a fetch returns.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure that another try does not change.
    pub(crate) fn new(phase: Phase, why: impl Into<String>) -> Self {
        Self {
            phase,
            is_retryable: false,
            subject: String::new(),
            why: why.into(),
        }
    }

    /// A failure that may have passed in a moment.
    pub(crate) fn passing(phase: Phase, why: impl Into<String>) -> Self {
        Self {
            is_retryable: true,
            ..Self::new(phase, why)
        }
    }

    /// Says what was asked for, unless that is known.
    pub(crate) fn of(mut self, subject: &impl ToString) -> Self {
        if self.subject.is_empty() {
            self.subject = subject.to_string();
        }
        self
    }

    /// Adds to the text.
    pub(crate) fn and(mut self, more: &str) -> Self {
        self.why.push_str(more);
        self
    }

    /// The text without what was asked for.
    pub fn why(&self) -> &str {
        &self.why
    }
}

impl Phase {
    /// Its name, for metrics and status.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Authenticate => "authenticate",
            Self::Manifest => "manifest",
            Self::Blob => "blob",
            Self::Verify => "verify",
            Self::Unpack => "unpack",
            Self::Upload => "upload",
        }
    }
}
