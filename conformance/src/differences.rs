//! Where Cairn means to differ from a recording: `differences.txt` beside it.
//!
//! A line is `FILE SUBJECT: theirs -> ours`, below a comment with the reason. A line that has
//! become untrue is as wrong as one that is missing.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};

use crate::vectors;

/// The subjects listed for a recorded file.
///
/// # Errors
/// When the list cannot be read, or a line is none.
pub fn of(folder: &str, file: &str) -> Result<BTreeSet<String>> {
    let text = vectors::text(&format!("{folder}/differences.txt"))?;
    let mut subjects = BTreeSet::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let parts = line.split_once(": ").zip(line.split_once(' '));
        let ((head, _), (of, _)) = parts.with_context(|| line.to_owned())?;
        if of == file {
            let subject = head.strip_prefix(file).unwrap_or(head).trim();
            subjects.insert(subject.to_owned());
        }
    }
    Ok(subjects)
}
