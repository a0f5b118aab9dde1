//! What fuzz targets share: ways to cut their input.

/// Cuts input as a network might: its first byte decides how, and the rest is cut.
pub fn pieces(data: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let Some((how, bytes)) = data.split_first() else {
        return (vec![], &[]);
    };
    let pieces = match how {
        // Everything at once.
        0 => vec![bytes],
        // Equal pieces.
        1..=127 => bytes.chunks(usize::from(*how)).collect(),
        // Two pieces.
        _ => {
            let (head, tail) = bytes.split_at(usize::from(how - 128).min(bytes.len()));
            vec![head, tail]
        }
    };
    (pieces, bytes)
}

/// Cuts input into messages, each behind its length in two bytes.
pub fn messages(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let (length, bytes) = rest.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (message, after) = bytes.split_at(length.min(bytes.len()));
        rest = after;
        Some(message)
    })
}
