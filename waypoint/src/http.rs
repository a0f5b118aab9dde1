//! The path of one request, in the order a reader should take.
//!
//! `server` speaks HTTP on a tunnel and makes a [`context`] for each request; `pipeline` is the
//! order of the stages; then `sanitize`, `authz`, `route`, `retry` and `upstream`, each one
//! question. What fails is an [`error`], which `respond` words, and nothing else does; `report`
//! tells the operator when the last byte has left.

pub(crate) mod authz;
pub(crate) mod body;
pub(crate) mod context;
pub(crate) mod error;
pub(crate) mod framing;
pub(crate) mod head;
pub(crate) mod pipeline;
pub(crate) mod report;
pub(crate) mod respond;
pub(crate) mod retry;
pub(crate) mod route;
pub(crate) mod sanitize;
pub(crate) mod server;
pub(crate) mod upgrade;
pub(crate) mod upstream;
