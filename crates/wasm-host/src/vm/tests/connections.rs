//! TCP streams.

use crate::reference::covers;
use crate::testing::{Connection, Guest};
use crate::{Notice, Peer, Side, TcpOutcome, TcpPending};

const CONTINUE: i32 = 0;
const PAUSE: i32 = 1;

#[test]
fn callbacks_of_a_connection_come_in_the_order_filters_were_tested_with() {
    covers!(
        "proxy_on_context_create",
        "proxy_on_new_connection",
        "proxy_on_downstream_data",
        "proxy_on_upstream_data",
        "proxy_on_downstream_connection_close",
        "proxy_on_upstream_connection_close",
        "proxy_on_done",
        "proxy_on_log",
        "proxy_on_delete"
    );
    let guest = [
        ("proxy_on_context_create", 0),
        ("proxy_on_new_connection", CONTINUE),
        ("proxy_on_downstream_data", CONTINUE),
        ("proxy_on_upstream_data", CONTINUE),
        ("proxy_on_downstream_connection_close", 0),
        ("proxy_on_upstream_connection_close", 0),
        ("proxy_on_done", 1),
        ("proxy_on_log", 0),
        ("proxy_on_delete", 0),
    ]
    .into_iter()
    .fold(Guest::new(), |guest, (name, result)| {
        guest.announces(name, result)
    });
    let (vm, recorder) = guest.start();
    let mut connection = Connection::default();
    let mut stream = vm.new_tcp_stream();
    let outcomes = [
        stream.on_new_connection(&mut connection),
        stream.on_downstream_data(&mut connection, false),
        stream.on_upstream_data(&mut connection, true),
    ];
    assert!(
        outcomes.iter().all(|o| matches!(o, TcpOutcome::Continue)),
        "{outcomes:?}"
    );
    stream
        .on_downstream_close(&mut connection, Peer::Remote)
        .unwrap();
    stream
        .on_upstream_close(&mut connection, Peer::Local)
        .unwrap();
    assert_eq!(stream.pending(), None);
    stream.finish(&mut connection).unwrap();
    assert_eq!(vm.streams(), 0);
    let lines = recorder.lines().join(" ").replace("proxy_on_", "");
    assert_eq!(
        lines,
        "context_create context_create new_connection downstream_data upstream_data \
         downstream_connection_close upstream_connection_close done log delete"
    );
}

#[test]
fn data_callbacks_are_told_how_much_there_is_and_change_it() {
    covers!(
        "proxy_on_downstream_data",
        "proxy_on_upstream_data",
        "proxy_get_buffer_bytes",
        "proxy_get_buffer_status",
        "proxy_set_buffer_bytes"
    );
    let mut guest = Guest::new();
    let tail = guest.text("!");
    let read = |buffer| {
        format!(
            "(call $say (local.get 1)) (call $say (local.get 2))
             (call $say_and_show (call $proxy_get_buffer_bytes
               (i32.const {buffer}) (i32.const 0) (i32.const -1) (i32.const 0) (i32.const 4)))
             (call $say (call $proxy_get_buffer_status
               (i32.const {buffer}) (i32.const 0) (i32.const 4)))
             (call $say (i32.load (i32.const 0)))
             (call $say (call $proxy_set_buffer_bytes
               (i32.const {buffer}) (i32.const -1) (i32.const 0) {tail}))"
        )
    };
    let (vm, recorder) = guest
        .on("proxy_on_downstream_data", &read(2), CONTINUE)
        .on("proxy_on_upstream_data", &read(3), CONTINUE)
        .start();
    let mut connection = Connection {
        downstream: b"ping".to_vec(),
        upstream: b"hello".to_vec(),
    };
    let mut stream = vm.new_tcp_stream();
    let _ = stream.on_downstream_data(&mut connection, false);
    let _ = stream.on_upstream_data(&mut connection, true);
    assert_eq!(
        recorder.lines().join(" "),
        "4 0 0 ping 0 4 0 5 1 0 hello 0 5 0"
    );
    assert_eq!(connection.downstream, b"ping!");
    assert_eq!(connection.upstream, b"hello!");
}

#[test]
fn a_connection_waits_until_the_guest_resumes_its_side() {
    covers!(
        "proxy_on_tick",
        "proxy_on_downstream_data",
        "proxy_continue_stream",
        "proxy_set_effective_context"
    );
    for (kind, side) in [(2, Side::Downstream), (3, Side::Upstream)] {
        let resume = format!(
            "(call $say (call $proxy_set_effective_context (i32.const 2)))
             (call $say (call $proxy_continue_stream (i32.const {kind})))"
        );
        let (vm, recorder) = Guest::new()
            .on("proxy_on_downstream_data", "", PAUSE)
            .on("proxy_on_tick", &resume, 0)
            .start();
        let mut connection = Connection::default();
        let mut stream = vm.new_tcp_stream();
        let outcome = stream.on_downstream_data(&mut connection, false);
        assert!(matches!(outcome, TcpOutcome::Wait), "{outcome:?}");
        assert_eq!(stream.pending(), None);
        vm.on_tick().unwrap();
        assert_eq!(recorder.lines(), ["0", "0"]);
        assert_eq!(*recorder.woken.borrow(), [stream.id()]);
        assert_eq!(stream.pending(), Some(TcpPending::Resume(side)));
        assert_eq!(stream.pending(), None);
    }
}

#[test]
fn resuming_in_the_callback_that_waits_goes_on() {
    covers!("proxy_on_downstream_data", "proxy_continue_stream");
    let resume = "(drop (call $proxy_continue_stream (i32.const 2)))";
    let (vm, _) = Guest::new()
        .on("proxy_on_downstream_data", resume, PAUSE)
        .start();
    let outcome = vm
        .new_tcp_stream()
        .on_downstream_data(&mut Connection::default(), false);
    assert!(matches!(outcome, TcpOutcome::Continue), "{outcome:?}");
}

#[test]
fn either_side_can_be_closed_and_both() {
    covers!("proxy_on_new_connection", "proxy_close_stream");
    let close = "(call $say (call $proxy_close_stream (i32.const 3)))
                 (call $say (call $proxy_close_stream (i32.const 2)))";
    let (vm, recorder) = Guest::new()
        .on("proxy_on_new_connection", close, CONTINUE)
        .start();
    let mut stream = vm.new_tcp_stream();
    let outcome = stream.on_new_connection(&mut Connection::default());
    assert!(
        matches!(outcome, TcpOutcome::Close(Side::Downstream)),
        "{outcome:?}"
    );
    assert_eq!(stream.pending(), Some(TcpPending::Close(Side::Upstream)));
    assert_eq!(stream.pending(), None);
    assert_eq!(recorder.lines(), ["0", "0"]);
}

#[test]
fn what_is_for_http_is_not_done_to_a_connection() {
    covers!(
        "proxy_on_new_connection",
        "proxy_close_stream",
        "proxy_continue_stream",
        "proxy_send_local_response"
    );
    let mut guest = Guest::new();
    let body = guest.text("no");
    let calls = format!(
        "(call $say (call $proxy_continue_stream (i32.const 0)))
         (call $say (call $proxy_close_stream (i32.const 1)))
         (call $say (call $proxy_send_local_response
           (i32.const 403) {body} {body} (i32.const 0) (i32.const 0) (i32.const -1)))"
    );
    let (vm, recorder) = guest
        .on("proxy_on_new_connection", &calls, CONTINUE)
        .start();
    let mut stream = vm.new_tcp_stream();
    let outcome = stream.on_new_connection(&mut Connection::default());
    assert!(matches!(outcome, TcpOutcome::Continue), "{outcome:?}");
    assert_eq!(recorder.lines(), ["0", "0", "0"]);
    assert_eq!(*recorder.notices.borrow(), [Notice::StreamActionIgnored; 3]);
    assert_eq!(stream.pending(), None);
}

#[test]
fn who_closed_is_told() {
    covers!(
        "proxy_on_downstream_connection_close",
        "proxy_on_upstream_connection_close"
    );
    let (vm, recorder) = Guest::new()
        .on(
            "proxy_on_downstream_connection_close",
            "(call $say (local.get 1))",
            0,
        )
        .on(
            "proxy_on_upstream_connection_close",
            "(call $say (local.get 1))",
            0,
        )
        .start();
    let mut connection = Connection::default();
    let mut stream = vm.new_tcp_stream();
    stream
        .on_downstream_close(&mut connection, Peer::Remote)
        .unwrap();
    stream
        .on_upstream_close(&mut connection, Peer::Local)
        .unwrap();
    stream
        .on_upstream_close(&mut connection, Peer::Unknown)
        .unwrap();
    assert_eq!(recorder.lines(), ["2", "1", "0"]);
}

#[test]
fn a_trap_ends_the_connection_and_the_vm() {
    covers!("proxy_on_upstream_data");
    let (vm, _) = Guest::new()
        .on("proxy_on_upstream_data", "unreachable", CONTINUE)
        .start();
    let mut connection = Connection::default();
    let mut stream = vm.new_tcp_stream();
    let outcome = stream.on_upstream_data(&mut connection, false);
    let TcpOutcome::Trapped(trap) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(trap.callback, "proxy_on_upstream_data");
    // Callbacks that the module does not even have tell of it as well.
    let outcome = stream.on_new_connection(&mut connection);
    assert!(matches!(outcome, TcpOutcome::Trapped(_)), "{outcome:?}");
    assert!(
        stream
            .on_downstream_close(&mut connection, Peer::Local)
            .is_err()
    );
    assert!(stream.finish(&mut connection).is_err());
}

#[test]
fn a_dropped_connection_ends_in_the_guest_without_being_logged() {
    covers!("proxy_on_new_connection", "proxy_on_log", "proxy_on_delete");
    let (vm, recorder) = Guest::new()
        .on("proxy_on_new_connection", "", CONTINUE)
        .announces("proxy_on_log", 0)
        .announces("proxy_on_delete", 0)
        .start();
    let mut stream = vm.new_tcp_stream();
    let _ = stream.on_new_connection(&mut Connection::default());
    drop(stream);
    assert_eq!(vm.streams(), 0);
    assert_eq!(recorder.lines(), ["proxy_on_delete"]);
}
