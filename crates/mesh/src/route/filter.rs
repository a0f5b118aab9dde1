//! What a rule does to a request or its answer: header edits, rewrites, redirects.

use serde::Serialize;

use super::PathMatch;
use crate::Str;

/// One filter.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Filter {
    /// Edits request headers.
    RequestHeaders(HeaderEdits),
    /// Edits response headers.
    ResponseHeaders(HeaderEdits),
    /// Changes what the backend is asked for.
    UrlRewrite(UrlRewrite),
    /// Answers with another address.
    Redirect(Redirect),
    /// Runs a plugin, by the name of its resource.
    Plugin(Str),
}

/// Header edits, in this order: set, add, remove. Names are valid, lower case and none that
/// frames or routes the message.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct HeaderEdits {
    /// Replaces all values.
    pub set: Vec<(Str, Str)>,
    /// Adds a value.
    pub add: Vec<(Str, Str)>,
    /// Removes all values.
    pub remove: Vec<Str>,
}

/// A new path.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub enum PathModifier {
    /// Instead of the whole path.
    ReplaceFull(Str),
    /// Instead of the prefix that matched.
    ReplacePrefix(Str),
}

impl PathModifier {
    /// The path after the change; `matched` is what the rule matched the path by.
    ///
    /// Never empty, and never joined by two slashes.
    pub fn apply(&self, path: &str, matched: &PathMatch) -> String {
        match self {
            Self::ReplaceFull(full) if full.starts_with('/') => full.to_string(),
            Self::ReplaceFull(full) => format!("/{full}"),
            Self::ReplacePrefix(with) => {
                // A rule with this filter has prefix matches only; a missing one is `/`.
                let prefix = match matched {
                    PathMatch::Prefix(prefix) => prefix.strip_suffix('/').unwrap_or(prefix),
                    PathMatch::Exact(_) | PathMatch::Regex(_) => "",
                };
                let rest = path.strip_prefix(prefix).unwrap_or(path);
                let with = with.strip_suffix('/').unwrap_or(with);
                let slash = if with.is_empty() || with.starts_with('/') {
                    ""
                } else {
                    "/"
                };
                let path = format!("{slash}{with}{rest}");
                if path.is_empty() {
                    "/".to_owned()
                } else {
                    path
                }
            }
        }
    }
}

/// A change of what the backend is asked for.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct UrlRewrite {
    /// New host.
    pub hostname: Option<Str>,
    /// New path.
    pub path: Option<PathModifier>,
}

/// An answer that names another address.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Redirect {
    /// New scheme.
    pub scheme: Option<Str>,
    /// New host.
    pub hostname: Option<Str>,
    /// New port.
    pub port: Option<u16>,
    /// New path.
    pub path: Option<PathModifier>,
    /// Status of the answer.
    pub status: u16,
}

/// What a request asked for.
#[derive(Clone, Copy, Debug)]
pub struct RequestTarget<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Host, with a port if the client wrote one.
    pub host: &'a str,
    /// Path, without the query.
    pub path: &'a str,
    /// Query, without the `?`.
    pub query: Option<&'a str>,
    /// Port the request came in on: in a mesh, the port of the service.
    pub port: u16,
}

impl Redirect {
    /// The address to send the client to.
    ///
    /// The port is the filter's, else the well-known one of the filter's scheme, else the one
    /// the request came in on; it is left out where the scheme implies it.
    pub fn location(&self, target: &RequestTarget<'_>, matched: &PathMatch) -> String {
        let scheme = self.scheme.as_deref().unwrap_or(target.scheme);
        let well_known = match scheme {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        let port = self
            .port
            .or(self.scheme.as_ref().and(well_known))
            .unwrap_or(target.port);
        let host = self
            .hostname
            .as_deref()
            .unwrap_or_else(|| without_port(target.host));
        let path = match &self.path {
            Some(modifier) => modifier.apply(target.path, matched),
            None => target.path.to_owned(),
        };
        let mut location = format!("{scheme}://{host}");
        if Some(port) != well_known {
            location.push(':');
            location.push_str(&port.to_string());
        }
        location.push_str(&path);
        if let Some(query) = target.query {
            location.push('?');
            location.push_str(query);
        }
        location
    }
}

/// The host without its port; an IPv6 literal keeps its brackets.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if !name.is_empty()
                && port.bytes().all(|byte| byte.is_ascii_digit())
                && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        _ => host,
    }
}
