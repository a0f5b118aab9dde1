//! A proxy in memory: what filters call, and what drives them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::Duration;

use parking_lot::Mutex;
use wasm_host::{
    Body, Buffer, CallId, CallRefused, CalloutEvent, HeaderMap, Headers, Host, HostSettings,
    HttpCall, HttpStream, LocalResponse, LogRecord, Map, MetricId, MetricKind, Module, Outcome,
    Pause, Pending, Plugin, PluginConfig, PluginHost, StartError, StreamHost, StreamId, Value, Vm,
};

/// Compiled once for all cases; a filter of the SDK takes a while.
pub(crate) fn module(name: &str) -> Module {
    static HOST: LazyLock<Host> = LazyLock::new(|| Host::new(HostSettings::default()).unwrap());
    static MODULES: Mutex<BTreeMap<String, Module>> = Mutex::new(BTreeMap::new());

    let mut modules = MODULES.lock();
    let known = modules.entry(name.to_owned());
    let module = known.or_insert_with(|| {
        let committed = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../filters/prebuilt");
        let folder = std::env::var_os("WASM_HOST_FILTERS").map_or_else(committed, PathBuf::from);
        let file = folder.join(format!("{name}.wasm"));
        let bytes = std::fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        HOST.compile(&bytes)
            .unwrap_or_else(|e| panic!("{}: {e}", file.display()))
    });
    module.clone()
}

/// A call a filter made.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) id: CallId,
    pub(crate) stream: Option<StreamId>,
    pub(crate) upstream: String,
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
    pub(crate) timeout: Duration,
}

/// The proxy outside streams.
#[derive(Default)]
pub(crate) struct Proxy {
    pub(crate) lines: RefCell<Vec<String>>,
    pub(crate) calls: RefCell<Vec<Made>>,
    pub(crate) refuse: Cell<Option<CallRefused>>,
    pub(crate) metrics: RefCell<Vec<(String, i64)>>,
    pub(crate) period: Cell<Option<Duration>>,
}

impl PluginHost for Proxy {
    fn log(&self, record: &LogRecord<'_>) {
        let line = format!("{:?} {}", record.level, record.message);
        self.lines.borrow_mut().push(line);
    }

    fn http_call(&self, call: HttpCall<'_>) -> Result<(), CallRefused> {
        if let Some(why) = self.refuse.get() {
            return Err(why);
        }
        self.calls.borrow_mut().push(Made {
            id: call.id,
            stream: call.stream,
            upstream: call.upstream.to_owned(),
            headers: call.headers,
            body: call.body.to_vec(),
            timeout: call.timeout,
        });
        Ok(())
    }

    fn tick_period_changed(&self, period: Option<Duration>) {
        self.period.set(period);
    }

    fn define_metric(&self, _: MetricKind, name: &str) -> Option<MetricId> {
        let mut metrics = self.metrics.borrow_mut();
        metrics.push((name.to_owned(), 0));
        Some(MetricId(metrics.len() as u64 - 1))
    }

    fn add_to_metric(&self, id: MetricId, delta: i64) {
        let at = usize::try_from(id.0).unwrap();
        let mut metrics = self.metrics.borrow_mut();
        metrics.get_mut(at).unwrap().1 += delta;
    }
}

impl Proxy {
    /// Takes the only call there is.
    #[track_caller]
    pub(crate) fn call(&self) -> Made {
        let mut calls = self.calls.borrow_mut();
        assert_eq!(calls.len(), 1, "{calls:?}");
        calls.remove(0)
    }

    pub(crate) fn has_line(&self, line: &str) -> bool {
        self.lines.borrow().iter().any(|l| l == line)
    }

    pub(crate) fn metric(&self, name: &str) -> i64 {
        let metrics = self.metrics.borrow();
        metrics
            .iter()
            .filter(|(n, _)| n == name)
            .map(|(_, n)| n)
            .sum()
    }
}

/// A configured filter and its proxy.
pub(crate) struct Filter {
    pub(crate) vm: Vm,
    pub(crate) proxy: Rc<Proxy>,
}

impl Filter {
    #[track_caller]
    pub(crate) fn start(name: &str, configuration: &str) -> Self {
        Self::try_start(name, configuration).unwrap_or_else(|e| panic!("{configuration}: {e}"))
    }

    pub(crate) fn try_start(name: &str, configuration: &str) -> Result<Self, StartError> {
        let config = PluginConfig {
            name: name.to_owned(),
            // A test shares nothing with another.
            vm_id: format!("{name} {configuration}"),
            configuration: configuration.as_bytes().to_vec(),
            ..PluginConfig::default()
        };
        let plugin = Plugin::new(module(name), config);
        let proxy = Rc::new(Proxy::default());
        let vm = plugin.instantiate(Rc::clone(&proxy) as Rc<dyn PluginHost>)?;
        Ok(Self { vm, proxy })
    }

    /// Runs a request without a body that nobody answers but the upstream.
    #[track_caller]
    pub(crate) fn pass(&self, mut exchange: Exchange) -> Exchange {
        let mut stream = self.vm.new_stream();
        let request = stream.on_request_headers(&mut exchange, true);
        assert!(matches!(request, Outcome::Continue), "{request:?}");
        let response = stream.on_response_headers(&mut exchange, true);
        assert!(matches!(response, Outcome::Continue), "{response:?}");
        stream.finish(&mut exchange).unwrap();
        exchange
    }

    /// Runs a request that the filter answers when it sees the headers.
    #[track_caller]
    pub(crate) fn denied(&self, mut exchange: Exchange) -> LocalResponse {
        let mut stream = self.vm.new_stream();
        let outcome = stream.on_request_headers(&mut exchange, true);
        let answer = answer(outcome);
        shown(&mut stream, &mut exchange, &answer);
        stream.finish(&mut exchange).unwrap();
        answer
    }
}

/// An answer of a filter passes through its own response callbacks.
#[track_caller]
pub(crate) fn shown(stream: &mut HttpStream, exchange: &mut Exchange, answer: &LocalResponse) {
    exchange.response = [(":status", answer.status.to_string())]
        .into_iter()
        .collect();
    exchange.response_body.clone_from(&answer.body);
    let headers = stream.on_response_headers(exchange, answer.body.is_empty());
    assert!(matches!(headers, Outcome::Continue), "{headers:?}");
    if !answer.body.is_empty() {
        let body = stream.on_response_body(exchange, true);
        assert!(matches!(body, Outcome::Continue), "{body:?}");
        assert_eq!(exchange.response_body, answer.body);
    }
}

/// The answer in an outcome.
#[track_caller]
pub(crate) fn answer(outcome: Outcome) -> LocalResponse {
    match outcome {
        Outcome::LocalResponse(answer) => *answer,
        other => panic!("no answer but {other:?}"),
    }
}

/// Asserts that a filter refuses a configuration with words that begin so.
#[track_caller]
pub(crate) fn refuses(name: &str, configuration: &str, says: &str) {
    let Err(error) = Filter::try_start(name, configuration) else {
        panic!("{configuration} is accepted")
    };
    let text = error.to_string();
    assert!(
        matches!(error, StartError::ConfigurationRefused { .. }),
        "{text}"
    );
    let expected = format!("the filter refused its configuration: {says}");
    assert!(text.starts_with(&expected), "{text}");
}

/// A response to a callout.
pub(crate) fn response(status: &str, body: &str) -> CalloutEvent {
    CalloutEvent::HttpResponse {
        headers: [(":status", status)].into_iter().collect(),
        body: body.as_bytes().to_vec(),
        trailers: Headers::new(),
    }
}

/// One request and its response.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    pub(crate) request: Headers,
    pub(crate) response: Headers,
    pub(crate) request_trailers: Headers,
    pub(crate) request_body: Vec<u8>,
    pub(crate) response_body: Vec<u8>,
    pub(crate) properties: BTreeMap<String, Value<'static>>,
}

impl Exchange {
    pub(crate) fn get(path: impl AsRef<[u8]>) -> Self {
        let mut request: Headers = [(":authority", "shop"), (":method", "GET")]
            .into_iter()
            .collect();
        request.push(":path", path.as_ref());
        Self {
            request,
            response: [(":status", "200"), ("server", "app")]
                .into_iter()
                .collect(),
            ..Self::default()
        }
    }

    pub(crate) fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.request.push(name, value.as_ref());
        self
    }

    pub(crate) fn answering(mut self, name: &str, value: &str) -> Self {
        self.response.set(name, value.as_bytes()).unwrap();
        self
    }

    pub(crate) fn knowing(mut self, path: &str, value: impl Into<Value<'static>>) -> Self {
        self.properties.insert(path.to_owned(), value.into());
        self
    }

    pub(crate) fn called_by(self, id: &'static str) -> Self {
        self.knowing("connection.uri_san_peer_certificate", id)
    }

    pub(crate) fn request(&self, name: &str) -> Option<String> {
        text(&self.request, name)
    }

    pub(crate) fn response(&self, name: &str) -> Option<String> {
        text(&self.response, name)
    }
}

/// Every value of a header, joined by ` | `.
pub(crate) fn text(headers: &Headers, name: &str) -> Option<String> {
    let values = headers.iter().filter(|(n, _)| *n == name);
    let texts: Vec<_> = values
        .map(|(_, v)| String::from_utf8_lossy(v).into_owned())
        .collect();
    (!texts.is_empty()).then(|| texts.join(" | "))
}

impl StreamHost for Exchange {
    fn headers(&mut self, map: Map) -> Option<&mut dyn HeaderMap> {
        match map {
            Map::RequestHeaders => Some(&mut self.request),
            Map::ResponseHeaders => Some(&mut self.response),
            Map::RequestTrailers => Some(&mut self.request_trailers),
            Map::ResponseTrailers => None,
        }
    }

    fn body(&mut self, body: Body) -> Option<&mut dyn Buffer> {
        Some(match body {
            Body::Request => &mut self.request_body,
            Body::Response => &mut self.response_body,
        })
    }

    fn property(&self, path: &[&str]) -> Option<Value<'_>> {
        self.properties.get(&path.join(".")).cloned()
    }
}

/// What became of a body.
#[derive(Debug)]
pub(crate) enum Sent {
    Body(Vec<u8>),
    Answer(LocalResponse),
}

impl Sent {
    #[track_caller]
    pub(crate) fn body(self) -> String {
        match self {
            Self::Body(bytes) => String::from_utf8(bytes).unwrap(),
            Self::Answer(answer) => panic!("answered {answer:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn answer(self) -> LocalResponse {
        match self {
            Self::Body(bytes) => panic!("sent {}", String::from_utf8_lossy(&bytes)),
            Self::Answer(answer) => answer,
        }
    }
}

/// How a body is sent through a filter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    /// The last chunk says that it is the last.
    Chunk,
    /// Trailers follow.
    Trailers,
}

/// Sends a request body in chunks, as a proxy does that holds what a filter wants held.
#[track_caller]
pub(crate) fn send(
    stream: &mut HttpStream,
    exchange: &mut Exchange,
    chunks: &[&[u8]],
    end: End,
) -> Sent {
    let mut sent = Vec::new();
    for (n, chunk) in chunks.iter().enumerate() {
        let last = n + 1 == chunks.len() && end == End::Chunk;
        exchange.request_body.extend_from_slice(chunk);
        match stream.on_request_body(exchange, last) {
            Outcome::Continue => sent.append(&mut exchange.request_body),
            Outcome::Pause(Pause::Buffer) if !last => {}
            outcome => return Sent::Answer(answer(outcome)),
        }
    }
    if end == End::Trailers {
        match stream.on_request_trailers(exchange) {
            Outcome::Continue => sent.append(&mut exchange.request_body),
            outcome => return Sent::Answer(answer(outcome)),
        }
    }
    Sent::Body(sent)
}

/// What a filter did to a stream from outside its callbacks.
#[track_caller]
pub(crate) fn resumed(stream: &mut HttpStream) {
    let pending = stream.pending();
    assert!(
        matches!(
            pending,
            Some(Pending::Resume(wasm_host::Direction::Request))
        ),
        "{pending:?}"
    );
}

/// The answer a filter gave from outside the callbacks of a stream.
#[track_caller]
pub(crate) fn answered(stream: &mut HttpStream) -> LocalResponse {
    match stream.pending() {
        Some(Pending::LocalResponse(answer)) => *answer,
        other => panic!("no answer but {other:?}"),
    }
}
