//! What the mesh *is* and what it *decides*: identities, workloads, services, policies, routes,
//! the indices over them, and the pure functions that choose between them.
//!
//! Must never hold tokio, hyper, rustls, kube, a clock, a socket, or randomness that was not
//! passed in. A decision is returned with the object that made it, so that `explain`, logs,
//! metrics and status all read the same value.
//!
//! * [`store::Store`] is the immutable index of workloads, services and L4 policies that proxies
//!   look things up in; it is replaced, never changed under a reader.
//! * [`store::Store::next_hop`] is the whole of "where does this connection go".
//! * [`convert`] is the only way in from the wire: what it cannot understand it rejects by name.

pub mod address;
pub mod authz;
pub mod balance;
pub mod convert;
#[cfg(test)]
mod fixtures;
pub mod origin;
pub mod path;
pub mod plugin;
pub mod request;
pub mod route;
pub mod service;
pub mod spiffe;
pub mod store;
pub mod workload;

/// A shared, immutable string. Names of the mesh are held once and pointed to from everywhere.
pub type Str = std::sync::Arc<str>;
