//! The mesh's certificate authority: whose key it signs, and how it knows.
//!
//! * [`Authority`] signs keys; it is given a root or intermediate, or makes a root of its own.
//! * [`TokenReviewer`] says whose token one is: [`LocalTokens`] for the tokens control itself
//!   issues to the pods of one machine, the API server's TokenReview in a cluster.
//! * [`CaService`] is Istio's gRPC service. It certifies the caller, or, for the account of a node
//!   proxy, a pod that runs on the caller's node. Refusals say nothing; the log has the reason.
//!
//! Nothing of a signing request counts but its key: names, usages and lifetimes are ours to set.

mod authority;
mod impersonation;
mod limits;
mod pods;
pub(crate) mod request;
mod service;
mod storage;
mod tokens;

#[cfg(test)]
pub(crate) mod fixture;

pub use authority::{Authority, AuthorityError, ServerCertificate, Validity};
pub use limits::RateLimits;
pub use pods::{Pod, PodLookup};
pub use request::Unsignable;
pub use service::{CaService, CaSettings};
pub use tokens::{
    AUDIENCE, Authenticated, BearerToken, InvalidServiceAccount, LocalTokens, PodRef, Refused,
    ServiceAccount, Subject, TOKEN_LIFETIME, Token, TokenError, TokenReviewer,
};
