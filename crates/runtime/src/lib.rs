//! How a process starts, reports ready, can be inspected, and drains.
//!
//! Must never hold anything about traffic.
//!
//! * [`Workers`] are the threads that serve traffic; [`TaskSet`] and [`LocalTasks`] own every
//!   task there is.
//! * [`drain`] tells all of them to finish, [`signals`] when; [`readiness`] says whether the
//!   process can serve.
//! * [`admin`] shows all of it over HTTP; [`log`] writes it down.
//! * [`report`] is how an error is told to an operator.
//!
//! Invariants: nothing but [`tasks`] spawns; nothing here runs on the path of a request except
//! handing a finished line to [`log::AccessLog`]; the environment is not read.

pub mod admin;
pub mod drain;
mod error;
pub mod log;
pub mod process;
pub mod readiness;
pub mod signals;
pub mod size_budget;
pub mod tasks;
pub mod workers;

pub use drain::Drain;
pub use error::report;
pub use process::raise_open_file_limit;
pub use readiness::{Gates, Readiness};
pub use tasks::{LocalTasks, TaskSet};
pub use workers::Workers;
