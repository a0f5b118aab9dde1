//! Values with variables, such as `%{request.header.x-user} from %{source.address}`.
//!
//! | variable | what it is |
//! |---|---|
//! | `request.header.NAME`, `response.header.NAME` | the first value of a header |
//! | `request.method`, `request.host`, `request.scheme`, `request.id` | of the request |
//! | `request.path`, `request.query`, `request.target` | path, query, and both as they came |
//! | `request.query.NAME` | the first value of a query parameter |
//! | `response.status` | the status, in responses |
//! | `source.address`, `source.ip`, `destination.address` | `IP:port`, or the IP alone |
//! | `peer`, `peer.namespace`, `peer.service-account`, `peer.trust-domain` | who the connection proved to be |
//! | `route`, `upstream.address`, `plugin.name` | chosen route, chosen endpoint, this plugin |
//! | `time`, `time.unix` | now, as RFC 3339 or in seconds |
//! | `property.A.B.C` | any property of the proxy whose value is text |
//!
//! `%{variable|text}` gives `text` where the variable is absent or empty; `%%` is a percent sign.

use crate::config::{Field, Result};
use crate::header::{is_name, is_value};
use crate::query;
use crate::stream::{Identity, Side, Stream};
use crate::time::rfc3339;

/// Text with variables.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Part {
    Literal(String),
    Variable {
        variable: Variable,
        otherwise: Option<String>,
    },
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Variable {
    Header(Side, String),
    Path,
    Query,
    QueryItem(String),
    Property(Vec<String>),
    SourceIp,
    Peer,
    PeerNamespace,
    PeerServiceAccount,
    PeerTrustDomain,
    Time,
    UnixTime,
}

impl Template {
    /// Reads a value for a header.
    ///
    /// # Errors
    /// When a variable is unknown or the text is none a header can hold.
    pub fn read(field: &Field<'_>) -> Result<Self> {
        Self::parse(field.header_value()?)
            .map_err(|why| format!("`{}` is {}; {why}", field.path(), field.json()))
    }

    /// Reads text with variables.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            literal.push_str(rest.get(..at).unwrap_or_default());
            rest = rest.get(at + 1..).unwrap_or_default();
            if let Some(after) = rest.strip_prefix('%') {
                literal.push('%');
                rest = after;
            } else if let Some(after) = rest.strip_prefix('{') {
                let (inner, after) = after
                    .split_once('}')
                    .ok_or_else(|| "allowed is a `}` after each `%{`".to_owned())?;
                rest = after;
                let (name, otherwise) = match inner.split_once('|') {
                    Some((name, otherwise)) => (name, Some(otherwise.to_owned())),
                    None => (inner, None),
                };
                if !literal.is_empty() {
                    parts.push(Part::Literal(std::mem::take(&mut literal)));
                }
                let variable = Variable::parse(name).ok_or_else(|| unknown(name))?;
                parts.push(Part::Variable {
                    variable,
                    otherwise,
                });
            } else {
                return Err("allowed after `%` is `{` for a variable, or `%` for itself".to_owned());
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self(parts))
    }

    /// Returns whether there is no variable in it.
    pub fn is_constant(&self) -> bool {
        self.0.iter().all(|part| matches!(part, Part::Literal(_)))
    }

    /// Returns the text, unless a variable without an alternative is absent, or the result is
    /// nothing a header can hold.
    pub fn render(&self, stream: &dyn Stream) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        for part in &self.0 {
            match part {
                Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Part::Variable {
                    variable,
                    otherwise,
                } => {
                    let value = variable.value(stream).filter(|value| !value.is_empty());
                    match (value, otherwise) {
                        (Some(value), _) => out.extend_from_slice(&value),
                        (None, Some(otherwise)) => out.extend_from_slice(otherwise.as_bytes()),
                        (None, None) => return None,
                    }
                }
            }
        }
        is_value(&out).then_some(out)
    }
}

fn unknown(name: &str) -> String {
    format!(
        "`%{{{name}}}` is unknown; allowed are request.header.NAME, request.query.NAME, \
         request.method|path|query|target|host|scheme|id, response.header.NAME, response.status, \
         source.address|ip, destination.address, peer, peer.namespace|service-account|trust-domain, \
         route, upstream.address, plugin.name, time, time.unix, property.A.B"
    )
}

impl Variable {
    fn parse(name: &str) -> Option<Self> {
        let header = |side, pseudo: &str| Self::Header(side, pseudo.to_owned());
        let property =
            |path: &[&str]| Self::Property(path.iter().map(ToString::to_string).collect());
        Some(match name {
            "request.method" => header(Side::Request, ":method"),
            "request.host" => header(Side::Request, ":authority"),
            "request.scheme" => header(Side::Request, ":scheme"),
            "request.target" => header(Side::Request, ":path"),
            "request.id" => header(Side::Request, "x-request-id"),
            "request.path" => Self::Path,
            "request.query" => Self::Query,
            "response.status" => header(Side::Response, ":status"),
            "source.address" => property(&["source", "address"]),
            "source.ip" => Self::SourceIp,
            "destination.address" => property(&["destination", "address"]),
            "peer" => Self::Peer,
            "peer.namespace" => Self::PeerNamespace,
            "peer.service-account" => Self::PeerServiceAccount,
            "peer.trust-domain" => Self::PeerTrustDomain,
            "route" => property(&["xds", "route_name"]),
            "upstream.address" => property(&["upstream", "address"]),
            "plugin.name" => property(&["plugin_name"]),
            "time" => Self::Time,
            "time.unix" => Self::UnixTime,
            _ => {
                let named = |prefix| name.strip_prefix(prefix);
                if let Some(name) = named("request.header.").filter(|name| is_name(name)) {
                    Self::Header(Side::Request, name.to_ascii_lowercase())
                } else if let Some(name) = named("response.header.").filter(|name| is_name(name)) {
                    Self::Header(Side::Response, name.to_ascii_lowercase())
                } else if let Some(name) = named("request.query.").filter(|name| !name.is_empty()) {
                    Self::QueryItem(name.to_owned())
                } else {
                    let path = named("property.").filter(|path| !path.is_empty())?;
                    Self::Property(path.split('.').map(str::to_owned).collect())
                }
            }
        })
    }

    fn value(&self, stream: &dyn Stream) -> Option<Vec<u8>> {
        let of_peer = |part: for<'a> fn(Identity<'a>) -> &'a str| {
            let peer = stream.peer()?;
            Identity::parse(&peer).map(|id| part(id).as_bytes().to_vec())
        };
        match self {
            Self::Header(side, name) => stream.header(*side, name),
            Self::Path => Some(query::split(&stream.target()).0.to_vec()),
            Self::Query => query::split(&stream.target()).1.map(<[u8]>::to_vec),
            Self::QueryItem(name) => {
                let target = stream.target();
                let values = query::values(query::split(&target).1?, name);
                values.into_iter().next()
            }
            Self::Property(path) => {
                let path: Vec<&str> = path.iter().map(String::as_str).collect();
                stream.text(&path).map(String::into_bytes)
            }
            Self::SourceIp => {
                let address = stream.text(&["source", "address"])?;
                Some(ip(&address).as_bytes().to_vec())
            }
            Self::Peer => stream.peer().map(String::into_bytes),
            Self::PeerNamespace => of_peer(|id| id.namespace),
            Self::PeerServiceAccount => of_peer(|id| id.service_account),
            Self::PeerTrustDomain => of_peer(|id| id.trust_domain),
            Self::Time => Some(rfc3339(stream.now()).into_bytes()),
            Self::UnixTime => Some((stream.now() / 1_000_000_000).to_string().into_bytes()),
        }
    }
}

/// Returns the IP address of `IP:port`, without the brackets of IPv6.
pub fn ip(address: &str) -> &str {
    let ip = match address.rsplit_once(':') {
        // An IPv6 address without a port has more colons and no brackets.
        Some((ip, _)) if ip.ends_with(']') || !ip.contains(':') => ip,
        _ => address,
    };
    ip.trim_start_matches('[').trim_end_matches(']')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Fake;

    fn render(text: &str, fake: &Fake) -> Option<String> {
        let rendered = Template::parse(text).unwrap().render(fake)?;
        Some(String::from_utf8(rendered).unwrap())
    }

    #[test]
    fn variables_are_filled_in() {
        let fake = Fake::get("/a/b?x=1&y=%20z")
            .with("x-user", "jo")
            .with("x-request-id", "id-1")
            .answering(":status", "201")
            .knowing("source.address", "10.0.0.1:1234")
            .knowing("xds.route_name", "r")
            .knowing("node.id", "n-1")
            .knowing(
                "connection.uri_san_peer_certificate",
                "spiffe://td/ns/shop/sa/web",
            );
        fake.now.set(1_795_299_482_000_000_000);
        for (text, expected) in [
            ("plain 100%%", "plain 100%"),
            ("<%{request.header.X-User}>", "<jo>"),
            (
                "%{request.method} %{request.path}?%{request.query}",
                "GET /a/b?x=1&y=%20z",
            ),
            ("%{request.target}", "/a/b?x=1&y=%20z"),
            ("%{request.query.y}", " z"),
            (
                "%{request.host}/%{request.id}/%{response.status}",
                "shop/id-1/201",
            ),
            (
                "%{source.address} %{source.ip} %{route} %{property.node.id}",
                "10.0.0.1:1234 10.0.0.1 r n-1",
            ),
            (
                "%{peer} %{peer.namespace} %{peer.service-account} %{peer.trust-domain}",
                "spiffe://td/ns/shop/sa/web shop web td",
            ),
            (
                "%{time} %{time.unix}",
                "2026-11-21T22:18:02.000Z 1795299482",
            ),
            (
                "%{request.header.none|nobody}%{request.query.none|}",
                "nobody",
            ),
        ] {
            assert_eq!(render(text, &fake).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_absent_makes_no_value() {
        let fake = Fake::get("/");
        for text in [
            "%{peer}",
            "a %{request.header.none}",
            "%{request.query.x}",
            "%{peer.namespace}",
        ] {
            assert_eq!(render(text, &fake), None, "{text}");
        }
    }

    #[test]
    fn what_no_header_can_hold_makes_no_value() {
        let fake = Fake::get("/?a=x%0d%0ay&b=%c3%a9");
        assert_eq!(render("%{request.query.a}", &fake), None);
        assert_eq!(render("%{request.query.b}", &fake), None);
    }

    #[test]
    fn mistakes_are_told() {
        for (text, says) in [
            ("%x", "allowed after `%` is"),
            ("100%", "allowed after `%` is"),
            ("%{peer", "allowed is a `}` after each `%{`"),
            ("%{nope}", "`%{nope}` is unknown; allowed are"),
            (
                "%{request.header.a b}",
                "`%{request.header.a b}` is unknown",
            ),
            ("%{property.}", "`%{property.}` is unknown"),
        ] {
            let error = Template::parse(text).unwrap_err();
            assert!(error.starts_with(says), "{text}: {error}");
        }
    }

    #[test]
    fn an_address_is_taken_apart() {
        for (address, expected) in [
            ("1.2.3.4:5", "1.2.3.4"),
            ("[::1]:5", "::1"),
            ("::1", "::1"),
            ("1.2.3.4", "1.2.3.4"),
        ] {
            assert_eq!(ip(address), expected);
        }
    }
}
