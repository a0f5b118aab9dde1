//! What a person who writes a filter does all day: begin, build, look into, try, measure, publish.
//!
//! The proxy that filters are tried in is the waypoint itself ([`waypoint::local`]), so what holds
//! here holds in a mesh. Nothing here needs privileges, a container or a network but loopback.

pub mod bench;
pub mod build;
pub mod case;
pub mod client;
pub mod compare;
pub mod inspect;
pub mod log;
pub mod project;
pub mod proxy;
pub mod run;
pub mod server;
pub mod suite;
pub mod templates;
pub mod toolchain;
pub mod watch;

use sha2::{Digest as _, Sha256};

/// The SHA-256 of bytes in hexadecimal.
fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}
