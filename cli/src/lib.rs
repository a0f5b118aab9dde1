//! The command people type.
pub mod state;
pub mod world;
