//! Where a key stands in a request.

use kit::config::{Field, Result};
use kit::{Side, Stream, query};

/// One place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// A header, with a word before the key if there is a scheme.
    Header {
        /// Its name.
        name: String,
        /// Such as `ApiKey` in `authorization: ApiKey KEY`.
        scheme: Option<String>,
    },
    /// A parameter of the query string.
    Query(String),
    /// A cookie.
    Cookie(String),
}

impl Default for Place {
    fn default() -> Self {
        Self::Header {
            name: "x-api-key".to_owned(),
            scheme: None,
        }
    }
}

impl Place {
    pub(crate) fn read(field: &Field<'_>) -> Result<Self> {
        let mut object = field.object()?;
        let (header, query, cookie) = (
            object.get("header"),
            object.get("query"),
            object.get("cookie"),
        );
        let place = match (header, query, cookie) {
            (Some(header), None, None) => Self::Header {
                name: header.header_name()?,
                scheme: object
                    .get("scheme")
                    .map(|field| field.header_name().map(|_| field))
                    .transpose()?
                    .and_then(|field| field.json().text().map(str::to_owned)),
            },
            (None, Some(query), None) => Self::Query(query.some_text()?.to_owned()),
            (None, None, Some(cookie)) => {
                cookie.header_name()?;
                Self::Cookie(cookie.text()?.to_owned())
            }
            _ => return Err(field.wrong("an object with one of header, query, cookie")),
        };
        object.finish()?;
        Ok(place)
    }

    /// Returns every key that stands here.
    pub(crate) fn find(&self, stream: &dyn Stream) -> Vec<Vec<u8>> {
        match self {
            Self::Header { name, scheme: None } => trimmed(stream.values(Side::Request, name)),
            Self::Header {
                name,
                scheme: Some(scheme),
            } => {
                let values = stream.values(Side::Request, name).into_iter();
                trimmed(
                    values
                        .filter_map(|value| after_scheme(&value, scheme))
                        .collect(),
                )
            }
            Self::Query(name) => {
                let target = stream.target();
                query::split(&target)
                    .1
                    .map_or_else(Vec::new, |query| query::values(query, name))
            }
            Self::Cookie(name) => {
                let headers = stream.values(Side::Request, "cookie");
                let found = headers
                    .iter()
                    .flat_map(|header| query::cookies(header, name));
                found.map(<[u8]>::to_vec).collect()
            }
        }
    }

    /// Takes the key away.
    pub(crate) fn strip(&self, stream: &dyn Stream) {
        match self {
            Self::Header { name, scheme: None } => stream.remove(Side::Request, name),
            Self::Header {
                name,
                scheme: Some(scheme),
            } => {
                let values = stream.values(Side::Request, name);
                if values
                    .iter()
                    .any(|value| after_scheme(value, scheme).is_some())
                {
                    stream.remove(Side::Request, name);
                    for other in values
                        .iter()
                        .filter(|value| after_scheme(value, scheme).is_none())
                    {
                        stream.add(Side::Request, name, other);
                    }
                }
            }
            Self::Query(name) => {
                if let Some(target) = query::without(&stream.target(), name) {
                    stream.set(Side::Request, ":path", &target);
                }
            }
            Self::Cookie(name) => strip_cookie(name, stream),
        }
    }
}

fn strip_cookie(name: &str, stream: &dyn Stream) {
    let headers = stream.values(Side::Request, "cookie");
    if headers
        .iter()
        .all(|header| query::without_cookie(header, name).is_none())
    {
        return;
    }
    stream.remove(Side::Request, "cookie");
    for header in headers {
        let left = query::without_cookie(&header, name).unwrap_or(header);
        if !left.is_empty() {
            stream.add(Side::Request, "cookie", &left);
        }
    }
}

fn trimmed(values: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    values
        .into_iter()
        .map(|value| value.trim_ascii().to_vec())
        .collect()
}

/// Returns what follows the scheme, whose case does not matter.
fn after_scheme(value: &[u8], scheme: &str) -> Option<Vec<u8>> {
    let (word, rest) = value.split_at_checked(scheme.len())?;
    let rest = rest.strip_prefix(b" ")?;
    word.eq_ignore_ascii_case(scheme.as_bytes())
        .then(|| rest.to_vec())
}
