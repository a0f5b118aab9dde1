//! The promises of a whole mesh, each tested by its name: real processes in real namespaces,
//! real `curl`. Needs root and the release binary of `cairn`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop"
)]

mod by_hand;
mod changes;
mod failure;
mod hbone;
mod identity;
mod places;
mod plugin_status;
mod plugins;
mod redirection;
mod registry;
mod sample;
mod surface;
mod tls;
mod traffic;
mod wire;
mod world;
mod ztunnel;
