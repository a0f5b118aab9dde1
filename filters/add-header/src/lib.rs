//! Sets, adds and removes headers on requests and responses.
//!
//! The configuration uses the words of an `HTTPRoute` header filter:
//!
//! ```json
//! {
//!   "request":  { "set": [{ "name": "x-team", "value": "shop" }], "remove": ["x-debug"] },
//!   "response": { "add": [{ "name": "x-seen-by", "value": "waypoint" }] }
//! }
//! ```
//!
//! `set` replaces a header, `add` appends one more value, `remove` takes every value away; they
//! are applied in the order remove, set, add. No configuration means that nothing is changed.
//!
//! This file knows no proxy: it turns bytes into edits. The adapter in `guest.rs`, compiled for
//! wasm only, carries them out.

use serde::Deserialize;

#[cfg(target_family = "wasm")]
mod guest;
#[cfg(test)]
mod tests;

/// What the filter does to requests and to responses.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Edits of the request headers.
    pub request: Edits,
    /// Edits of the response headers.
    pub response: Edits,
}

/// Edits of one header map.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Edits {
    /// Headers whose value is replaced, or which are added when absent.
    pub set: Vec<Header>,
    /// Headers that get one more value.
    pub add: Vec<Header>,
    /// Names of headers that are taken away.
    pub remove: Vec<String>,
}

/// One header as it is written.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The name; case does not matter.
    pub name: String,
    /// The value; visible ASCII characters, spaces and tabs.
    pub value: String,
}

/// One step of carrying out [`Edits`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Edit<'a> {
    /// Take every value of this name away.
    Remove(&'a str),
    /// Replace the values of this name.
    Set(&'a str, &'a str),
    /// Add one more value.
    Add(&'a str, &'a str),
}

impl Config {
    /// Reads a configuration; no bytes at all mean that nothing is changed.
    ///
    /// # Errors
    /// A sentence for the log of the proxy: what is wrong, and where.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        let config: Self = serde_json::from_slice(bytes)
            .map_err(|e| format!("the configuration is not valid: {e}"))?;
        config.request.check("request")?;
        config.response.check("response")?;
        Ok(config)
    }
}

impl Edits {
    /// Returns how many edits there are.
    pub fn len(&self) -> usize {
        self.remove.len() + self.set.len() + self.add.len()
    }

    /// Returns whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Yields the edits in the order they are carried out.
    pub fn iter(&self) -> impl Iterator<Item = Edit<'_>> {
        let remove = self.remove.iter().map(|name| Edit::Remove(name));
        let set = self.set.iter().map(|h| Edit::Set(&h.name, &h.value));
        let add = self.add.iter().map(|h| Edit::Add(&h.name, &h.value));
        remove.chain(set).chain(add)
    }

    fn check(&self, of: &str) -> Result<(), String> {
        for edit in self.iter() {
            let (list, name, value) = match edit {
                Edit::Remove(name) => ("remove", name, ""),
                Edit::Set(name, value) => ("set", name, value),
                Edit::Add(name, value) => ("add", name, value),
            };
            if !is_header_name(name) {
                return Err(format!("{of}.{list}: {name:?} is not a header name"));
            }
            if !is_header_value(value) {
                return Err(format!(
                    "{of}.{list}: the value of {name:?} has characters no header can carry"
                ));
            }
        }
        Ok(())
    }
}

/// A token of RFC 9110 §5.6.2; a leading colon is allowed, as filters rewrite `:path` that way.
fn is_header_name(name: &str) -> bool {
    let token = name.strip_prefix(':').unwrap_or(name);
    !token.is_empty()
        && token
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn is_header_value(value: &str) -> bool {
    value
        .bytes()
        .all(|b| b == b'\t' || (b' '..=b'~').contains(&b))
}
