//! Bytes through an HTTP/2 CONNECT tunnel, both ends, over any `AsyncRead + AsyncWrite`.
//!
//! A peer opens one HTTP/2 connection and asks, stream by stream, for tunnels to an [`Authority`].
//! [`server::Connection`] answers such requests, [`client::Connection`] makes them, and
//! [`pool::Pool`] keeps client connections warm. All end in a [`Tunnel`]: one stream carrying
//! bytes both ways, with a half-close in each direction. [`copy::bidirectional`] joins a tunnel
//! with a socket (or with another tunnel) without copying payloads in user space.
//!
//! ```text
//!  io (TLS, made by the caller) ─ server::accept ─► Connection::next ─► Connect ─ accept ─► Tunnel
//!  io (TLS, made by the caller) ◄─ pool::Pool ◄─ ConnectRequest                              │
//!        └────────────────────────────► Tunnel ◄──────────── copy::bidirectional ────────────┘
//! ```
//!
//! Invariants, mostly absences: nothing here opens a socket, speaks TLS, looks a workload up or
//! names a metric. Types on the client side are `!Send`: a connection lives and dies on one
//! worker, so its bookkeeping is `Cell`s, and no borrow is held across an await. Nothing is
//! spawned either: futures that must run in the background are handed to the caller
//! ([`client::Driver`], [`pool::Spawn`]).
//!
//! Tests run over `tokio::io::duplex` against plain `h2` peers and raw frames, in both roles.

pub mod authority;
pub mod client;
pub mod copy;
pub mod headers;
pub mod pool;
pub mod server;
pub mod settings;
pub mod tunnel;

mod keepalive;
#[cfg(test)]
mod testing;

pub use authority::Authority;
pub use settings::Settings;
pub use tunnel::Tunnel;
