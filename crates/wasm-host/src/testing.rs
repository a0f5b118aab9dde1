//! What the tests of this crate share: guests written as text, and a proxy that remembers.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};

use crate::embed::QueueNotifier;
use crate::{
    Body, Buffer, CallId, CallRefused, GrpcCall, HeaderMap, Headers, Host, HostSettings, HttpCall,
    Limits, LogLevel, LogRecord, LogSource, Map, MetricId, MetricKind, Module, Notice, Outcome,
    Plugin, PluginConfig, PluginHost, Side, StreamHost, StreamId, Trap, Value, Vm,
};

/// One host for all tests: making it defines some seventy functions.
pub(crate) fn host() -> &'static Host {
    static HOST: LazyLock<Host> = LazyLock::new(|| Host::new(HostSettings::default()).unwrap());
    &HOST
}

/// A guest in the making. Everything the host offers is imported under its own name.
#[derive(Debug)]
pub(crate) struct Guest {
    data: Vec<u8>,
    imports: String,
    functions: String,
    marker: &'static str,
}

const DATA: usize = 1024;
/// Where results are written: two numbers at `OUT`, another at `OUT + 8`.
pub(crate) const OUT: &str = "(i32.const 0) (i32.const 4)";
pub(crate) const OUT_MORE: &str = "(i32.const 8)";

const PRELUDE: &str = r#"
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 65536))
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (if (i32.eqz (local.get $size)) (then unreachable))
    (global.get $heap)
    (global.set $heap (i32.add (global.get $heap) (local.get $size))))
  ;; Logs a status as one character: 0 to 9, then ":" for 10 and so on.
  (func $say (param $status i32)
    (i32.store8 (i32.const 100) (i32.add (i32.const 48) (local.get $status)))
    (drop (call $proxy_log (i32.const 2) (i32.const 100) (i32.const 1))))
  ;; Logs the bytes that were given, in brackets.
  (func $show
    (drop (call $proxy_log (i32.const 2) (i32.load (i32.const 0)) (i32.load (i32.const 4)))))
  ;; Logs the status of a call and, if it is 0, the bytes given.
  (func $say_and_show (param $status i32)
    (call $say (local.get $status))
    (if (i32.eqz (local.get $status)) (then (call $show))))
"#;

impl Guest {
    pub(crate) fn new() -> Self {
        let (data, imports, functions) = (Vec::new(), String::new(), String::new());
        Self {
            data,
            imports,
            functions,
            marker: "proxy_abi_version_0_2_1",
        }
    }

    pub(crate) fn abi(marker: &'static str) -> Self {
        Self {
            marker,
            ..Self::new()
        }
    }

    /// Puts bytes into guest memory and returns them as two arguments.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> String {
        let at = DATA + self.data.len();
        self.data.extend_from_slice(bytes);
        format!("(i32.const {at}) (i32.const {})", bytes.len())
    }

    pub(crate) fn text(&mut self, text: &str) -> String {
        self.bytes(text.as_bytes())
    }

    /// Adds an instruction that logs a text.
    pub(crate) fn print(&mut self, text: &str) -> String {
        let text = self.text(text);
        format!("(drop (call $proxy_log (i32.const 2) {text}))")
    }

    /// Imports a function of WASI under its own name.
    pub(crate) fn wasi(mut self, name: &str) -> Self {
        let module = "wasi_snapshot_preview1";
        let (_, signature) = host()
            .functions(module)
            .into_iter()
            .find(|(n, _)| *n == name)
            .unwrap();
        self.imports += &import(module, name, signature);
        self
    }

    /// Adds any definition.
    pub(crate) fn define(mut self, definition: &str) -> Self {
        self.functions.push_str(definition);
        self
    }

    /// Adds a callback with the type the ABI gives it; one that returns something returns `result`.
    pub(crate) fn on(self, callback: &str, body: &str, result: i32) -> Self {
        let known = crate::Callback::ALL
            .iter()
            .find(|c| c.name() == callback)
            .unwrap();
        let (params, results) = known.types()[0].split_once(" -> ").unwrap();
        let params: String = params.trim_matches(['(', ')']).replace(',', "");
        let params = if params.is_empty() {
            String::new()
        } else {
            format!("(param {params})")
        };
        let (result_type, result) = if results == "i32" {
            ("(result i32)", format!("(i32.const {result})"))
        } else {
            ("", String::new())
        };
        self.define(&format!(
            "(func ${callback} (export \"{callback}\") {params} {result_type} {body} {result})\n"
        ))
    }

    /// Adds a callback that logs its own name.
    pub(crate) fn announces(mut self, callback: &str, result: i32) -> Self {
        let print = self.print(callback);
        self.on(callback, &print, result)
    }

    pub(crate) fn wat(&self) -> String {
        let mut wat = String::from("(module $guest\n");
        for (name, signature) in host().functions("env") {
            wat += &import("env", name, signature);
        }
        wat += &self.imports;
        wat.push_str(PRELUDE);
        let data: String = self.data.iter().fold(String::new(), |mut data, byte| {
            write!(data, "\\{byte:02x}").unwrap();
            data
        });
        writeln!(
            wat,
            "(func (export \"{}\")) (data (i32.const {DATA}) \"{data}\")",
            self.marker
        )
        .unwrap();
        wat + &self.functions + ")"
    }

    pub(crate) fn module(&self) -> Module {
        compile(&self.wat())
    }

    /// A VM of this guest with nothing special about it.
    pub(crate) fn start(&self) -> (Vm, Rc<Recorder>) {
        self.start_with(PluginConfig::default())
    }

    pub(crate) fn start_with(&self, config: PluginConfig) -> (Vm, Rc<Recorder>) {
        let recorder = Rc::new(Recorder::default());
        let plugin = plugin(&self.wat(), config);
        let vm = plugin
            .instantiate(Rc::clone(&recorder) as Rc<dyn PluginHost>)
            .unwrap();
        (vm, recorder)
    }
}

fn import(module: &str, name: &str, signature: &str) -> String {
    let (params, results) = signature.split_once(" -> ").unwrap();
    let params = params.trim_matches(['(', ')']).replace(',', "");
    let results = results.trim_matches(['(', ')']);
    format!("(import \"{module}\" \"{name}\" (func ${name} (param {params}) (result {results})))\n")
}

pub(crate) fn compile(wat: &str) -> Module {
    let bytes = wat::parse_str(wat).unwrap_or_else(|e| panic!("{e}\n{wat}"));
    host().compile(&bytes).unwrap()
}

pub(crate) fn plugin(wat: &str, config: PluginConfig) -> Plugin {
    Plugin::new(
        compile(wat),
        PluginConfig {
            name: "test".to_owned(),
            ..config
        },
    )
}

pub(crate) fn limited(limits: Limits) -> PluginConfig {
    PluginConfig {
        limits,
        ..PluginConfig::default()
    }
}

/// Runs one request through a guest that does something in `proxy_on_request_headers`, and returns
/// the lines it logged.
pub(crate) fn lines_of(body: &str, guest: Guest) -> Vec<String> {
    let (vm, recorder) = guest.on("proxy_on_request_headers", body, 0).start();
    let mut exchange = Exchange::get("/");
    let outcome = vm.new_stream().on_request_headers(&mut exchange, true);
    assert!(matches!(outcome, Outcome::Continue), "{outcome:?}");
    recorder.lines()
}

/// The trap in an outcome.
#[track_caller]
pub(crate) fn trap(outcome: Outcome) -> Arc<Trap> {
    match outcome {
        Outcome::Trapped(trap) => trap,
        other => panic!("no trap but {other:?}"),
    }
}

/// A proxy that remembers what guests did.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub(crate) records: RefCell<Vec<(LogLevel, LogSource, String)>>,
    pub(crate) notices: RefCell<Vec<Notice>>,
    pub(crate) metrics: RefCell<Vec<(MetricKind, String, i64)>>,
    pub(crate) http_calls: RefCell<Vec<String>>,
    pub(crate) cancelled: RefCell<Vec<CallId>>,
    pub(crate) calls: RefCell<Vec<CallId>>,
    pub(crate) sent: RefCell<Vec<(CallId, Vec<u8>, bool)>>,
    pub(crate) woken: RefCell<Vec<StreamId>>,
    pub(crate) refuse_calls: Cell<Option<CallRefused>>,
    pub(crate) notified: Arc<parking_lot::Mutex<Vec<u32>>>,
    /// What can be lent, and what was given back.
    pub(crate) loans: RefCell<Vec<(StreamId, Exchange)>>,
    pub(crate) given_back: Rc<RefCell<Vec<Exchange>>>,
}

impl Recorder {
    /// What the guest logged, in order.
    pub(crate) fn lines(&self) -> Vec<String> {
        let records = self.records.borrow();
        let guest = records
            .iter()
            .filter(|(_, source, _)| *source == LogSource::Guest);
        guest.map(|(_, _, line)| line.clone()).collect()
    }

    /// What the host said about the guest.
    pub(crate) fn remarks(&self) -> Vec<String> {
        let records = self.records.borrow();
        let host = records
            .iter()
            .filter(|(_, source, _)| *source == LogSource::Host);
        host.map(|(_, _, line)| line.clone()).collect()
    }
}

impl PluginHost for Recorder {
    fn log(&self, record: &LogRecord<'_>) {
        let id = record
            .request_id
            .map_or_else(String::new, |id| format!("{id}: "));
        self.records
            .borrow_mut()
            .push((record.level, record.source, id + record.message));
    }

    fn notice(&self, notice: Notice) {
        self.notices.borrow_mut().push(notice);
    }

    fn property(&self, path: &[&str]) -> Option<Value<'_>> {
        match path {
            ["node", "id"] => Some("node-1".into()),
            _ => None,
        }
    }

    fn define_metric(&self, kind: MetricKind, name: &str) -> Option<MetricId> {
        let mut metrics = self.metrics.borrow_mut();
        metrics.push((kind, name.to_owned(), 0));
        Some(MetricId(metrics.len() as u64 - 1))
    }

    fn add_to_metric(&self, id: MetricId, delta: i64) {
        self.metrics.borrow_mut()[usize::try_from(id.0).unwrap()].2 += delta;
    }

    fn record_metric(&self, id: MetricId, value: u64) {
        self.metrics.borrow_mut()[usize::try_from(id.0).unwrap()].2 = value.cast_signed();
    }

    fn metric(&self, id: MetricId) -> u64 {
        self.metrics.borrow()[usize::try_from(id.0).unwrap()]
            .2
            .cast_unsigned()
    }

    fn http_call(&self, call: HttpCall<'_>) -> Result<(), CallRefused> {
        let path = call
            .headers
            .get(":path")
            .map(|p| String::from_utf8_lossy(&p).into_owned());
        let body = String::from_utf8_lossy(call.body);
        self.http_calls.borrow_mut().push(format!(
            "{} {path:?} {body} {:?}",
            call.upstream, call.timeout
        ));
        self.take_call(call.id)
    }

    fn grpc_call(&self, call: GrpcCall<'_>) -> Result<(), CallRefused> {
        self.take_call(call.id)
    }

    fn grpc_send(&self, call: CallId, message: &[u8], end_of_stream: bool) {
        self.sent
            .borrow_mut()
            .push((call, message.to_vec(), end_of_stream));
    }

    fn cancel_call(&self, call: CallId) {
        self.cancelled.borrow_mut().push(call);
    }

    fn lend(&self, stream: StreamId) -> Option<Box<dyn StreamHost>> {
        let mut loans = self.loans.borrow_mut();
        let at = loans.iter().position(|(id, _)| *id == stream)?;
        Some(Box::new(Loan {
            exchange: loans.remove(at).1,
            given_back: Rc::clone(&self.given_back),
        }))
    }

    fn wake(&self, stream: StreamId) {
        self.woken.borrow_mut().push(stream);
    }

    fn queue_notifier(&self) -> Option<QueueNotifier> {
        let notified = Arc::clone(&self.notified);
        Some(Arc::new(move |queue| notified.lock().push(queue)))
    }
}

impl Recorder {
    fn take_call(&self, id: CallId) -> Result<(), CallRefused> {
        if let Some(why) = self.refuse_calls.get() {
            return Err(why);
        }
        self.calls.borrow_mut().push(id);
        Ok(())
    }
}

/// An exchange that is given back when it is dropped.
struct Loan {
    exchange: Exchange,
    given_back: Rc<RefCell<Vec<Exchange>>>,
}

impl StreamHost for Loan {
    fn headers(&mut self, map: Map) -> Option<&mut dyn HeaderMap> {
        self.exchange.headers(map)
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let exchange = std::mem::take(&mut self.exchange);
        self.given_back.borrow_mut().push(exchange);
    }
}

/// A request and its response.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    pub(crate) request: Headers,
    pub(crate) response: Option<Headers>,
    pub(crate) request_trailers: Option<Headers>,
    pub(crate) request_body: Option<Vec<u8>>,
    pub(crate) response_body: Option<Vec<u8>>,
    pub(crate) routes_cleared: u32,
    pub(crate) filter_state: Vec<(String, Vec<u8>)>,
}

impl Exchange {
    pub(crate) fn get(path: &str) -> Self {
        let request = [
            (":authority", "shop"),
            (":path", path),
            (":method", "GET"),
            ("x-request-id", "id-1"),
        ];
        Self {
            request: request.into_iter().collect(),
            ..Self::default()
        }
    }

    pub(crate) fn answered(mut self, status: &str) -> Self {
        self.response = Some([(":status", status)].into_iter().collect());
        self
    }

    pub(crate) fn request_header(&self, name: &str) -> Option<String> {
        self.request
            .get(name)
            .map(|value| String::from_utf8_lossy(&value).into_owned())
    }
}

impl StreamHost for Exchange {
    fn headers(&mut self, map: Map) -> Option<&mut dyn HeaderMap> {
        match map {
            Map::RequestHeaders => Some(&mut self.request),
            Map::RequestTrailers => self
                .request_trailers
                .as_mut()
                .map(|t| t as &mut dyn HeaderMap),
            Map::ResponseHeaders => self.response.as_mut().map(|h| h as &mut dyn HeaderMap),
            Map::ResponseTrailers => None,
        }
    }

    fn body(&mut self, body: Body) -> Option<&mut dyn Buffer> {
        let body = match body {
            Body::Request => &mut self.request_body,
            Body::Response => &mut self.response_body,
        };
        body.as_mut().map(|bytes| bytes as &mut dyn Buffer)
    }

    fn property(&self, path: &[&str]) -> Option<Value<'_>> {
        match path {
            ["source", "address"] => Some("10.0.0.1:7".into()),
            ["connection", "mtls"] => Some(true.into()),
            _ => None,
        }
    }

    fn clear_route_cache(&mut self) {
        self.routes_cleared += 1;
    }

    fn set_filter_state(&mut self, name: &str, value: &[u8]) -> bool {
        let known = name == "envoy.tcp_proxy.cluster";
        if known {
            self.filter_state.push((name.to_owned(), value.to_vec()));
        }
        known
    }
}

/// Both directions of a connection.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    pub(crate) downstream: Vec<u8>,
    pub(crate) upstream: Vec<u8>,
}

impl StreamHost for Connection {
    fn headers(&mut self, _: Map) -> Option<&mut dyn HeaderMap> {
        None
    }

    fn data(&mut self, side: Side) -> Option<&mut dyn Buffer> {
        Some(match side {
            Side::Downstream => &mut self.downstream,
            Side::Upstream => &mut self.upstream,
        })
    }
}
