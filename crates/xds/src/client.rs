//! The subscribing side.
//!
//! [`Client`] is the one future that keeps a stream open; [`Subscriptions`] is the protocol it
//! follows; a [`Handler`] turns bytes into state. What the client holds survives the stream, so
//! that after a reconnect only differences travel, and survives the server: while it is away the
//! last good resources stay in force.
//!
//! What becomes of a resource may be known only after its response was answered. [`Refusals`] says
//! so later, and takes it back. What becomes of a plugin is a longer story: [`Reports`] is where it
//! is told, and [`Reporter`] carries it to the server on a stream of its own.

mod backoff;
mod decode;
mod driver;
mod late;
mod reports;
mod subscriptions;

pub use backoff::{Backoff, Jitter, system_jitter};
pub use decode::{Decoded, decode};
pub use driver::{Client, Observer, Termination, Transport};
pub use late::Refusals;
pub use reports::{PluginReport, Reporter, Reports, Stage};
pub use subscriptions::{Interest, Received, Subscriptions, Watch};

use std::fmt;

use bytes::Bytes;

/// Any error of a transport; only shown, never branched on.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// One change to apply.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Update {
    /// The resource is new, or replaces the one of this name entirely.
    Put(Resource),
    /// The resource of this name is gone.
    Remove(String),
}

/// One resource as it came from the wire; its bytes are not decoded yet, and not shown: they may
/// hold a secret.
#[derive(Clone, Eq, PartialEq)]
pub struct Resource {
    /// The primary name.
    pub name: String,
    /// Other names it can be asked for by; empty on wildcard subscriptions.
    pub aliases: Vec<String>,
    /// What the server calls this content; may be empty (istiod's policies have none).
    pub version: String,
    /// The encoded message.
    pub bytes: Bytes,
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource")
            .field("name", &self.name)
            .field("aliases", &self.aliases)
            .field("version", &self.version)
            .field("length", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

/// A resource that could not be used, and why; travels back to the server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rejected {
    /// The resource's name.
    pub name: String,
    /// Field and reason, in words for the author of the object behind it.
    pub reason: String,
}

/// Turns updates of one type into the process' state.
pub trait Handler {
    /// Applies all updates of one response, removals first, and returns those it cannot use.
    ///
    /// Called once per response, so readers must see either none or all of it. What is returned
    /// as rejected must have left the last good value of that name in force.
    fn apply(&mut self, type_url: &str, updates: Vec<Update>) -> Vec<Rejected>;
}

impl<F: FnMut(&str, Vec<Update>) -> Vec<Rejected>> Handler for F {
    fn apply(&mut self, type_url: &str, updates: Vec<Update>) -> Vec<Rejected> {
        self(type_url, updates)
    }
}
