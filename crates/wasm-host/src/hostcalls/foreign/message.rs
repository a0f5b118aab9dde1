//! As much of the protobuf wire format as arguments and results of foreign functions need.

/// A field's value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Reads the fields of a message in order; `None` for what is no message.
///
/// Fixed-width fields are passed over: no argument has any, and unknown fields are allowed.
pub(crate) fn read(mut bytes: &[u8]) -> Option<Vec<(u64, Field<'_>)>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let (tag, rest) = varint(bytes)?;
        let number = tag >> 3;
        if number == 0 || tag > u64::from(u32::MAX) {
            return None;
        }
        bytes = match tag & 7 {
            0 => {
                let (value, rest) = varint(rest)?;
                fields.push((number, Field::Number(value)));
                rest
            }
            1 => rest.get(8..)?,
            2 => {
                let (length, rest) = varint(rest)?;
                let (value, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
                fields.push((number, Field::Bytes(value)));
                rest
            }
            5 => rest.get(4..)?,
            _ => return None,
        };
    }
    Some(fields)
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (i, byte) in bytes.iter().take(10).enumerate() {
        // The tenth byte has room for the one bit that is left.
        if i == 9 && *byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(i + 1..)?));
        }
    }
    None
}

/// The bytes of a field, the last one if it is there several times; empty if it is not.
pub(crate) fn bytes<'a>(fields: &[(u64, Field<'a>)], number: u64) -> &'a [u8] {
    fields
        .iter()
        .rev()
        .find_map(|(n, field)| match field {
            Field::Bytes(bytes) if *n == number => Some(*bytes),
            _ => None,
        })
        .unwrap_or_default()
}

/// The text of a field; `None` if it is none.
pub(crate) fn text<'a>(fields: &[(u64, Field<'a>)], number: u64) -> Option<&'a str> {
    std::str::from_utf8(bytes(fields, number)).ok()
}

/// The number in a field, 0 if it is not there.
pub(crate) fn number(fields: &[(u64, Field<'_>)], number: u64) -> u64 {
    fields
        .iter()
        .rev()
        .find_map(|(n, field)| match field {
            Field::Number(value) if *n == number => Some(*value),
            _ => None,
        })
        .unwrap_or_default()
}

/// Appends a field, unless it has the value that is not written.
#[cfg_attr(
    not(any(test, feature = "crypto")),
    expect(dead_code, reason = "only results need it")
)]
pub(crate) fn write(out: &mut Vec<u8>, number: u8, field: Field<'_>) {
    match field {
        Field::Number(0) | Field::Bytes([]) => {}
        Field::Number(value) => {
            out.push(number << 3);
            write_varint(out, value);
        }
        Field::Bytes(bytes) => {
            out.push(number << 3 | 2);
            write_varint(out, u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            out.extend_from_slice(bytes);
        }
    }
}

fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back() {
        let mut out = Vec::new();
        write(&mut out, 1, Field::Bytes(b"sha256"));
        write(&mut out, 2, Field::Number(300));
        write(&mut out, 3, Field::Number(0));
        write(&mut out, 5, Field::Bytes(&[7; 200]));
        let fields = read(&out).unwrap();
        assert_eq!(text(&fields, 1), Some("sha256"));
        assert_eq!(number(&fields, 2), 300);
        assert_eq!(bytes(&fields, 5), [7; 200]);
        assert_eq!((number(&fields, 3), bytes(&fields, 4)), (0, &b""[..]));
        assert_eq!(fields.len(), 3);
    }

    #[test]
    fn the_last_of_several_counts_and_unknown_fields_do_not() {
        let bytes_twice = b"\x0a\x01a\x0a\x01b\x7d\0\0\0\0\x79\0\0\0\0\0\0\0\0";
        assert_eq!(bytes(&read(bytes_twice).unwrap(), 1), b"b");
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for bad in [
            &b"\x0a"[..],
            b"\x0a\x05abcd",
            b"\x00\x00",
            b"\x0b",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x09\0",
        ] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
        let largest = b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
        assert_eq!(number(&read(largest).unwrap(), 1), u64::MAX);
    }
}
