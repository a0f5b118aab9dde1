use super::said;
use crate::LogLevel;
use crate::PluginConfig;
use crate::reference::covers;
use crate::testing::{Guest, Recorder};

/// Runs code in `proxy_on_tick` of a guest that imports these functions.
fn run(
    functions: &[&str],
    build: impl FnOnce(&mut Guest) -> String,
    config: PluginConfig,
) -> std::rc::Rc<Recorder> {
    let mut guest = functions
        .iter()
        .fold(Guest::new(), |guest, name| guest.wasi(name));
    let body = build(&mut guest);
    let (vm, recorder) = guest.on("proxy_on_tick", &body, 0).start_with(config);
    vm.on_tick().unwrap();
    recorder
}

/// Logs an error number as it is, instead of as one character.
const SAY_NUMBER: &str = "(call $say (i32.div_u (i32.load (i32.const 300)) (i32.const 10)))
     (call $say (i32.rem_u (i32.load (i32.const 300)) (i32.const 10)))";

fn errno(call: &str) -> String {
    format!("(i32.store (i32.const 300) {call}) {SAY_NUMBER}")
}

#[test]
fn standard_output_and_error_become_log_lines() {
    covers!("fd_write");
    let recorder = run(
        &["fd_write"],
        |guest| {
            let (one, two) = (guest.text("first "), guest.text("line\nsecond\n"));
            // Two parts: (address, length) pairs at 400.
            let store = |at: i32, span: &str| {
                let (address, len) = span.split_once(") (").unwrap();
                format!(
                    "(i32.store (i32.const {at}) {address})) (i32.store (i32.const {}) ({len})",
                    at + 4
                )
            };
            let write = |fd: i32| {
                errno(&format!(
                    "(call $fd_write (i32.const {fd}) (i32.const 400) (i32.const 2) (i32.const 500))"
                ))
            };
            [
                store(400, &one),
                store(408, &two),
                write(1),
                write(2),
                write(3),
            ]
            .concat()
                + "(call $say (i32.sub (i32.load (i32.const 500)) (i32.const 10)))"
        },
        PluginConfig::default(),
    );
    assert_eq!(
        said(&recorder.lines()),
        "first line second 0 0 first line second 0 0 0 8 8"
    );
    let levels: Vec<LogLevel> = recorder
        .records
        .borrow()
        .iter()
        .map(|(level, _, _)| *level)
        .collect();
    assert_eq!(levels[..2], [LogLevel::Info; 2]);
    assert_eq!(levels[4..6], [LogLevel::Error; 2]);
}

#[test]
fn a_line_written_in_pieces_is_one_line_and_a_panic_of_tinygo_an_error() {
    let recorder = run(
        &["fd_write"],
        |guest| {
            let pieces = ["panic: ", "no key", "\n", "\n", "goroutine 1"];
            let write = |piece: &str| {
                let span = guest.text(piece);
                let (address, len) = span.split_once(") (").unwrap();
                format!(
                    "(i32.store (i32.const 400) {address})) (i32.store (i32.const 404) ({len}) \
                     (drop (call $fd_write (i32.const 1) (i32.const 400) (i32.const 1) (i32.const 500)))"
                )
            };
            pieces.map(write).concat()
        },
        PluginConfig::default(),
    );
    assert_eq!(recorder.lines(), ["panic: no key", "goroutine 1"]);
    let levels: Vec<LogLevel> = recorder.records.borrow().iter().map(|it| it.0).collect();
    assert_eq!(levels, [LogLevel::Error, LogLevel::Info]);
}

#[test]
fn bad_parts_are_faults_and_written_nowhere() {
    covers!("fd_write");
    let recorder = run(
        &["fd_write"],
        |_| {
            let write = |parts: i64, n: i64, out: i64| {
                errno(&format!(
                    "(call $fd_write (i32.const 1) (i32.const {parts}) (i32.const {n}) (i32.const {out}))"
                ))
            };
            // A part that lies outside, a table that does, too many parts, a result that does.
            let lies = "(i32.store (i32.const 400) (i32.const -1)) (i32.store (i32.const 404) (i32.const 9))";
            [
                lies.to_owned(),
                write(400, 1, 500),
                write(131_070, 1, 500),
                write(-8, 1, 500),
                write(0, -1, 500),
                write(400, 0, -1),
            ]
            .concat()
        },
        PluginConfig::default(),
    );
    assert_eq!(said(&recorder.lines()), "2 1 2 1 2 1 2 8 2 1");
}

#[test]
fn the_environment_is_the_configured_one_and_there_are_no_arguments() {
    covers!(
        "proxy_log",
        "args_get",
        "args_sizes_get",
        "environ_get",
        "environ_sizes_get"
    );
    let environment = vec![
        ("A".to_owned(), "1".to_owned()),
        ("LONG".to_owned(), "two words".to_owned()),
    ];
    let recorder = run(
        &[
            "environ_sizes_get",
            "environ_get",
            "args_sizes_get",
            "args_get",
        ],
        |_| {
            errno("(call $environ_sizes_get (i32.const 200) (i32.const 204))")
                + "(call $say (i32.load (i32.const 200))) (call $say (i32.sub (i32.load (i32.const 204)) (i32.const 10)))"
                + &errno("(call $environ_get (i32.const 400) (i32.const 500))")
                + "(drop (call $proxy_log (i32.const 2) (i32.load (i32.const 400)) (i32.const 3)))
                   (drop (call $proxy_log (i32.const 2) (i32.load (i32.const 404)) (i32.const 14)))"
                + &errno("(call $args_sizes_get (i32.const 200) (i32.const 204))")
                + "(call $say (i32.load (i32.const 200)))"
                + &errno("(call $args_get (i32.const 200) (i32.const 204))")
                + &errno("(call $environ_get (i32.const -4) (i32.const 500))")
        },
        PluginConfig {
            environment,
            ..PluginConfig::default()
        },
    );
    assert_eq!(
        said(&recorder.lines()),
        "0 0 2 9 0 0 A=1 LONG=two words 0 0 0 0 0 2 1"
    );
}

#[test]
fn clocks_and_randomness_are_real() {
    covers!("clock_res_get", "clock_time_get", "random_get");
    let recorder = run(
        &["clock_time_get", "clock_res_get", "random_get"],
        |_| {
            errno("(call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 400))")
                + "(call $say (i64.gt_u (i64.load (i32.const 400)) (i64.const 1577836800000000000)))"
                + &errno("(call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 400))")
                + &errno("(call $clock_time_get (i32.const 2) (i64.const 0) (i32.const 400))")
                + &errno("(call $clock_res_get (i32.const 1) (i32.const 400))")
                + "(call $say (i32.wrap_i64 (i64.load (i32.const 400))))"
                + &errno("(call $random_get (i32.const 400) (i32.const 16))")
                + "(call $say (i64.ne (i64.load (i32.const 400)) (i64.load (i32.const 408))))"
                + &errno("(call $random_get (i32.const 400) (i32.const 65537))")
                + &errno("(call $random_get (i32.const -1) (i32.const 16))")
        },
        PluginConfig::default(),
    );
    assert_eq!(said(&recorder.lines()), "0 0 1 0 0 5 8 0 0 1 0 0 1 2 8 2 1");
}

#[test]
fn there_are_no_files() {
    covers!(
        "fd_close",
        "fd_fdstat_get",
        "fd_filestat_get",
        "fd_prestat_dir_name",
        "fd_prestat_get",
        "fd_read",
        "fd_seek",
        "path_open"
    );
    let recorder = run(
        &[
            "fd_prestat_get",
            "fd_prestat_dir_name",
            "path_open",
            "fd_read",
            "fd_close",
            "fd_seek",
            "fd_fdstat_get",
            "fd_filestat_get",
        ],
        |_| {
            [
                "(call $fd_prestat_get (i32.const 3) (i32.const 400))",
                "(call $fd_prestat_dir_name (i32.const 3) (i32.const 400) (i32.const 9))",
                "(call $path_open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                   (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 400))",
                "(call $fd_read (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 400))",
                "(call $fd_close (i32.const 3))",
                "(call $fd_seek (i32.const 1) (i64.const 0) (i32.const 0) (i32.const 400))",
                "(call $fd_fdstat_get (i32.const 0) (i32.const 400))",
                "(call $fd_fdstat_get (i32.const 1) (i32.const 400))",
                "(call $fd_filestat_get (i32.const 1) (i32.const 400))",
            ]
            .map(errno)
            .concat()
        },
        PluginConfig::default(),
    );
    assert_eq!(
        said(&recorder.lines()),
        "0 8 5 2 4 4 5 2 0 0 7 0 0 8 0 0 0 8"
    );
}

#[test]
fn the_go_runtime_gets_the_answers_it_needs() {
    covers!("fd_fdstat_set_flags", "poll_oneoff", "sched_yield");
    let recorder = run(
        &["poll_oneoff", "sched_yield", "fd_fdstat_set_flags"],
        |_| {
            "(i32.store (i32.const 400) (i32.const 7))".to_owned()
                + &errno(
                    "(call $poll_oneoff (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 400))",
                )
                + "(call $say (i32.load (i32.const 400)))"
                + &errno("(call $sched_yield)")
                + &errno("(call $fd_fdstat_set_flags (i32.const 1) (i32.const 4))")
        },
        PluginConfig::default(),
    );
    assert_eq!(said(&recorder.lines()), "0 0 0 0 0 5 2");
}
