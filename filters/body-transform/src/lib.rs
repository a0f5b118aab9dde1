//! Changes JSON and text in the bodies of requests and responses.
//!
//! ```json
//! {
//!   "response": {
//!     "when": { "path": [{ "prefix": "/users" }] },
//!     "json": [
//!       { "redact": "/**/password" },
//!       { "remove": "/items/*/internal" },
//!       { "rename": "/user/mail", "to": "email" },
//!       { "set": "/served-by", "value": "%{plugin.name}" }
//!     ]
//!   },
//!   "request": { "text": [{ "find": "http://", "replace": "https://" }], "mode": "streamed" }
//! }
//! ```
//!
//! What cannot be read (too large, compressed, not JSON) is refused unless the configuration says
//! `pass`, because whoever redacts relies on it. A body that is not changed is passed on byte by
//! byte. `docs/guide/filters/body-transform.md` describes every field.

#[cfg(target_family = "wasm")]
mod guest;
mod operation;
mod pointer;
#[cfg(test)]
mod tests;
mod text;
mod work;

use kit::config::{Field, Object, Result, parse};
use kit::header::media_type;
use kit::status::{self, Statuses};
use kit::{Side, Stream, When};

use operation::Operation;
use text::Replacements;
pub use work::{Step, Work};

/// Bytes of a body the filter holds unless told otherwise.
const MAX_BYTES: u32 = 64 << 10;
/// JSON is not larger: the tree of the worst there is has to be built, changed and taken down within
/// the ten milliseconds of a callback.
const LARGEST_JSON: u32 = 128 << 10;
/// The host takes no larger body from a guest at once.
const LARGEST: u32 = 1 << 20;

/// What the filter does.
#[derive(Clone, Debug)]
pub struct Config {
    /// With bodies of requests.
    pub request: Option<Transform>,
    /// With bodies of responses.
    pub response: Option<Transform>,
}

/// What is done with the bodies of one side.
#[derive(Clone, Debug)]
pub struct Transform {
    side: Side,
    when: When,
    statuses: Statuses,
    types: Vec<String>,
    json: Vec<Operation>,
    text: Replacements,
    streamed: bool,
    max_bytes: usize,
    too_large: Policy,
    unreadable: Policy,
}

/// What happens to a body the filter cannot work on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Policy {
    Reject,
    Pass,
}

/// An answer instead of a body that cannot be worked on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// The status.
    pub status: u32,
    /// The body, and the line in the log.
    pub why: &'static str,
}

/// What is to be done with a message, seen from its headers.
#[derive(Debug)]
pub enum Begin {
    /// Nothing.
    Pass,
    /// Its body is worked on.
    Work(Work),
    /// It is refused.
    Refuse(Refusal),
}

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    /// The field that is wrong and what is allowed there.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let json = parse(bytes)?;
        let mut root = Object::root(&json)?;
        let read = |field: Option<Field<'_>>, side| {
            field.map(|field| Transform::read(&field, side)).transpose()
        };
        let config = Self {
            request: read(root.get("request"), Side::Request)?,
            response: read(root.get("response"), Side::Response)?,
        };
        if config.request.is_none() && config.response.is_none() {
            return Err(root.wrong("changes nothing; it needs `request` or `response`"));
        }
        root.finish()?;
        Ok(config)
    }
}

impl Transform {
    fn read(field: &Field<'_>, side: Side) -> Result<Self> {
        let mut object = field.object()?;
        let policy =
            |field: &Field<'_>| field.one_of(&[("reject", Policy::Reject), ("pass", Policy::Pass)]);
        let statuses = match side {
            Side::Request => Statuses::default(),
            Side::Response => object.get_or("status", Statuses::default(), Statuses::read)?,
        };
        let json = object.each("json", Operation::read)?;
        let text = Replacements::read(&mut object)?;
        let types = match object.get("contentTypes") {
            Some(field) => field
                .list()?
                .iter()
                .map(content_type)
                .collect::<Result<_>>()?,
            None if json.is_empty() => vec!["text/*".to_owned()],
            None => vec!["application/json".to_owned(), "*+json".to_owned()],
        };
        let transform = Self {
            side,
            when: object.get_or("when", When::default(), When::read)?,
            statuses,
            types,
            streamed: object.get_or("mode", false, |field| {
                field.one_of(&[("buffered", false), ("streamed", true)])
            })?,
            max_bytes: object.get_or("maxBytes", MAX_BYTES, |field| {
                field.whole(
                    1,
                    if json.is_empty() {
                        LARGEST
                    } else {
                        LARGEST_JSON
                    },
                )
            })? as usize,
            too_large: object.get_or("tooLarge", Policy::Reject, policy)?,
            unreadable: object.get_or("unreadable", Policy::Reject, policy)?,
            json,
            text,
        };
        if transform.json.is_empty() && transform.text.is_empty() {
            return Err(object.wrong("changes nothing; it needs `json` or `text`"));
        }
        if transform.streamed && !transform.json.is_empty() {
            return Err(format!(
                "`{}.mode` is \"streamed\"; allowed with `json` is \"buffered\", as JSON has to be there as a whole",
                field.path()
            ));
        }
        object.finish()?;
        Ok(transform)
    }

    /// Returns whether a request is concerned, to be asked while it is as it came.
    pub fn concerns(&self, stream: &dyn Stream) -> bool {
        self.when.holds(stream)
    }

    /// Keeps the service from answering in a form this filter could not read.
    pub fn ask_plainly(stream: &dyn Stream) {
        for name in ["accept-encoding", "range", "if-range"] {
            stream.remove(Side::Request, name);
        }
    }

    /// Decides from the headers of a message that has a body. If the body is worked on, takes away
    /// what was said about it: its length, and what was computed from its bytes.
    pub fn begin(&self, stream: &dyn Stream) -> Begin {
        let header = |name| stream.header(self.side, name);
        let kind = media_type(&header("content-type").unwrap_or_default());
        let status = match self.side {
            Side::Request => None,
            Side::Response => status::of(stream),
        };
        let wanted =
            self.statuses.is_empty() || status.is_some_and(|status| self.statuses.contain(status));
        if !wanted || !self.types.iter().any(|wanted| is_type(wanted, &kind)) {
            return Begin::Pass;
        }
        let encoded = header("content-encoding")
            .is_some_and(|encoding| !encoding.trim_ascii().eq_ignore_ascii_case(b"identity"));
        if encoded || status == Some(206) {
            return match self.unreadable {
                Policy::Pass => Begin::Pass,
                Policy::Reject if encoded => {
                    Begin::Refuse(self.refusal(415, "the body is compressed"))
                }
                Policy::Reject => Begin::Refuse(self.refusal(415, "the body is a part of one")),
            };
        }
        if !self.streamed && declared(header("content-length")) > self.max_bytes {
            return match self.too_large {
                Policy::Pass => Begin::Pass,
                Policy::Reject => Begin::Refuse(self.refusal(413, "the body is too large")),
            };
        }
        for name in [
            "content-length",
            "content-md5",
            "digest",
            "content-digest",
            "repr-digest",
        ] {
            stream.remove(self.side, name);
        }
        if self.side == Side::Response {
            stream.remove(self.side, "etag");
            stream.remove(self.side, "accept-ranges");
        }
        Begin::Work(Work::default())
    }

    /// What the caller is told: whose fault it is depends on who sent the body.
    fn refusal(&self, status: u32, why: &'static str) -> Refusal {
        let status = match self.side {
            Side::Request => status,
            Side::Response => 502,
        };
        Refusal { status, why }
    }
}

/// Reads `type/subtype`, `type/*` or `*+suffix`.
fn content_type(field: &Field<'_>) -> Result<String> {
    let text = field.some_text()?;
    let good = match text.strip_prefix("*+") {
        Some(suffix) => !suffix.is_empty() && !suffix.contains('/'),
        None => text.split('/').filter(|part| !part.is_empty()).count() == 2,
    };
    if !good || text.contains(';') || text.starts_with("*/") {
        return Err(field.wrong("a media type, \"text/*\" or \"*+json\""));
    }
    Ok(text.to_ascii_lowercase())
}

fn is_type(wanted: &str, kind: &str) -> bool {
    if let Some(suffix) = wanted.strip_prefix('*') {
        return kind.ends_with(suffix);
    }
    match wanted.strip_suffix('*') {
        Some(prefix) => kind.starts_with(prefix),
        None => kind == wanted,
    }
}

fn declared(length: Option<Vec<u8>>) -> usize {
    let text = length.and_then(|length| String::from_utf8(length).ok());
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}
