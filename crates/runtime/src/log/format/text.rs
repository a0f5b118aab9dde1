//! Columns between tabs.

use std::fmt::{Result, Write};

use jiff::Timestamp;

use super::Level;

/// Writes time, level and target.
pub(super) fn head(w: &mut impl Write, level: Level, target: &str) -> Result {
    let now = Timestamp::now();
    write!(w, "{now:.6}\t{}\t{target}", level.as_str())
}

/// Appends a span to the target.
pub(super) fn span(w: &mut impl Write, name: &str, fields: &str) -> Result {
    if fields.is_empty() {
        write!(w, ":{name}")
    } else {
        write!(w, ":{name}{{{fields}}}")
    }
}

/// Writes the column of the message.
pub(super) fn message(w: &mut impl Write, message: &str) -> Result {
    w.write_char('\t')?;
    escaped(w, message)
}

/// Writes a text that is not quoted. Whatever was logged, one line stays one line.
pub(super) fn escaped(w: &mut impl Write, text: &str) -> Result {
    if !text.contains(|c: char| c.is_control()) {
        return w.write_str(text);
    }
    for c in text.chars() {
        if c.is_control() {
            write!(w, "{}", c.escape_default())?;
        } else {
            w.write_char(c)?;
        }
    }
    Ok(())
}

/// Writes a field without quotes, or with them if it could not be told from its neighbours.
pub(super) fn bare(w: &mut impl Write, key: &str, value: &str) -> Result {
    if value.is_empty() || value.contains(|c: char| c.is_control() || c.is_whitespace() || c == '"')
    {
        write!(w, "{key}={value:?}")
    } else {
        write!(w, "{key}={value}")
    }
}
