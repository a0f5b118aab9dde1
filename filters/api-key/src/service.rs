//! The service that knows keys, and what its answers mean.

use kit::config::{Field, Result};
use kit::header::is_value;
use kit::json::{Json, Keys, parse};

use crate::{Hash, hex};

/// Where keys are asked about.
#[derive(Clone, Debug)]
pub struct Service {
    /// The service, as the proxy names it.
    pub upstream: String,
    /// The `:authority` of the call.
    pub host: String,
    /// The `:path` of the call.
    pub path: String,
    /// Milliseconds a call may take.
    pub timeout: u32,
    /// Seconds a good key is remembered.
    pub cache: u32,
    /// Seconds a bad key is remembered.
    pub cache_denied: u32,
    send_key: bool,
    header: String,
}

/// What the service said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The key is good, and whose it is.
    Known(String),
    /// The key is not good.
    Unknown,
    /// Nobody knows; not to be remembered.
    Failed,
}

impl Service {
    pub(crate) fn read(field: &Field<'_>) -> Result<Self> {
        let mut object = field.object()?;
        let path = |field: &Field<'_>| {
            let path = field.header_value()?;
            if path.starts_with('/') {
                Ok(path.to_owned())
            } else {
                Err(field.wrong("a path that begins with `/`"))
            }
        };
        let send_key = object.get_or("send", false, |field| {
            field.one_of(&[("sha256", false), ("key", true)])
        })?;
        let default = if send_key {
            "x-api-key"
        } else {
            "x-api-key-sha256"
        };
        let service = Self {
            upstream: object.need("upstream")?.some_text()?.to_owned(),
            host: object.need("host")?.some_text()?.to_owned(),
            path: object.get_or("path", "/".to_owned(), path)?,
            timeout: object.get_or("timeoutMilliseconds", 1000, |field| field.whole(10, 30_000))?,
            cache: object.get_or("cacheSeconds", 30, |field| field.whole(0, 3600))?,
            cache_denied: object.get_or("cacheDeniedSeconds", 5, |field| field.whole(0, 3600))?,
            header: object.get_or("header", default.to_owned(), Field::header_name)?,
            send_key,
        };
        object.finish()?;
        Ok(service)
    }

    /// Returns the header that tells the service the key or its hash; none if the key cannot stand
    /// in a header, as no key does that somebody was given.
    pub fn question<'a>(&'a self, key: &[u8], hash: &Hash) -> Option<(&'a str, String)> {
        let value = if self.send_key {
            String::from_utf8(key.to_vec())
                .ok()
                .filter(|key| is_value(key.as_bytes()))?
        } else {
            hex(hash)
        };
        Some((&self.header, value))
    }

    /// Reads an answer: 200 is a good key, and a JSON body may name whose; 401, 403 and 404 are
    /// none; all else is a failure.
    pub fn verdict(status: &[u8], body: &[u8]) -> Verdict {
        match status {
            b"200" => {
                let json = parse(body, Keys::Unique).ok();
                let id = json
                    .as_ref()
                    .and_then(|json| json.get("id"))
                    .and_then(Json::text);
                match id {
                    Some(id) if !is_value(id.as_bytes()) || id.len() > 256 => Verdict::Failed,
                    id => Verdict::Known(id.unwrap_or_default().to_owned()),
                }
            }
            b"401" | b"403" | b"404" => Verdict::Unknown,
            _ => Verdict::Failed,
        }
    }
}
