//! The single tests a policy is made of, and the grammar of their values.
//!
//! `abc` is exact, `abc*` a prefix, `*abc` a suffix, `*` anything that is not empty; in namespaces
//! a `*` may stand anywhere. Wildcards
//! are compared as strings; no regular expression is ever built from a user's text.

use std::sync::Arc;

use ipnet::IpNet;

use super::Attributes;
use crate::Str;
use crate::request::{Headers, Request};
use crate::spiffe::SpiffeId;

mod host;
mod path;

pub use host::HostMatch;
pub use path::{PathMatch, PathTemplate};

/// One condition: an attribute and the values it may, or must not, have.
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    /// The attribute and its values.
    pub attribute: Attribute,
    /// No value may match, instead of any.
    pub negated: bool,
}

impl Test {
    /// Whether the condition holds. A missing attribute has no value: nothing matches it.
    pub fn passes(&self, attributes: &Attributes<'_>) -> bool {
        self.attribute.any(attributes) != self.negated
    }
}

/// An attribute and values of which any is meant.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// Identity of the peer without `spiffe://`.
    Principal(Vec<StringMatch>),
    /// Namespace of the peer.
    Namespace(Vec<StringMatch>),
    /// Service account of the peer, in any trust domain.
    ServiceAccount(Vec<ServiceAccount>),
    /// Trust domain of the peer.
    TrustDomain(Vec<StringMatch>),
    /// Address of the peer.
    SourceIp(Vec<IpNet>),
    /// Address of the original client.
    RemoteIp(Vec<IpNet>),
    /// Address asked for.
    DestinationIp(Vec<IpNet>),
    /// Port asked for.
    DestinationPort(Vec<u16>),
    /// Server name in the client's TLS.
    Sni(Vec<StringMatch>),
    /// Host of the request.
    Host(Vec<HostMatch>),
    /// Method of the request.
    Method(Vec<StringMatch>),
    /// Path of the request, normalised and without the query.
    Path(Vec<PathMatch>),
    /// A header of the request.
    Header(Str, Vec<StringMatch>),
    /// Something a validated token says, by the condition's key. Without token validation no
    /// request has it.
    Token(Str, Vec<StringMatch>),
}

impl Attribute {
    /// Whether it belongs to HTTP requests alone.
    pub fn is_http(&self) -> bool {
        match self {
            Self::Host(_)
            | Self::Method(_)
            | Self::Path(_)
            | Self::Header(..)
            | Self::Token(..) => true,
            Self::Principal(_)
            | Self::Namespace(_)
            | Self::ServiceAccount(_)
            | Self::TrustDomain(_)
            | Self::SourceIp(_)
            | Self::RemoteIp(_)
            | Self::DestinationIp(_)
            | Self::DestinationPort(_)
            | Self::Sni(_) => false,
        }
    }

    /// Whether any value matches.
    fn any(&self, attributes: &Attributes<'_>) -> bool {
        let peer = attributes.peer;
        match self {
            Self::Principal(values) => any(values, peer.map(SpiffeId::principal)),
            Self::Namespace(values) => any(values, peer.and_then(|id| id.namespace())),
            Self::TrustDomain(values) => any(values, peer.map(SpiffeId::trust_domain)),
            Self::ServiceAccount(values) => {
                peer.is_some_and(|id| values.iter().any(|value| value.matches(id)))
            }
            Self::SourceIp(blocks) => contains(blocks, Some(attributes.source_ip)),
            Self::RemoteIp(blocks) => contains(blocks, Some(attributes.remote_ip)),
            Self::DestinationIp(blocks) => contains(blocks, attributes.destination_ip),
            Self::DestinationPort(ports) => ports.contains(&attributes.destination_port),
            Self::Sni(values) => any(values, attributes.sni),
            Self::Host(_)
            | Self::Method(_)
            | Self::Path(_)
            | Self::Header(..)
            | Self::Token(..) => attributes
                .http
                .as_ref()
                .is_some_and(|request| self.any_of(request)),
        }
    }

    fn any_of(&self, request: &Request<'_>) -> bool {
        match self {
            Self::Host(values) => values.iter().any(|value| value.matches(request.host)),
            Self::Method(values) => any(values, Some(request.method)),
            Self::Path(values) => values.iter().any(|value| value.matches(request.path)),
            Self::Header(name, values) => header_matches(name, values, request),
            _ => false,
        }
    }
}

fn any(values: &[StringMatch], found: Option<&str>) -> bool {
    found.is_some_and(|found| values.iter().any(|value| value.matches(found.as_bytes())))
}

fn contains(blocks: &[IpNet], ip: Option<std::net::IpAddr>) -> bool {
    ip.is_some_and(|ip| blocks.iter().any(|block| block.contains(&ip)))
}

/// Header fields that are lists by definition: each element counts as a value of its own.
const LISTS: [&str; 15] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "connection",
    "content-encoding",
    "content-language",
    "forwarded",
    "if-match",
    "if-none-match",
    "pragma",
    "transfer-encoding",
    "via",
    "x-forwarded-for",
];

/// Whether any value of a header matches: each line alone, all of them joined, and in a header
/// that is a list each element. Only the joined text would let a second line hide the first
/// (CVE-2026-26308).
fn header_matches(name: &str, values: &[StringMatch], request: &Request<'_>) -> bool {
    let matches = |found: &[u8]| values.iter().any(|value| value.matches(found));
    match name {
        ":method" => return matches(request.method.as_bytes()),
        ":authority" | "host" => return matches(request.host.as_bytes()),
        ":path" => {
            return match request.query {
                None => matches(request.path.as_bytes()),
                Some(query) => matches(format!("{}?{query}", request.path).as_bytes()),
            };
        }
        _ => {}
    }
    let headers: &dyn Headers = request.headers;
    let lines = headers.values(name);
    let is_list = || LISTS.iter().any(|list| list.eq_ignore_ascii_case(name));
    let element_matches = |line: &&[u8]| {
        line.split(|byte| *byte == b',')
            .any(|part| matches(part.trim_ascii()))
    };
    lines.iter().any(|line| matches(line))
        || (lines.len() > 1 && matches(&lines.join(&b","[..])))
        || (is_list() && lines.iter().any(element_matches))
}

/// A service account of any trust domain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServiceAccount {
    /// Namespace.
    pub namespace: Str,
    /// Name.
    pub name: Str,
}

impl ServiceAccount {
    fn matches(&self, id: &SpiffeId) -> bool {
        id.namespace() == Some(&self.namespace) && id.service_account() == Some(&self.name)
    }
}

/// How a string must look. Case-sensitive.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StringMatch {
    /// Equal.
    Exact(Str),
    /// Begins with.
    Prefix(Str),
    /// Ends with.
    Suffix(Str),
    /// Not empty.
    Presence,
    /// The parts in this order, with anything in between: the first begins it, the last ends it.
    Parts(Arc<[Str]>),
}

/// A value that is not of the grammar.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{value}` {reason}")]
pub struct InvalidPattern {
    pub(super) value: Str,
    pub(super) reason: &'static str,
}

impl InvalidPattern {
    pub(crate) fn new(value: &str, reason: &'static str) -> Self {
        Self {
            value: value.into(),
            reason,
        }
    }
}

impl StringMatch {
    /// Reads a value in which a `*` other than at one end stands for itself.
    pub fn lenient(value: &str) -> Self {
        if value == "*" {
            Self::Presence
        } else if let Some(rest) = value.strip_prefix('*') {
            Self::Suffix(rest.into())
        } else if let Some(rest) = value.strip_suffix('*') {
            Self::Prefix(rest.into())
        } else {
            Self::Exact(value.into())
        }
    }

    /// Reads a value of an attribute that never holds a `*`.
    ///
    /// # Errors
    /// When it is empty, or has a `*` in the middle or at both ends: read literally, it would
    /// match nothing, and a DENY would silently do nothing.
    pub fn strict(value: &str) -> Result<Self, InvalidPattern> {
        if value.is_empty() {
            return Err(InvalidPattern::new(value, "is empty"));
        }
        let stars = value.bytes().filter(|byte| *byte == b'*').count();
        let at_one_end = value.starts_with('*') || value.ends_with('*');
        if stars > 1 || (stars == 1 && !at_one_end) {
            let reason = "has a `*` that is not its only one, or not at one end";
            return Err(InvalidPattern::new(value, reason));
        }
        Ok(Self::lenient(value))
    }

    /// Reads a value in which any `*` stands for anything, as in a list of namespaces.
    ///
    /// # Errors
    /// When it is empty.
    pub fn wild(value: &str) -> Result<Self, InvalidPattern> {
        Self::strict(value).or_else(|invalid| {
            if value.is_empty() {
                return Err(invalid);
            }
            Ok(Self::Parts(value.split('*').map(Str::from).collect()))
        })
    }

    /// Whether `text` looks like this.
    pub fn matches(&self, text: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => text == exact.as_bytes(),
            Self::Prefix(prefix) => text.starts_with(prefix.as_bytes()),
            Self::Suffix(suffix) => text.ends_with(suffix.as_bytes()),
            Self::Presence => !text.is_empty(),
            Self::Parts(parts) => has_parts(text, parts),
        }
    }
}

/// Whether `text` is made of `parts` with anything between them. Taking each part where it comes
/// first leaves the most room for those that follow.
fn has_parts(text: &[u8], parts: &[Str]) -> bool {
    let [first, middle @ .., last] = parts else {
        return parts.iter().all(|only| text == only.as_bytes());
    };
    let rest = text
        .strip_prefix(first.as_bytes())
        .and_then(|rest| rest.strip_suffix(last.as_bytes()));
    let Some(mut rest) = rest else { return false };
    for part in middle.iter().filter(|part| !part.is_empty()) {
        let at = rest
            .windows(part.len())
            .position(|window| window == part.as_bytes());
        match at.and_then(|at| rest.get(at + part.len()..)) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    true
}
