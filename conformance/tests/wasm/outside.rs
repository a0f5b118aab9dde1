//! Modules that others wrote, as `conformance/wasm/outside.sh` gets them: each does in a waypoint
//! what its authors say it does, or is refused with the reason.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::cairn::Cairn;
use crate::client::Ask;
use crate::server::Server;
use crate::world::{Lines, Run, Setup, all_ended};

/// One of them.
#[derive(Clone, Copy, Debug)]
struct Module {
    /// Its file without `outside-` and `.wasm`.
    name: &'static str,
    root_id: &'static str,
    configuration: &'static str,
    expected: Expected,
}

/// What is asked of a module, and what comes of it.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// It is not used, and the reason has these parts.
    Refused(&'static [&'static str]),
    /// It is used; a request for each path comes to these lines, each of them one of those that are
    /// separated by ` or `, and to none that begins like the others.
    Does(&'static [Step]),
}

#[derive(Clone, Copy, Debug)]
struct Step {
    path: &'static str,
    body: &'static str,
    lines: &'static [&'static str],
    none: &'static [&'static str],
}

const fn get(
    path: &'static str,
    lines: &'static [&'static str],
    none: &'static [&'static str],
) -> Step {
    Step {
        path,
        body: "",
        lines,
        none,
    }
}

const fn post(path: &'static str, body: &'static str, lines: &'static [&'static str]) -> Step {
    Step {
        path,
        body,
        lines,
        none: &[],
    }
}

/// Rust examples that only have a root context.
const BACKGROUND_RUST: Expected = Expected::Refused(&[
    "makes no context for a request",
    "get_type and create_http_context",
    "stopped in proxy_on_context_create",
    "missing",
]);

/// And such in Go.
const BACKGROUND_GO: Expected = Expected::Refused(&[
    "makes no context for a request",
    "NewHttpContext",
    "panic: invalid context id on proxy_on_context_create",
]);

/// `http_headers` of the Rust SDK: answers one path itself.
const RUST_HEADERS: Expected = Expected::Does(&[
    get(
        "/hello",
        &[
            "response: 200",
            "response header: hello=World",
            "response header: powered-by=proxy-wasm",
            "response body: \"Hello, World!\\n\"",
        ],
        &["upstream"],
    ),
    get(
        "/other",
        &["response: 200", "response body: \"hello /other\""],
        &["response header: hello"],
    ),
]);

/// `http_auth_random`: asks a service, whose answer begins with an even byte here.
const RUST_AUTH: Expected = Expected::Does(&[get(
    "/asked",
    &[
        "callout: GET /bytes/1",
        "callout authority: httpbin.org",
        "response: 200",
        "response header: powered-by=proxy-wasm",
        "response body: \"hello /asked\"",
    ],
    &[],
)]);

/// `http_body`: takes secrets out of answers.
const RUST_BODY: Expected = Expected::Does(&[
    get(
        "/secret",
        &[
            "response: 200",
            "response body: \"Original message body (13 bytes) redacted.\"",
        ],
        &[],
    ),
    get("/open", &["response body: \"hello /open\""], &[]),
]);

/// `http_config`: sets its configuration as a header.
const RUST_CONFIG: Expected = Expected::Does(&[get(
    "/",
    &[
        "response: 200",
        "response header: custom-header=from outside",
    ],
    &[],
)]);

/// `http_headers` of the Go SDK: sets a header and logs all of them.
const GO_HEADERS: Expected = Expected::Does(&[get(
    "/",
    &[
        "response: 200",
        "upstream header: test=best",
        "log: request header --> :path: /",
        "log: response header <-- :status: 200",
        "log: 2 finished",
    ],
    &[],
)]);

/// `http_routing`: sends some requests to another authority, by chance.
const GO_ROUTING: Expected = Expected::Does(&[get(
    "/",
    &[
        "response: 200",
        "upstream authority: upstream.test or upstream authority: upstream.test-canary",
    ],
    &["response: 503"],
)]);

/// `metrics`: counts requests.
const GO_METRICS: Expected = Expected::Does(&[
    get(
        "/",
        &[
            "response: 200",
            "log: previous value of proxy_wasm_go.request_counter: 0",
            "log: incremented",
        ],
        &[],
    ),
    get(
        "/",
        &["log: previous value of proxy_wasm_go.request_counter: 1"],
        &[],
    ),
]);

/// The example on the page of the AssemblyScript SDKs.
const AS_HEADER: Expected = Expected::Does(&[get(
    "/",
    &["response: 200", "response header: hello=world!"],
    &[],
)]);

const fn module(name: &'static str, expected: Expected) -> Module {
    Module {
        name,
        root_id: "",
        configuration: "",
        expected,
    }
}

const fn configured(name: &'static str, configuration: &'static str, expected: Expected) -> Module {
    Module {
        configuration,
        ..module(name, expected)
    }
}

const fn rooted(name: &'static str, root_id: &'static str, expected: Expected) -> Module {
    Module {
        root_id,
        ..module(name, expected)
    }
}

const RUST: &[Module] = &[
    module("proxy-wasm-0-1-0-hello_world", BACKGROUND_RUST),
    module("proxy-wasm-0-1-0-http_auth_random", RUST_AUTH),
    module("proxy-wasm-0-1-0-http_headers", RUST_HEADERS),
    module("proxy-wasm-0-1-4-hello_world", BACKGROUND_RUST),
    module("proxy-wasm-0-1-4-http_auth_random", RUST_AUTH),
    module("proxy-wasm-0-1-4-http_body", RUST_BODY),
    configured("proxy-wasm-0-1-4-http_config", "from outside", RUST_CONFIG),
    module("proxy-wasm-0-1-4-http_headers", RUST_HEADERS),
    module("proxy-wasm-0-2-0-hello_world", BACKGROUND_RUST),
    module("proxy-wasm-0-2-0-hello_world-wasip1", BACKGROUND_RUST),
    module("proxy-wasm-0-2-0-http_auth_random", RUST_AUTH),
    module("proxy-wasm-0-2-0-http_body", RUST_BODY),
    configured("proxy-wasm-0-2-0-http_config", "from outside", RUST_CONFIG),
    module("proxy-wasm-0-2-0-http_headers", RUST_HEADERS),
    module("proxy-wasm-experimental-0-0-8-hello_world", BACKGROUND_RUST),
    module("proxy-wasm-experimental-0-0-8-http_auth_random", RUST_AUTH),
    module("proxy-wasm-experimental-0-0-8-http_body", RUST_BODY),
    configured(
        "proxy-wasm-experimental-0-0-8-http_config",
        "from outside",
        RUST_CONFIG,
    ),
    module("proxy-wasm-experimental-0-0-8-http_headers", RUST_HEADERS),
];

const TINYGO: &[Module] = &[
    module("tinygo-helloworld", BACKGROUND_GO),
    module(
        "tinygo-http_auth_random",
        Expected::Does(&[get(
            "/asked",
            &[
                "log: http call dispatched to httpbin",
                "callout: GET /asked",
                "log: access granted or log: access forbidden",
                "response: 200 or response: 403",
            ],
            &[],
        )]),
    ),
    module(
        "tinygo-http_body",
        Expected::Does(&[
            get(
                "/",
                &[
                    "response: 400",
                    "response body: \"content must be provided\"",
                ],
                &["upstream"],
            ),
            post(
                "/",
                "from outside",
                &[
                    "response: 200",
                    "upstream body: \"[this is replaced body]\"",
                ],
            ),
        ]),
    ),
    module("tinygo-http_headers", GO_HEADERS),
    module("tinygo-http_routing", GO_ROUTING),
    module("tinygo-metrics", GO_METRICS),
    module(
        "tinygo-shared_data",
        Expected::Does(&[
            get("/", &["response: 200", "log: shared value: 10000001"], &[]),
            get("/", &["log: shared value: 10000002"], &[]),
        ]),
    ),
    module(
        "tinygo-shared_queue-sender",
        Expected::Refused(&[
            "did not start",
            "stopped in proxy_on_configure",
            "panic: failed to get plugin config: error status returned by host: not found",
        ]),
    ),
    module("tinygo-vm_plugin_configuration", BACKGROUND_GO),
];

const OTHERS: &[Module] = &[
    module("go-helloworld", BACKGROUND_GO),
    module("go-http_headers", GO_HEADERS),
    module("go-http_routing", GO_ROUTING),
    module("go-metrics", GO_METRICS),
    module(
        "cpp-http",
        Expected::Does(&[get(
            "/shown",
            &[
                "response: 200",
                "log: [http_wasm_example.cc:38]::onRequestHeaders() print from wasm, :path -> /shown",
            ],
            &[],
        )]),
    ),
    Module {
        root_id: "add_header",
        ..configured(
            "as-solo-0-1-8",
            "from outside",
            Expected::Does(&[get(
                "/",
                &["response: 200", "response header: hello=from outside"],
                &[],
            )]),
        )
    },
    // Without a configuration the SDK takes what it read before for one.
    rooted(
        "as-solo-0-1-8",
        "add_header",
        Expected::Does(&[get("/", &["response: 200"], &[])]),
    ),
    rooted("as-gcore-1-2-3", "add_header", AS_HEADER),
    module(
        "as-solo-0-1-8",
        Expected::Refused(&[
            "does not begin with root id \"\"",
            "`pluginName` in a WasmPlugin",
            "Missing root context factory",
        ]),
    ),
    // This one falls back to what is registered at all.
    module("as-gcore-1-2-3", AS_HEADER),
];

/// Whether the modules are here. Where they must be, in CI, their absence is a failure.
fn are_here() -> bool {
    let here = conformance::wasm::guest("outside-tinygo-helloworld").is_some();
    #[expect(clippy::disallowed_methods, reason = "a test has no Config")]
    let required = std::env::var("REQUIRE_COMPILERS").is_ok_and(|value| value == "1");
    assert!(
        here || !required,
        "no modules from outside: run conformance/wasm/outside.sh"
    );
    if !here {
        say("SKIPPED: conformance/wasm/outside.sh gets the modules");
    }
    here
}

#[expect(clippy::print_stdout, reason = "what was tried, or that nothing was")]
fn say(line: &str) {
    println!("{line}");
}

/// Tries all of them; fails with everything that is not as expected.
async fn all(modules: &[Module]) {
    if !are_here() {
        return;
    }
    let mut wrong = vec![];
    for module in modules {
        wrong.extend(as_expected(module).await.err());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let names: BTreeSet<&str> = modules.iter().map(|module| module.name).collect();
    say(&format!("{} modules from outside", names.len()));
}

async fn as_expected(module: &Module) -> Result<(), String> {
    let name = module.name;
    let path = conformance::wasm::guest(&format!("outside-{name}"));
    let path = path.ok_or_else(|| format!("{name}: run conformance/wasm/outside.sh"))?;
    let (upstream, callout) = (Server::start("upstream"), Server::start("callout"));
    let run = Arc::<Run>::default();
    let setup = Setup {
        plugin: format!("outside-{name}-{}", upstream.address.port()),
        module: path,
        configuration: module.configuration.to_owned(),
        root_id: module.root_id.to_owned(),
        callout_names: &["httpbin"],
        upstream: upstream.address,
        callout: callout.address,
        // Nobody calls it.
        refused: callout.address,
    };
    let cairn = Cairn::start(&setup, &run).await;
    match (&module.expected, &cairn.refused) {
        (Expected::Does(steps), None) => {
            // What it logged when it was tried and started is not of the requests.
            run.take_when(|_| true);
            for step in *steps {
                let lines = ask(&cairn, &run, step, [&upstream, &callout]).await;
                check(step, &lines).map_err(|wrong| format!("{name} {}: {wrong}", step.path))?;
            }
            Ok(())
        }
        (Expected::Refused(parts), Some(why)) => {
            let missing = parts.iter().find(|part| !why.contains(**part));
            let told = missing.map(|part| format!("{name}: {part:?} is not in: {why}"));
            told.map_or(Ok(()), Err)
        }
        (Expected::Does(_), Some(why)) => Err(format!("{name} is refused: {why}")),
        (Expected::Refused(_), None) => Err(format!("{name} runs, and should be refused")),
    }
}

/// Sends a request and tells all that came of it.
async fn ask(cairn: &Cairn, run: &Arc<Run>, step: &Step, servers: [&Server; 2]) -> Lines {
    let mut lines = Ask::get(step.path)
        .body(step.body)
        .send(cairn.address)
        .await;
    for server in servers {
        lines.extend(server.take());
    }
    let run = Arc::clone(run);
    let wait = tokio::task::spawn_blocking(move || run.take_when(all_ended));
    lines.extend(wait.await.unwrap());
    lines
}

fn check(step: &Step, lines: &Lines) -> Result<(), String> {
    let is_there = |line: &str| lines.iter().any(|it| it.trim_end() == line);
    let told = || {
        let own = lines.iter().filter(|line| !line.starts_with('['));
        own.cloned().collect::<Vec<_>>().join("\n    ")
    };
    for line in step.lines {
        if !line.split(" or ").any(is_there) {
            return Err(format!("no line {line:?} in\n    {}", told()));
        }
    }
    for start in step.none {
        if lines.iter().any(|line| line.starts_with(start)) {
            return Err(format!("a line {start:?} in\n    {}", told()));
        }
    }
    Ok(())
}

#[tokio::test]
async fn examples_of_rust_sdks_do_what_they_say() {
    all(RUST).await;
}

#[tokio::test]
async fn examples_of_the_go_sdk_do_what_they_say_when_tinygo_builds_them() {
    all(TINYGO).await;
}

#[tokio::test]
async fn modules_in_go_cpp_and_assemblyscript_do_what_they_say() {
    all(OTHERS).await;
}

#[tokio::test]
async fn a_service_that_nobody_knows_is_named() {
    if !are_here() {
        return;
    }
    let upstream = Server::start("upstream");
    let run = Arc::<Run>::default();
    let setup = Setup {
        plugin: format!("nowhere-{}", upstream.address.port()),
        module: conformance::wasm::guest("outside-proxy-wasm-0-2-0-http_auth_random").unwrap(),
        configuration: String::new(),
        root_id: String::new(),
        callout_names: &[],
        upstream: upstream.address,
        callout: upstream.address,
        refused: upstream.address,
    };
    let cairn = Cairn::start(&setup, &run).await;
    let step = get("/", &["response: 503"], &["upstream"]);
    let lines = ask(&cairn, &run, &step, [&upstream, &upstream]).await;
    check(&step, &lines).unwrap();
    let said = "\"httpbin\": the proxy knows no service of that name and port";
    assert!(lines.iter().any(|line| line.contains(said)), "{lines:#?}");
    assert!(cairn.metrics().contains("call_refused"));
}
