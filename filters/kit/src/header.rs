//! What a header may be called and may hold.

/// Returns whether this is a token of RFC 9110 §5.6.2.
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Returns whether these bytes can stand in a header of any proxy and application.
///
/// Stricter than the RFC, which lets bytes beyond ASCII through: readers disagree about them.
pub fn is_value(value: &[u8]) -> bool {
    value
        .iter()
        .all(|b| *b == b'\t' || (b' '..=b'~').contains(b))
}

/// Returns the same name with underscores for dashes, if that is another name.
///
/// Applications behind CGI-like interfaces cannot tell the two apart, so whoever removes a header
/// that must not come from a client removes both.
pub fn with_underscores(name: &str) -> Option<String> {
    name.contains('-').then(|| name.replace('-', "_"))
}

/// Returns the media type of a `content-type`: lower case, without parameters.
pub fn media_type(content_type: &[u8]) -> String {
    let kind = content_type
        .split(|b| *b == b';')
        .next()
        .unwrap_or_default();
    String::from_utf8_lossy(kind.trim_ascii()).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_tokens_and_values_are_visible() {
        for (name, good) in [
            ("x-a", true),
            ("", false),
            ("a b", false),
            (":path", false),
            ("é", false),
        ] {
            assert_eq!(is_name(name), good, "{name:?}");
        }
        for (value, good) in [
            (&b"a b\t"[..], true),
            (b"", true),
            (b"a\r\nb", false),
            (b"\xc3\xa9", false),
            (b"\0", false),
        ] {
            assert_eq!(is_value(value), good, "{value:?}");
        }
    }

    #[test]
    fn parameters_are_no_part_of_a_media_type() {
        assert_eq!(
            media_type(b"Application/JSON ; charset=utf-8"),
            "application/json"
        );
        assert_eq!(media_type(b""), "");
    }
}
