//! What a stream costs: `cargo run --release --example cost`.
//!
//! Best of several rounds of a whole stream (context, request and response headers, log, done,
//! delete), for guests that do nothing, add a header, or make ten host calls.

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;
use std::hint::black_box;
use std::rc::Rc;
use std::time::{Duration, Instant};

use wasm_host::{
    HeaderMap, Headers, Host, HostSettings, Map, Outcome, Plugin, PluginConfig, PluginHost,
    StreamHost, Value,
};

const ROUNDS: u32 = 20;
const STREAMS: u32 = 20_000;

/// A guest with all callbacks of a stream; the first holds what is measured.
fn guest(calls: &str) -> String {
    format!(
        r#"(module
  (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_property" (func $property (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "x-added")
  (data (i32.const 32) "yes")
  (data (i32.const 48) ":path")
  (data (i32.const 64) "source\00address")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 4096))
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {calls} (i32.const 0))
  (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) (i32.const 0))
  (func (export "proxy_on_log") (param i32))
  (func (export "proxy_on_done") (param i32) (result i32) (i32.const 1))
  (func (export "proxy_on_delete") (param i32)))"#
    )
}

const ADD: &str =
    "(drop (call $add (i32.const 0) (i32.const 16) (i32.const 7) (i32.const 32) (i32.const 3)))";
const GET: &str =
    "(drop (call $get (i32.const 0) (i32.const 48) (i32.const 5) (i32.const 0) (i32.const 4)))";
const PROPERTY: &str =
    "(drop (call $property (i32.const 64) (i32.const 14) (i32.const 0) (i32.const 4)))";

struct Proxy;

impl PluginHost for Proxy {}

struct Exchange {
    request: Headers,
    response: Headers,
}

impl StreamHost for Exchange {
    fn headers(&mut self, map: Map) -> Option<&mut dyn HeaderMap> {
        match map {
            Map::RequestHeaders => Some(&mut self.request),
            Map::ResponseHeaders => Some(&mut self.response),
            Map::RequestTrailers | Map::ResponseTrailers => None,
        }
    }

    fn property(&self, path: &[&str]) -> Option<Value<'_>> {
        (path == ["source", "address"]).then(|| "10.0.0.1:7".into())
    }
}

fn measure(host: &Host, calls: &str) -> Result<Duration, Box<dyn Error>> {
    let module = host.compile(&wat::parse_str(guest(calls))?)?;
    let vm = Plugin::new(module, PluginConfig::default()).instantiate(Rc::new(Proxy))?;
    let request: Headers = [
        (":method", "GET"),
        (":path", "/shop"),
        (":authority", "shop"),
        ("user-agent", "cost"),
        ("accept", "*/*"),
    ]
    .into_iter()
    .collect();
    let mut exchange = Exchange {
        request,
        response: [(":status", "200")].into_iter().collect(),
    };
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        for _ in 0..STREAMS {
            let mut stream = vm.new_stream();
            let request = stream.on_request_headers(&mut exchange, true);
            let response = stream.on_response_headers(&mut exchange, true);
            let (Outcome::Continue, Outcome::Continue) = (&request, &response) else {
                return Err(format!("{request:?}, {response:?}").into());
            };
            stream.finish(&mut exchange)?;
            // What the guest added must not pile up from stream to stream.
            exchange
                .request
                .remove("x-added")
                .map_err(|why| why.to_string())?;
            black_box(&mut exchange);
        }
        best = best.min(begun.elapsed() / STREAMS);
    }
    Ok(best)
}

fn main() -> Result<(), Box<dyn Error>> {
    let host = Host::new(HostSettings::default())?;
    let ten = [&[ADD][..], &[GET; 5], &[PROPERTY; 4]].concat().concat();
    for (name, calls) in [
        ("nothing", ""),
        ("add a header", ADD),
        ("ten host calls", &ten),
    ] {
        println!("{name:>16}: {:?} per stream", measure(&host, calls)?);
    }
    Ok(())
}
