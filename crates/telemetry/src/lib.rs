//! Names, labels and formats an operator sees: metric families, access log lines, the words for
//! response flags.
//!
//! Must never hold decisions or HTTP bodies. Everything here is an interface: dashboards, Kiali
//! and people's scripts read it, so a name changes only with a release note.
//!
//! A [`tcp::TcpMetrics`] is registered once per process. What a connection counts is looked up
//! once, when its labels are known, and held as handles ([`tcp::Handles`]): counting a byte is an
//! atomic addition, never a lookup.

pub mod access;
pub mod build;
pub mod dns;
pub mod histogram;
pub mod http;
pub mod label;
pub mod span;
pub mod tcp;
pub mod wasm;
pub mod xds;

pub use label::Label;
