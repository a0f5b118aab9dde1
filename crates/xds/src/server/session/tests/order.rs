//! Within one publication a policy comes before, and goes after, what it protects.

use super::*;

fn both(stream: &Stream, edits: &[(&str, &[&str])]) {
    stream.catalog.edit(|snapshot| {
        for (type_url, edits) in edits {
            edit(snapshot, type_url, edits);
        }
    });
}

/// A client that has `old` of both types and subscribed in ztunnel's order, addresses first.
fn stream() -> Stream {
    let mut stream = Stream::new();
    both(&stream, &[(ADDRESS, &["old=1"]), (POLICY, &["old=1"])]);
    stream.open(ADDRESS, &[]);
    stream.open(POLICY, &[]);
    assert_eq!(stream.round(), ["Policy +old=1", "Address +old=1"]);
    stream
}

#[test]
fn policies_are_added_before_addresses() {
    let mut stream = stream();
    both(&stream, &[(ADDRESS, &["new=1"]), (POLICY, &["new=1"])]);
    assert_eq!(stream.round(), ["Policy +new=1", "Address +new=1"]);
}

#[test]
fn addresses_are_removed_before_policies() {
    let mut stream = stream();
    both(&stream, &[(ADDRESS, &["-old"]), (POLICY, &["-old"])]);
    assert_eq!(stream.round(), ["Address -old", "Policy -old"]);
}

#[test]
fn a_policy_is_replaced_around_the_address_that_refers_to_it() {
    let mut stream = stream();
    both(
        &stream,
        &[(ADDRESS, &["old=2", "new=1"]), (POLICY, &["new=1", "-old"])],
    );
    assert_eq!(
        stream.round(),
        ["Policy +new=1", "Address +new=1 +old=2", "Policy -old"]
    );
    assert!(stream.holding(POLICY).is_current());
}

#[test]
fn one_type_alone_needs_one_response() {
    let mut stream = stream();
    stream.publish(POLICY, &["new=1", "-old"]);
    assert_eq!(stream.round(), ["Policy +new=1 -old"]);
}

#[test]
fn the_order_holds_for_a_reconnecting_client() {
    let mut stream = Stream::new();
    both(&stream, &[(ADDRESS, &["new=1"]), (POLICY, &["new=1"])]);
    stream.open(ADDRESS, &[("old", "1")]);
    stream.open(POLICY, &[("old", "1")]);
    assert_eq!(
        stream.round(),
        ["Policy +new=1", "Address +new=1 -old", "Policy -old"]
    );
}

#[test]
fn types_without_a_place_in_the_order_come_last_as_subscribed() {
    let mut stream = Stream::new();
    for type_url in ["test.Zeta", "test.Alpha", ADDRESS, POLICY] {
        stream.open(type_url, &[]);
    }
    assert_eq!(stream.round(), ["Policy", "Address", "Zeta", "Alpha"]);
}

#[test]
fn types_of_one_catalog_come_from_one_snapshot() {
    let mut stream = stream();
    stream.session.round();
    both(&stream, &[(ADDRESS, &["a=1"])]);
    both(&stream, &[(POLICY, &["p=1"])]);
    assert_eq!(stream.round(), ["Policy +p=1", "Address +a=1"]);
    let generations = [ADDRESS, POLICY].map(|url| stream.holding(url).generation());
    assert_eq!(generations, [Some(3), Some(3)]);
}
