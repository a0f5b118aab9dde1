//! Users' code on the path of requests.
//!
//! `fetch` gets modules and compiles them, on the control thread; `vms` keeps a running instance
//! of each on every worker, with its `surroundings`; `turns` keeps a busy one from filling the
//! worker; `standing` is what the control
//! plane hears of them; `attach` runs them on the heads of a request
//! and its answer, in order, and `filtered` on their bodies (`held`
//! counts what they hold back of those), `network` on
//! the bytes of a connection; `exchange` is what they share meanwhile,
//! `bridge`, `away` and `properties` are what they see of it; `callout` and `grpc` carry out their calls to
//! other services. What happens when a plugin cannot run is its own `failStrategy`, whatever the
//! cause: no module, a bad one, a guest that traps or takes too long.

mod attach;
mod away;
mod bridge;
mod callout;
mod exchange;
pub(crate) mod fetch;
mod filtered;
mod grpc;
mod held;
pub(crate) mod network;
mod node;
mod properties;
mod standing;
mod surroundings;
mod turns;
mod vms;

pub(crate) use attach::{Chain, Flow, concluded, length, one, request, response};
pub(crate) use callout::Reach;
pub(crate) use filtered::Filtered;
pub(crate) use held::Allowance;
pub(crate) use node::NodeFacts;
pub(crate) use standing::Standings;
pub(crate) use turns::Visit;
pub(crate) use vms::Vms;
