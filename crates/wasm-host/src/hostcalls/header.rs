//! Header maps, of streams and of what callouts received.
//!
//! Reading a map that is not there finds nothing; Envoy's `BAD_ARGUMENT` is a well-known killer of
//! Rust filters. Writing to one is ignored with a notice. What no message can carry is refused
//! here, because nothing else in the ABI keeps a filter from smuggling.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::abi::{AbiVersion, MapId, Status};
use crate::embed::{HeaderMap, Notice, Refused};
use crate::hostcalls::Answer;
use crate::hostcalls::memory::{Call, Out, Span, slice};
use crate::pairs::{self, Malformed};
use crate::vm::{Phase, State};

const NOT_WRITABLE: &str = "a header map that is not there or cannot be changed any more";

pub(super) fn size(call: &mut Call<'_>, map: u32, out: u32) -> Answer {
    let id = MapId::from_raw(map)?;
    let mut size = 0;
    if let Some(headers) = find(call.state(), id) {
        headers.each(&mut |name, value| size += name.len() + value.len());
    }
    Ok(call.write_u32(out, u32::try_from(size).unwrap_or(u32::MAX))?)
}

pub(super) fn pairs(call: &mut Call<'_>, map: u32, out: Out) -> Answer {
    let id = MapId::from_raw(map)?;
    call.give_scratch(out, |_, state, scratch| {
        if let Some(headers) = find(state, id) {
            let mut writer = pairs::Writer::new(scratch);
            headers.each(&mut |name, value| writer.size(name, value));
            headers.each(&mut |name, value| writer.pair(name, value));
            writer.finish();
        }
        Ok(())
    })
}

pub(super) fn value(call: &mut Call<'_>, map: u32, key: Span, out: Out) -> Answer {
    let id = MapId::from_raw(map)?;
    call.give_scratch(out, |memory, state, scratch| {
        let key = slice(memory, key)?;
        let found = header_name(key).and_then(|name| {
            let headers = find(state, id)?;
            headers
                .get(&name)
                .map(|value| scratch.extend_from_slice(&value))
        });
        match found {
            Some(()) => Ok(()),
            // 0.1.0 knew no difference between an absent and an empty header.
            None if state.plugin.module.abi_version() == AbiVersion::V0_1_0 => Ok(()),
            None => Err(Status::NotFound),
        }
    })
}

pub(super) fn add(call: &mut Call<'_>, map: u32, key: Span, value: Span) -> Answer {
    write(call, map, key, Some(value), |headers, name, value| {
        headers.add(name, value)
    })
}

pub(super) fn replace(call: &mut Call<'_>, map: u32, key: Span, value: Span) -> Answer {
    write(call, map, key, Some(value), |headers, name, value| {
        headers.set(name, value)
    })
}

pub(super) fn remove(call: &mut Call<'_>, map: u32, key: Span) -> Answer {
    write(call, map, key, None, |headers, name, _| {
        headers.remove(name)
    })
}

/// Replaces a whole map.
pub(super) fn set_pairs(call: &mut Call<'_>, map: u32, serialised: Span) -> Answer {
    let id = MapId::from_raw(map)?;
    let (memory, state) = call.split();
    let limit = state.limits().pairs;
    let pairs = match pairs::read(slice(memory, serialised)?, limit) {
        Ok(pairs) => pairs,
        Err(Malformed::Inconsistent) => return Err(Status::BadArgument.into()),
        Err(Malformed::TooLarge) => {
            state.notice(Notice::HeaderRefused, "a header map with too many pairs");
            return Ok(());
        }
    };
    let mut checked = Vec::with_capacity(pairs.len());
    for (name, value) in pairs {
        match check(state, name, value) {
            Ok(name) => checked.push((name, value)),
            Err(why) => refuse(state, name, &why),
        }
    }
    let Some(headers) = writable(state, id) else {
        state.notice(Notice::WriteIgnored, NOT_WRITABLE);
        return Ok(());
    };
    let refused = replace_all(headers, &checked);
    for (name, why) in refused {
        refuse(state, name.as_bytes(), &why);
    }
    Ok(())
}

/// Sets what is given and then removes what is not, so that a pseudo-header is never missing.
fn replace_all(
    headers: &mut dyn HeaderMap,
    pairs: &[(Cow<'_, str>, &[u8])],
) -> Vec<(String, Refused)> {
    let mut refused = Vec::new();
    let mut kept = BTreeSet::new();
    for (name, value) in pairs {
        let first = kept.insert(name.as_bytes());
        let done = if first {
            headers.set(name, value)
        } else {
            headers.add(name, value)
        };
        if let Err(why) = done {
            refused.push((name.to_string(), why));
        }
    }
    let mut surplus = BTreeSet::new();
    headers.each(&mut |name, _| {
        if !kept.contains(name) {
            surplus.insert(String::from_utf8_lossy(name).into_owned());
        }
    });
    for name in surplus {
        if let Err(why) = headers.remove(&name) {
            refused.push((name, why));
        }
    }
    refused
}

/// Changes one header, or says why not, where the guest will not stop at it.
fn write(
    call: &mut Call<'_>,
    map: u32,
    key: Span,
    value: Option<Span>,
    change: impl FnOnce(&mut dyn HeaderMap, &str, &[u8]) -> Result<(), Refused>,
) -> Answer {
    let id = MapId::from_raw(map)?;
    let (memory, state) = call.split();
    let name = slice(memory, key)?;
    let value = value.map_or(Ok(&[][..]), |value| slice(memory, value))?;
    let result = match check(state, name, value) {
        Err(why) => Err(why),
        Ok(checked) => {
            let Some(headers) = writable(state, id) else {
                state.notice(Notice::WriteIgnored, NOT_WRITABLE);
                return Ok(());
            };
            change(headers, &checked, value)
        }
    };
    if let Err(why) = result {
        refuse(state, name, &why);
    }
    Ok(())
}

/// Returns the map, if it is there in this phase.
fn find(state: &mut State, id: MapId) -> Option<&mut dyn HeaderMap> {
    match id {
        MapId::Stream(map) => state.stream_host()?.headers(map),
        MapId::ReceivedHeaders => state
            .calls
            .received
            .headers
            .as_mut()
            .map(|h| h as &mut dyn HeaderMap),
        MapId::ReceivedTrailers => state
            .calls
            .received
            .trailers
            .as_mut()
            .map(|h| h as &mut dyn HeaderMap),
    }
}

fn writable(state: &mut State, id: MapId) -> Option<&mut dyn HeaderMap> {
    match id {
        MapId::Stream(map) if state.frame.phase != Phase::Ended => {
            state.stream_host()?.headers(map)
        }
        _ => None,
    }
}

fn refuse(state: &mut State, name: &[u8], why: &Refused) {
    let detail = format!("header {:?}: {why}", String::from_utf8_lossy(name));
    state.notice(Notice::HeaderRefused, &detail);
}

/// Checks a header a guest wants to write, and counts its bytes.
fn check<'n>(state: &mut State, name: &'n [u8], value: &[u8]) -> Result<Cow<'n, str>, Refused> {
    let checked = header_name(name).ok_or("not a header name")?;
    if !is_header_value(value) {
        return Err("a value with characters no header can carry".into());
    }
    let left = &mut state.frame.header_bytes;
    *left = left
        .checked_sub(name.len() + value.len())
        .ok_or("more header bytes than allowed at once")?;
    Ok(checked)
}

/// Returns a name in lower case, if it is a token (RFC 9110 §5.6.2) or a pseudo-header.
pub(super) fn header_name(name: &[u8]) -> Option<Cow<'_, str>> {
    const PSEUDO: [&str; 6] = [
        ":authority",
        ":method",
        ":path",
        ":protocol",
        ":scheme",
        ":status",
    ];
    let text = std::str::from_utf8(name).ok()?;
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if text.is_empty() || !(text.bytes().all(is_token) || PSEUDO.contains(&text)) {
        return None;
    }
    Some(if text.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    })
}

/// Whether bytes can be a header value (RFC 9110 §5.5); most of all, no CR, LF or NUL.
pub(super) fn is_header_value(value: &[u8]) -> bool {
    value
        .iter()
        .all(|b| *b == b'\t' || (*b >= b' ' && *b != 0x7f))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embed::Headers;

    #[test]
    fn names_are_tokens_or_known_pseudo_headers_in_lower_case() {
        assert_eq!(header_name(b"X-Team").as_deref(), Some("x-team"));
        assert_eq!(header_name(b":path").as_deref(), Some(":path"));
        for bad in [
            &b""[..],
            b":",
            b":other",
            b"a b",
            b"a:b",
            b"a\r\nb",
            b"a\0",
            b"\xff",
            "ä".as_bytes(),
        ] {
            assert_eq!(header_name(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn values_cannot_begin_another_header() {
        assert!(is_header_value(b"plain text, \t and \xff bytes"));
        assert!(is_header_value(b""));
        for bad in [&b"a\r\nb: c"[..], b"a\n", b"a\0", b"\x7f", b"\x01"] {
            assert!(!is_header_value(bad), "{bad:?}");
        }
    }

    #[test]
    fn replacing_a_map_keeps_repeated_headers_and_drops_the_others() {
        let mut headers: Headers = [(":path", "/"), ("a", "1"), ("b", "2"), ("a", "3")]
            .into_iter()
            .collect();
        let new = [
            ("a".into(), &b"4"[..]),
            (":path".into(), &b"/x"[..]),
            ("a".into(), &b"5"[..]),
        ];
        assert_eq!(replace_all(&mut headers, &new), []);
        let mut now: Vec<_> = headers.iter().collect();
        now.sort_unstable();
        assert_eq!(now, [(":path", &b"/x"[..]), ("a", b"4"), ("a", b"5")]);
    }
}
