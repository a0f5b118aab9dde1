//! Whose word counts, and for how long.

use std::sync::Arc;
use std::time::Duration;

use proto::cairn::waypoint::{PluginReport, PluginReports, Stage};

use super::{Board, HOLD, MAX_MESSAGE, MAX_PLUGINS, Seat, tidy};
use crate::translate::WaypointName;

fn enter(board: &Arc<Board>, pod: &str) -> Seat {
    board.enter(WaypointName::new("a", "w"), pod)
}

fn message(names: &[&str], complete: bool) -> PluginReports {
    let report = |name: &&str| PluginReport {
        name: (*name).to_owned(),
        ..PluginReport::default()
    };
    PluginReports {
        plugins: names.iter().map(report).collect(),
        gone: vec![],
        complete,
    }
}

/// `pod: plugin plugin` of the waypoint.
fn shown(board: &Board) -> Vec<String> {
    let (reported, _) = board.read();
    let pods = reported.get(&WaypointName::new("a", "w"));
    pods.into_iter()
        .flatten()
        .map(|(pod, said)| {
            let names: Vec<&str> = said.keys().map(String::as_str).collect();
            format!("{pod}: {}", names.join(" "))
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_reconnect_changes_nothing_until_the_pod_has_spoken_again() {
    let board = Arc::<Board>::default();
    let seat = enter(&board, "w-1");
    assert!(seat.hear(message(&["p", "q"], true)));
    drop(seat);
    assert_eq!(shown(&board), ["w-1: p q"]);
    let seat = enter(&board, "w-1");
    assert_eq!(shown(&board), ["w-1: p q"]);
    assert!(seat.hear(message(&["p"], true)), "all there are");
    assert_eq!(shown(&board), ["w-1: p"]);
    assert!(seat.hear(message(&["r"], false)));
    assert_eq!(shown(&board), ["w-1: p r"]);
}

#[tokio::test(start_paused = true)]
async fn the_last_word_of_a_pod_that_is_gone_fades() {
    let board = Arc::<Board>::default();
    let seat = enter(&board, "w-1");
    seat.hear(message(&["p"], true));
    assert_eq!(board.read().1, None);
    drop(seat);
    let (_, until) = board.read();
    tokio::time::sleep_until(until.unwrap()).await;
    assert_eq!(shown(&board), [""; 0]);
    assert_eq!(board.read().1, None);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_speaks_replaces_one_that_is_gone() {
    let board = Arc::<Board>::default();
    let old = enter(&board, "w-1");
    old.hear(message(&["p"], true));
    let new = enter(&board, "w-2");
    drop(old);
    assert_eq!(
        shown(&board),
        ["w-1: p", "w-2: "],
        "it has said nothing yet"
    );
    new.hear(message(&["p"], true));
    assert_eq!(shown(&board), ["w-2: p"]);
    tokio::time::advance(HOLD + Duration::from_secs(1)).await;
    assert_eq!(
        shown(&board),
        ["w-2: p"],
        "whoever is connected does not fade"
    );
}

#[tokio::test(start_paused = true)]
async fn of_two_streams_of_a_pod_the_newer_speaks() {
    let board = Arc::<Board>::default();
    let old = enter(&board, "w-1");
    let new = enter(&board, "w-1");
    assert!(new.hear(message(&["new"], true)));
    assert!(!old.hear(message(&["old"], true)));
    drop(old);
    assert_eq!(shown(&board), ["w-1: new"]);
    assert_eq!(board.read().1, None, "the end of the older is no end");
}

#[test]
fn a_flood_of_names_is_bounded() {
    let board = Arc::<Board>::default();
    let seat = enter(&board, "w-1");
    let names: Vec<String> = (0..MAX_PLUGINS + 5).map(|n| n.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    seat.hear(message(&names, true));
    let said = &board.read().0[&WaypointName::new("a", "w")]["w-1"];
    assert_eq!(said.len(), MAX_PLUGINS);
}

#[test]
fn what_a_guest_may_have_worded_is_made_fit_to_be_shown() {
    let stage = |reason: &str, message: String| {
        Some(Stage {
            reason: reason.to_owned(),
            message,
            ..Stage::default()
        })
    };
    let report = tidy(PluginReport {
        sha256: "../../etc".to_owned(),
        fetched: stage("not a word", "x".repeat(5000)),
        programmed: stage("CompileFailed", "two\nlines\u{1b}[31m".to_owned()),
        healthy: stage("lower", String::new()),
        ..PluginReport::default()
    });
    let reason = |stage: &Option<Stage>| stage.as_ref().unwrap().reason.clone();
    let message = |stage: &Option<Stage>| stage.as_ref().unwrap().message.clone();
    assert_eq!(report.sha256, "");
    assert_eq!(reason(&report.fetched), "");
    assert_eq!(message(&report.fetched).len(), MAX_MESSAGE);
    assert_eq!(reason(&report.programmed), "CompileFailed");
    assert_eq!(message(&report.programmed), "two lines [31m");
    assert_eq!(reason(&report.healthy), "");
}
