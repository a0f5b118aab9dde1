//! What a phase's calls answered, logged in lines no host cuts.

use crate::imports;

/// A host may cut a line at 4 KiB.
const LINE: usize = 3000;
/// How much of a value is shown.
const SHOWN: usize = 96;

pub(crate) struct Record {
    phase: String,
    text: String,
}

impl Record {
    pub(crate) fn new(phase: &str) -> Self {
        Self {
            phase: phase.to_owned(),
            text: String::new(),
        }
    }

    /// Adds one result.
    pub(crate) fn note(&mut self, result: &str) {
        if self.text.len() + result.len() > LINE {
            self.flush();
        }
        if !self.text.is_empty() {
            self.text.push_str(" | ");
        }
        self.text.push_str(result);
    }

    /// Adds one call's status.
    pub(crate) fn status(&mut self, call: &str, status: u32) {
        self.note(&format!("{call} -> {status}"));
    }

    /// Adds one call's status and the bytes it gave.
    pub(crate) fn bytes(&mut self, call: &str, status: u32, value: Option<&[u8]>) {
        match value {
            Some(value) => self.note(&format!("{call} -> {status} {}", shown(value))),
            None => self.status(call, status),
        }
    }

    /// Logs what there is.
    pub(crate) fn flush(&mut self) {
        if self.text.is_empty() {
            return;
        }
        let line = format!("probe {}: {}", self.phase, self.text);
        self.text.clear();
        unsafe { imports::proxy_log(2, line.as_ptr() as u32, line.len() as u32) };
    }
}

/// Bytes as text of one line, its end cut off when it is long.
pub(crate) fn shown(value: &[u8]) -> String {
    let head: String = value
        .iter()
        .take(SHOWN)
        .flat_map(|byte| std::ascii::escape_default(*byte).map(char::from))
        .collect();
    let head = head.replace('|', "\\x7c");
    if value.len() > SHOWN {
        format!("\"{head}\"… {} bytes", value.len())
    } else {
        format!("\"{head}\"")
    }
}
