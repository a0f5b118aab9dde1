use super::*;
use crate::{MetricId, MetricKind};

#[test]
fn a_burst_is_logged_and_then_what_the_rate_allows() {
    let start = Instant::now();
    let mut rate = Rate {
        tokens: 3,
        refilled: start,
    };
    let taken = |rate: &mut Rate, at: u64| rate.take(3, start + Duration::from_millis(at));
    assert!(taken(&mut rate, 0) && taken(&mut rate, 0) && taken(&mut rate, 0));
    assert!(!taken(&mut rate, 0));
    assert!(!taken(&mut rate, 300));
    assert!(taken(&mut rate, 340));
    assert!(!taken(&mut rate, 340));
    // However long nothing was logged, no more than a second's worth is saved up.
    assert!((0..3).all(|_| taken(&mut rate, 60_000)));
    assert!(!taken(&mut rate, 60_000));
}

#[test]
fn properties_are_bounded_and_replacing_frees() {
    let mut properties = Properties::default();
    assert!(properties.set(b"a", &[0; 9], 10));
    assert!(!properties.set(b"b", b"", 10));
    assert!(properties.set(b"a", b"1", 10));
    assert!(properties.set(b"b", b"2", 10));
    assert_eq!(
        (properties.get(b"a"), properties.get(b"c")),
        (Some(&b"1"[..]), None)
    );
}

#[test]
fn call_ids_carry_the_kind_and_are_never_in_flight_twice() {
    let mut calls = Calls::default();
    let call = Call {
        kind: CallKind::Http,
        context: 2,
    };
    assert_eq!(calls.next_id(CallKind::Http), 4);
    assert_eq!(calls.next_id(CallKind::GrpcUnary), 9);
    assert_eq!(calls.next_id(CallKind::GrpcStream), 14);
    calls.begin(4, call);
    calls.made = u32::MAX >> 2;
    assert_eq!(calls.next_id(CallKind::Http), 8);
    calls.adopt(3, 7);
    assert_eq!(calls.get(4).unwrap().context, 2);
    calls.adopt(2, 1);
    assert_eq!(calls.get(4).unwrap().context, 1);
    assert_eq!((calls.drain(), calls.drain()), (vec![4], vec![]));
}

#[test]
fn metrics_are_found_by_id_only_with_the_right_kind() {
    let mut metrics = Metrics::default();
    let metric = Metric {
        kind: MetricKind::Gauge,
        id: Some(MetricId(7)),
    };
    let id = metrics.define(b"g", metric);
    assert_eq!(id, 5);
    assert_eq!(metrics.find(MetricKind::Gauge, b"g"), Some(5));
    assert_eq!(metrics.find(MetricKind::Counter, b"g"), None);
    assert_eq!(metrics.get(5).and_then(|m| m.id), Some(MetricId(7)));
    for unknown in [0, 1, 4, 6, 7, 9, u32::MAX] {
        assert!(metrics.get(unknown).is_none(), "{unknown}");
    }
    let nowhere = metrics
        .get(Metrics::nowhere(MetricKind::Histogram))
        .unwrap();
    assert_eq!((nowhere.kind, nowhere.id), (MetricKind::Histogram, None));
}

#[test]
fn no_line_of_a_guest_can_pass_for_another() {
    assert_eq!(printable(b"plain \xc3\xa9", 99), "plain \u{e9}");
    assert_eq!(printable(b"one\ntwo\r\n", 99), "one\\ntwo\\r");
    assert_eq!(printable(b"\x1b[31mred\ttext", 99), "\\u{1b}[31mred text");
    assert_eq!(printable(b"bad \xff byte", 99), "bad \u{fffd} byte");
    assert_eq!(printable(b"too long", 3), "too");
}

#[test]
fn a_line_of_a_guest_is_bounded_as_it_is_written() {
    for bytes in [&b"\x01"[..], b"\xff", b"\xc3\xa9", b"a"] {
        let line = printable(&bytes.repeat(100), 99);
        assert!((90..=99).contains(&line.len()), "{bytes:?}: {}", line.len());
    }
}

#[test]
fn remarks_come_at_powers_of_ten() {
    let logged: Vec<u64> = (0..2000).filter(|n| is_power_of_ten(*n)).collect();
    assert_eq!(logged, [1, 10, 100, 1000]);
}
