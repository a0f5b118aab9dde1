//! How a process obtains, renews and presents its SPIFFE identity, and how it checks a peer's.
//!
//! Must never hold policy (who may do what) nor know Kubernetes.
//!
//! * [`Keyring`] keeps a certificate per identity and renews it; a [`CertSource`] is the narrow
//!   view of one identity that listeners and pools hold.
//! * [`Certified`] is one certificate with its key and roots, and the rustls configurations made
//!   from them once.
//! * [`handshake`] opens mutual TLS both ways and answers with the peer's identity.
//! * [`CaClient`] and [`channel`] reach the control plane, which is checked by DNS name.
//!
//! Invariants: a private key has no serialised form; TLS is 1.3 with `h2` only; a peer presents
//! exactly one SPIFFE ID; nothing here falls back to less than mutual TLS. There is one crypto
//! provider, [`crypto::provider`], handed to every configuration explicitly.
//!
//! Tested by real handshakes in memory with certificates made at test time, and with a scripted
//! authority under paused time.

pub mod ca;
pub mod certified;
pub mod channel;
pub mod credentials;
pub mod crypto;
pub mod handshake;
pub mod key;
pub mod keyring;
pub mod verify;

mod error;
pub mod pem;

#[cfg(test)]
mod test_authority;
#[cfg(test)]
mod test_control_plane;

pub use ca::CaClient;
pub use certified::Certified;
pub use credentials::{Credentials, Token};
pub use error::Error;
pub use key::PrivateKey;
pub use keyring::{CertSource, Fetcher, Keyring};
pub use verify::{Refused, peer_identity};
