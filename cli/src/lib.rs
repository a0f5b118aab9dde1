//! The command people type.
//!
//! `cairn up` builds a whole mesh on this machine: [`world`] makes the network, [`runner`] plays
//! the parts of Kubernetes that start processes, and the products (control, ztunnel, waypoint) run
//! inside as processes of this same binary. [`state`] says where a mesh keeps what must outlive
//! the runner, [`command`] holds one module per thing a person can type, [`sample`] is the small
//! shop a mesh without manifests runs, and [`filter`] is for people who write filters.
//!
//! Must never hold: decisions about traffic (they are `mesh`'s), translation of objects (that is
//! `control`'s). Only [`print`] writes to the terminal.

pub mod command;
pub mod filter;
pub mod local_api;
pub mod print;
pub mod runner;
pub mod sample;
pub mod state;
pub mod world;
