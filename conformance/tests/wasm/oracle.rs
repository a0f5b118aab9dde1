//! Both proxies, the same cases, and every difference explained.

use std::fmt::Write as _;
use std::sync::LazyLock;

use conformance::wasm::differences::{Differences, Side, unmatched};
use parking_lot::Mutex;

use crate::cases::{self, Case};
use crate::world::{Bench, Lines, Which, comparable};

/// Whether Envoy is here. Where it must be, in CI, its absence is a failure.
fn envoy_is_here() -> bool {
    let here = conformance::wasm::envoy().is_some();
    #[expect(clippy::disallowed_methods, reason = "a test has no Config")]
    let required = std::env::var("REQUIRE_ROOT").is_ok_and(|value| value == "1");
    assert!(here || !required, "no Envoy: run conformance/wasm/build.sh");
    if !here {
        say("SKIPPED: no Envoy to compare with; conformance/wasm/build.sh installs it");
    }
    here
}

#[expect(
    clippy::print_stdout,
    reason = "what was compared, or that nothing was"
)]
fn say(line: &str) {
    println!("{line}");
}

/// What a proxy came to in every case, the start first.
async fn run(
    which: Which,
    guest: &str,
    configuration: &str,
    cases: &[Case],
) -> (Vec<(String, Lines)>, Lines) {
    let is_probe = guest.starts_with("probe");
    let (mut bench, start) = Bench::start(which, guest, configuration).await;
    let mut results = vec![("start".to_owned(), comparable(&start, is_probe))];
    for case in cases {
        let lines = bench.ask(&case.ask, case.until).await;
        results.push((case.name.clone(), comparable(&lines, is_probe)));
    }
    let notes = bench.notes();
    (results, notes)
}

/// The list of differences, and how many suites have yet to look for theirs.
static LIST: LazyLock<Mutex<(Differences, usize)>> =
    LazyLock::new(|| Mutex::new((Differences::load().unwrap(), SUITES)));

/// Runs the cases in both, and fails at a difference that is not listed. The last suite to end
/// fails as well when a listed one was seen by none.
async fn compare(suite: &str, guest: &str, configuration: &str, cases: &[Case]) {
    if !envoy_is_here() {
        return;
    }
    let (theirs, their_notes) = run(Which::Envoy, guest, configuration, cases).await;
    let (ours, our_notes) = run(Which::Cairn, guest, configuration, cases).await;
    let mut list = LIST.lock();
    let mut report = String::new();
    for ((name, theirs), (_, ours)) in theirs.iter().zip(&ours) {
        let case = format!("{suite}/{name}");
        let mut wrong = String::new();
        for (side, line) in unmatched(theirs, ours) {
            if !list.0.explain(&case, side, line) {
                let who = if side == Side::Envoy {
                    "envoy"
                } else {
                    "cairn"
                };
                writeln!(wrong, "    {who}: {line}").unwrap();
            }
        }
        if !wrong.is_empty() {
            writeln!(report, "  {case}\n{wrong}").unwrap();
        }
    }
    let told: usize = theirs.iter().map(|(_, lines)| lines.len()).sum();
    say(&format!(
        "{suite}: {} cases, {told} lines of Envoy compared",
        theirs.len()
    ));
    list.1 -= 1;
    if list.1 == 0 {
        for unseen in list.0.unseen() {
            writeln!(report, "  a listed difference did not occur: {unseen}").unwrap();
        }
    }
    if !report.is_empty() {
        let notes = [their_notes, our_notes].concat().join("\n    ");
        let path = std::env::temp_dir().join(format!("cairn-oracle-{suite}.notes"));
        let _ = std::fs::write(&path, format!("{theirs:#?}\n{ours:#?}\n{notes}"));
        panic!("{suite}: see also {}\n{report}", path.display());
    }
}

/// A test for each suite, and how many there are.
macro_rules! suites {
    ($($name:ident: $suite:literal, $guest:literal, $configuration:expr, $cases:expr;)*) => {
        const SUITES: usize = [$($suite),*].len();
        $(
            #[tokio::test]
            async fn $name() {
                compare($suite, $guest, $configuration, &$cases).await;
            }
        )*
    };
}

suites! {
    all_calls_while_request_headers_come:
        "probe-request_headers", "probe", "", cases::of_phase("request_headers");
    all_calls_while_a_request_body_comes:
        "probe-request_body", "probe", "", cases::of_phase("request_body");
    all_calls_while_request_trailers_come:
        "probe-request_trailers", "probe", "", cases::of_phase("request_trailers");
    all_calls_while_response_headers_come:
        "probe-response_headers", "probe", "", cases::of_phase("response_headers");
    all_calls_while_a_response_body_comes:
        "probe-response_body", "probe", "", cases::of_phase("response_body");
    all_calls_while_response_trailers_come:
        "probe-response_trailers", "probe", "", cases::of_phase("response_trailers");
    all_calls_when_a_stream_is_logged:
        "probe-log", "probe", "", cases::of_phase("log");
    all_calls_when_a_stream_is_done:
        "probe-done", "probe", "", cases::of_phase("done");
    all_calls_when_a_stream_is_deleted:
        "probe-delete", "probe", "", cases::of_phase("delete");
    all_calls_while_a_plugin_is_configured:
        "probe-configure", "probe", &cases::in_configuration(), [];
    changes_to_messages_arrive_alike:
        "probe-changes", "probe", "", cases::changes();
    streams_take_the_same_course:
        "probe-course", "probe", "", cases::course();
    callouts_come_to_the_same:
        "probe-callouts", "probe", "", cases::callouts();
    modules_of_abi_0_1_0_see_the_same:
        "probe-0-1-0", "probe-0-1-0", "", cases::of_old_abi();
    modules_of_abi_0_2_0_see_the_same:
        "probe-0-2-0", "probe-0-2-0", "", cases::of_old_abi();
    filters_of_the_rust_sdk_do_the_same:
        "sdk-rust", "sdk-rust", "settings", cases::of_sdk(&[]);
    filters_of_the_rust_sdk_for_wasi_do_the_same:
        "sdk-rust-wasip1", "sdk-rust-wasip1", "settings", cases::of_sdk(&[]);
    // The Go package has no way to choose a stream from a timer, as the official SDK has none.
    filters_in_go_do_the_same:
        "sdk-go", "sdk-go", "settings", cases::of_sdk(&["tick", "done"]);
    filters_in_c_do_the_same:
        "sdk-c", "sdk-c", "settings", cases::of_sdk(&[]);
    // The SDK has no gRPC, foreign functions or ways to close a stream; its shared data, queues and
    // whole header maps do not compile or do something else than they say.
    filters_in_assemblyscript_do_the_same:
        "sdk-as", "sdk-as", "settings", cases::of_sdk(&[
            "all-headers", "call-nowhere", "foreign", "grpc", "grpc-stream", "local-grpc", "queue",
            "reset", "shared", "done",
        ]);
}
