//! The delta subscription protocol, client and server, over any resource type.
//!
//! A [`client::Client`] keeps one stream open, gives every response to a [`client::Handler`] and
//! answers with an ACK or with a NACK that names each resource it could not use. A
//! [`server::Server`] serves [`server::Catalog`]s: immutable snapshots of named, versioned
//! resources, of which a stream sends only what changed since it last sent something.
//!
//! Both halves keep the protocol apart from the wire: [`client::Subscriptions`] and
//! [`server::Session`] are plain values without IO, clock or randomness, so each rule can be
//! tested, and fuzzed, by calling a function.
//!
//! Must never hold: Kubernetes, files, TLS, metric names, or knowledge of what a resource means.
//! A resource is a name, a version and bytes; a type is a URL. Nothing here spawns a task: the
//! client is one future, and a server's stream is driven by whoever polls its connection.

pub mod client;
mod node;
pub mod server;

pub use node::{Node, Role};

/// One delta response, as [`client::Subscriptions::receive`] takes it.
pub use proto::discovery::DeltaDiscoveryResponse as Response;

/// One delta request, as [`server::Session::request`] takes it.
pub use proto::discovery::DeltaDiscoveryRequest as Request;
