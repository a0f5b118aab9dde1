//! Uses a wide part of the Rust SDK. What a request does stands in its header `x-do`; the words
//! are the same for the guests of all languages, and `conformance/wasm/README.md` explains them.
//! The configuration `tcp` makes it a filter of connections.

use std::cell::RefCell;
use std::time::{Duration, UNIX_EPOCH};

use log::info;
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext, StreamContext};
use proxy_wasm::types::{
    Action, ContextType, GrpcStatusCode, LogLevel, MetricType, PeerType, Status,
};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(Root { tcp: false, queue: 0 }));
}}

thread_local! {
    /// Streams that wait for the next tick.
    static WAITING: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

struct Root {
    tcp: bool,
    queue: u32,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_vm_start(&mut self, size: usize) -> bool {
        info!("vm start with {size} bytes");
        true
    }

    fn on_configure(&mut self, size: usize) -> bool {
        let text = self.get_plugin_configuration().unwrap_or_default();
        info!("configured with {size} bytes: {}", String::from_utf8_lossy(&text));
        if text == b"refuse" {
            return false;
        }
        self.tcp = text == b"tcp";
        if let Ok(queue) = hostcalls::register_shared_queue("sdk-queue") {
            self.queue = queue;
        }
        true
    }

    fn on_tick(&mut self) {
        self.set_tick_period(Duration::ZERO);
        for context in WAITING.take() {
            hostcalls::set_effective_context(context).unwrap();
            hostcalls::add_map_value(
                proxy_wasm::types::MapType::HttpRequestHeaders,
                "x-ticked",
                "yes",
            )
            .unwrap();
            hostcalls::resume_http_request().unwrap();
        }
    }

    fn on_queue_ready(&mut self, queue: u32) {
        while let Ok(Some(item)) = self.dequeue_shared_queue(queue) {
            info!("queue gave {}", String::from_utf8_lossy(&item));
        }
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        let queue = self.queue;
        Some(Box::new(Stream { id, queue, task: String::new() }))
    }

    fn create_stream_context(&self, _: u32) -> Option<Box<dyn StreamContext>> {
        Some(Box::new(Connection))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(if self.tcp { ContextType::StreamContext } else { ContextType::HttpContext })
    }
}

struct Stream {
    id: u32,
    queue: u32,
    task: String,
}

/// The name under which the test has a service for callouts.
const UPSTREAM: &str = "outbound|80||callout.test";
const GRPC: &str = "callout.test:80";

const CALL: [(&str, &str); 4] =
    [(":method", "POST"), (":authority", "callout.test"), ("x-from", "sdk"), (":scheme", "http")];

impl Stream {
    fn call(&self, path: &str, timeout: u64) -> Action {
        let mut headers = vec![(":path", path)];
        headers.extend(CALL);
        let timeout = Duration::from_millis(timeout);
        let started =
            self.dispatch_http_call(UPSTREAM, headers, Some(b"question"), vec![], timeout);
        if let Err(status) = started {
            self.add_http_request_header("x-called", &format!("refused {status:?}"));
            return Action::Continue;
        }
        Action::Pause
    }

    fn shared(&self) {
        self.set_shared_data("sdk-key", Some(b"one"), None).unwrap();
        let (_, cas) = self.get_shared_data("sdk-key");
        let swapped = self.set_shared_data("sdk-key", Some(b"two"), cas);
        let stale = self.set_shared_data("sdk-key", Some(b"three"), cas);
        let (value, _) = self.get_shared_data("sdk-key");
        let value = String::from_utf8(value.unwrap_or_default()).unwrap();
        let stale = stale.err();
        self.add_http_request_header("x-shared", &format!("{value} {swapped:?} {stale:?}"));
        assert!(self.get_shared_data("sdk-none").0.is_none());
    }

    fn metrics(&self) {
        let counter = hostcalls::define_metric(MetricType::Counter, "sdk_counter").unwrap();
        let gauge = hostcalls::define_metric(MetricType::Gauge, "sdk_gauge").unwrap();
        let histogram = hostcalls::define_metric(MetricType::Histogram, "sdk_histogram").unwrap();
        let before = hostcalls::get_metric(counter).unwrap();
        hostcalls::increment_metric(counter, 2).unwrap();
        hostcalls::record_metric(gauge, 7).unwrap();
        hostcalls::increment_metric(gauge, -3).unwrap();
        hostcalls::record_metric(histogram, 100).unwrap();
        let moved = hostcalls::get_metric(counter).unwrap() - before;
        let gauge = hostcalls::get_metric(gauge).unwrap();
        self.add_http_request_header("x-metric", &format!("{moved} {gauge}"));
    }

    fn properties(&self) {
        let text = |path: &[&str]| {
            let value = self.get_property(path.to_vec());
            value.map(|value| String::from_utf8_lossy(&value).into_owned()).unwrap_or_default()
        };
        let method = text(&["request", "method"]);
        let path = text(&["request", "path"]);
        let source = self.get_property(vec!["source", "address"]).is_some();
        self.set_property(vec!["sdk", "own"], Some(b"kept"));
        let own = text(&["sdk", "own"]);
        let none = self.get_property(vec!["no", "such"]).is_none();
        let value = format!("{method} {path} source={source} own={own} none={none}");
        self.add_http_request_header("x-props", &value);
    }

    fn foreign(&self) {
        let text = b"to be compressed, to be compressed, to be compressed".to_vec();
        let packed = self.call_foreign_function("compress", Some(&text));
        let unpacked = packed.and_then(|packed| {
            self.call_foreign_function("uncompress", packed.as_deref())
        });
        let unknown = self.call_foreign_function("no_such_function", None);
        let same = unpacked.map(|unpacked| unpacked.as_deref() == Some(&text));
        self.add_http_request_header("x-foreign", &format!("{same:?} {unknown:?}"));
    }

    fn grpc(&self, stream: bool) -> Action {
        let metadata = vec![("x-meta", &b"data"[..])];
        let started = if stream {
            self.open_grpc_stream(GRPC, "test.Echo", "Say", metadata).inspect(|id| {
                self.send_grpc_stream_message(*id, Some(b"hello"), false);
                self.send_grpc_stream_message(*id, None, true);
            })
        } else {
            let timeout = Duration::from_secs(2);
            self.dispatch_grpc_call(GRPC, "test.Echo", "Say", metadata, Some(b"hello"), timeout)
        };
        match started {
            Ok(_) => Action::Pause,
            Err(status) => {
                self.add_http_request_header("x-grpc", &format!("refused {status:?}"));
                Action::Continue
            }
        }
    }
}

impl Context for Stream {
    fn on_http_call_response(&mut self, _: u32, headers: usize, body: usize, trailers: usize) {
        let status = self.get_http_call_response_header(":status").unwrap_or_default();
        let text = self.get_http_call_response_body(0, body).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        info!("called: {status}, {} headers, {trailers} trailers", headers > 0);
        if self.task == "call-deny" {
            self.send_http_response(403, vec![("x-denied", "by callout")], Some(text.as_bytes()));
            return;
        }
        let text = if status == "200" { text } else { String::new() };
        self.add_http_request_header("x-called", &format!("{status} {text}"));
        self.resume_http_request();
    }

    fn on_grpc_stream_initial_metadata(&mut self, _: u32, _: u32) {
        let value = self.get_grpc_stream_initial_metadata_value("x-initial");
        info!("grpc initial metadata {value:?}");
    }

    fn on_grpc_stream_message(&mut self, _: u32, size: usize) {
        let message = self.get_grpc_stream_message(0, size).unwrap_or_default();
        info!("grpc message {}", String::from_utf8_lossy(&message));
    }

    fn on_grpc_stream_trailing_metadata(&mut self, _: u32, _: u32) {
        let value = self.get_grpc_stream_trailing_metadata_value("x-trailing");
        info!("grpc trailing metadata {value:?}");
    }

    fn on_grpc_stream_close(&mut self, _: u32, status: u32) {
        self.add_http_request_header("x-grpc", &format!("closed {status}"));
        self.resume_http_request();
    }

    fn on_grpc_call_response(&mut self, _: u32, status: u32, size: usize) {
        let body = self.get_grpc_call_response_body(0, size).unwrap_or_default();
        let text = String::from_utf8_lossy(&body).into_owned();
        self.add_http_request_header("x-grpc", &format!("{status} {text}"));
        self.resume_http_request();
    }

    fn on_done(&mut self) -> bool {
        if self.task == "done" {
            info!("done");
        }
        true
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, end: bool) -> Action {
        self.task = self.get_http_request_header("x-do").unwrap_or_default();
        match self.task.as_str() {
            "headers" => {
                let pairs = self.get_http_request_headers().len();
                let path = self.get_http_request_header(":path");
                let none = self.get_http_request_header("x-none");
                info!("request {path:?} {none:?} end={end} some={}", pairs > 3);
                self.add_http_request_header("x-req-added", "a");
                self.add_http_request_header("x-req-added", "b");
                self.set_http_request_header("X-Req-Set", Some("c"));
                self.set_http_request_header("x-remove", None);
                self.set_http_request_header(":path", Some("/by-filter"));
            }
            "all-headers" => {
                self.set_http_request_headers(vec![
                    (":method", "GET"),
                    (":path", "/all"),
                    (":authority", "all.test"),
                    (":scheme", "http"),
                    ("x-only", "this"),
                ]);
            }
            "body" => self.set_http_request_header("content-length", None),
            "local" => {
                let details = vec![("x-local", "yes")];
                self.send_http_response(418, details, Some(b"from the guest"));
                return Action::Pause;
            }
            "local-grpc" => {
                self.send_grpc_response(GrpcStatusCode::PermissionDenied, Some("no"), vec![]);
                return Action::Pause;
            }
            "call" => return self.call("/ok", 2000),
            "call-deny" => return self.call("/ok", 2000),
            "call-timeout" => return self.call("/silent", 100),
            "call-nowhere" => {
                let refused = self.dispatch_http_call(
                    "no-such-upstream",
                    vec![(":method", "GET"), (":path", "/"), (":authority", "a")],
                    None,
                    vec![],
                    Duration::from_secs(1),
                );
                let malformed = self.dispatch_http_call(
                    UPSTREAM,
                    vec![("x-no", "pseudo headers")],
                    None,
                    vec![],
                    Duration::from_secs(1),
                );
                let value = format!("{:?} {:?}", refused.err(), malformed.err());
                self.add_http_request_header("x-called", &value);
            }
            "grpc" => return self.grpc(false),
            "grpc-stream" => return self.grpc(true),
            "shared" => self.shared(),
            "queue" => {
                self.enqueue_shared_queue(self.queue, Some(b"item")).unwrap();
                let unknown = self.enqueue_shared_queue(4711, Some(b"lost"));
                assert_eq!(unknown, Err(Status::NotFound));
            }
            "metrics" => self.metrics(),
            "props" => self.properties(),
            "foreign" => self.foreign(),
            "tick" => {
                WAITING.with_borrow_mut(|waiting| waiting.push(self.id));
                hostcalls::set_tick_period(Duration::from_millis(20)).unwrap();
                return Action::Pause;
            }
            "time" => {
                let since = self.get_current_time().duration_since(UNIX_EPOCH).unwrap();
                let sane = since > Duration::from_secs(1_700_000_000);
                self.add_http_request_header("x-time", &format!("{sane}"));
            }
            "reset" => self.reset_http_request(),
            "panic" => panic!("asked to"),
            _ => {}
        }
        Action::Continue
    }

    fn on_http_request_body(&mut self, size: usize, end: bool) -> Action {
        match self.task.as_str() {
            "body" if !end => return Action::Pause,
            "body" => {
                let mut body = self.get_http_request_body(0, size).unwrap_or_default();
                body.make_ascii_uppercase();
                body.push(b'!');
                self.set_http_request_body(0, size, &body);
            }
            "local-body" => {
                self.send_http_response(413, vec![], Some(b"too much"));
                return Action::Pause;
            }
            _ => {}
        }
        Action::Continue
    }

    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        if self.task == "trailers" {
            let value = self.get_http_request_trailer("x-client-trailer");
            info!("request trailer {value:?}");
            self.add_http_request_trailer("x-req-trailer", "added");
        }
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        match self.task.as_str() {
            "headers" => {
                let status = self.get_http_response_header(":status");
                info!("response {status:?}");
                self.add_http_response_header("x-resp-added", "a");
                self.set_http_response_header("server-test", Some("replaced"));
            }
            "status" => self.set_http_response_header(":status", Some("202")),
            "body" => self.set_http_response_header("content-length", None),
            "local-response" => {
                self.send_http_response(502, vec![("x-local", "late")], Some(b"instead"));
                return Action::Pause;
            }
            _ => {}
        }
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, end: bool) -> Action {
        if self.task != "body" {
            return Action::Continue;
        }
        if !end {
            return Action::Pause;
        }
        let mut body = self.get_http_response_body(0, size).unwrap_or_default();
        body.make_ascii_uppercase();
        body.push(b'?');
        self.set_http_response_body(0, size, &body);
        Action::Continue
    }

    fn on_http_response_trailers(&mut self, _: usize) -> Action {
        if self.task == "trailers" {
            let value = self.get_http_response_trailer("x-server-trailer");
            info!("response trailer {value:?}");
            self.add_http_response_trailer("x-resp-trailer", "added");
        }
        Action::Continue
    }

    fn on_log(&mut self) {
        if !self.task.is_empty() {
            let code = self.get_property(vec!["response", "code"]);
            let code = code.and_then(|code| Some(u64::from_le_bytes(code.try_into().ok()?)));
            info!("logged {} {code:?}", self.task);
        }
    }
}

struct Connection;

impl Context for Connection {}

impl StreamContext for Connection {
    fn on_new_connection(&mut self) -> Action {
        info!("new connection");
        Action::Continue
    }

    fn on_downstream_data(&mut self, size: usize, end: bool) -> Action {
        let mut data = self.get_downstream_data(0, size).unwrap_or_default();
        info!("downstream {} end={end}", String::from_utf8_lossy(&data));
        if data.starts_with(b"hold") && !end {
            return Action::Pause;
        }
        data.make_ascii_uppercase();
        self.set_downstream_data(0, size, &data);
        Action::Continue
    }

    fn on_upstream_data(&mut self, size: usize, end: bool) -> Action {
        let mut data = self.get_upstream_data(0, size).unwrap_or_default();
        info!("upstream {} end={end}", String::from_utf8_lossy(&data));
        if !data.is_empty() {
            data.insert(0, b'>');
            self.set_upstream_data(0, size, &data);
        }
        Action::Continue
    }

    fn on_downstream_close(&mut self, _: PeerType) {
        info!("downstream closed");
    }

    fn on_upstream_close(&mut self, _: PeerType) {
        info!("upstream closed");
    }

    fn on_log(&mut self) {
        info!("connection logged");
    }
}
