//! Answers requests for configured paths instead of passing them on.
//!
//! ```json
//! {
//!   "paths": [{ "prefix": "/admin" }, { "exact": "/metrics" }],
//!   "status": 403,
//!   "body": "not for you\n"
//! }
//! ```
//!
//! A prefix matches whole path elements, as in an `HTTPRoute`: `/admin` covers `/admin` and
//! `/admin/users`, not `/administrator`. The query is not looked at. `status` is 403 and `body`
//! is empty unless given.
//!
//! This file knows no proxy: it turns bytes into a decision. The adapter in `guest.rs`, compiled
//! for wasm only, carries it out.

use serde::Deserialize;

#[cfg(target_family = "wasm")]
mod guest;
#[cfg(test)]
mod tests;

/// Which requests are answered, and with what.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The paths that are denied.
    pub paths: Vec<Path>,
    /// The status of the answer.
    #[serde(default = "forbidden")]
    pub status: u16,
    /// The body of the answer.
    #[serde(default)]
    pub body: String,
}

/// One path, or everything below one.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    /// This path and no other.
    Exact(String),
    /// This path and those below it.
    Prefix(String),
}

fn forbidden() -> u16 {
    403
}

impl Config {
    /// Reads a configuration.
    ///
    /// A configuration that denies nothing is an error, because whoever wrote it believes to be
    /// protected.
    ///
    /// # Errors
    /// A sentence for the log of the proxy: what is wrong, and where.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.trim_ascii().is_empty() {
            return Err("there is no configuration: `paths` must name what is denied".to_owned());
        }
        let config: Self = serde_json::from_slice(bytes)
            .map_err(|e| format!("the configuration is not valid: {e}"))?;
        if config.paths.is_empty() {
            return Err("`paths` is empty: name what is denied".to_owned());
        }
        if let Some(path) = config.paths.iter().find(|p| !p.text().starts_with('/')) {
            return Err(format!(
                "`paths`: {:?} does not begin with `/`",
                path.text()
            ));
        }
        if !(200..=599).contains(&config.status) {
            return Err(format!(
                "`status`: {} is not between 200 and 599",
                config.status
            ));
        }
        Ok(config)
    }

    /// Returns the entry that denies a request for `target` (a `:path`: path and query), if any.
    ///
    /// The target is taken as bytes, because nothing says that a client sends UTF-8.
    pub fn denies(&self, target: &[u8]) -> Option<&Path> {
        let path = target.split(|b| *b == b'?').next().unwrap_or_default();
        self.paths.iter().find(|p| p.matches(path))
    }
}

impl Path {
    /// Returns the path as it was written.
    pub fn text(&self) -> &str {
        match self {
            Self::Exact(text) | Self::Prefix(text) => text,
        }
    }

    fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => path == exact.as_bytes(),
            Self::Prefix(prefix) => {
                let prefix = prefix.strip_suffix('/').unwrap_or(prefix).as_bytes();
                path.strip_prefix(prefix)
                    .is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
            }
        }
    }
}
