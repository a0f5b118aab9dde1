//! Finds the module in what was downloaded: as it is, compressed, or in an archive.
//!
//! Everything that is read is bounded while it is read: its size, and how much larger it is than
//! what it was made from. Names in archives are compared and shown, never used.

use std::io::{self, BufRead, Read};

use flate2::bufread::MultiGzDecoder;

use crate::tar::{self, Archive, Kind};

#[cfg(test)]
mod tests;

/// What modules begin with.
const WASM: &[u8] = b"\0asm";
const GZIP: &[u8] = b"\x1f\x8b";
/// How many times larger than its compressed form something may be …
const MOST_RATIO: u64 = 100;
/// … from this size on.
const RATIO_FLOOR: u64 = 1 << 20;
/// The name of a module in the layer of an image.
const PLUGIN: &str = "plugin.wasm";

/// Which file of an archive is the module.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wanted {
    /// The first.
    First,
    /// The one called `plugin.wasm`, of which there is one.
    Plugin,
}

/// Finds a module of up to `limit` bytes.
pub(crate) fn module(bytes: &[u8], wanted: Wanted, limit: u64) -> Result<Vec<u8>, String> {
    let mut reader = Inflate::new(bytes, archive_limit(limit));
    let head = reader.head().map_err(|error| error.to_string())?;
    let found = if head.starts_with(WASM) {
        let mut module = vec![];
        let read = reader
            .take(limit.saturating_add(1))
            .read_to_end(&mut module);
        read.map_err(|error| error.to_string())?;
        module
    } else if tar::is_header(&head) {
        in_archive(reader, wanted, limit)?
    } else {
        return Err(describe(&head));
    };
    if found.len() as u64 > limit {
        return Err(too_large(limit));
    }
    if !found.starts_with(WASM) {
        return Err(format!(
            "the file in the archive is no module: {}",
            describe(&found)
        ));
    }
    Ok(found)
}

/// What an archive may have beside the module.
fn archive_limit(limit: u64) -> u64 {
    limit.saturating_mul(2).saturating_add(1 << 20)
}

fn in_archive(reader: impl Read, wanted: Wanted, limit: u64) -> Result<Vec<u8>, String> {
    let mut archive = Archive::new(reader);
    let mut found = None;
    let mut names = vec![];
    loop {
        let entry = archive
            .next()
            .map_err(|error| format!("the archive cannot be read: {error}"))?;
        let Some(entry) = entry else { break };
        let shown = || entry.name.escape_debug().take(100).collect::<String>();
        if entry.name.starts_with('/') || entry.name.split('/').any(|part| part == "..") {
            return Err(format!(
                "the archive has a path that leads out of it: `{}`",
                shown()
            ));
        }
        let last = entry.name.rsplit('/').next().unwrap_or_default();
        let is_wanted = match wanted {
            // What a Mac adds about a file comes before the file.
            Wanted::First => entry.kind == Kind::File && !last.starts_with("._"),
            Wanted::Plugin => last == PLUGIN,
        };
        if !is_wanted {
            if names.len() < 5 && entry.kind == Kind::File {
                names.push(shown());
            }
            continue;
        }
        if entry.kind != Kind::File {
            return Err(format!("`{}` in the archive is no plain file", shown()));
        }
        if entry.size > limit {
            return Err(too_large(limit));
        }
        let bytes = archive
            .read()
            .map_err(|error| format!("`{}` cannot be read: {error}", shown()))?;
        if found.replace(bytes).is_some() {
            return Err(format!("there is more than one {PLUGIN} in the archive"));
        }
        if wanted == Wanted::First {
            break;
        }
    }
    found.ok_or_else(|| match (wanted, names.is_empty()) {
        (_, true) => "the archive is empty".to_owned(),
        (Wanted::First, _) => "there is no file in the archive".to_owned(),
        (Wanted::Plugin, _) => format!(
            "there is no {PLUGIN} in the archive, only {}",
            names.join(", ")
        ),
    })
}

fn too_large(limit: u64) -> String {
    format!("it has more than {limit} bytes")
}

/// Says what bytes are that are no module.
fn describe(head: &[u8]) -> String {
    let text = String::from_utf8_lossy(head.get(..head.len().min(256)).unwrap_or_default());
    let text = text.trim_start();
    let is = if head.is_empty() {
        "it is empty"
    } else if head.starts_with(b"\x28\xb5\x2f\xfd") {
        "it is compressed with zstd; publish it with gzip or as it is"
    } else if head.starts_with(b"PK\x03\x04") {
        "it is a zip archive; publish the .wasm file as it is, or in a tar archive"
    } else if head.starts_with(b"\x7fELF") {
        "it is a program for this machine; compile the filter for WebAssembly"
    } else if text.starts_with('<') {
        "it is an HTML or XML page, maybe of a login or an error; does the URL lead to the file \
         itself?"
    } else if text.starts_with('{') {
        "it is JSON and no module"
    } else if text.starts_with("(module") {
        "it is WebAssembly as text; translate it with wat2wasm"
    } else if text.starts_with("version https://git-lfs") {
        "it is a pointer of Git LFS and not the file itself"
    } else {
        "it is no WebAssembly module: it does not begin with \\0asm"
    };
    is.to_owned()
}

/// Bytes as they are, or what they were before they were compressed; bounded either way.
struct Inflate<'b> {
    from: Source<'b>,
    /// What was looked at before it was read.
    ahead: io::Cursor<Vec<u8>>,
    read: u64,
    compressed: u64,
    limit: u64,
}

enum Source<'b> {
    Plain(&'b [u8]),
    Gzip(Box<MultiGzDecoder<&'b [u8]>>),
}

impl<'b> Inflate<'b> {
    fn new(bytes: &'b [u8], limit: u64) -> Self {
        let from = if bytes.starts_with(GZIP) {
            Source::Gzip(Box::new(MultiGzDecoder::new(bytes)))
        } else {
            Source::Plain(bytes)
        };
        Self {
            from,
            ahead: io::Cursor::default(),
            read: 0,
            compressed: bytes.len() as u64,
            limit,
        }
    }

    /// The first bytes, which are read again.
    fn head(&mut self) -> io::Result<Vec<u8>> {
        let mut head = vec![];
        self.by_ref().take(1024).read_to_end(&mut head)?;
        self.ahead = io::Cursor::new(head.clone());
        Ok(head)
    }
}

impl Read for Inflate<'_> {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        if self.ahead.fill_buf().is_ok_and(|ahead| !ahead.is_empty()) {
            return self.ahead.read(space);
        }
        let (read, consumed) = match &mut self.from {
            Source::Plain(bytes) => (bytes.read(space)?, None),
            Source::Gzip(decoder) => {
                let read = decoder.read(space).map_err(|error| {
                    io::Error::new(error.kind(), format!("it cannot be decompressed: {error}"))
                })?;
                let rest = decoder.get_ref().len() as u64;
                (read, Some(self.compressed.saturating_sub(rest)))
            }
        };
        self.read = self.read.saturating_add(read as u64);
        let refuse = |why| Err(io::Error::new(io::ErrorKind::InvalidData, why));
        if self.read > self.limit {
            return refuse(format!(
                "there is more in it than {} bytes, decompressed",
                self.limit
            ));
        }
        if let Some(consumed) = consumed
            && self.read > RATIO_FLOOR
            && self.read > consumed.saturating_mul(MOST_RATIO)
        {
            return refuse(format!(
                "it is more than {MOST_RATIO} times larger decompressed, which no module is"
            ));
        }
        Ok(read)
    }
}
