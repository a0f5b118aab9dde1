//! The proxy-wasm host against Envoy's: the same modules and requests through both, and what came
//! of it compared. `conformance/wasm/build.sh` makes what this needs.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop"
)]

mod cairn;
mod cases;
mod client;
mod envoy;
mod hostile;
mod oracle;
mod outside;
mod server;
mod world;
