//! From the wire into the mesh's own types; the only way in.
//!
//! A message is understood whole or rejected with the field and the reason: an element that
//! cannot be read is never dropped, because dropping one can widen what a policy admits. Fields
//! and enum values we do not know are those of newer peers; they are ignored where a default is
//! harmless and rejected where it is not.

use std::net::IpAddr;

pub mod authz;
mod origin;
pub mod plugin;
pub mod policy;
pub mod route;
mod service;
#[cfg(test)]
mod tests;
mod workload;

/// Why a message cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct Rejected {
    /// Path of the field, as in the message: `addresses[1]`.
    pub field: String,
    /// What is wrong with it.
    pub why: String,
}

impl Rejected {
    /// A rejection of `field`.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a text or an error, as the caller has it"
    )]
    pub fn new(field: impl Into<String>, why: impl ToString) -> Self {
        Self {
            field: field.into(),
            why: why.to_string(),
        }
    }

    /// The same rejection, seen from the message around it.
    #[must_use]
    pub fn within(mut self, outer: impl AsRef<str>) -> Self {
        let outer = outer.as_ref();
        self.field = if self.field.is_empty() {
            outer.to_owned()
        } else {
            format!("{outer}.{}", self.field)
        };
        self
    }
}

/// Reads an address of 4 or 16 bytes.
///
/// # Errors
/// For any other length.
pub fn ip(field: &str, bytes: &[u8]) -> Result<IpAddr, Rejected> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Ok(IpAddr::from(four));
    }
    <[u8; 16]>::try_from(bytes).map(IpAddr::from).map_err(|_| {
        Rejected::new(
            field,
            format!("an address has 4 or 16 bytes, not {}", bytes.len()),
        )
    })
}

/// Reads a port number.
///
/// # Errors
/// When it is above 65535.
pub fn port(field: &str, number: u32) -> Result<u16, Rejected> {
    u16::try_from(number).map_err(|_| Rejected::new(field, format!("{number} is no port number")))
}
