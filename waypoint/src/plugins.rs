//! Users' code on the path of requests.
//!
//! `fetch` gets modules and compiles them, on the control thread; `vms` keeps a running instance
//! of each on every worker; `attach` runs them on a request, in order; `bridge` shows them the
//! request. What happens when a plugin cannot run is its own `failStrategy`, whatever the cause:
//! no module, a bad one, a guest that traps or takes too long.

mod attach;
mod bridge;
pub(crate) mod fetch;
mod vms;

pub(crate) use attach::{Chain, Flow, request, response};
pub(crate) use vms::Vms;
