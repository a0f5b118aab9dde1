//! Properties: those of the plugin, of the stream, of the proxy, and those guests set themselves.

use std::borrow::Cow;

use crate::abi::{Map, Status};
use crate::embed::{Notice, StreamHost, Value};
use crate::hostcalls::Answer;
use crate::hostcalls::memory::{Call, Out, Span, slice};
use crate::pairs;
use crate::vm::State;

/// More segments than any path has.
const MAX_SEGMENTS: usize = 16;

/// Looks in this order: the plugin itself, the proxy's stream, what header maps tell, the proxy,
/// what a guest has set. What is built in cannot be overridden.
pub(super) fn get(call: &mut Call<'_>, path: Span, out: Out) -> Answer {
    call.give_scratch(out, |memory, state, scratch| {
        let raw = without_end(slice(memory, path)?);
        let mut segments = [""; MAX_SEGMENTS];
        let found = split(raw, &mut segments).is_some_and(|path| built_in(state, path, scratch))
            || set_by_guest(state, raw)
                .map(|value| scratch.extend_from_slice(value))
                .is_some();
        if found { Ok(()) } else { Err(Status::NotFound) }
    })
}

/// Keeps a property for this stream: with the proxy if it wants to, else here. In the root
/// context, where Envoy answers `NOT_FOUND` and Rust filters panic, for the plugin.
pub(super) fn set(call: &mut Call<'_>, path: Span, value: Span) -> Answer {
    let (memory, state) = call.split();
    let raw = without_end(slice(memory, path)?);
    let value = slice(memory, value)?;
    if state.root.declared.is_read_only(raw) && set_by_guest(state, raw).is_some() {
        state.notice(Notice::WriteIgnored, "a property that may be set only once");
        return Ok(());
    }
    let mut segments = [""; MAX_SEGMENTS];
    if let Some(path) = split(raw, &mut segments)
        && let Some(stream) = state.stream_host()
        && stream.set_property(path, value)
    {
        return Ok(());
    }
    let limit = state.limits().property_bytes;
    let kept = match state.effective_stream() {
        Some((_, stream)) => stream.properties.set(raw, value, limit),
        None => state.root.properties.set(raw, value, limit),
    };
    if !kept {
        state.notice(Notice::StorageFull, "a property");
    }
    Ok(())
}

/// Some SDKs end a path with a NUL.
fn without_end(raw: &[u8]) -> &[u8] {
    raw.strip_suffix(&[0]).unwrap_or(raw)
}

/// Splits a path at its NULs; `None` for what no built-in property is called.
fn split<'p, 's>(
    raw: &'p [u8],
    segments: &'s mut [&'p str; MAX_SEGMENTS],
) -> Option<&'s [&'p str]> {
    let mut n = 0;
    for segment in raw.split(|b| *b == 0) {
        *segments.get_mut(n)? = std::str::from_utf8(segment).ok()?;
        n += 1;
    }
    segments.get(..n)
}

fn set_by_guest<'s>(state: &'s State, raw: &[u8]) -> Option<&'s [u8]> {
    let id = state.frame.effective;
    let stream = state
        .streams
        .get(&id)
        .and_then(|stream| stream.properties.get(raw));
    stream.or_else(|| state.root.properties.get(raw))
}

/// Writes a property the proxy or this crate knows; returns whether there is one.
fn built_in(state: &mut State, path: &[&str], out: &mut Vec<u8>) -> bool {
    let config = &state.plugin.config;
    let own = match path {
        ["plugin_name"] => Some(&config.name),
        ["plugin_root_id"] => Some(&config.root_id),
        ["plugin_vm_id"] => Some(&config.vm_id),
        _ => None,
    };
    if let Some(own) = own {
        out.extend_from_slice(own.as_bytes());
        return true;
    }
    if let Some(stream) = state.stream_host() {
        if let Some(value) = stream.property(path) {
            value.encode(out);
            return true;
        }
        if from_headers(stream, path, out).is_some() {
            return true;
        }
    }
    let value = state.host.property(path);
    value.map(|value| value.encode(out)).is_some()
}

/// Returns a property as an expression sees it, with its type.
pub(super) fn typed(state: &mut State, path: &[&str]) -> Option<Value<'static>> {
    if let Some(stream) = state.stream_host()
        && let Some(value) = stream.property(path)
    {
        return Some(value.into_owned());
    }
    let mut out = Vec::new();
    if !is_own(path)
        && let Some(stream) = state.stream_host()
        && from_headers(stream, path, &mut out).is_some()
    {
        return Some(match path {
            ["response", "code" | "grpc_status"] => {
                let bytes = out.first_chunk().copied().unwrap_or_default();
                Value::Int(i64::from_le_bytes(bytes))
            }
            ["request" | "response", "headers" | "trailers"] => {
                let pairs = pairs::read(&out, usize::MAX).unwrap_or_default();
                let owned = |bytes: &[u8]| Cow::Owned(bytes.to_vec());
                Value::Map(pairs.iter().map(|(n, v)| (owned(n), owned(v))).collect())
            }
            _ => Value::Bytes(Cow::Owned(out)),
        });
    }
    if let Some(value) = state.host.property(path) {
        return Some(value.into_owned());
    }
    if built_in(state, path, &mut out) {
        return Some(Value::Bytes(Cow::Owned(out)));
    }
    let kept = set_by_guest(state, path.join("\0").as_bytes())?;
    Some(Value::Bytes(Cow::Owned(kept.to_vec())))
}

fn is_own(path: &[&str]) -> bool {
    matches!(path, ["plugin_name" | "plugin_root_id" | "plugin_vm_id"])
}

/// Answers what follows from header maps alone.
///
/// Source: Envoy's request and response attributes.
fn from_headers(stream: &mut dyn StreamHost, path: &[&str], out: &mut Vec<u8>) -> Option<()> {
    match path {
        ["request", "url_path"] => target(stream, out, |path, _| path),
        ["request", "query"] => target(stream, out, |_, query| query),
        ["request", "headers"] => whole(stream, Map::RequestHeaders, out),
        ["request", "headers", name] => joined(stream, Map::RequestHeaders, name, out),
        ["request", attribute] => {
            let headers = stream.headers(Map::RequestHeaders)?;
            let value = headers.get(request_header(attribute)?)?;
            out.extend_from_slice(&value);
            Some(())
        }
        ["response", "headers"] => whole(stream, Map::ResponseHeaders, out),
        ["response", "headers", name] => joined(stream, Map::ResponseHeaders, name, out),
        ["response", "trailers"] => whole(stream, Map::ResponseTrailers, out),
        ["response", "trailers", name] => joined(stream, Map::ResponseTrailers, name, out),
        ["response", "code"] => number(stream, Map::ResponseHeaders, ":status", out),
        ["response", "grpc_status"] => number(stream, Map::ResponseTrailers, "grpc-status", out)
            .or_else(|| number(stream, Map::ResponseHeaders, "grpc-status", out)),
        _ => None,
    }
}

/// The request header an attribute is another name for.
fn request_header(attribute: &str) -> Option<&'static str> {
    Some(match attribute {
        "path" => ":path",
        "host" => ":authority",
        "scheme" => ":scheme",
        "method" => ":method",
        "referer" => "referer",
        "useragent" => "user-agent",
        "id" => "x-request-id",
        _ => return None,
    })
}

/// Writes path or query of the request target.
fn target(
    stream: &mut dyn StreamHost,
    out: &mut Vec<u8>,
    part: impl for<'t> FnOnce(&'t [u8], &'t [u8]) -> &'t [u8],
) -> Option<()> {
    let target = stream.headers(Map::RequestHeaders)?.get(":path")?;
    let mut halves = target.splitn(2, |b| *b == b'?');
    let (path, query) = (
        halves.next().unwrap_or_default(),
        halves.next().unwrap_or_default(),
    );
    out.extend_from_slice(part(path, query));
    Some(())
}

fn number(stream: &mut dyn StreamHost, map: Map, name: &str, out: &mut Vec<u8>) -> Option<()> {
    let value = stream.headers(map)?.get(name)?;
    let number: i64 = std::str::from_utf8(&value).ok()?.parse().ok()?;
    Value::Int(number).encode(out);
    Some(())
}

/// Writes every value of a header, joined by commas.
fn joined(stream: &mut dyn StreamHost, map: Map, name: &str, out: &mut Vec<u8>) -> Option<()> {
    let name = name.to_ascii_lowercase();
    let mut found = false;
    stream.headers(map)?.each(&mut |n, value| {
        if n == name.as_bytes() {
            if found {
                out.push(b',');
            }
            found = true;
            out.extend_from_slice(value);
        }
    });
    found.then_some(())
}

/// Writes a map with one entry per name.
fn whole(stream: &mut dyn StreamHost, map: Map, out: &mut Vec<u8>) -> Option<()> {
    let headers = stream.headers(map)?;
    let mut entries: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    headers.each(
        &mut |name, value| match entries.iter_mut().find(|(n, _)| n == name) {
            Some((_, values)) => {
                values.push(b',');
                values.extend_from_slice(value);
            }
            None => entries.push((name.to_vec(), value.to_vec())),
        },
    );
    let entries = entries
        .into_iter()
        .map(|(name, value)| (Cow::Owned(name), Cow::Owned(value)));
    Value::Map(entries.collect()).encode(out);
    Some(())
}
