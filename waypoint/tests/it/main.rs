//! The whole waypoint in one process: a real authority and a real xDS server on loopback, TLS and
//! HBONE in, endpoints at addresses of 127.0.0.0/8.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod authority;
mod backend;
mod client;
mod control;
mod mesh;

mod balancing;
mod configuration;
mod fairness;
mod guests;
mod holding;
mod lifecycle;
mod modules;
mod opaque;
mod plugins;
mod policy;
mod requests;
mod retries;
mod routing;
mod smuggling;
mod upgrades;
