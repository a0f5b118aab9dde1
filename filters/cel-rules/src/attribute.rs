//! What expressions can ask about a request; named as Envoy names its attributes, where it has them.

use std::rc::Rc;

use kit::stream::Identity;
use kit::template::ip;
use kit::{Side, Stream, query};

use crate::value::Val;

/// How an attribute is found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Source {
    Header(&'static str),
    Path,
    Query,
    Headers,
    QueryItems,
    Text(&'static [&'static str]),
    Ip(&'static [&'static str]),
    Number(&'static [&'static str]),
    Flag(&'static [&'static str]),
    Peer,
    PeerPart(Part),
}

/// A part of an identity.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Part {
    Namespace,
    ServiceAccount,
    TrustDomain,
}

/// Every attribute and how it is found.
pub(crate) const ATTRIBUTES: [(&str, Source); 30] = [
    (
        "connection.dns_san_peer_certificate",
        Source::Text(&["connection", "dns_san_peer_certificate"]),
    ),
    ("connection.mtls", Source::Flag(&["connection", "mtls"])),
    (
        "connection.requested_server_name",
        Source::Text(&["connection", "requested_server_name"]),
    ),
    (
        "connection.subject_peer_certificate",
        Source::Text(&["connection", "subject_peer_certificate"]),
    ),
    (
        "connection.tls_version",
        Source::Text(&["connection", "tls_version"]),
    ),
    ("connection.uri_san_peer_certificate", Source::Peer),
    (
        "destination.address",
        Source::Text(&["destination", "address"]),
    ),
    ("destination.ip", Source::Ip(&["destination", "address"])),
    ("destination.port", Source::Number(&["destination", "port"])),
    ("peer.id", Source::Peer),
    ("peer.namespace", Source::PeerPart(Part::Namespace)),
    (
        "peer.service_account",
        Source::PeerPart(Part::ServiceAccount),
    ),
    ("peer.trust_domain", Source::PeerPart(Part::TrustDomain)),
    ("plugin_name", Source::Text(&["plugin_name"])),
    ("request.headers", Source::Headers),
    ("request.host", Source::Header(":authority")),
    ("request.id", Source::Header("x-request-id")),
    ("request.method", Source::Header(":method")),
    ("request.path", Source::Header(":path")),
    ("request.protocol", Source::Text(&["request", "protocol"])),
    ("request.query", Source::Query),
    ("request.query_params", Source::QueryItems),
    ("request.referer", Source::Header("referer")),
    ("request.scheme", Source::Header(":scheme")),
    ("request.url_path", Source::Path),
    ("request.useragent", Source::Header("user-agent")),
    ("source.address", Source::Text(&["source", "address"])),
    ("source.ip", Source::Ip(&["source", "address"])),
    ("source.port", Source::Number(&["source", "port"])),
    ("xds.route_name", Source::Text(&["xds", "route_name"])),
];

/// Finds an attribute by its name.
pub(crate) fn find(name: &str) -> Option<usize> {
    ATTRIBUTES.iter().position(|(n, _)| *n == name)
}

/// Returns whether this is the beginning of names of attributes.
pub(crate) fn is_prefix(name: &str) -> bool {
    ATTRIBUTES.iter().any(|(n, _)| {
        n.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('.'))
    })
}

/// Returns the value of an attribute; `None` when it is absent.
pub(crate) fn value(attribute: usize, stream: &dyn Stream) -> Option<Val> {
    let (_, source) = ATTRIBUTES.get(attribute)?;
    match source {
        Source::Header(name) => stream.header(Side::Request, name).map(lossy),
        Source::Path => Some(lossy(query::split(&stream.target()).0.to_vec())),
        Source::Query => query::split(&stream.target())
            .1
            .map(|query| lossy(query.to_vec())),
        Source::Headers => Some(headers(stream)),
        Source::QueryItems => Some(query_items(stream)),
        Source::Text(path) => stream.text(path).map(|text| Val::text(&text)),
        Source::Ip(path) => stream.text(path).map(|text| Val::text(ip(&text))),
        Source::Number(path) => stream.number(path).map(Val::Int),
        Source::Flag(path) => stream.property(path).map(|bytes| Val::Bool(bytes == [1])),
        Source::Peer => stream.peer().map(|peer| Val::text(&peer)),
        Source::PeerPart(part) => {
            let peer = stream.peer()?;
            let identity = Identity::parse(&peer)?;
            Some(Val::text(match part {
                Part::Namespace => identity.namespace,
                Part::ServiceAccount => identity.service_account,
                Part::TrustDomain => identity.trust_domain,
            }))
        }
    }
}

/// What stands for an absent attribute, so that rules need not ask first.
pub(crate) fn absent(attribute: usize) -> Val {
    match ATTRIBUTES.get(attribute).map(|(_, source)| source) {
        Some(Source::Number(_)) => Val::Int(0),
        Some(Source::Flag(_)) => Val::Bool(false),
        _ => Val::text(""),
    }
}

/// Returns every value of a header, joined as Envoy joins them.
pub(crate) fn header(stream: &dyn Stream, name: &str) -> Option<Val> {
    let values = stream.values(Side::Request, name);
    (!values.is_empty()).then(|| lossy(values.join(&b","[..])))
}

fn headers(stream: &dyn Stream) -> Val {
    let mut joined: Vec<(String, Vec<u8>)> = Vec::new();
    for (name, value) in stream.headers(Side::Request) {
        match joined.iter_mut().find(|(n, _)| *n == name) {
            Some((_, values)) => {
                values.push(b',');
                values.extend_from_slice(&value);
            }
            None => joined.push((name, value)),
        }
    }
    let entries = joined
        .into_iter()
        .map(|(name, value)| (Val::text(&name), lossy(value)));
    Val::Map(Rc::new(entries.collect()))
}

/// The first value of each parameter.
fn query_items(stream: &dyn Stream) -> Val {
    let target = stream.target();
    let query = query::split(&target).1.unwrap_or_default();
    let mut entries: Vec<(Val, Val)> = Vec::new();
    for (name, value) in query::pairs(query) {
        let name = lossy(name);
        if !entries.iter().any(|(n, _)| n.equals(&name)) {
            entries.push((name, lossy(value)));
        }
    }
    Val::Map(Rc::new(entries))
}

fn lossy(bytes: Vec<u8>) -> Val {
    match String::from_utf8(bytes) {
        Ok(text) => Val::text(&text),
        Err(bytes) => Val::text(&String::from_utf8_lossy(bytes.as_bytes())),
    }
}
