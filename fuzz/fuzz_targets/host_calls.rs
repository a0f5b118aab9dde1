//! Any sequence of host calls with any arguments: the guest may trap, the host keeps its word.
//!
//! One guest reads its configuration as a program: a byte chooses the function, two bytes make
//! each argument. Arguments below 32768 are themselves, so that most pointers lead somewhere; the
//! program lies at 1024.
#![no_main]

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt::Write as _;
use std::ops::Range;
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use wasm_host::{
    Body, Buffer, CallRefused, GrpcCall, GrpcMethod, HeaderMap, Headers, Host, HostSettings,
    HttpCall, Limits, LogRecord, LogSource, Map, MetricId, MetricKind, Module, Outcome, Peer,
    Plugin, PluginConfig, PluginHost, Refused, Side, StreamHost, Value, Vm,
};

const MODULES: [&str; 2] = ["env", "wasi_snapshot_preview1"];
const PROGRAM_MAX: usize = 4096;

/// Between callbacks, and the last call of each: the program goes on in the next one.
const PRELUDE: &str = r#"
  (memory (export "memory") 4)
  (global $heap (mut i32) (i32.const 131072))
  (global $pc (mut i32) (i32.const 1024))
  (global $end (mut i32) (i32.const 1024))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (global.get $heap)
    (global.set $heap (i32.add (global.get $heap) (local.get $size))))
  (func $arg (result i32)
    (local $at i32)
    (local.set $at (global.get $pc))
    (global.set $pc (i32.add (local.get $at) (i32.const 2)))
    (i32.extend16_s (i32.load16_u (local.get $at))))
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))
  (func (export "proxy_on_configure") (param i32) (param $size i32) (result i32)
    (drop (call $proxy_get_buffer_bytes
      (i32.const 7) (i32.const 0) (local.get $size) (i32.const 0) (i32.const 4)))
    (memory.copy (i32.const 1024) (i32.load (i32.const 0)) (i32.load (i32.const 4)))
    (global.set $end (i32.add (i32.const 1024) (i32.load (i32.const 4))))
    (call $run)
    (i32.const 1))
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "proxy_on_tick") (param i32) (call $run))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (call $run) (i32.and (call $arg) (i32.const 1)))
  (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
    (call $run) (i32.and (call $arg) (i32.const 1)))
  (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
    (call $run) (i32.and (call $arg) (i32.const 1)))
  (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32)
    (call $run) (i32.and (call $arg) (i32.const 1)))
  (func (export "proxy_on_foreign_function") (param i32 i32 i32) (call $run))
  (func (export "proxy_on_new_connection") (param i32) (result i32)
    (call $run) (i32.and (call $arg) (i32.const 1)))
  (func (export "proxy_on_downstream_data") (param i32 i32 i32) (result i32)
    (call $run) (i32.and (call $arg) (i32.const 1)))
  (func (export "proxy_on_upstream_connection_close") (param i32 i32) (call $run))
  (func (export "proxy_on_done") (param i32) (result i32) (call $run) (i32.const 1))
  (func (export "proxy_on_log") (param i32) (call $run))
"#;

fn guest(host: &Host) -> String {
    let mut imports = String::new();
    let mut run = String::from("(func $run (local $op i32) (loop $next\n");
    run.push_str("(if (i32.ge_u (global.get $pc) (global.get $end)) (then return))\n");
    run.push_str("(local.set $op (i32.load8_u (global.get $pc)))\n");
    run.push_str("(global.set $pc (i32.add (global.get $pc) (i32.const 1)))\n");
    let mut op = 0;
    for module in MODULES {
        for (name, signature) in wasm_host::fuzz::functions(host, module) {
            let (params, results) = signature.split_once(" -> ").unwrap();
            let params = params.trim_matches(['(', ')']).replace(',', "");
            let results = results.trim_matches(['(', ')']);
            writeln!(
                imports,
                "(import \"{module}\" \"{name}\" (func ${name} (param {params}) (result {results})))"
            )
            .unwrap();
            let mut call = format!("call ${name}");
            for param in params.split_whitespace() {
                call += if param == "i64" {
                    " (i64.extend_i32_s (call $arg))"
                } else {
                    " (call $arg)"
                };
            }
            let call = if results.is_empty() {
                format!("({call})")
            } else {
                format!("(drop ({call}))")
            };
            writeln!(
                run,
                "(if (i32.eq (local.get $op) (i32.const {op})) (then {call} (br $next)))"
            )
            .unwrap();
            op += 1;
        }
    }
    // Any other byte ends the callback.
    format!("(module {imports} {PRELUDE} {run} ))\n)")
}

static HOST: LazyLock<Host> =
    LazyLock::new(|| Host::new(HostSettings::default()).expect("an engine"));
static GUEST: LazyLock<Module> = LazyLock::new(|| {
    let wat = guest(&HOST);
    let bytes = wat::parse_str(&wat).unwrap_or_else(|error| panic!("{error}\n{wat}"));
    HOST.compile(&bytes).expect("a module")
});

fn limits() -> Limits {
    Limits {
        host_calls: 200,
        // Generous: what is instrumented is slow, and a deadline is not what is tried here.
        start: Duration::from_secs(5),
        configure: Duration::from_secs(5),
        callback: Duration::from_secs(5),
        tick: Duration::from_secs(5),
        body_bytes: 8 << 10,
        header_bytes: 4 << 10,
        pairs: 32,
        ..Limits::default()
    }
}

/// What RFC 9110 calls a token, in lower case, or a pseudo-header.
fn check_name(name: &str) {
    const PSEUDO: [&str; 5] = [":authority", ":method", ":path", ":scheme", ":status"];
    let token = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte)
    };
    assert!(
        PSEUDO.contains(&name) || !name.is_empty() && name.bytes().all(token),
        "{name:?}"
    );
}

fn check_value(value: &[u8]) {
    assert!(
        !value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)),
        "{value:?}"
    );
}

fn check_all(headers: &Headers) {
    assert!(headers.len() <= limits().pairs + 1);
    for (name, value) in headers.iter() {
        check_name(name);
        check_value(value);
    }
}

/// A proxy that believes nothing.
#[derive(Default)]
struct Proxy {
    lines: Cell<u32>,
    metrics: Cell<u64>,
}

impl PluginHost for Proxy {
    fn log(&self, record: &LogRecord<'_>) {
        if record.source == LogSource::Guest {
            assert!(record.message.len() <= limits().log_line);
            self.lines.set(self.lines.get() + 1);
            assert!(self.lines.get() <= 200, "a flood of lines");
        }
    }

    fn define_metric(&self, _: MetricKind, name: &str) -> Option<MetricId> {
        assert!(name.len() <= limits().name_bytes);
        self.metrics.set(self.metrics.get() + 1);
        Some(MetricId(self.metrics.get()))
    }

    fn add_to_metric(&self, id: MetricId, _: i64) {
        assert!((1..=self.metrics.get()).contains(&id.0));
    }

    fn record_metric(&self, id: MetricId, _: u64) {
        assert!((1..=self.metrics.get()).contains(&id.0));
    }

    fn http_call(&self, call: HttpCall<'_>) -> Result<(), CallRefused> {
        check_all(&call.headers);
        check_all(&call.trailers);
        assert!(call.timeout <= limits().call_timeout);
        for name in [":method", ":path", ":authority"] {
            assert!(call.headers.get(name).is_some(), "no {name}");
        }
        Ok(())
    }

    fn grpc_call(&self, call: GrpcCall<'_>) -> Result<(), CallRefused> {
        check_all(&call.metadata);
        if let GrpcMethod::Unary { timeout, .. } = call.kind {
            assert!(timeout <= limits().call_timeout);
        }
        Ok(())
    }
}

/// Headers that check what they are told.
#[derive(Default)]
struct Checked(Headers);

impl HeaderMap for Checked {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.0.get(name)
    }

    fn each(&self, visit: &mut dyn FnMut(&[u8], &[u8])) {
        self.0.each(visit);
    }

    fn set(&mut self, name: &str, value: &[u8]) -> Result<(), Refused> {
        check_name(name);
        check_value(value);
        self.0.set(name, value)
    }

    fn add(&mut self, name: &str, value: &[u8]) -> Result<(), Refused> {
        check_name(name);
        check_value(value);
        self.0.add(name, value)
    }

    fn remove(&mut self, name: &str) -> Result<(), Refused> {
        check_name(name);
        self.0.remove(name)
    }
}

/// A body that checks where it is changed.
struct Bytes(Vec<u8>);

impl Buffer for Bytes {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn copy_to(&self, start: usize, out: &mut [u8]) {
        out.copy_from_slice(&self.0[start..start + out.len()]);
    }

    fn splice(&mut self, range: Range<usize>, with: &[u8]) -> Result<(), Refused> {
        assert!(
            range.start <= range.end && range.end <= self.0.len(),
            "{range:?}"
        );
        assert!(with.len() <= limits().body_bytes);
        self.0.splice(range, with.iter().copied());
        Ok(())
    }
}

struct Exchange {
    request: Checked,
    response: Option<Checked>,
    body: Bytes,
}

impl StreamHost for Exchange {
    fn headers(&mut self, map: Map) -> Option<&mut dyn HeaderMap> {
        match map {
            Map::RequestHeaders => Some(&mut self.request),
            Map::ResponseHeaders => self.response.as_mut().map(|map| map as &mut dyn HeaderMap),
            Map::RequestTrailers | Map::ResponseTrailers => None,
        }
    }

    fn body(&mut self, body: Body) -> Option<&mut dyn Buffer> {
        (body == Body::Request).then_some(&mut self.body)
    }

    fn property(&self, path: &[&str]) -> Option<Value<'_>> {
        (path == ["source", "address"]).then(|| "10.0.0.1:7".into())
    }
}

/// One direction of a connection; the other is not there.
struct Connection(Bytes);

impl StreamHost for Connection {
    fn headers(&mut self, _: Map) -> Option<&mut dyn HeaderMap> {
        None
    }

    fn data(&mut self, side: Side) -> Option<&mut dyn Buffer> {
        (side == Side::Downstream).then_some(&mut self.0)
    }
}

/// Lets the program go on in the callbacks of a connection.
fn connect(vm: &Vm) {
    let mut connection = Connection(Bytes(b"data".to_vec()));
    let mut stream = vm.new_tcp_stream();
    let _ = stream.on_new_connection(&mut connection);
    let _ = stream.on_downstream_data(&mut connection, true);
    drop(stream.on_upstream_close(&mut connection, Peer::Remote));
    for _ in 0..4 {
        let _ = stream.pending();
    }
    assert_eq!(stream.pending(), None);
    drop(stream.finish(&mut connection));
}

/// Whether the stream goes on.
fn check(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Continue | Outcome::Pause(_) => true,
        Outcome::LocalResponse(response) => {
            assert!((200..=599).contains(&response.status));
            assert!(response.body.len() <= limits().body_bytes);
            assert!(!response.details.contains([' ', '\n', '\r']));
            assert!(response.grpc_status.is_none_or(|status| status <= 16));
            check_all(&response.headers);
            assert!(
                response
                    .headers
                    .iter()
                    .all(|(name, _)| !name.starts_with(':'))
            );
            false
        }
        Outcome::Reset | Outcome::Trapped(_) => false,
    }
}

fuzz_target!(|program: &[u8]| {
    if program.len() > PROGRAM_MAX {
        return;
    }
    let config = PluginConfig {
        name: "fuzz".into(),
        configuration: program.to_vec(),
        limits: limits(),
        ..PluginConfig::default()
    };
    let plugin = Plugin::new(GUEST.clone(), config);
    let Ok(vm) = plugin.instantiate(Rc::new(Proxy::default())) else {
        return;
    };
    drop(vm.on_tick());
    drop(vm.on_foreign_function(1, b"args".to_vec()));
    let request = [
        (":authority", "shop"),
        (":path", "/a?b=c"),
        (":method", "GET"),
        ("a", "b"),
    ];
    let mut exchange = Exchange {
        request: Checked(request.into_iter().collect()),
        response: None,
        body: Bytes(b"body".to_vec()),
    };
    let mut stream = vm.new_stream();
    let goes_on = check(stream.on_request_headers(&mut exchange, false))
        && check(stream.on_request_body(&mut exchange, true));
    if goes_on {
        let response = [(":status", "200"), ("content-type", "text/plain")];
        exchange.response = Some(Checked(response.into_iter().collect()));
        let _ = check(stream.on_response_headers(&mut exchange, true));
    }
    drop(stream.pending());
    drop(stream.finish(&mut exchange));
    connect(&vm);
    assert!(vm.memory() <= limits().memory);
});
