//! `cairn` on a real kernel: namespaces, links, rules and processes.
//!
//! These tests need root. Without it each says so and passes; `REQUIRE_ROOT=1` makes that a
//! failure. Every test has a mesh of its own, which goes with it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop"
)]

mod command;
mod filter;
mod runner;
mod sample;
mod support;
mod world;
