//! Claims and the headers they go to.

use std::fmt::Write as _;

use kit::config::{Field, Result};
use kit::header::is_value;
use kit::json::{Json, write_text};

/// One claim and its header.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    path: Vec<String>,
    pub(crate) header: String,
    separator: String,
    pub(crate) required: bool,
    as_json: bool,
}

/// Headers the request is made of; a token must not write them.
const RESERVED: [&str; 6] = [
    "connection",
    "content-length",
    "host",
    "te",
    "transfer-encoding",
    "upgrade",
];

impl Claim {
    pub(crate) fn read(field: &Field<'_>) -> Result<Self> {
        let mut object = field.object()?;
        let claim = object.need("claim")?;
        // A name with dots in it, such as a URL, is written as a list of one.
        let path = match claim.json() {
            Json::List(_) => {
                let names = claim.list()?;
                names
                    .iter()
                    .map(|name| name.some_text().map(str::to_owned))
                    .collect::<Result<Vec<_>>>()?
            }
            _ => claim.some_text()?.split('.').map(str::to_owned).collect(),
        };
        if path.is_empty() || path.iter().any(String::is_empty) {
            return Err(claim.wrong(
                "a name such as \"sub\", a path such as \"realm.roles\", or a list of names",
            ));
        }
        let name = object.need("header")?;
        let header = name.header_name()?;
        if RESERVED.contains(&header.as_str()) {
            return Err(name.wrong("a header that has no meaning for the proxy"));
        }
        let claim = Self {
            path,
            header,
            separator: object
                .get_or("separator", ",", Field::header_value)?
                .to_owned(),
            required: object.get_or("required", false, Field::flag)?,
            as_json: object.get_or("format", false, |field| {
                field.one_of(&[("text", false), ("json", true)])
            })?,
        };
        object.finish()?;
        Ok(claim)
    }

    /// Returns what goes into the header: text, numbers and flags as they are, lists of them joined.
    /// `None` when the claim is absent, is something else, or is nothing a header can hold.
    pub(crate) fn value(&self, payload: &Json) -> Option<String> {
        let mut found = payload;
        for name in &self.path {
            found = found.get(name)?;
        }
        let value = if self.as_json {
            ascii(found)
        } else {
            match found {
                Json::List(items) => {
                    let items: Option<Vec<String>> = items.iter().map(scalar).collect();
                    let items = items?;
                    // An item with the separator in it would be read as two.
                    let ambiguous = items.iter().any(|item| {
                        self.separator.is_empty() || item.contains(self.separator.as_str())
                    });
                    if ambiguous {
                        return None;
                    }
                    items.join(&self.separator)
                }
                single => scalar(single)?,
            }
        };
        is_value(value.as_bytes()).then_some(value)
    }
}

fn scalar(json: &Json) -> Option<String> {
    match json {
        Json::Text(text) => Some(text.clone()),
        Json::Number(number) => Some(number.clone()),
        Json::Bool(flag) => Some(flag.to_string()),
        Json::Null | Json::List(_) | Json::Object(_) => None,
    }
}

/// Writes JSON with nothing but ASCII in it.
fn ascii(json: &Json) -> String {
    let mut bytes = Vec::new();
    match json {
        Json::Text(text) => write_text(text, &mut bytes),
        other => other.write(&mut bytes),
    }
    let mut out = String::new();
    for c in String::from_utf8_lossy(&bytes).chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}
