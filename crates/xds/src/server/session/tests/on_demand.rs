//! Clients that ask by name.

use super::*;

fn ask(names: &[&str]) -> Request {
    Request {
        resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
        ..request(ADDRESS)
    }
}

fn drop_names(names: &[&str]) -> Request {
    Request {
        resource_names_unsubscribe: names.iter().map(|name| (*name).to_owned()).collect(),
        ..request(ADDRESS)
    }
}

fn put(stream: &Stream, name: &str, content: &str, aliases: &[&str], companions: &[&str]) {
    let list = |names: &[&str]| {
        names
            .iter()
            .map(|name| Arc::from(*name))
            .collect::<Vec<_>>()
    };
    let entry = Entry::new(content.as_bytes().to_vec())
        .with_aliases(list(aliases))
        .with_companions(list(companions));
    stream.catalog.edit(|snapshot| {
        snapshot.resources_mut(ADDRESS).put(name, entry);
    });
}

/// A service `svc` with the address `vip` and the pods `pod1` and `pod2`, and a lone `pod3`; a
/// client that subscribed to nothing.
fn stream() -> Stream {
    let mut stream = Stream::new();
    put(&stream, "pod1", "1", &["ip1"], &[]);
    put(&stream, "pod2", "1", &["ip2"], &[]);
    put(&stream, "pod3", "1", &["ip3"], &[]);
    put(&stream, "svc", "1", &["vip"], &["pod1", "pod2"]);
    let mut first = ask(&["*"]);
    first.resource_names_unsubscribe = vec!["*".to_owned()];
    stream.request(first);
    assert_eq!(
        stream.round(),
        ["Address"],
        "the first request is answered, with nothing"
    );
    stream
}

fn answer(stream: &mut Stream, request: Request) -> Vec<String> {
    stream.request(request);
    let (texts, nonces) = stream.send();
    for (type_url, nonce) in nonces {
        stream.answer(&type_url, &nonce, None);
    }
    texts
}

#[test]
fn every_subscription_is_answered_at_once() {
    let mut stream = stream();
    assert_eq!(answer(&mut stream, ask(&["pod3"])), ["Address +pod3|ip3=1"]);
    assert_eq!(answer(&mut stream, ask(&["ip1"])), ["Address +pod1|ip1=1"]);
    assert_eq!(answer(&mut stream, ask(&["ip9"])), ["Address -ip9"]);
    assert_eq!(
        answer(&mut stream, ask(&["ip9", "ip2"])),
        ["Address +pod2|ip2=1 -ip9"]
    );
}

#[test]
fn a_service_comes_with_its_workloads() {
    let mut stream = stream();
    let both = ["Address +pod1|ip1=1 +pod2|ip2=1 +svc|vip=1"];
    assert_eq!(answer(&mut stream, ask(&["vip"])), both);
    put(&stream, "pod2", "2", &["ip2"], &[]);
    assert_eq!(
        stream.round(),
        ["Address +pod2|ip2=2"],
        "they count as subscribed"
    );
}

#[test]
fn a_new_workload_of_a_subscribed_service_is_sent() {
    let mut stream = stream();
    answer(&mut stream, ask(&["vip"]));
    put(&stream, "svc", "1", &["vip"], &["pod1", "pod2", "pod3"]);
    assert_eq!(stream.round(), ["Address +pod3|ip3=1"]);
}

#[test]
fn only_changes_of_what_was_asked_for_are_sent() {
    let mut stream = stream();
    answer(&mut stream, ask(&["pod1"]));
    put(&stream, "pod3", "2", &["ip3"], &[]);
    put(&stream, "pod1", "2", &["ip1"], &[]);
    assert_eq!(stream.round(), ["Address +pod1|ip1=2"]);
    stream.publish(ADDRESS, &["-pod1", "-pod3"]);
    assert_eq!(stream.round(), ["Address -pod1"]);
}

#[test]
fn what_did_not_exist_is_sent_once_it_does() {
    let mut stream = stream();
    assert_eq!(answer(&mut stream, ask(&["ip4"])), ["Address -ip4"]);
    put(&stream, "pod4", "1", &["ip4"], &[]);
    assert_eq!(stream.round(), ["Address +pod4|ip4=1"]);
    stream.publish(ADDRESS, &["-pod4"]);
    assert_eq!(stream.round(), ["Address -pod4"]);
    put(&stream, "pod5", "1", &["ip4"], &[]);
    assert_eq!(stream.round(), ["Address +pod5|ip4=1"]);
}

#[test]
fn a_resource_that_gains_a_wanted_alias_is_sent() {
    let mut stream = stream();
    answer(&mut stream, ask(&["ip4", "pod1"]));
    put(&stream, "pod3", "1", &["ip3", "ip4"], &[]);
    put(&stream, "pod1", "1", &["ip1", "ip4"], &[]);
    assert_eq!(stream.round(), ["Address +pod1|ip1|ip4=1 +pod3|ip3|ip4=1"]);
}

#[test]
fn unsubscribing_ends_the_updates_without_an_answer() {
    let mut stream = stream();
    answer(&mut stream, ask(&["vip", "pod1"]));
    assert!(answer(&mut stream, drop_names(&["vip"])).is_empty());
    for name in ["pod1", "pod2", "svc"] {
        put(&stream, name, "2", &[], &[]);
    }
    assert_eq!(
        stream.round(),
        ["Address +pod1=2"],
        "asked for by its own name, too"
    );
}

#[test]
fn a_change_between_round_and_answer_is_not_lost() {
    let mut stream = stream();
    put(&stream, "pod4", "1", &["ip4"], &[]);
    assert_eq!(answer(&mut stream, ask(&["ip4"])), ["Address +pod4|ip4=1"]);
    stream.publish(ADDRESS, &["-pod4"]);
    assert_eq!(stream.round(), ["Address -pod4"]);
}

#[test]
fn names_a_reconnecting_client_holds_count_as_subscribed() {
    let mut stream = stream();
    let order = Arc::clone(&stream.session.order);
    stream.session = Session::new(8, order);
    let mut first = ask(&["*", "ip2", "ip9"]);
    first.resource_names_unsubscribe = vec!["*".to_owned()];
    first.initial_resource_versions = [
        ("pod1", version("1")),
        ("pod3", version("0")),
        ("gone", version("1")),
    ]
    .map(|(name, version)| (name.to_owned(), version))
    .into();
    stream.request(first);
    assert_eq!(
        stream.round(),
        ["Address +pod2|ip2=1 +pod3|ip3=1 -gone -ip9"]
    );
    put(&stream, "pod1", "2", &["ip1"], &[]);
    assert_eq!(stream.round(), ["Address +pod1|ip1=2"]);
}

#[test]
fn a_client_may_change_over_to_everything_and_back() {
    let mut stream = stream();
    answer(&mut stream, ask(&["pod1"]));
    assert!(
        answer(&mut stream, ask(&["*"])).is_empty(),
        "the next round brings it"
    );
    assert!(stream.session.is_owed());
    assert_eq!(stream.round(), ["Address +pod1=1 +pod2=1 +pod3=1 +svc=1"]);
    answer(&mut stream, drop_names(&["*"]));
    put(&stream, "pod1", "2", &[], &[]);
    put(&stream, "pod2", "2", &[], &[]);
    assert_eq!(stream.round(), ["Address +pod1=2"]);
}

#[test]
fn a_watcher_of_everything_gets_an_answer_to_a_name_too() {
    let mut stream = Stream::new();
    stream.publish(ADDRESS, &["a=1"]);
    stream.open(ADDRESS, &[]);
    stream.round();
    assert_eq!(answer(&mut stream, ask(&["a", "b"])), ["Address +a=1 -b"]);
}

#[test]
fn what_a_client_acknowledged_is_known_name_by_name() {
    let mut stream = stream();
    answer(&mut stream, ask(&["pod1"]));
    assert!(stream.holding(ADDRESS).version("pod1").is_some());
    assert_eq!(
        stream.holding(ADDRESS).version("pod2"),
        None,
        "never asked for"
    );
    stream.publish(ADDRESS, &["-pod1"]);
    stream.round();
    assert_eq!(stream.holding(ADDRESS).version("pod1"), None);
}

#[test]
fn a_stream_asks_for_a_bounded_number_of_names() {
    let mut stream = stream();
    let names: Vec<String> = (0..=MAX_KEYS).map(|n| n.to_string()).collect();
    let flood = Request {
        resource_names_subscribe: names,
        ..request(ADDRESS)
    };
    assert_eq!(
        stream.session.request(flood, |_, _| None),
        Err(Excess::Names)
    );
}
