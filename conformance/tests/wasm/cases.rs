//! What is asked of the guests.

use crate::client::Ask;

/// One request, and what to wait for.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) ask: Ask,
    /// A text in what the guest does after the end of the stream.
    pub(crate) until: Option<&'static str>,
}

impl Case {
    fn new(name: impl Into<String>, ask: Ask) -> Self {
        Self {
            name: name.into(),
            ask,
            until: None,
        }
    }

    fn until(mut self, text: &'static str) -> Self {
        self.until = Some(text);
        self
    }
}

/// Callbacks of an HTTP stream in which the probe calls everything.
const PHASES: [&str; 9] = [
    "request_headers",
    "request_body",
    "request_trailers",
    "response_headers",
    "response_body",
    "response_trailers",
    "log",
    "done",
    "delete",
];

/// Groups of calls that leave the stream as it is.
const GROUPS: [&str; 15] = [
    "maps",
    "buffers",
    "props",
    "set_props",
    "shared",
    "queues",
    "metrics",
    "status",
    "foreign",
    "time",
    "context",
    "callouts_bad",
    "pairs",
    "pointers",
    "wasi",
];

/// The probe does one thing.
fn probe(name: impl Into<String>, plan: impl Into<String>, ask: Ask) -> Case {
    Case::new(name, ask.header("x-probe", plan.into()))
}

/// A request that has everything a stream can have.
fn full() -> Ask {
    Ask::get("/path/of?a=query")
        .header("content-type", "text/plain")
        .header("user-agent", "oracle")
        .header("referer", "http://elsewhere.test/")
        .header("x-probe-two", "first")
        .header("x-remove", "me")
        .body("hello")
        .with_trailers()
}

/// Everything that leaves the stream as it is, in one callback.
pub(crate) fn of_phase(phase: &str) -> Vec<Case> {
    let case = |group: &&str| {
        let name = format!("{phase}:{group}");
        probe(name.clone(), name, full())
    };
    GROUPS.iter().map(case).collect()
}

/// The same while the plugin is configured.
pub(crate) fn in_configuration() -> String {
    let words: Vec<String> = GROUPS
        .iter()
        .map(|group| format!("configure:{group}"))
        .collect();
    words.join(" ")
}

/// The groups that make sense in the two old versions of the ABI.
pub(crate) fn of_old_abi() -> Vec<Case> {
    let phases = ["request_headers", "response_headers", "response_body"];
    let groups = [
        "maps",
        "buffers",
        "props",
        "shared",
        "metrics",
        "resume",
        "maps_write",
    ];
    let mut cases = vec![];
    for phase in phases {
        for group in groups {
            // Told to go on with a response that does not wait, Envoy sends its head twice.
            if group == "resume" && phase != "request_headers" {
                continue;
            }
            let name = format!("{phase}:{group}");
            cases.push(probe(name.clone(), name, full()));
        }
    }
    cases
}

/// Changes to messages.
pub(crate) fn changes() -> Vec<Case> {
    let mut cases = vec![];
    for phase in PHASES {
        cases.push(probe(
            format!("{phase}:maps_write"),
            format!("{phase}:maps_write"),
            full(),
        ));
    }
    for (phase, id) in [("request_body", 0), ("response_body", 1)] {
        for edit in [
            "replace", "append", "prepend", "drain", "splice", "empty", "insert", "far",
        ] {
            let plan = format!("{phase}:edit_{id}_{edit} {phase}:body");
            cases.push(probe(format!("{phase}:edit_{edit}"), plan, full()));
        }
        let plan = format!("{phase}:edit_{}_replace", 1 - id);
        cases.push(probe(format!("{phase}:edit_other"), plan, full()));
    }
    for (phase, group) in [
        ("request_headers", "pseudo"),
        ("response_headers", "pseudo"),
        ("request_body", "trailers_add"),
        ("response_body", "trailers_add"),
        ("request_trailers", "trailers_add"),
        ("response_trailers", "trailers_add"),
        ("request_headers", "maps_bad"),
        ("response_headers", "maps_bad"),
    ] {
        let name = format!("{phase}:{group}");
        cases.push(probe(name.clone(), name, full()));
    }
    cases.push(probe(
        "http1:body",
        "request_body:body response_body:body",
        Ask::get("/").body("hello"),
    ));
    cases.push(probe(
        "http1:no body",
        "request_headers:buffers response_headers:buffers",
        Ask::get("/none"),
    ));
    cases
}

/// What a guest does to the course of a stream.
pub(crate) fn course() -> Vec<Case> {
    let mut cases = vec![];
    let get = || Ask::get("/course").header("user-agent", "oracle");
    for local in [
        "ok", "empty", "grpc", "badgrpc", "twice", "typed", "status", "header",
    ] {
        let plan = format!("request_headers:local_{local} response_headers:maps log:props");
        cases.push(probe(format!("request_headers:local_{local}"), plan, get()));
    }
    let grpc = get().header("content-type", "application/grpc");
    cases.push(probe(
        "grpc:local_grpc",
        "request_headers:local_grpc",
        grpc.clone(),
    ));
    cases.push(probe("grpc:local_ok", "request_headers:local_ok", grpc));
    for phase in ["request_body", "request_trailers", "response_headers"] {
        let plan = format!("{phase}:local_ok");
        cases.push(probe(plan.clone(), plan, full()));
    }
    for phase in ["request_headers", "response_headers"] {
        for kind in ["0", "1", "9"] {
            let plan = format!("{phase}:close_{kind}");
            cases.push(probe(plan.clone(), plan, get()));
        }
    }
    cases.push(probe(
        "request_headers:resume",
        "request_headers:resume request_headers=1",
        get(),
    ));
    cases.push(probe(
        "request_body:buffered",
        "request_body=1 request_trailers:body",
        full(),
    ));
    cases.push(probe(
        "response_body:buffered",
        "response_body=1 response_trailers:body",
        full(),
    ));
    cases.push(probe("end_stream", "request_headers=2", get()));
    cases.push(probe("queue", "request_headers:enqueue", get()).until("probe queue_ready"));
    cases.push(probe("logs", "request_headers:logs", get()));
    cases
}

/// Calls to other services.
pub(crate) fn callouts() -> Vec<Case> {
    let mut cases = vec![];
    for kind in ["ok", "timeout", "refused"] {
        let plan = format!(
            "request_headers:call_{kind} request_headers=1 http_call_response:maps \
             http_call_response:buffers http_call_response:status http_call_response:props"
        );
        cases.push(probe(format!("call_{kind}"), plan, Ask::get("/called")));
    }
    cases.push(probe(
        "call_ok:local",
        "request_headers:call_ok request_headers=1 http_call_response:local_ok",
        Ask::get("/called"),
    ));
    cases.push(probe(
        "call_ok:with body",
        "request_headers:call_ok request_headers=1",
        full(),
    ));
    cases.push(probe(
        "call_ok:response",
        "response_headers:call_ok response_headers=1",
        full(),
    ));
    let gone = probe(
        "call_ok:stream gone",
        "request_headers:call_ok request_headers:local_ok",
        Ask::get("/gone"),
    );
    cases.push(gone.until("[host<-vm] proxy_on_http_call_response"));
    for kind in ["grpc", "grpcfail", "stream"] {
        let plan = format!(
            "request_headers:call_{kind} request_headers=1 grpc_receive:maps grpc_receive:buffers \
             grpc_close:status grpc_receive_initial_metadata:maps \
             grpc_receive_trailing_metadata:maps"
        );
        cases.push(probe(format!("call_{kind}"), plan, Ask::get("/called")));
    }
    cases.push(probe(
        "call_cancelled",
        "request_headers:call_cancelled",
        Ask::get("/cancelled"),
    ));
    cases
}

/// What the guests of all SDKs understand in `x-do`.
pub(crate) fn of_sdk(leave_out: &[&str]) -> Vec<Case> {
    let get = || Ask::get("/sdk?x=1").header("x-remove", "me");
    let post = || get().body("a question");
    let doing = |word: &'static str, ask: Ask| Case::new(word, ask.header("x-do", word));
    let mut cases = vec![
        doing("headers", get()),
        doing("all-headers", get()),
        doing("body", post()),
        doing("trailers", post().with_trailers()),
        doing("local", get()),
        doing(
            "local-grpc",
            get().header("content-type", "application/grpc"),
        ),
        doing("local-body", post()),
        doing("local-response", get()),
        doing("status", get()),
        doing("call", get()),
        doing("call-deny", get()),
        doing("call-timeout", get()),
        doing("call-nowhere", get()),
        doing("grpc", get()),
        doing("grpc-stream", get()),
        doing("shared", get()),
        doing("queue", get()).until("queue gave item"),
        doing("metrics", get()),
        doing("props", get()),
        doing("foreign", get()),
        doing("tick", get()),
        doing("time", get()),
        doing("reset", get()),
        doing("done", get()),
    ];
    let mut streamed = doing("body", post().with_trailers());
    "body over HTTP/2".clone_into(&mut streamed.name);
    cases.push(streamed);
    cases.retain(|case| !leave_out.contains(&case.name.as_str()));
    cases
}
