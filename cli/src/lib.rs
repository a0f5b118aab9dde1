//! The command people type.
pub mod local_api;
pub mod runner;
pub mod state;
pub mod world;
