use crate::reference::covers;
use std::rc::Rc;

use super::said;
use crate::testing::{Exchange, Guest, OUT, OUT_MORE, Recorder, limited, plugin};
use crate::{Limits, MetricKind, Notice, PluginConfig, PluginHost};

fn ticked(guest: Guest, body: &str, config: PluginConfig) -> (String, Rc<Recorder>) {
    let (vm, recorder) = guest.on("proxy_on_tick", body, 0).start_with(config);
    vm.on_tick().unwrap();
    (said(&recorder.lines()), recorder)
}

/// A VM id of its own for each test: shared data is shared by the process.
fn vm_id(id: &str) -> PluginConfig {
    PluginConfig {
        vm_id: id.to_owned(),
        ..PluginConfig::default()
    }
}

#[test]
fn data_written_by_one_vm_is_read_by_another_with_its_version() {
    covers!(
        "proxy_on_tick",
        "proxy_on_request_headers",
        "proxy_get_shared_data",
        "proxy_set_shared_data"
    );
    let mut guest = Guest::new();
    let (key, value) = (guest.text("key"), guest.text("value"));
    let set = |cas: &str| format!("(call $say (call $proxy_set_shared_data {key} {value} {cas}))");
    let get = format!("(call $say_and_show (call $proxy_get_shared_data {key} {OUT} {OUT_MORE}))");
    let seen = "(i32.load (i32.const 8))";
    let stale = "(i32.add (i32.load (i32.const 8)) (i32.const 7))";
    let guest = guest
        .on("proxy_on_tick", &[&*get, &set("(i32.const 0)")].concat(), 0)
        .on(
            "proxy_on_request_headers",
            &[&*get, &set(stale), &set(seen)].concat(),
            0,
        );
    let plugin = plugin(&guest.wat(), vm_id("data"));
    let recorder = Rc::new(Recorder::default());
    let start = || {
        plugin
            .instantiate(Rc::clone(&recorder) as Rc<dyn PluginHost>)
            .unwrap()
    };
    let (one, other) = (start(), start());
    one.on_tick().unwrap();
    let _ = other
        .new_stream()
        .on_request_headers(&mut Exchange::get("/"), true);
    assert_eq!(said(&recorder.lines()), "1 0 0 value 8 0");
}

#[test]
fn full_shared_data_answers_as_if_another_write_came_first() {
    covers!("proxy_set_shared_data");
    let mut guest = Guest::new();
    let (key, value) = (guest.text("key"), guest.text("0123456789"));
    let body = format!("(call $say (call $proxy_set_shared_data {key} {value} (i32.const 0)))");
    let limits = Limits {
        shared_bytes: 10,
        ..Limits::default()
    };
    let (lines, recorder) = ticked(
        guest,
        &body,
        PluginConfig {
            vm_id: "full".to_owned(),
            ..limited(limits)
        },
    );
    assert_eq!(lines, "8");
    assert_eq!(*recorder.notices.borrow(), [Notice::StorageFull]);
}

#[test]
fn items_pass_through_a_queue_and_its_owner_is_told() {
    covers!(
        "proxy_on_tick",
        "proxy_on_queue_ready",
        "proxy_dequeue_shared_queue",
        "proxy_enqueue_shared_queue",
        "proxy_register_shared_queue",
        "proxy_resolve_shared_queue"
    );
    let mut guest = Guest::new();
    let (name, other, item) = (guest.text("queue"), guest.text("other"), guest.text("item"));
    let (vm, nobody) = (guest.text("queue-vm"), guest.text("nobody"));
    let id = "(i32.load (i32.const 200))";
    let body = format!(
        "(call $say (call $proxy_register_shared_queue {name} (i32.const 200)))
         (call $say (call $proxy_resolve_shared_queue {vm} {name} (i32.const 204)))
         (call $say (i32.eq {id} (i32.load (i32.const 204))))
         (call $say (call $proxy_resolve_shared_queue {vm} {other} (i32.const 204)))
         (call $say (call $proxy_resolve_shared_queue {nobody} {name} (i32.const 204)))
         (call $say (call $proxy_dequeue_shared_queue {id} {OUT}))
         (call $say (call $proxy_enqueue_shared_queue {id} {item}))
         (call $say_and_show (call $proxy_dequeue_shared_queue {id} {OUT}))
         (call $say (call $proxy_dequeue_shared_queue (i32.const 0) {OUT}))
         (call $say (call $proxy_enqueue_shared_queue (i32.const 0) {item}))"
    );
    let guest = guest.announces("proxy_on_queue_ready", 0);
    let (vm, recorder) = guest
        .on("proxy_on_tick", &body, 0)
        .start_with(vm_id("queue-vm"));
    vm.on_tick().unwrap();
    assert_eq!(said(&recorder.lines()), "0 0 1 1 1 7 0 0 item 1 1");
    let notified = recorder.notified.lock().clone();
    assert_eq!(notified.len(), 1);
    vm.on_queue_ready(notified[0]).unwrap();
    assert_eq!(recorder.lines().last().unwrap(), "proxy_on_queue_ready");
}

#[test]
fn a_full_queue_is_told_and_survived() {
    covers!("proxy_enqueue_shared_queue", "proxy_register_shared_queue");
    let mut guest = Guest::new();
    let (name, item) = (guest.text("full"), guest.text("item"));
    let body = format!(
        "(call $say (call $proxy_register_shared_queue {name} (i32.const 200)))
         (call $say (call $proxy_enqueue_shared_queue (i32.load (i32.const 200)) {item}))
         (call $say (call $proxy_enqueue_shared_queue (i32.load (i32.const 200)) {item}))"
    );
    let limits = Limits {
        queue_items: 1,
        ..Limits::default()
    };
    let (lines, recorder) = ticked(
        guest,
        &body,
        PluginConfig {
            vm_id: "full-q".to_owned(),
            ..limited(limits)
        },
    );
    assert_eq!(lines, "0 0 1");
    assert_eq!(*recorder.notices.borrow(), [Notice::StorageFull]);
}

fn define(guest: &mut Guest, kind: i32, name: &str, at: i32) -> String {
    let name = guest.text(name);
    format!("(call $say (call $proxy_define_metric (i32.const {kind}) {name} (i32.const {at})))")
}

fn count(function: &str, at: i32, value: i64) -> String {
    format!("(call $say (call ${function} (i32.load (i32.const {at})) (i64.const {value})))")
}

#[test]
fn metrics_follow_the_rules_of_their_kind() {
    covers!(
        "proxy_get_metric",
        "proxy_increment_metric",
        "proxy_record_metric"
    );
    let mut guest = Guest::new();
    let (add, record) = ("proxy_increment_metric", "proxy_record_metric");
    let get = |at: i32| {
        format!("(call $say (call $proxy_get_metric (i32.load (i32.const {at})) (i32.const 0)))")
    };
    let body = [
        define(&mut guest, 0, "requests", 200),
        define(&mut guest, 1, "open", 204),
        define(&mut guest, 2, "sizes", 208),
        define(&mut guest, 3, "odd", 212),
        // Counters rise, and recording adds to them.
        count(add, 200, 5),
        count(add, 200, 0),
        count(add, 200, -1),
        count(record, 200, 2),
        // Gauges do both.
        count(record, 204, 9),
        count(add, 204, -4),
        // Histograms only record.
        count(add, 208, 1),
        count(record, 208, 7),
        get(200),
        get(204),
        get(208),
        // Unknown ones.
        count(add, 212, 1),
        count(record, 212, 1),
        get(212),
    ]
    .concat();
    let (lines, recorder) = ticked(guest, &body, PluginConfig::default());
    assert_eq!(lines, "0 0 0 2 0 2 2 0 0 0 2 0 0 0 2 1 1 1");
    let metrics = recorder.metrics.borrow();
    assert_eq!(
        *metrics,
        [
            (MetricKind::Counter, "requests".to_owned(), 7),
            (MetricKind::Gauge, "open".to_owned(), 5),
            (MetricKind::Histogram, "sizes".to_owned(), 7)
        ]
    );
}

#[test]
fn defining_a_metric_again_finds_it() {
    let mut guest = Guest::new();
    let body = define(&mut guest, 0, "again", 200)
        + &define(&mut guest, 0, "again", 204)
        + &define(&mut guest, 1, "again", 208)
        + "(call $say (i32.eq (i32.load (i32.const 200)) (i32.load (i32.const 204))))
           (call $say (i32.eq (i32.load (i32.const 200)) (i32.load (i32.const 208))))";
    let (lines, recorder) = ticked(guest, &body, PluginConfig::default());
    assert_eq!(lines, "0 0 0 1 0");
    assert_eq!(recorder.metrics.borrow().len(), 2);
}

#[test]
fn metrics_over_the_limit_go_nowhere_and_cost_nothing() {
    covers!(
        "proxy_get_metric",
        "proxy_increment_metric",
        "proxy_record_metric"
    );
    let mut guest = Guest::new();
    let long = "n".repeat(300);
    let body = [
        define(&mut guest, 0, "one", 200),
        define(&mut guest, 0, "two", 204),
        define(&mut guest, 1, &long, 208),
        count("proxy_increment_metric", 204, 1),
        count("proxy_record_metric", 208, 1),
        "(call $say (call $proxy_get_metric (i32.load (i32.const 204)) (i32.const 0)))".to_owned(),
    ];
    let (lines, recorder) = ticked(
        guest,
        &body.concat(),
        limited(Limits {
            metrics: 1,
            ..Limits::default()
        }),
    );
    assert_eq!(lines, "0 0 0 0 0 0");
    assert_eq!(recorder.metrics.borrow().len(), 1);
    assert_eq!(*recorder.notices.borrow(), [Notice::MetricRefused; 2]);
}

#[test]
fn a_queue_too_many_gets_an_id_with_which_nothing_can_be_done() {
    covers!(
        "proxy_register_shared_queue",
        "proxy_enqueue_shared_queue",
        "proxy_dequeue_shared_queue"
    );
    let mut guest = Guest::new();
    let (one, two, item) = (guest.text("one"), guest.text("two"), guest.text("item"));
    let id = "(i32.load (i32.const 200))";
    let body = format!(
        "(call $say (call $proxy_register_shared_queue {one} (i32.const 200)))
         (call $say (call $proxy_enqueue_shared_queue {id} {item}))
         (call $say (call $proxy_register_shared_queue {two} (i32.const 200)))
         (call $say (call $proxy_enqueue_shared_queue {id} {item}))
         (call $say (call $proxy_dequeue_shared_queue {id} {OUT}))"
    );
    let limits = Limits {
        queues: 1,
        ..Limits::default()
    };
    let config = PluginConfig {
        vm_id: "queues".to_owned(),
        ..limited(limits)
    };
    let (lines, recorder) = ticked(guest, &body, config);
    assert_eq!(lines, "0 0 0 1 1");
    assert_eq!(*recorder.notices.borrow(), [Notice::StorageFull]);
}

#[test]
fn every_item_is_told() {
    covers!("proxy_enqueue_shared_queue", "proxy_on_queue_ready");
    let mut guest = Guest::new();
    let (name, item) = (guest.text("each"), guest.text("item"));
    let body = format!(
        "(drop (call $proxy_register_shared_queue {name} (i32.const 200)))
         (drop (call $proxy_enqueue_shared_queue (i32.load (i32.const 200)) {item}))
         (drop (call $proxy_enqueue_shared_queue (i32.load (i32.const 200)) {item}))"
    );
    let (_, recorder) = ticked(guest, &body, vm_id("each-item"));
    assert_eq!(recorder.notified.lock().len(), 2);
}
