//! The serialised form of header maps, lists and local-response headers.
//!
//! `u32 n`, then n × (`u32 name length`, `u32 value length`), then n × (name, NUL, value, NUL),
//! little-endian; an empty map is nothing at all, one NUL, or `u32 0`.

/// A name and its value.
pub(crate) type Pair<'a> = (&'a [u8], &'a [u8]);

/// Why bytes from a guest are no map.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Malformed {
    /// More pairs or bytes than allowed.
    TooLarge,
    /// Lengths, NULs and size do not agree.
    Inconsistent,
}

/// Appends pairs; [`Writer::finish`] completes the table of lengths.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    /// Where the next length goes; lengths are written first, contents by a second pass.
    count: u32,
}

impl<'a> Writer<'a> {
    /// Starts a map of pairs whose sizes are told first.
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        out.clear();
        out.extend_from_slice(&[0; 4]);
        Self { out, count: 0 }
    }

    /// First pass: the lengths of one pair.
    pub(crate) fn size(&mut self, name: &[u8], value: &[u8]) {
        self.out.extend_from_slice(&length(name).to_le_bytes());
        self.out.extend_from_slice(&length(value).to_le_bytes());
        self.count += 1;
    }

    /// Second pass, same pairs in the same order: the contents of one pair.
    pub(crate) fn pair(&mut self, name: &[u8], value: &[u8]) {
        self.out.extend_from_slice(name);
        self.out.push(0);
        self.out.extend_from_slice(value);
        self.out.push(0);
    }

    /// Writes the count; an empty map becomes no bytes, which every SDK reads as empty.
    pub(crate) fn finish(self) {
        if self.count == 0 {
            self.out.clear();
        } else if let Some(count) = self.out.get_mut(..4) {
            count.copy_from_slice(&self.count.to_le_bytes());
        }
    }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// Serialises pairs into `out`, replacing what was there.
pub(crate) fn write<'p>(
    out: &mut Vec<u8>,
    pairs: impl Iterator<Item = (&'p [u8], &'p [u8])> + Clone,
) {
    let mut writer = Writer::new(out);
    for (name, value) in pairs.clone() {
        writer.size(name, value);
    }
    for (name, value) in pairs {
        writer.pair(name, value);
    }
    writer.finish();
}

/// Reads pairs out of guest bytes.
///
/// The count is checked before anything is allocated, and the buffer must end exactly where the
/// last value does.
pub(crate) fn read(bytes: &[u8], max_pairs: usize) -> Result<Vec<Pair<'_>>, Malformed> {
    if bytes.is_empty() || bytes == [0] {
        return Ok(Vec::new());
    }
    let (count, rest) = take_u32(bytes).ok_or(Malformed::Inconsistent)?;
    let count = usize::try_from(count).map_err(|_| Malformed::TooLarge)?;
    if count > max_pairs {
        return Err(Malformed::TooLarge);
    }
    let table_size = count.checked_mul(8).ok_or(Malformed::TooLarge)?;
    let (mut table, mut contents) = rest
        .split_at_checked(table_size)
        .ok_or(Malformed::Inconsistent)?;
    let mut pairs = Vec::with_capacity(count);
    for _ in 0..count {
        let (name_length, more) = take_u32(table).ok_or(Malformed::Inconsistent)?;
        let (value_length, more) = take_u32(more).ok_or(Malformed::Inconsistent)?;
        table = more;
        let (name, more) = take_terminated(contents, name_length).ok_or(Malformed::Inconsistent)?;
        let (value, more) = take_terminated(more, value_length).ok_or(Malformed::Inconsistent)?;
        contents = more;
        pairs.push((name, value));
    }
    if contents.is_empty() {
        Ok(pairs)
    } else {
        Err(Malformed::Inconsistent)
    }
}

fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*head), rest))
}

fn take_terminated(bytes: &[u8], length: u32) -> Option<(&[u8], &[u8])> {
    let (text, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    Some((text, rest.strip_prefix(&[0])?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &[u8] = b"\x02\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\x02\0\0\0a\x001\0b\x0022\0";

    fn written(pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut out = b"left over".to_vec();
        write(&mut out, pairs.iter().copied());
        out
    }

    #[test]
    fn two_pairs_are_written_as_documented() {
        assert_eq!(written(&[(b"a", b"1"), (b"b", b"22")]), EXAMPLE);
    }

    #[test]
    fn what_was_written_is_read_back() {
        for pairs in [
            vec![],
            vec![(&b""[..], &b""[..])],
            vec![(&b"a"[..], &b""[..]), (&b"a"[..], &b"\0\xff"[..])],
        ] {
            assert_eq!(read(&written(&pairs), 1024).unwrap(), pairs);
        }
    }

    #[test]
    fn every_form_of_empty_is_empty() {
        for empty in [&b""[..], &[0], &[0, 0, 0, 0]] {
            assert_eq!(read(empty, 0).unwrap(), []);
        }
        assert_eq!(written(&[]), b"");
    }

    #[test]
    fn every_truncation_and_every_surplus_is_refused() {
        for end in 2..EXAMPLE.len() {
            assert_eq!(
                read(&EXAMPLE[..end], 9),
                Err(Malformed::Inconsistent),
                "{end}"
            );
        }
        let surplus = [EXAMPLE, b"\0"].concat();
        assert_eq!(read(&surplus, 9), Err(Malformed::Inconsistent));
    }

    #[test]
    fn a_missing_terminator_is_refused() {
        let mut bytes = EXAMPLE.to_vec();
        let last = bytes.len() - 1;
        bytes[last] = b'x';
        assert_eq!(read(&bytes, 9), Err(Malformed::Inconsistent));
    }

    #[test]
    fn a_lying_count_allocates_nothing() {
        assert_eq!(read(b"\xff\xff\xff\xff", 1024), Err(Malformed::TooLarge));
        assert_eq!(read(b"\x00\x04\0\0", 1024), Err(Malformed::Inconsistent));
        assert_eq!(read(b"\x01\x04\0\0", 1024), Err(Malformed::TooLarge));
        assert_eq!(
            read(b"\x01\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\0\0", 9),
            Err(Malformed::Inconsistent)
        );
    }
}
