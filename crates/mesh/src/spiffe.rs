//! SPIFFE identities: who a workload is.
//!
//! Syntax is checked by the `spiffe` crate (SPIFFE-ID standard); this module adds what the mesh
//! reads out of the path, `/ns/<namespace>/sa/<service account>`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::Str;

#[cfg(test)]
mod tests;

/// The trust domain a mesh has unless told otherwise.
pub const DEFAULT_TRUST_DOMAIN: &str = "cluster.local";

/// Longest SPIFFE ID (SPIFFE-ID standard §2.3).
const MAX_LEN: usize = 2048;
/// Longest trust domain (SPIFFE-ID standard §2.1).
const MAX_TRUST_DOMAIN: usize = 255;

/// A validated SPIFFE ID. Cloning shares the text.
///
/// An identity outside the mesh's `/ns/…/sa/…` form is valid and authenticates its bearer, but it
/// has no [`namespace`](Self::namespace) and no [`service_account`](Self::service_account): only
/// rules on the whole principal can match it.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SpiffeId(Arc<Parts>);

#[derive(Eq, Hash, Ord, PartialEq, PartialOrd)]
struct Parts {
    uri: Box<str>,
    trust_domain: Box<str>,
    workload: Option<(Box<str>, Box<str>)>,
}

/// Why a text is not a SPIFFE ID.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{text}` is no SPIFFE ID: {reason}")]
pub struct InvalidSpiffeId {
    text: Str,
    reason: Str,
}

impl SpiffeId {
    /// The identity of a service account.
    ///
    /// # Errors
    /// When a part holds a character no SPIFFE ID may hold.
    pub fn workload(
        trust_domain: &str,
        namespace: &str,
        service_account: &str,
    ) -> Result<Self, InvalidSpiffeId> {
        format!("spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}").parse()
    }

    /// The whole identity, `spiffe://…`.
    pub fn as_str(&self) -> &str {
        &self.0.uri
    }

    /// The identity as policies write it: without the scheme.
    pub fn principal(&self) -> &str {
        self.0.uri.strip_prefix("spiffe://").unwrap_or(&self.0.uri)
    }

    /// The trust domain, in lower case.
    pub fn trust_domain(&self) -> &str {
        &self.0.trust_domain
    }

    /// The namespace, when the identity has the mesh's form.
    pub fn namespace(&self) -> Option<&str> {
        self.0.workload.as_ref().map(|(namespace, _)| &**namespace)
    }

    /// The service account, when the identity has the mesh's form.
    pub fn service_account(&self) -> Option<&str> {
        self.0
            .workload
            .as_ref()
            .map(|(_, service_account)| &**service_account)
    }
}

impl FromStr for SpiffeId {
    type Err = InvalidSpiffeId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |reason: String| InvalidSpiffeId {
            text: text.into(),
            reason: reason.into(),
        };
        if text.len() > MAX_LEN {
            // Not repeated: whoever sends this wants it in a log.
            return Err(InvalidSpiffeId {
                text: "…".into(),
                reason: format!("it is longer than {MAX_LEN} bytes").into(),
            });
        }
        let id = spiffe::SpiffeId::new(text).map_err(|error| invalid(error.to_string()))?;
        if id.trust_domain().as_str().len() > MAX_TRUST_DOMAIN {
            return Err(invalid(format!(
                "its trust domain is longer than {MAX_TRUST_DOMAIN} bytes"
            )));
        }
        let mut segments = id.path().split('/');
        let workload = match (
            segments.next(),
            segments.next(),
            segments.next(),
            segments.next(),
            segments.next(),
            segments.next(),
        ) {
            (Some(""), Some("ns"), Some(namespace), Some("sa"), Some(account), None) => {
                Some((namespace.into(), account.into()))
            }
            _ => None,
        };
        Ok(Self(Arc::new(Parts {
            uri: id.to_string().into(),
            trust_domain: id.trust_domain().to_string().into(),
            workload,
        })))
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for SpiffeId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
