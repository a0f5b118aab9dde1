//! Brings request paths to the one form that policies, routes and backends all see.
//!
//! Runs before any decision, and the result is what is forwarded: a path the backend reads
//! differently from the policy is how authorization is bypassed. Every mode is idempotent.
//! Source: Istio `meshConfig.pathNormalization`; RFC 3986 §5.2.4 and §6.2.2.

use std::borrow::Cow;

use serde::Serialize;

#[cfg(test)]
mod tests;

/// How much of a path is brought to its normal form.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Normalization {
    /// Nothing; what no path may hold is refused all the same.
    None,
    /// Dot segments are removed, `\` becomes `/`, escaped unreserved characters are decoded and
    /// the hex digits of other escapes are upper case.
    #[default]
    Base,
    /// [`Base`](Self::Base), then runs of `/` become one.
    MergeSlashes,
    /// `%2F` and `%5C` become `/`, then [`MergeSlashes`](Self::MergeSlashes).
    DecodeAndMergeSlashes,
}

impl Normalization {
    /// Reads the mode as Istio writes it; `DEFAULT` is `BASE`.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "NONE" => Some(Self::None),
            "DEFAULT" | "BASE" => Some(Self::Base),
            "MERGE_SLASHES" => Some(Self::MergeSlashes),
            "DECODE_AND_MERGE_SLASHES" => Some(Self::DecodeAndMergeSlashes),
            _ => None,
        }
    }
}

/// Why a path cannot be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidPath {
    /// It does not begin with a slash.
    #[error("the path does not begin with `/`")]
    NotAbsolute,
    /// It holds a byte no request target may hold.
    #[error("the path holds the byte {0:#04x}")]
    Byte(u8),
    /// A percent sign is not followed by two hex digits.
    #[error("the path holds a malformed percent escape")]
    Escape,
    /// It holds an escaped NUL.
    #[error("the path holds %00")]
    Nul,
}

/// Splits a request target into path and query; the query is never normalised.
pub fn split_query(target: &str) -> (&str, Option<&str>) {
    match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    }
}

/// Brings a path (without query) to its normal form.
///
/// Borrowed when nothing had to change, which one scan decides.
///
/// # Errors
/// When the path holds what no path may hold, in any mode.
pub fn normalize(path: &str, mode: Normalization) -> Result<Cow<'_, str>, InvalidPath> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(InvalidPath::NotAbsolute);
    }
    if let Some(byte) = bytes.iter().find(|byte| !allowed(**byte)) {
        return Err(InvalidPath::Byte(*byte));
    }
    if mode == Normalization::None {
        let nul = bytes.windows(3).any(|three| three == b"%00");
        return if nul {
            Err(InvalidPath::Nul)
        } else {
            Ok(Cow::Borrowed(path))
        };
    }
    let suspicious = |pair: &[u8]| matches!(pair, [b'/', b'.' | b'/']);
    let plain = !bytes.iter().any(|byte| matches!(byte, b'%' | b'\\'));
    if plain && !bytes.windows(2).any(suspicious) {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = decode(path, mode == Normalization::DecodeAndMergeSlashes)?;
    let merge = mode != Normalization::Base;
    let normal = remove_segments(&decoded, merge);
    Ok(if normal == path {
        Cow::Borrowed(path)
    } else {
        Cow::Owned(normal)
    })
}

/// Visible ASCII except `#`: RFC 3986 has no raw byte beyond, and a fragment in a request target
/// has been a bypass (CVE-2021-32779).
fn allowed(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'#'
}

/// Decodes what may be decoded, in one pass, so that no escape is decoded twice.
fn decode(path: &str, slashes: bool) -> Result<String, InvalidPath> {
    let mut out = String::with_capacity(path.len());
    let mut chars = path.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => out.push('/'),
            '%' => {
                let mut digit = || chars.next().filter(char::is_ascii_hexdigit);
                let (Some(high), Some(low)) = (digit(), digit()) else {
                    return Err(InvalidPath::Escape);
                };
                let number = |digit: char| digit.to_digit(16).unwrap_or_default();
                let value = char::from_u32(number(high) * 16 + number(low)).unwrap_or_default();
                match value {
                    '\0' => return Err(InvalidPath::Nul),
                    'A'..='Z' | 'a'..='z' | '0'..='9' | '-' | '.' | '_' | '~' => out.push(value),
                    '/' | '\\' if slashes => out.push('/'),
                    _ => {
                        out.push('%');
                        out.push(high.to_ascii_uppercase());
                        out.push(low.to_ascii_uppercase());
                    }
                }
            }
            _ => out.push(char),
        }
    }
    Ok(out)
}

/// Removes `.` and `..` segments, and then empty ones if `merge`. `..` stops at the root.
fn remove_segments(path: &str, merge: bool) -> String {
    let mut kept: Vec<&str> = vec![];
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    let trailing_slash = kept.last().is_some_and(|segment| segment.is_empty());
    if merge {
        kept.retain(|segment| !segment.is_empty());
    }
    let mut out = String::with_capacity(path.len());
    for segment in &kept {
        out.push('/');
        out.push_str(segment);
    }
    if (merge && trailing_slash) || out.is_empty() {
        out.push('/');
    }
    out
}
