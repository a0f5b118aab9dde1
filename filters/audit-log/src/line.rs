//! One line about one request.

use kit::json::{Json, write_text};
use kit::stream::Identity;
use kit::time::rfc3339;
use kit::{Side, Stream, query, status};

use crate::{Chosen, Config, Query};

/// The fields the filter writes itself.
pub(crate) const FIELDS: [&str; 24] = [
    "bytes_received",
    "bytes_sent",
    "decision",
    "duration_ms",
    "flags",
    "grpc_status",
    "headers_dropped",
    "host",
    "id",
    "lines_dropped",
    "method",
    "path",
    "peer",
    "peer_namespace",
    "protocol",
    "query",
    "request_headers",
    "response_headers",
    "route",
    "source",
    "status",
    "time",
    "upstream",
    "upstream_ms",
];

/// A line is not longer: what is would be cut in the log, and half a line is no JSON.
pub(crate) const LONGEST: usize = 4000;
/// One value is not longer.
const LONGEST_VALUE: usize = 512;

/// Writes an object, member by member.
struct Members(Vec<u8>);

impl Members {
    fn new() -> Self {
        Self(vec![b'{'])
    }

    fn name(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        write_text(name, &mut self.0);
        self.0.push(b':');
    }

    fn text(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.name(name);
            write_text(&cut(value), &mut self.0);
        }
    }

    fn bytes(&mut self, name: &str, value: Option<Vec<u8>>) {
        let value = value.map(|value| String::from_utf8_lossy(&value).into_owned());
        self.text(name, value.as_deref());
    }

    fn number(&mut self, name: &str, value: Option<i64>) {
        if let Some(value) = value {
            self.name(name);
            self.0.extend_from_slice(value.to_string().as_bytes());
        }
    }

    /// Nanoseconds, as milliseconds with three digits.
    fn duration(&mut self, name: &str, nanoseconds: Option<i64>) {
        if let Some(micro) = nanoseconds.and_then(|n| u64::try_from(n / 1000).ok()) {
            self.name(name);
            let text = format!("{}.{:03}", micro / 1000, micro % 1000);
            self.0.extend_from_slice(text.as_bytes());
        }
    }

    fn json(&mut self, name: &str, value: &Json) {
        self.name(name);
        value.write(&mut self.0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.0.push(b'}');
        self.0
    }
}

/// Cuts a value at a character, visibly.
fn cut(value: &str) -> String {
    if value.len() <= LONGEST_VALUE {
        return value.to_owned();
    }
    let end = (0..=LONGEST_VALUE)
        .rev()
        .find(|at| value.is_char_boundary(*at));
    format!("{}…", value.get(..end.unwrap_or(0)).unwrap_or_default())
}

impl Config {
    /// Writes the line of a finished request. `dropped` tells how many lines before it were lost.
    pub fn line(&self, stream: &dyn Stream, dropped: u64) -> Vec<u8> {
        let mut line = Members::new();
        line.text("time", Some(&rfc3339(stream.now())));
        for (name, value) in &self.fixed {
            line.json(name, value);
        }
        if dropped > 0 {
            line.number("lines_dropped", i64::try_from(dropped).ok());
        }
        who(&mut line, stream);
        self.what(&mut line, stream);
        outcome(&mut line, stream);
        let sides = [
            ("request_headers", Side::Request, &self.request_headers),
            ("response_headers", Side::Response, &self.response_headers),
        ];
        let mut left_out = 0;
        for (name, side, chosen) in sides {
            let room = LONGEST.saturating_sub(line.0.len() + 100);
            if let Some((object, dropped)) = headers(stream, side, chosen, room) {
                line.name(name);
                line.0.extend_from_slice(&object);
                left_out += dropped;
            }
        }
        if left_out > 0 {
            line.number("headers_dropped", Some(left_out));
        }
        line.finish()
    }

    fn what(&self, line: &mut Members, stream: &dyn Stream) {
        let header = |name| stream.header(Side::Request, name);
        line.bytes("id", header("x-request-id"));
        line.bytes("method", header(":method"));
        line.bytes("host", header(":authority"));
        let target = stream.target();
        let (path, query) = query::split(&target);
        line.bytes("path", Some(path.to_vec()));
        line.bytes("query", query.and_then(|query| self.shown_query(query)));
        line.text("protocol", stream.text(&["request", "protocol"]).as_deref());
    }

    fn shown_query(&self, query: &[u8]) -> Option<Vec<u8>> {
        match self.query {
            Query::Drop => None,
            Query::Keep => Some(query.to_vec()),
            Query::Names => {
                let names = query
                    .split(|b| *b == b'&')
                    .map(|item| item.split(|b| *b == b'=').next().unwrap_or_default());
                Some(names.collect::<Vec<_>>().join(&b'&'))
            }
        }
    }
}

fn who(line: &mut Members, stream: &dyn Stream) {
    let peer = stream.peer();
    line.text("peer", peer.as_deref());
    let identity = peer.as_deref().and_then(Identity::parse);
    line.text("peer_namespace", identity.map(|id| id.namespace));
    line.text("source", stream.text(&["source", "address"]).as_deref());
}

fn outcome(line: &mut Members, stream: &dyn Stream) {
    line.number("status", status::of(stream).map(i64::from));
    line.number("grpc_status", stream.number(&["response", "grpc_status"]));
    line.text(
        "decision",
        stream.text(&["response", "code_details"]).as_deref(),
    );
    let flags = stream
        .number(&["response", "flags"])
        .filter(|flags| *flags != 0);
    line.number("flags", flags);
    line.text("route", stream.text(&["xds", "route_name"]).as_deref());
    line.text("upstream", stream.text(&["upstream", "address"]).as_deref());
    line.duration("duration_ms", stream.number(&["request", "duration"]));
    line.duration(
        "upstream_ms",
        stream.number(&["response", "backend_latency"]),
    );
    line.number("bytes_received", stream.number(&["request", "size"]));
    line.number("bytes_sent", stream.number(&["response", "size"]));
}

/// Writes the chosen headers a side has, and how many did not fit; `None` when it has none.
fn headers(
    stream: &dyn Stream,
    side: Side,
    chosen: &[Chosen],
    room: usize,
) -> Option<(Vec<u8>, i64)> {
    let mut object = Members::new();
    let (mut any, mut dropped) = (false, 0);
    for Chosen { name, revealed } in chosen {
        let values = stream.values(side, name);
        if values.is_empty() {
            continue;
        }
        any = true;
        let value = if *revealed {
            values.join(&b", "[..])
        } else {
            b"[hidden]".to_vec()
        };
        let before = object.0.len();
        object.bytes(name, Some(value));
        if object.0.len() > room {
            object.0.truncate(before);
            dropped += 1;
        }
    }
    any.then(|| (object.finish(), dropped))
}
