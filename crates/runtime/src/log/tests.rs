use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::sync::mpsc;

use parking_lot::Mutex;
use tracing::subscriber::with_default;

use super::*;

/// Output that can be looked at.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs `act` with a log of its own and returns the lines, the time cut out of each.
fn logged(format: Format, filter: &str, act: impl FnOnce(&Log)) -> Vec<String> {
    let output = Output::default();
    let config = Config {
        format,
        filter: filter.to_owned(),
    };
    let (log, subscriber) = Log::new(&config, Box::new(output.clone())).unwrap();
    with_default(subscriber, || act(&log));
    log.flush();
    let text = String::from_utf8(output.0.lock().clone()).unwrap();
    text.lines()
        .map(|line| without_time(format, line))
        .collect()
}

/// Replaces the time by `TIME`, as in the recorded lines, and checks that it was one.
fn without_time(format: Format, line: &str) -> String {
    let time = match format {
        Format::Text => line.split('\t').next(),
        Format::Json => line
            .split("\"time\":\"")
            .nth(1)
            .and_then(|t| t.split('"').next()),
    };
    let time = time.unwrap();
    time.parse::<jiff::Timestamp>().unwrap();
    assert_eq!(time.len(), "2026-11-21T16:28:09.893308Z".len(), "{time}");
    line.replacen(time, "TIME", 1)
}

fn text(act: impl FnOnce()) -> Vec<String> {
    logged(Format::Text, "trace", |_| act())
}

fn json(act: impl FnOnce()) -> Vec<String> {
    logged(Format::Json, "trace", |_| act())
}

#[test]
fn a_text_line_has_istios_columns() {
    let addr: std::net::SocketAddr = "10.0.0.1:80".parse().unwrap();
    let lines = text(|| {
        tracing::info!(target: "access", { src.addr = %addr, src.workload = "plain", bytes_sent = 0 }, "connection complete");
        tracing::warn!(target: "xds", "no fields");
        tracing::error!(target: "xds", only = true);
    });
    let expected = [
        "TIME\tinfo\taccess\tconnection complete\tsrc.addr=10.0.0.1:80 src.workload=\"plain\" bytes_sent=0",
        "TIME\twarn\txds\tno fields",
        "TIME\terror\txds\tonly=true",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn spans_stand_behind_the_target() {
    let lines = text(|| {
        let outer =
            tracing::info_span!("xds", id = 1, peer = "istiod", late = tracing::field::Empty);
        let _outer = outer.enter();
        let _inner = tracing::info_span!("bare").entered();
        outer.record("late", 7);
        tracing::info!(target: "xds::client", size = 44, "received response");
    });
    let expected =
        "TIME\tinfo\txds::client:xds{id=1 peer=\"istiod\" late=7}:bare\treceived response\tsize=44";
    assert_eq!(lines, [expected]);
}

#[test]
fn nothing_that_is_logged_can_forge_a_line_or_a_field() {
    let hostile = "x\nTIME\terror\taccess\tforged a=\"b\"";
    let lines = text(|| {
        tracing::info!(target: "t", text = hostile, shown = %hostile, "{hostile}");
        tracing::info!(target: "t", shown = %"two words", empty = %"", debug = ?"quoted");
    });
    let expected = [
        "TIME\tinfo\tt\tx\\nTIME\\terror\\taccess\\tforged a=\"b\"\ttext=\"x\\nTIME\\terror\\taccess\\tforged a=\\\"b\\\"\" shown=\"x\\nTIME\\terror\\taccess\\tforged a=\\\"b\\\"\"",
        "TIME\tinfo\tt\tshown=\"two words\" empty=\"\" debug=\"\\\"quoted\\\"\"",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn an_error_is_logged_with_its_causes() {
    #[derive(Debug, thiserror::Error)]
    #[error("cannot connect")]
    struct Outer(#[source] io::Error);

    let error = Outer(io::Error::other("refused"));
    let lines = text(|| {
        tracing::info!(target: "t", error = &error as &dyn std::error::Error, "failed");
    });
    assert_eq!(
        lines,
        ["TIME\tinfo\tt\tfailed\terror=\"cannot connect: refused\""]
    );
}

#[test]
fn a_json_line_has_istios_keys() {
    let lines = json(|| {
        let _span = tracing::info_span!("xds", id = 1, peer = "a\"b").entered();
        tracing::info!(target: "access", { dst.addr = %"10.0.0.1:80", n = -3, ok = true }, "tab\there");
    });
    let expected = r#"{"level":"info","time":"TIME","scope":"access","xds":{"id":1,"peer":"a\"b"},"message":"tab\u0009here","dst.addr":"10.0.0.1:80","n":-3,"ok":true}"#;
    assert_eq!(lines, [expected]);
}

fn denied(line: &mut String) -> std::fmt::Result {
    let (src, dst) = ("10.244.2.6:4242", "10.244.2.5:8080");
    write!(
        line,
        "src.addr={src} src.workload=\"bad\" dst.hbone_addr={dst} bytes_sent=0"
    )?;
    write!(
        line,
        " duration=\"1ms\" error=\"denied by: \\\"app/deny\\\"\\n\\u{{7f}}\""
    )
}

#[test]
fn an_access_line_looks_like_any_other() {
    let lines = logged(Format::Text, "info", |log| {
        log.access()
            .line(Level::Error, "connection complete", denied);
    });
    let expected = "TIME\terror\taccess\tconnection complete\tsrc.addr=10.244.2.6:4242 src.workload=\"bad\" dst.hbone_addr=10.244.2.5:8080 bytes_sent=0 duration=\"1ms\" error=\"denied by: \\\"app/deny\\\"\\n\\u{7f}\"";
    assert_eq!(lines, [expected]);
    let lines = logged(Format::Json, "info", |log| {
        log.access()
            .line(Level::Error, "connection complete", denied);
    });
    let expected = r#"{"level":"error","time":"TIME","scope":"access","message":"connection complete","src.addr":"10.244.2.6:4242","src.workload":"bad","dst.hbone_addr":"10.244.2.5:8080","bytes_sent":0,"duration":"1ms","error":"denied by: \"app/deny\"\n\u007f"}"#;
    assert_eq!(lines, [expected]);
}

#[test]
fn a_line_of_its_own_format_is_filtered_like_any_other() {
    let output = Output::default();
    let config = Config {
        format: Format::Text,
        filter: "access=info".to_owned(),
    };
    let (log, _subscriber) = Log::new(&config, Box::new(output.clone())).unwrap();
    let say = |level, text: &str| log.access().raw(level, |line| line.write_str(text));
    say(Level::Info, "[2026-11-21T16:28:09Z] \"GET / HTTP/1.1\" 200");
    say(Level::Debug, "not wanted");
    log.flush();
    let expected = b"[2026-11-21T16:28:09Z] \"GET / HTTP/1.1\" 200\n";
    assert_eq!(output.0.lock().as_slice(), expected);
}

#[test]
fn the_filter_decides_about_events_and_access_lines() {
    let lines = logged(Format::Text, "warn,access=info,mesh::authz=debug", |log| {
        let access = |level| log.access().line(level, "line", |_| Ok(()));
        [Level::Error, Level::Info, Level::Debug]
            .into_iter()
            .for_each(access);
        tracing::debug!(target: "mesh::authz", "a");
        tracing::debug!(target: "mesh", "b");
        tracing::warn!(target: "mesh", "c");
        assert!(log.access().is_enabled(Level::Info));
        assert!(!log.access().is_enabled(Level::Debug));
    });
    let expected = [
        "TIME\terror\taccess\tline\t",
        "TIME\tinfo\taccess\tline\t",
        "TIME\tdebug\tmesh::authz\ta",
        "TIME\twarn\tmesh\tc",
    ];
    assert_eq!(lines, expected);
    assert!(!AccessLog::disabled().is_enabled(Level::Error));
}

#[test]
fn levels_change_while_the_process_runs() {
    let lines = logged(Format::Text, "info", |log| {
        let say = |text| tracing::debug!(target: "mesh", "{text}");
        let access = || log.access().line(Level::Info, "line", |_| Ok(()));
        say("no");
        log.levels().set("mesh=debug,access=off").unwrap();
        say("yes");
        access();
        log.levels().set("mesh:warn").unwrap();
        say("no");
        log.levels().reset("").unwrap();
        access();
        assert_eq!(log.levels().current(), "info");
        log.levels().reset("a::b:trace").unwrap();
        assert_eq!(log.levels().current(), "a::b=trace,info");
    });
    assert_eq!(
        lines,
        ["TIME\tdebug\tmesh\tyes", "TIME\tinfo\taccess\tline\t"]
    );
}

#[test]
fn a_filter_that_makes_no_sense_changes_nothing() {
    logged(Format::Text, "info", |log| {
        for wrong in [
            "bogus",
            "mesh=bogus",
            "mesh=",
            "=info",
            "a::b",
            "info,:debug",
            "mesh=",
        ] {
            let error = log.levels().set(wrong).unwrap_err();
            assert!(matches!(error, Error::Filter(_)), "{wrong}: {error}");
        }
        assert_eq!(log.levels().current(), "info");
    });
    let config = Config {
        format: Format::Text,
        filter: "info,hbone=loud".to_owned(),
    };
    let error = Log::new(&config, Box::new(io::sink())).err().unwrap();
    assert!(
        error
            .to_string()
            .starts_with("`hbone=loud` is not a log filter")
    );
}

/// Output that takes nothing until it is told to.
struct Stuck {
    release: mpsc::Receiver<()>,
    entered: mpsc::Sender<()>,
    output: Output,
}

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Both fail once the test lets go: from then on output flows.
        let _ = self.entered.send(());
        let _ = self.release.recv();
        self.output.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn output_that_stands_still_costs_lines_but_no_time() {
    let output = Output::default();
    let (let_go, release) = mpsc::channel();
    let (entered, writing) = mpsc::channel();
    let stuck = Stuck {
        release,
        entered,
        output: output.clone(),
    };
    let config = Config {
        format: Format::Text,
        filter: "info".to_owned(),
    };
    let (log, _subscriber) = Log::new(&config, Box::new(stuck)).unwrap();
    let line = |i: u64| {
        log.access()
            .line(Level::Info, "line", |line| write!(line, "i={i}"));
    };
    line(0);
    writing.recv().unwrap();
    // The writer holds one line; from here on it only fills the queue.
    (1..=10_000).for_each(line);
    let dropped = log.dropped();
    assert_eq!(dropped, 10_000 - 8192);
    drop(let_go);
    log.flush();
    drop(log);
    let text = String::from_utf8(output.0.lock().clone()).unwrap();
    let lines: Vec<_> = text
        .lines()
        .map(|line| without_time(Format::Text, line))
        .collect();
    assert_eq!(
        lines
            .iter()
            .filter(|line| line.contains("\taccess\t"))
            .count(),
        8193
    );
    let gap = format!("TIME\twarn\tlog\tlines dropped\tcount={dropped}");
    assert_eq!(lines.iter().filter(|line| **line == gap).count(), 1);
}

#[test]
fn the_end_of_a_log_is_written_out() {
    let output = Output::default();
    let config = Config {
        format: Format::Text,
        filter: "info".to_owned(),
    };
    let (log, _subscriber) = Log::new(&config, Box::new(output.clone())).unwrap();
    log.access().line(Level::Info, "last words", |_| Ok(()));
    drop(log);
    assert!(output.0.lock().ends_with(b"last words\t\n"));
}
