//! Why an identity could not be obtained.

use std::path::PathBuf;

use mesh::spiffe::SpiffeId;

use crate::Refused;

/// Why a key, a certificate or a way to the certificate authority could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address of the control plane is not one we dial.
    #[error("`{address}` is no address of a control plane: {reason}")]
    Address {
        /// As configured.
        address: String,
        /// What is wrong with it, and what is wanted.
        reason: &'static str,
    },
    /// The authority refused or could not be reached.
    #[error("the certificate authority did not sign a certificate for {id}")]
    Authority {
        /// For whom.
        id: SpiffeId,
        /// What it answered.
        source: Box<tonic::Status>,
    },
    /// A certificate of the chain is not what it should be.
    #[error("the certificate the authority sent for {id} is unusable: {reason}")]
    Certificate {
        /// For whom.
        id: SpiffeId,
        /// What is wrong with it.
        reason: String,
    },
    /// The authority certified someone else.
    #[error("the certificate authority answered the request for {wanted} with {got}")]
    Identity {
        /// Who was asked for.
        wanted: SpiffeId,
        /// Who was certified.
        got: SpiffeId,
    },
    /// No key could be made.
    #[error("no private key could be made: the system gave no randomness")]
    Key,
    /// The leaf certifies another key.
    #[error("the certificate belongs to another key")]
    KeyMismatch {
        /// As rustls found it.
        source: rustls::Error,
    },
    /// The leaf would be refused by every peer.
    #[error("the certificate the authority sent for {id} is not one a workload can present")]
    Leaf {
        /// For whom.
        id: SpiffeId,
        /// The rule it breaks.
        source: Refused,
    },
    /// The chain has no root bundle.
    #[error("the certificate authority answered for {id} without a root certificate")]
    NoRoots {
        /// For whom.
        id: SpiffeId,
    },
    /// The signing request could not be written.
    #[error("no signing request could be written for {id}")]
    Request {
        /// For whom.
        id: SpiffeId,
        /// What the encoder said.
        source: rcgen::Error,
    },
    /// The roots that vouch for the control plane cannot be read.
    #[error("the roots of the control plane in {path} cannot be used: {reason}")]
    Roots {
        /// Where they should be.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The authority did not answer in time.
    #[error("the certificate authority did not answer for {id} within {seconds} s")]
    Timeout {
        /// For whom.
        id: SpiffeId,
        /// How long we waited.
        seconds: u64,
    },
    /// The bearer token cannot be had.
    #[error("the token for the control plane cannot be used: {reason}")]
    Token {
        /// Where it should be, and why it is not.
        reason: String,
    },
    /// rustls does not accept what we give it.
    #[error("no TLS configuration can be made")]
    Tls {
        /// As rustls says.
        #[from]
        source: rustls::Error,
    },
}

/// An error with its causes, as operators read it.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
