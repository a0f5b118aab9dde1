//! Hosts: case-insensitive, and with any port unless the policy names one.

use std::borrow::Cow;

use super::{InvalidPattern, StringMatch};

/// How the host of a request must look.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostMatch {
    /// Lower case.
    pattern: StringMatch,
    /// The pattern names a port, so the request's port counts.
    with_port: bool,
}

impl HostMatch {
    /// Reads a host of a policy.
    ///
    /// # Errors
    /// When it is empty or has a misplaced `*`.
    pub fn parse(value: &str) -> Result<Self, InvalidPattern> {
        let value = value.to_ascii_lowercase();
        let value = value.strip_suffix('.').unwrap_or(&value);
        let behind_literal = value.rsplit(']').next().unwrap_or(value);
        let with_port = behind_literal.bytes().filter(|byte| *byte == b':').count() == 1;
        Ok(Self {
            pattern: StringMatch::strict(value)?,
            with_port,
        })
    }

    /// The pattern, as it is compared.
    pub fn pattern(&self) -> &StringMatch {
        &self.pattern
    }

    /// Whether a request's host looks like this.
    pub fn matches(&self, host: &str) -> bool {
        let (name, port) = split_port(host);
        let name = name.strip_suffix('.').unwrap_or(name);
        // Almost every host is lower case already.
        let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        };
        match port {
            Some(port) if self.with_port => {
                self.pattern.matches(format!("{name}:{port}").as_bytes())
            }
            _ => self.pattern.matches(name.as_bytes()),
        }
    }
}

/// Splits `host:port`; an IPv6 literal keeps its brackets, an empty port is none.
fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit())
                && (!name.contains(':') || name.ends_with(']')) =>
        {
            (name, (!port.is_empty()).then_some(port))
        }
        _ => (host, None),
    }
}
