//! Objects in; resources, statuses, deployments and certificates out.
//!
//! Must never hold data-path code, and never talks to a proxy but through xDS and the CA.
//!
//! * [`source`] brings objects from where people write them; [`object`] keeps them as an API server
//!   does; [`kinds`] and [`admission`] know what each kind means and which rules it has.
//! * [`finding`] is how everything that is wrong with an object is said.
//! * [`api`] is what the runner and the `cairn` command ask.

pub mod admission;
pub mod api;
pub mod app;
pub mod ca;
pub mod config;
pub mod deploy;
pub mod events;
pub mod finding;
#[cfg(fuzzing)]
pub mod fuzz;
mod index;
pub mod kinds;
pub mod object;
mod pods;
pub mod readiness;
mod reconcile;
pub mod serve;
pub mod source;
pub mod status;
pub mod translate;
