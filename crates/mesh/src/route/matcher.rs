//! Whether a request matches: paths, methods, headers, query parameters.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use regex::bytes::Regex;
use serde::{Serialize, Serializer};

use crate::Str;
use crate::request::{Headers, Request};

/// All of the fields.
#[derive(Clone, Debug, Serialize)]
pub struct Match {
    /// How the path looks.
    pub path: PathMatch,
    /// The method, if it matters.
    pub method: Option<Str>,
    /// Headers, all of them.
    pub headers: Vec<ValueMatch>,
    /// Query parameters, all of them.
    pub query: Vec<ValueMatch>,
}

impl Default for Match {
    /// What a rule without matches means: every path.
    fn default() -> Self {
        Self {
            path: PathMatch::Prefix("/".into()),
            method: None,
            headers: vec![],
            query: vec![],
        }
    }
}

impl Match {
    /// Whether every field matches.
    pub fn matches(&self, request: &Request<'_>) -> bool {
        self.path.matches(request.path) && self.first_mismatch(request).is_none()
    }

    /// The first field other than the path that does not match.
    pub(super) fn first_mismatch(&self, request: &Request<'_>) -> Option<&str> {
        if self
            .method
            .as_deref()
            .is_some_and(|method| method != request.method)
        {
            return Some("method");
        }
        let headers: &dyn Headers = request.headers;
        let header = self.headers.iter().find(|wanted| {
            let found = match &*wanted.name {
                // Taken out of the headers, because HTTP/2 has it elsewhere.
                "host" => Some(Cow::Borrowed(request.host.as_bytes())),
                name => headers.joined(name),
            };
            !found.is_some_and(|found| wanted.value.matches(&found))
        });
        if let Some(header) = header {
            return Some(&header.name);
        }
        let parameter = self.query.iter().find(|wanted| {
            let found = request
                .query
                .and_then(|query| query_value(query, &wanted.name));
            !found.is_some_and(|found| wanted.value.matches(&found))
        });
        parameter.map(|parameter| &*parameter.name)
    }
}

/// The first value of a query parameter, decoded; names are compared decoded too.
fn query_value<'q>(query: &'q str, name: &str) -> Option<Cow<'q, [u8]>> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let key: Cow<'_, [u8]> = percent_decode_str(key).into();
        (*key == *name.as_bytes()).then(|| percent_decode_str(value).into())
    })
}

/// How a path must look.
#[derive(Clone, Debug, Serialize)]
pub enum PathMatch {
    /// Byte for byte.
    Exact(Str),
    /// By elements: `/abc` covers `/abc`, `/abc/` and `/abc/def`, not `/abcd`.
    Prefix(Str),
    /// The whole path, as a regular expression.
    Regex(#[serde(serialize_with = "pattern")] Regex),
}

impl PathMatch {
    /// Whether a path looks like this.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => path == &**exact,
            Self::Prefix(prefix) => {
                let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
                let rest = path.strip_prefix(prefix);
                // The root covers what is no path as well: `OPTIONS *`.
                prefix.is_empty()
                    || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::Regex(regex) => regex.is_match(path.as_bytes()),
        }
    }

    /// Length as ranked: that of what the user wrote.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Exact(text) | Self::Prefix(text) => text.chars().count(),
            Self::Regex(regex) => regex.as_str().len(),
        }
    }
}

/// A named value and how it must look.
#[derive(Clone, Debug, Serialize)]
pub struct ValueMatch {
    /// Name; of a header in lower case.
    pub name: Str,
    /// The value.
    pub value: Text,
}

/// How a value must look.
#[derive(Clone, Debug, Serialize)]
pub enum Text {
    /// Byte for byte.
    Exact(Str),
    /// All of it, as a regular expression.
    Regex(#[serde(serialize_with = "pattern")] Regex),
}

impl Text {
    fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => value == exact.as_bytes(),
            Self::Regex(regex) => regex.is_match(value),
        }
    }
}

fn pattern<S: Serializer>(regex: &Regex, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(regex.as_str())
}
