//! Both proxies, the same cases, and every difference explained.

use std::fmt::Write as _;

use conformance::wasm::differences::{Differences, Side, unmatched};

use crate::cases::{self, Case, PHASES};
use crate::world::{Bench, Lines, Which, comparable};

/// Whether Envoy is here. Where it must be, in CI, its absence is a failure.
fn envoy_is_here() -> bool {
    let here = conformance::wasm::envoy().is_some();
    #[expect(clippy::disallowed_methods, reason = "a test has no Config")]
    let required = std::env::var("REQUIRE_ROOT").is_ok_and(|value| value == "1");
    assert!(here || !required, "no Envoy: run conformance/wasm/build.sh");
    if !here {
        eprintln!("SKIPPED: no Envoy to compare with; conformance/wasm/build.sh installs it");
    }
    here
}

/// What a proxy came to in every case, the start first.
async fn run(
    which: Which,
    guest: &str,
    configuration: &str,
    cases: &[Case],
) -> (Vec<(String, Lines)>, Lines) {
    let is_probe = guest.starts_with("probe");
    let (bench, start) = Bench::start(which, guest, configuration).await;
    let mut results = vec![("start".to_owned(), comparable(&start, is_probe))];
    for case in cases {
        let lines = bench.ask(&case.ask, case.until).await;
        results.push((case.name.clone(), comparable(&lines, is_probe)));
    }
    let notes = bench.notes();
    (results, notes)
}

/// Runs the cases in both, and fails at a difference that is not listed, or no longer there.
async fn compare(suite: &str, guest: &str, configuration: &str, cases: &[Case]) {
    if !envoy_is_here() {
        return;
    }
    let list = Differences::load().unwrap();
    let (theirs, their_notes) = run(Which::Envoy, guest, configuration, cases).await;
    let (ours, our_notes) = run(Which::Cairn, guest, configuration, cases).await;
    let mut report = String::new();
    let mut names = vec![];
    for ((name, theirs), (_, ours)) in theirs.iter().zip(&ours) {
        let case = format!("{suite}/{name}");
        let mut wrong = String::new();
        for (side, line) in unmatched(theirs, ours) {
            if !list.explain(&case, side, line) {
                let who = if side == Side::Envoy { "envoy" } else { "cairn" };
                writeln!(wrong, "    {who}: {line}").unwrap();
            }
        }
        if !wrong.is_empty() {
            writeln!(report, "  {case}\n{wrong}").unwrap();
        }
        names.push(case);
    }
    let told: usize = theirs.iter().map(|(_, lines)| lines.len()).sum();
    println!("{suite}: {} cases, {told} lines of Envoy compared", names.len());
    for unseen in list.unseen(&names) {
        writeln!(report, "  a listed difference did not occur: {unseen}").unwrap();
    }
    if !report.is_empty() {
        let notes = [their_notes, our_notes].concat().join("\n    ");
        let path = std::env::temp_dir().join(format!("cairn-oracle-{suite}.notes"));
        let _ = std::fs::write(&path, format!("{theirs:#?}\n{ours:#?}\n{notes}"));
        panic!("{suite}: see also {}\n{report}", path.display());
    }
}

macro_rules! phases {
    ($($name:ident: $place:literal,)*) => {$(
        #[tokio::test]
        async fn $name() {
            let phase = PHASES[$place];
            let suite = format!("probe-{phase}");
            compare(&suite, "probe", "", &cases::of_phase(phase)).await;
        }
    )*};
}

phases! {
    all_calls_while_request_headers_come: 0,
    all_calls_while_a_request_body_comes: 1,
    all_calls_while_request_trailers_come: 2,
    all_calls_while_response_headers_come: 3,
    all_calls_while_a_response_body_comes: 4,
    all_calls_while_response_trailers_come: 5,
    all_calls_when_a_stream_is_logged: 6,
    all_calls_when_a_stream_is_done: 7,
    all_calls_when_a_stream_is_deleted: 8,
}

#[tokio::test]
async fn changes_to_messages_arrive_alike() {
    compare("probe-changes", "probe", "", &cases::changes()).await;
}

#[tokio::test]
async fn streams_take_the_same_course() {
    compare("probe-course", "probe", "", &cases::course()).await;
}

#[tokio::test]
async fn callouts_come_to_the_same() {
    compare("probe-callouts", "probe", "", &cases::callouts()).await;
}

#[tokio::test]
async fn all_calls_while_a_plugin_is_configured() {
    let plan: Vec<String> = cases::GROUPS
        .iter()
        .map(|group| format!("configure:{group}"))
        .collect();
    compare("probe-configure", "probe", &plan.join(" "), &[]).await;
}

#[tokio::test]
async fn modules_of_abi_0_1_0_see_the_same() {
    compare("probe-0-1-0", "probe-0-1-0", "", &cases::of_old_abi()).await;
}

#[tokio::test]
async fn modules_of_abi_0_2_0_see_the_same() {
    compare("probe-0-2-0", "probe-0-2-0", "", &cases::of_old_abi()).await;
}

#[tokio::test]
async fn filters_of_the_rust_sdk_do_the_same() {
    compare("sdk-rust", "sdk-rust", "settings", &cases::of_sdk(&[])).await;
}

#[tokio::test]
async fn filters_of_the_rust_sdk_for_wasi_do_the_same() {
    compare("sdk-rust-wasip1", "sdk-rust-wasip1", "settings", &cases::of_sdk(&[])).await;
}

#[tokio::test]
async fn filters_in_go_do_the_same() {
    // The package has no way to choose a stream from a timer.
    compare("sdk-go", "sdk-go", "settings", &cases::of_sdk(&["tick", "done"])).await;
}

#[tokio::test]
async fn filters_in_c_do_the_same() {
    compare("sdk-c", "sdk-c", "settings", &cases::of_sdk(&[])).await;
}
