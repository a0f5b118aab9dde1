//! HTTP/1 framing: a second reader, written to be obvious, sees the same requests.
#![no_main]

use cairn_fuzz::pieces;
use libfuzzer_sys::fuzz_target;
use waypoint::fuzz::{framed, requests};

/// The bodies of all whole requests, and whether the stream was refused.
fn reference(bytes: &[u8]) -> (Vec<Vec<u8>>, bool) {
    let mut bodies = vec![];
    let mut rest = bytes;
    let refused = loop {
        match request(rest) {
            Step::Whole(body, after) => {
                bodies.push(body);
                rest = after;
            }
            Step::Last(body) => {
                bodies.push(body);
                break false;
            }
            Step::Partial => break false,
            Step::Refused => break true,
        }
    };
    (bodies, refused)
}

enum Step<'a> {
    Whole(Vec<u8>, &'a [u8]),
    Last(Vec<u8>),
    Partial,
    Refused,
}

enum Line<'a> {
    Whole(&'a [u8], &'a [u8]),
    Partial(&'a [u8]),
    Refused,
}

/// One line: it ends with CR LF, and neither stands alone in it.
fn line(bytes: &[u8]) -> Line<'_> {
    match bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        None => Line::Partial(bytes),
        Some(at) => match &bytes[at..] {
            [b'\r', b'\n', after @ ..] => Line::Whole(&bytes[..at], after),
            [b'\r'] => Line::Partial(&bytes[..at]),
            _ => Line::Refused,
        },
    }
}

macro_rules! line {
    ($bytes:expr, $begun:expr) => {
        match line($bytes) {
            Line::Whole(line, _) | Line::Partial(line) if !$begun(line) => return Step::Refused,
            Line::Whole(line, after) => (line, after),
            Line::Partial(_) => return Step::Partial,
            Line::Refused => return Step::Refused,
        }
    };
}

fn request(mut rest: &[u8]) -> Step<'_> {
    // Empty lines before a request are passed over.
    loop {
        let (first, after) = line!(rest, |line: &[u8]| !line.contains(&b'#'));
        rest = after;
        if !first.is_empty() {
            break;
        }
    }
    let no_blank = |line: &[u8]| !line.starts_with(b" ") && !line.starts_with(b"\t");
    let (mut length, mut chunked, mut websocket) = (None, false, false);
    loop {
        let (field, after) = line!(rest, no_blank);
        rest = after;
        if field.is_empty() {
            break;
        }
        let Some(colon) = field.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = (
            field[..colon].to_ascii_lowercase(),
            field[colon + 1..].trim_ascii(),
        );
        // A field of framing that is padded beyond reason is refused, or not understood.
        let short = field.len() <= 64;
        match &name[..] {
            b"content-length" => {
                let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
                if !short || !digits || value.len() > 18 || chunked {
                    return Step::Refused;
                }
                let number: usize = str::from_utf8(value).unwrap().parse().unwrap();
                if length.is_some_and(|known| known != number) {
                    return Step::Refused;
                }
                length = Some(number);
            }
            b"transfer-encoding" => {
                if !short || !value.eq_ignore_ascii_case(b"chunked") || chunked || length.is_some()
                {
                    return Step::Refused;
                }
                chunked = true;
            }
            b"upgrade" => websocket = short && value.eq_ignore_ascii_case(b"websocket"),
            _ => {}
        }
    }
    if let Some(length) = length.filter(|length| *length > 0) {
        return match rest.split_at_checked(length) {
            Some((body, after)) => Step::Whole(body.to_vec(), after),
            None => Step::Partial,
        };
    }
    if !chunked {
        return if websocket {
            Step::Last(vec![])
        } else {
            Step::Whole(vec![], rest)
        };
    }
    let mut body = vec![];
    loop {
        let (size, after) = line!(rest, |line: &[u8]| line.len() <= 271);
        let digits = size
            .iter()
            .take_while(|byte| byte.is_ascii_hexdigit())
            .count();
        let (digits, extension) = size.split_at(digits);
        let extension = extension.trim_ascii_start();
        if digits.is_empty() || digits.len() > 15 || !matches!(extension, [] | [b';', ..]) {
            return Step::Refused;
        }
        let size = usize::from_str_radix(str::from_utf8(digits).unwrap(), 16).unwrap();
        rest = after;
        if size == 0 {
            break;
        }
        let Some((chunk, after)) = rest.split_at_checked(size) else {
            return Step::Partial;
        };
        body.extend_from_slice(chunk);
        rest = match line(after) {
            Line::Whole(b"", after) => after,
            Line::Whole(..) | Line::Refused => return Step::Refused,
            Line::Partial(_) => return Step::Partial,
        };
    }
    loop {
        let (trailer, after) = line!(rest, no_blank);
        rest = after;
        if trailer.is_empty() {
            return Step::Whole(body, rest);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let (pieces, bytes) = pieces(data);
    if bytes.ends_with(&[0]) {
        // Whether it was refused could not be told from what is handed over.
        return;
    }
    let (bodies, refused) = reference(bytes);

    let whole = framed(&[bytes]);
    let cut = framed(&pieces);
    for handed_over in [&whole, &cut] {
        if handed_over == bytes {
            continue;
        }
        // Refused: a true beginning, then a NUL, then nothing.
        let (nul, begin) = handed_over.split_last().expect("a NUL");
        assert!(*nul == 0 && bytes.starts_with(begin));
    }
    assert_eq!(whole == bytes, cut == bytes, "the cut does not decide");
    // We may be stricter than the reference, never laxer.
    assert!(!refused || whole != bytes, "the reference refuses this");

    for seen in [requests(&[bytes]), requests(&pieces)] {
        assert!(
            seen.len() <= bodies.len(),
            "more requests than there are: {seen:?}"
        );
        for ((method, target, body), expected) in seen.iter().zip(&bodies) {
            assert_eq!(body, expected, "another body of {method} {target}");
        }
    }
});
