//! The two smallest filters, made to be read and copied: `add-header` and `deny-by-path`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use wasm_host::{
    Callback, HeaderMap, Headers, LocalResponse, LogLevel, LogRecord, Map, Outcome, Plugin,
    PluginConfig, PluginHost, StartError, StreamHost, Vm,
};

use super::support::module;

#[derive(Default)]
struct Log {
    lines: RefCell<Vec<String>>,
    debug: Cell<bool>,
}

impl PluginHost for Log {
    fn log_level(&self) -> LogLevel {
        if self.debug.get() {
            LogLevel::Debug
        } else {
            LogLevel::Info
        }
    }

    fn log(&self, record: &LogRecord<'_>) {
        self.lines
            .borrow_mut()
            .push(format!("{:?} {}", record.level, record.message));
    }
}

fn start(name: &'static str, configuration: &str, log: &Rc<Log>) -> Result<Vm, StartError> {
    let config = PluginConfig {
        name: name.to_owned(),
        configuration: configuration.as_bytes().to_vec(),
        ..PluginConfig::default()
    };
    let plugin = Plugin::new(module(name), config);
    plugin.validate(Rc::new(Log::default()))?;
    plugin.instantiate(Rc::clone(log) as Rc<dyn PluginHost>)
}

struct Exchange {
    request: Headers,
    response: Headers,
}

impl Exchange {
    fn get(path: impl AsRef<[u8]>) -> Self {
        let mut request: Headers = [(":authority", "shop"), (":method", "GET"), ("x-debug", "1")]
            .into_iter()
            .collect();
        request.push(":path", path.as_ref());
        let response = [(":status", "200"), ("server", "app")]
            .into_iter()
            .collect();
        Self { request, response }
    }
}

impl StreamHost for Exchange {
    fn headers(&mut self, map: Map) -> Option<&mut dyn HeaderMap> {
        match map {
            Map::RequestHeaders => Some(&mut self.request),
            Map::ResponseHeaders => Some(&mut self.response),
            Map::RequestTrailers | Map::ResponseTrailers => None,
        }
    }
}

/// Runs a whole request that nobody answers but the upstream.
fn pass(vm: &Vm, exchange: &mut Exchange) {
    let mut stream = vm.new_stream();
    let request = stream.on_request_headers(exchange, true);
    assert!(matches!(request, Outcome::Continue), "{request:?}");
    let response = stream.on_response_headers(exchange, false);
    assert!(matches!(response, Outcome::Continue), "{response:?}");
    stream.finish(exchange).unwrap();
}

#[track_caller]
fn denied(vm: &Vm, path: impl AsRef<[u8]>) -> LocalResponse {
    let mut exchange = Exchange::get(path);
    let mut stream = vm.new_stream();
    let outcome = stream.on_request_headers(&mut exchange, true);
    let Outcome::LocalResponse(response) = outcome else {
        panic!("not denied: {outcome:?}")
    };
    // An answer of a filter passes through its own response callbacks.
    let shown = stream.on_response_headers(&mut exchange, true);
    assert!(matches!(shown, Outcome::Continue), "{shown:?}");
    stream.finish(&mut exchange).unwrap();
    *response
}

#[test]
fn headers_are_edited_on_both_paths() {
    let log = Rc::new(Log::default());
    let configuration = r#"{
        "request": {"set": [{"name": "X-Team", "value": "shop"}], "remove": ["x-debug"]},
        "response": {"set": [{"name": "server", "value": "cairn"}],
                     "add": [{"name": "x-seen-by", "value": "a"}, {"name": "x-seen-by", "value": "b"}]}
    }"#;
    let vm = start("add-header", configuration, &log).unwrap();
    let mut exchange = Exchange::get("/");
    pass(&vm, &mut exchange);
    let request = [
        (":authority", "shop"),
        (":method", "GET"),
        (":path", "/"),
        ("x-team", "shop"),
    ];
    assert_eq!(exchange.request, request.into_iter().collect());
    let response = [
        (":status", "200"),
        ("server", "cairn"),
        ("x-seen-by", "a"),
        ("x-seen-by", "b"),
    ];
    assert_eq!(exchange.response, response.into_iter().collect());
    assert_eq!(
        *log.lines.borrow(),
        ["Info edits 2 request and 3 response headers"]
    );
}

#[test]
fn details_are_logged_when_the_proxy_wants_them() {
    let log = Rc::new(Log::default());
    log.debug.set(true);
    let vm = start(
        "add-header",
        r#"{"request": {"remove": ["x-debug"]}}"#,
        &log,
    )
    .unwrap();
    pass(&vm, &mut Exchange::get("/"));
    let lines = log.lines.borrow();
    assert_eq!(
        lines[1],
        r#"Debug Remove("x-debug") of HttpRequestHeaders: Ok(())"#
    );
}

#[test]
fn without_a_configuration_nothing_is_changed() {
    for configuration in ["", "{}"] {
        let vm = start("add-header", configuration, &Rc::default()).unwrap();
        let mut exchange = Exchange::get("/");
        pass(&vm, &mut exchange);
        assert_eq!(
            (exchange.request, exchange.response),
            (Exchange::get("/").request, Exchange::get("/").response)
        );
    }
}

#[test]
fn a_filter_that_cannot_read_its_configuration_says_why() {
    for (name, configuration, why) in [
        (
            "add-header",
            r#"{"respons": {}}"#,
            "the configuration is not valid: unknown field `respons`",
        ),
        ("add-header", "[", "the configuration is not valid"),
        (
            "deny-by-path",
            "not json",
            "the configuration is not valid: expected ident at line 1 column 2",
        ),
        (
            "deny-by-path",
            "",
            "there is no configuration: `paths` must name what is denied",
        ),
        (
            "deny-by-path",
            r#"{"paths": [{"prefix": "admin"}]}"#,
            "`paths`: \"admin\" does not begin with `/`",
        ),
    ] {
        let error = start(name, configuration, &Rc::default()).unwrap_err();
        let text = error.to_string();
        assert!(
            matches!(error, StartError::ConfigurationRefused { .. }),
            "{text}"
        );
        assert!(
            text.starts_with(&format!("the filter refused its configuration: {why}")),
            "{text}"
        );
    }
}

const DENY: &str = r#"{"paths": [{"prefix": "/admin"}, {"exact": "/metrics"}], "status": 403, "body": "not for you\n"}"#;

#[test]
fn configured_paths_are_answered_and_others_pass() {
    let log = Rc::new(Log::default());
    let vm = start("deny-by-path", DENY, &log).unwrap();
    for path in ["/admin", "/admin/users?x=1", "/metrics"] {
        let response = denied(&vm, path);
        assert_eq!(
            (response.status, &*response.body),
            (403, &b"not for you\n"[..]),
            "{path}"
        );
        assert_eq!(
            response.headers,
            [("content-type", "text/plain")].into_iter().collect()
        );
    }
    for path in ["/", "/administrator", "/metrics/all", "/shop?next=/admin"] {
        pass(&vm, &mut Exchange::get(path));
    }
    assert!(
        log.lines
            .borrow()
            .iter()
            .any(|line| line == r#"Info denied "/admin" by Prefix("/admin")"#)
    );
}

#[test]
fn a_path_that_is_no_text_does_not_stop_the_filter() {
    let vm = start("deny-by-path", DENY, &Rc::default()).unwrap();
    pass(&vm, &mut Exchange::get(b"/\xff\xfe"));
    assert_eq!(denied(&vm, b"/admin/\xff").status, 403);
}

#[test]
fn ten_thousand_requests_leave_nothing_behind_in_the_guest() {
    let log = Rc::new(Log::default());
    let vm = start("deny-by-path", DENY, &log).unwrap();
    pass(&vm, &mut Exchange::get("/"));
    let before = vm.memory();
    for _ in 0..10_000 {
        pass(&vm, &mut Exchange::get("/some/path"));
    }
    assert_eq!((vm.memory(), vm.streams()), (before, 0));
}

#[test]
fn streams_on_one_vm_do_not_mix() {
    let vm = start("deny-by-path", DENY, &Rc::default()).unwrap();
    let mut streams: Vec<_> = (0..50)
        .map(|n| {
            (
                vm.new_stream(),
                Exchange::get(if n % 2 == 0 { "/" } else { "/admin" }),
            )
        })
        .collect();
    for (n, (stream, exchange)) in streams.iter_mut().enumerate() {
        let denied = matches!(
            stream.on_request_headers(exchange, true),
            Outcome::LocalResponse(_)
        );
        assert_eq!(denied, n % 2 == 1, "{n}");
    }
    for (stream, mut exchange) in streams.into_iter().rev() {
        stream.finish(&mut exchange).unwrap();
    }
    assert!(vm.stop().unwrap());
}

#[test]
fn the_sdk_needs_nothing_this_host_does_not_offer() {
    for name in [
        "add-header",
        "api-key",
        "audit-log",
        "body-transform",
        "cel-rules",
        "deny-by-path",
        "fault-injection",
        "header-rewrite",
        "jwt-claims-to-headers",
    ] {
        let module = module(name);
        assert_eq!(module.abi_version().to_string(), "0.2.1");
        assert!(module.callbacks().contains(Callback::RequestHeaders));
        assert!(
            module.size() < 400 << 10,
            "{name} has {} bytes",
            module.size()
        );
    }
}
