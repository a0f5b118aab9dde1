//! What a stream of reports carries.

use std::pin::pin;

use futures_util::{FutureExt as _, StreamExt as _};
use proto::cairn::waypoint::PluginReports;

use super::{MESSAGE, PluginReport, Reports, Stage, TOGETHER, spoken};

fn report(generation: i64) -> PluginReport {
    PluginReport {
        generation,
        ..PluginReport::default()
    }
}

/// `name=generation`, `-name` for one that is gone, `all` first if the message is complete.
fn shown(message: &PluginReports) -> String {
    let all = message.complete.then(|| "all".to_owned());
    let plugins = message.plugins.iter();
    let plugins = plugins.map(|plugin| format!("{}={}", plugin.name, plugin.generation));
    let gone = message.gone.iter().map(|name| format!("-{name}"));
    all.into_iter()
        .chain(plugins)
        .chain(gone)
        .collect::<Vec<_>>()
        .join(" ")
}

fn listen(reports: &Reports) -> impl futures_util::Stream<Item = PluginReports> + use<> {
    spoken(reports.clone(), reports.0.changed.subscribe())
}

#[test]
fn a_stream_begins_with_everything_and_goes_on_with_what_is_new() {
    let reports = Reports::default();
    reports.set("a/p", report(1));
    reports.set("a/q", report(1));
    let mut stream = pin!(listen(&reports));
    let mut next = || stream.next().now_or_never().flatten();
    assert_eq!(shown(&next().unwrap()), "all a/p=1 a/q=1");
    assert!(next().is_none());
    reports.set("a/p", report(1));
    assert!(next().is_none(), "the same again is nothing");
    reports.set("a/p", report(2));
    reports.set("a/p", report(3));
    reports.forget("a/q");
    reports.forget("a/never");
    assert_eq!(shown(&next().unwrap()), "a/p=3 -a/q", "the latest alone");
    assert!(next().is_none());
}

#[test]
fn another_stream_says_everything_again_and_what_is_gone_is_not_in_it() {
    let reports = Reports::default();
    reports.set("a/p", report(1));
    drop(listen(&reports));
    reports.set("a/q", report(1));
    reports.forget("a/p");
    let mut stream = pin!(listen(&reports));
    let first = stream.next().now_or_never().flatten().unwrap();
    assert_eq!(shown(&first), "all a/q=1");
    assert!(stream.next().now_or_never().is_none());
}

#[test]
fn many_plugins_travel_in_several_messages() {
    let reports = Reports::default();
    let n = TOGETHER * 2 + 1;
    for i in 0..n {
        reports.set(&format!("a/{i:05}"), report(1));
    }
    let sizes = |stream: &mut (dyn futures_util::Stream<Item = PluginReports> + Unpin)| {
        let mut sizes = vec![];
        while let Some(Some(message)) = stream.next().now_or_never() {
            sizes.push((message.plugins.len(), message.complete));
        }
        sizes
    };
    let mut stream = pin!(listen(&reports));
    let expected = [(TOGETHER, true), (TOGETHER, false), (1, false)];
    assert_eq!(sizes(&mut stream), expected);
    for i in 0..n {
        reports.set(&format!("a/{i:05}"), report(2));
    }
    let expected = expected.map(|(size, _)| (size, false));
    assert_eq!(sizes(&mut stream), expected);
}

#[test]
fn an_endless_message_is_cut_at_a_character() {
    let stage = Stage::no("Broken", "ü".repeat(MESSAGE));
    let message = stage.to_message().message;
    assert_eq!(message.len(), MESSAGE);
    let stage = Stage::no("Broken", format!("x{}", "ü".repeat(MESSAGE)));
    assert_eq!(stage.to_message().message.len(), MESSAGE - 1);
}

#[test]
fn one_part_of_a_report_changes_alone() {
    let reports = Reports::default();
    reports.set("a/p", report(7));
    reports.update("a/p", |report| {
        report.healthy = Stage::yes("Healthy", "it runs");
    });
    let now = reports.get("a/p").unwrap();
    assert_eq!((now.generation, now.healthy.is), (7, Some(true)));
}
