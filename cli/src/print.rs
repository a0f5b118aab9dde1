//! The only place that writes to the terminal.
//!
//! What was asked for goes to stdout, talk about it to stderr. A reader that has gone away, such as
//! `head`, is no failure: there is just nobody left to tell.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
};

/// Writes a line that was asked for.
pub fn out(line: impl Display) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// Writes bytes that were asked for, as they are.
pub fn out_bytes(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// Tells how things stand.
pub fn say(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Tells of something that is wrong and does not stop us.
pub fn warn(line: impl Display) {
    say(format_args!("{} {line}", mark("warning:", "33")));
}

/// Tells why we stop.
pub fn fail(line: impl Display) {
    say(format_args!("{} {line}", mark("error:", "31")));
}

/// A word in colour where that can be seen and is wanted.
fn mark(word: &str, colour: &str) -> String {
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if wanted && io::stderr().is_terminal() {
        format!("\x1b[{colour}m{word}\x1b[0m")
    } else {
        word.to_owned()
    }
}

/// Lines up the columns of `rows` under `header`.
pub fn table(header: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count());
        cells
            .chain(header.get(column).map(|title| title.len()))
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        out(padded.join("   ").trim_end());
    };
    line(&mut header.iter().copied());
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
}
