//! One object per line.

use std::fmt::{Display, Result, Write};

use jiff::Timestamp;

use super::Level;

/// Opens the object.
pub(super) fn head(w: &mut impl Write, level: Level, target: &str) -> Result {
    let now = Timestamp::now();
    write!(
        w,
        "{{\"level\":\"{}\",\"time\":\"{now:.6}\",",
        level.as_str()
    )?;
    member(w, "scope", target)
}

/// Adds a span as an object of its fields.
pub(super) fn span(w: &mut impl Write, name: &str, fields: &str) -> Result {
    w.write_char(',')?;
    string(w, name)?;
    write!(w, ":{{{fields}}}")
}

/// Adds a text.
pub(super) fn text(w: &mut impl Write, key: &str, value: &str) -> Result {
    w.write_char(',')?;
    member(w, key, value)
}

/// Adds a number.
pub(super) fn raw(w: &mut impl Write, key: &str, value: impl Display) -> Result {
    w.write_char(',')?;
    string(w, key)?;
    write!(w, ":{value}")
}

/// Adds fields that were written as text, `key=value` pairs between blanks: a number stays one,
/// everything else becomes a text.
pub(super) fn pairs(w: &mut impl Write, mut pairs: &str) -> Result {
    while let Some((key, rest)) = pairs.split_once('=') {
        let (value, rest) = value(rest);
        let key = key.trim_start();
        match value.parse::<u64>() {
            Ok(number) => raw(w, key, number)?,
            Err(_) => text(w, key, &value)?,
        }
        pairs = rest;
    }
    Ok(())
}

/// Takes one value off the front: up to the next blank, or, quoted as Rust quotes, up to the
/// closing quote.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = text.split_once(' ').unwrap_or((text, ""));
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '"' => return (value, quoted.get(i + 1..).unwrap_or("")),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 'r')) => value.push('\r'),
                Some((_, 't')) => value.push('\t'),
                Some((_, '0')) => value.push('\0'),
                Some((_, 'u')) => {
                    let digits = chars.by_ref().map(|(_, c)| c).take_while(|c| *c != '}');
                    let digits: String = digits.filter(|c| *c != '{').collect();
                    let code = u32::from_str_radix(&digits, 16).ok();
                    value.extend(code.and_then(char::from_u32));
                }
                Some((_, other)) => value.push(other),
                None => {}
            },
            c => value.push(c),
        }
    }
    (value, "")
}

/// Writes `"key":"value"`.
pub(super) fn member(w: &mut impl Write, key: &str, value: &str) -> Result {
    string(w, key)?;
    w.write_char(':')?;
    string(w, value)
}

/// Writes a JSON string (RFC 8259 §7).
fn string(w: &mut impl Write, text: &str) -> Result {
    w.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => w.write_str("\\\"")?,
            '\\' => w.write_str("\\\\")?,
            '\n' => w.write_str("\\n")?,
            c if c.is_control() => write!(w, "\\u{:04x}", u32::from(c))?,
            c => w.write_char(c)?,
        }
    }
    w.write_char('"')
}
