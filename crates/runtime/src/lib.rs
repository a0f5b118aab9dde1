//! How a process starts, reports ready, can be inspected, and drains.
//!
//! Must never hold anything about traffic.
//!
//! * [`Workers`] are the threads that serve traffic; [`TaskSet`] and [`LocalTasks`] own every
//!   task there is.
//! * [`drain`] tells all of them to finish; [`readiness`] says whether the process can serve.
//! * [`report`] is how an error is told to an operator.

pub mod drain;
mod error;
pub mod log;
pub mod readiness;
pub mod tasks;
pub mod workers;

pub use drain::Drain;
pub use error::report;
pub use readiness::{Gates, Readiness};
pub use tasks::{LocalTasks, TaskSet};
pub use workers::Workers;
