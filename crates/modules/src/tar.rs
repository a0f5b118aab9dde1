//! Reads tar archives: finds a file in one, and writes none.
//!
//! Understands the forms that tools write today: ustar, GNU with long names, and pax.

use std::io::{self, Read};

/// Bytes of a block; everything in an archive is a number of them.
const BLOCK: usize = 512;
/// Largest long name or pax header.
const LONGEST_HEADER: u64 = 64 << 10;

/// Something in an archive; its bytes are read from the [`Archive`] before the next one.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its path, as the archive says.
    pub(crate) name: String,
    /// What it is.
    pub(crate) kind: Kind,
    /// Bytes that follow.
    pub(crate) size: u64,
}

/// What something in an archive is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// A file.
    File,
    /// A hard or symbolic link.
    Link,
    /// A folder, a device, or a file with holes.
    Other,
}

/// An archive being read.
pub(crate) struct Archive<R> {
    from: R,
    /// Bytes of the current entry, and what fills its last block, that were not read yet.
    rest: u64,
    padding: u64,
}

impl<R: Read> Archive<R> {
    pub(crate) fn new(from: R) -> Self {
        Self {
            from,
            rest: 0,
            padding: 0,
        }
    }

    /// The next entry; `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Entry>> {
        let mut long_name = None;
        let mut long_size = None;
        loop {
            self.skip()?;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let Some(size) = number(header.get(124..136)) else {
                return Err(bad("a size in it is no number"));
            };
            self.begin(size);
            let kind = match header.get(156) {
                Some(b'0' | b'7' | 0) => Kind::File,
                Some(b'1' | b'2') => Kind::Link,
                Some(b'L') => {
                    let name = self.text()?;
                    long_name = Some(name.trim_end_matches('\0').to_owned());
                    continue;
                }
                Some(b'x') => {
                    let text = self.text()?;
                    for (key, value) in pax(&text) {
                        match key {
                            "path" => long_name = Some(value.to_owned()),
                            "size" => long_size = value.parse().ok(),
                            _ => {}
                        }
                    }
                    continue;
                }
                // What holds for the whole archive, and long targets of links.
                Some(b'g' | b'K') => continue,
                _ => Kind::Other,
            };
            if let Some(size) = long_size {
                self.begin(size);
            }
            return Ok(Some(Entry {
                name: long_name.unwrap_or_else(|| short_name(&header)),
                kind,
                size: self.rest,
            }));
        }
    }

    /// The bytes of the current entry.
    pub(crate) fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![];
        let read = (&mut self.from).take(self.rest).read_to_end(&mut bytes)?;
        let missing = self.rest - read as u64;
        self.rest = 0;
        if missing > 0 {
            return Err(cut());
        }
        Ok(bytes)
    }

    fn begin(&mut self, size: u64) {
        self.rest = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    }

    /// Goes to the end of the current entry.
    fn skip(&mut self) -> io::Result<()> {
        let rest = self.rest.saturating_add(self.padding);
        let skipped = io::copy(&mut (&mut self.from).take(rest), &mut io::sink())?;
        // What fills the last block is left out by some.
        let is_cut = skipped < self.rest;
        self.rest = 0;
        self.padding = 0;
        if is_cut { Err(cut()) } else { Ok(()) }
    }

    fn text(&mut self) -> io::Result<String> {
        if self.rest > LONGEST_HEADER {
            return Err(bad("a name in it is too long"));
        }
        let bytes = self.read()?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn header(&mut self) -> io::Result<Option<[u8; BLOCK]>> {
        let mut header = [0; BLOCK];
        let mut filled = 0;
        while let Some(space) = header.get_mut(filled..).filter(|space| !space.is_empty()) {
            match self.from.read(space) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(cut()),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if header.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if !is_header(&header) {
            return Err(bad("it is damaged: a checksum in it is wrong"));
        }
        Ok(Some(header))
    }
}

/// Whether bytes begin like an archive.
pub(crate) fn is_header(bytes: &[u8]) -> bool {
    let Some(header) = bytes.get(..BLOCK) else {
        return false;
    };
    let sum: u64 = header
        .iter()
        .enumerate()
        // The checksum itself counts as if it were blank.
        .map(|(at, byte)| {
            u64::from(if (148..156).contains(&at) {
                b' '
            } else {
                *byte
            })
        })
        .sum();
    sum > 8 * u64::from(b' ') && number(header.get(148..156)) == Some(sum)
}

/// A number in octal digits, or, for large ones, in binary behind a set bit.
fn number(field: Option<&[u8]>) -> Option<u64> {
    let field = field?;
    if let Some((first, rest)) = field.split_first()
        && *first & 0x80 != 0
    {
        let first = u64::from(*first & 0x7f);
        return rest.iter().try_fold(first, |number, byte| {
            number.checked_mul(256)?.checked_add(u64::from(*byte))
        });
    }
    let text = str::from_utf8(field).ok()?;
    let digits = text.trim_matches(['\0', ' ']);
    if digits.is_empty() {
        return Some(0);
    }
    u64::from_str_radix(digits, 8).ok()
}

fn short_name(header: &[u8; BLOCK]) -> String {
    let text = |from, to| {
        let field = header.get(from..to).unwrap_or_default();
        let end = field.iter().position(|byte| *byte == 0);
        let text = field.get(..end.unwrap_or(field.len())).unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    };
    let name = text(0, 100);
    // GNU's older form keeps other things where ustar has the first part of a long path.
    let prefix = match header.get(257..263) {
        Some(b"ustar\0") => text(345, 500),
        _ => String::new(),
    };
    if prefix.is_empty() {
        name
    } else {
        format!("{prefix}/{name}")
    }
}

/// Records of a pax header: `LENGTH KEY=VALUE\n`.
fn pax(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (length, _) = rest.split_once(' ')?;
        let length: usize = length.parse().ok()?;
        let record = rest.get(..length)?;
        rest = rest.get(length..)?;
        let (_, pair) = record.split_once(' ')?;
        pair.strip_suffix('\n')?.split_once('=')
    })
}

fn cut() -> io::Error {
    bad("it ends in the middle")
}

fn bad(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
