use prost_types::Any;

use super::*;

const ADDRESS: &str = "type.googleapis.com/test.Address";
const POLICY: &str = "type.googleapis.com/test.Policy";

fn node() -> Node {
    Node {
        id: "ztunnel~1.1.1.1~z.ns~ns.svc.cluster.local".to_owned(),
        ..Node::default()
    }
}

fn wildcard() -> Subscriptions {
    Subscriptions::new(
        node(),
        [Watch::everything(ADDRESS), Watch::everything(POLICY)],
    )
}

fn on_demand() -> Subscriptions {
    Subscriptions::new(node(), [Watch::on_demand(ADDRESS)])
}

fn sent(name: &str, version: &str, content: &str) -> proto::discovery::Resource {
    proto::discovery::Resource {
        name: name.to_owned(),
        version: version.to_owned(),
        aliases: Vec::new(),
        resource: Some(Any {
            type_url: ADDRESS.to_owned(),
            value: content.into(),
        }),
    }
}

fn response(nonce: &str, resources: Vec<proto::discovery::Resource>, removed: &[&str]) -> Response {
    Response {
        type_url: ADDRESS.to_owned(),
        nonce: nonce.to_owned(),
        resources,
        removed_resources: strings(removed),
        ..Response::default()
    }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// Writes down what it is given, and rejects content that begins with `bad`.
#[derive(Default)]
struct Recorder(Vec<String>);

impl Handler for Recorder {
    fn apply(&mut self, _type_url: &str, updates: Vec<Update>) -> Vec<Rejected> {
        let mut rejected = Vec::new();
        for update in updates {
            match update {
                Update::Remove(name) => self.0.push(format!("-{name}")),
                Update::Put(put) if put.bytes.starts_with(b"bad") => {
                    rejected.push(Rejected {
                        name: put.name,
                        reason: "is bad".to_owned(),
                    });
                }
                Update::Put(put) => {
                    self.0.push(format!(
                        "+{}={}",
                        put.name,
                        String::from_utf8_lossy(&put.bytes)
                    ));
                }
            }
        }
        rejected
    }
}

/// Feeds responses and shows each reply as `nonce`, or `nonce! message` for a NACK.
fn feed(client: &mut Subscriptions, responses: Vec<Response>) -> (Vec<String>, Vec<String>) {
    let mut recorder = Recorder::default();
    let replies = responses
        .into_iter()
        .filter_map(|response| client.receive(response, &mut recorder))
        .map(|Received { reply, .. }| {
            assert_eq!(
                Request {
                    type_url: reply.type_url.clone(),
                    response_nonce: reply.response_nonce.clone(),
                    error_detail: reply.error_detail.clone(),
                    ..Request::default()
                },
                reply,
                "a reply says nothing else"
            );
            match reply.error_detail {
                None => reply.response_nonce,
                Some(error) => format!("{}! {}", reply.response_nonce, error.message),
            }
        })
        .collect();
    (replies, recorder.0)
}

fn held(client: &Subscriptions) -> Vec<(&str, &str)> {
    client.held(ADDRESS).collect()
}

#[test]
fn first_requests_come_in_order_with_node_and_without_names() {
    let requests = wildcard().open();
    let types: Vec<_> = requests
        .iter()
        .map(|request| request.type_url.as_str())
        .collect();
    assert_eq!(types, [ADDRESS, POLICY]);
    for request in requests {
        let expected = Request {
            type_url: request.type_url.clone(),
            node: Some(node()),
            ..Request::default()
        };
        assert_eq!(request, expected);
    }
}

#[test]
fn an_applied_response_is_acked_with_its_nonce_only() {
    let mut client = wildcard();
    let first = response("n1", vec![sent("a", "1", "A"), sent("b", "1", "B")], &["c"]);
    let (replies, applied) = feed(&mut client, vec![first, response("n2", vec![], &["a"])]);
    assert_eq!(replies, ["n1", "n2"]);
    assert_eq!(applied, ["-c", "+a=A", "+b=B", "-a"]);
    assert_eq!(held(&client), [("b", "1")]);
}

#[test]
fn a_nack_names_each_bad_resource_and_the_good_ones_are_applied() {
    let mut client = wildcard();
    let mixed = vec![
        sent("a", "1", "A"),
        sent("b", "1", "bad"),
        sent("c", "1", "bad too"),
    ];
    let (replies, applied) = feed(&mut client, vec![response("n1", mixed, &[])]);
    assert_eq!(replies, ["n1! b: is bad; c: is bad"]);
    assert_eq!(applied, ["+a=A"]);
    assert_eq!(held(&client), [("a", "1")]);
}

#[test]
fn after_a_reconnect_the_server_learns_what_is_held() {
    let mut client = wildcard();
    let resources = vec![
        sent("a", "1", "A"),
        sent("b", "", "B"),
        sent("c", "1", "bad"),
    ];
    feed(&mut client, vec![response("n1", resources, &[])]);
    let requests = client.open();
    let versions: Vec<_> = requests[0]
        .initial_resource_versions
        .iter()
        .map(|(name, version)| (name.as_str(), version.as_str()))
        .collect();
    // Without a version (istiod's policies have none) the name alone still allows its removal.
    assert_eq!(versions, [("a", "1"), ("b", "")]);
    assert!(requests[1].initial_resource_versions.is_empty());
}

#[test]
fn a_rejected_update_leaves_the_name_held_but_not_its_version() {
    let mut client = wildcard();
    feed(
        &mut client,
        vec![response("n1", vec![sent("a", "1", "A")], &[])],
    );
    feed(
        &mut client,
        vec![response("n2", vec![sent("a", "2", "bad")], &[])],
    );
    assert_eq!(held(&client), [("a", "")]);
    feed(
        &mut client,
        vec![response("n3", vec![sent("a", "3", "A3")], &[])],
    );
    assert_eq!(held(&client), [("a", "3")]);
}

#[test]
fn malformed_resources_are_rejected_one_by_one() {
    let mut client = wildcard();
    let mut empty = sent("empty", "1", "");
    empty.resource = None;
    let mut foreign = sent("foreign", "1", "");
    foreign.resource = Some(Any {
        type_url: POLICY.to_owned(),
        value: Vec::new(),
    });
    let resources = vec![empty, sent("good", "1", "G"), foreign, sent("", "1", "x")];
    let (replies, applied) = feed(&mut client, vec![response("n1", resources, &[])]);
    assert_eq!(
        replies,
        [format!(
            "n1! empty: resource without content; \
             foreign: content is a {POLICY} in a response of {ADDRESS}; \
             : resource without a name"
        )]
    );
    assert_eq!(applied, ["+good=G"]);
}

#[test]
fn of_one_name_twice_the_last_counts() {
    let mut client = wildcard();
    let twice = vec![
        sent("a", "1", "A1"),
        sent("b", "1", "B"),
        sent("a", "2", "A2"),
    ];
    let (replies, applied) = feed(&mut client, vec![response("n1", twice, &[])]);
    assert_eq!(replies, ["n1"]);
    assert_eq!(applied, ["+b=B", "+a=A2"]);
    assert_eq!(held(&client), [("a", "2"), ("b", "1")]);
}

#[test]
fn a_name_removed_and_sent_in_one_response_is_there() {
    let mut client = wildcard();
    let both = response("n1", vec![sent("a", "1", "A")], &["a"]);
    let (_, applied) = feed(&mut client, vec![both]);
    assert_eq!(applied, ["-a", "+a=A"]);
    assert_eq!(held(&client), [("a", "1")]);
}

#[test]
fn a_type_nobody_asked_for_is_ignored() {
    let mut client = wildcard();
    let unknown = Response {
        type_url: "type.googleapis.com/other".to_owned(),
        ..response("n", vec![], &[])
    };
    let (replies, applied) = feed(&mut client, vec![unknown, response("n2", vec![], &[])]);
    assert_eq!(replies, ["n2"]);
    assert!(applied.is_empty());
}

#[test]
fn is_ready_once_every_type_was_answered_even_emptily_or_badly() {
    let mut client = wildcard();
    assert!(!client.is_ready());
    feed(
        &mut client,
        vec![response("n1", vec![sent("a", "1", "bad")], &[])],
    );
    assert!(!client.is_ready());
    let empty = Response {
        type_url: POLICY.to_owned(),
        ..response("n2", vec![], &[])
    };
    feed(&mut client, vec![empty]);
    assert!(client.is_ready());
    client.open();
    assert!(client.is_ready(), "a lost stream takes nothing away");
}

#[test]
fn on_demand_begins_with_nothing_and_asks_name_by_name() {
    let mut client = on_demand();
    let first = &client.open()[0];
    assert_eq!(first.resource_names_subscribe, ["*"]);
    assert_eq!(first.resource_names_unsubscribe, ["*"]);

    let asked = client.subscribe(ADDRESS, "net/10.0.0.1").unwrap();
    let expected = Request {
        type_url: ADDRESS.to_owned(),
        resource_names_subscribe: strings(&["net/10.0.0.1"]),
        ..Request::default()
    };
    assert_eq!(asked, expected);
    assert_eq!(
        client.subscribe(ADDRESS, "net/10.0.0.1"),
        None,
        "asked already"
    );

    let dropped = client.unsubscribe(ADDRESS, "net/10.0.0.1").unwrap();
    assert_eq!(dropped.resource_names_unsubscribe, ["net/10.0.0.1"]);
    assert_eq!(client.unsubscribe(ADDRESS, "net/10.0.0.1"), None);
}

#[test]
fn a_lookup_ends_with_its_resource_its_alias_or_its_absence() {
    let mut client = on_demand();
    for key in ["uid", "net/10.0.0.1", "net/10.0.0.9", "net/10.0.0.10"] {
        client.subscribe(ADDRESS, key).unwrap();
    }
    let mut aliased = sent("pod", "1", "P");
    aliased.aliases = strings(&["net/10.0.0.1"]);
    feed(
        &mut client,
        vec![response(
            "n1",
            vec![aliased, sent("uid", "1", "U")],
            &["net/10.0.0.9"],
        )],
    );
    let pending = ["uid", "net/10.0.0.1", "net/10.0.0.9", "net/10.0.0.10"]
        .map(|key| client.is_pending(ADDRESS, key));
    assert_eq!(pending, [false, false, false, true]);
}

#[test]
fn after_a_reconnect_lookups_are_asked_again() {
    let mut client = on_demand();
    client.subscribe(ADDRESS, "net/10.0.0.1").unwrap();
    feed(&mut client, vec![response("n1", vec![], &["net/10.0.0.1"])]);
    let first = &client.open()[0];
    assert_eq!(first.resource_names_subscribe, ["*", "net/10.0.0.1"]);
    assert_eq!(first.resource_names_unsubscribe, ["*"]);
    assert!(client.is_pending(ADDRESS, "net/10.0.0.1"));
}

#[test]
fn a_type_that_is_watched_whole_needs_no_names() {
    let mut client = wildcard();
    assert_eq!(client.subscribe(ADDRESS, "a"), None);
    assert_eq!(client.subscribe("type.googleapis.com/other", "a"), None);
    assert_eq!(client.unsubscribe(ADDRESS, "a"), None);
}

proptest::proptest! {
    /// A fuzz target in small: whatever decodes as a response is answered without panic.
    #[test]
    fn any_response_is_survived(bytes: Vec<u8>, nonce: String) {
        use prost::Message as _;
        let mut client = wildcard();
        let mut any = Response::decode(bytes.as_slice()).unwrap_or_default();
        any.type_url = ADDRESS.to_owned();
        any.nonce.clone_from(&nonce);
        let received = client.receive(any, &mut Recorder::default());
        proptest::prop_assert_eq!(received.map(|r| r.reply.response_nonce), Some(nonce));
    }
}

/// What is left to say, as [`feed`] shows replies.
fn afterthoughts(client: &mut Subscriptions) -> Vec<String> {
    let requests = client.afterthoughts().into_iter();
    let words = requests.map(|request| match request.error_detail {
        None => request.response_nonce,
        Some(error) => format!("{}! {}", request.response_nonce, error.message),
    });
    words.collect()
}

fn refuse(client: &mut Subscriptions, name: &str, reason: &str) -> bool {
    let (name, reason) = (name.to_owned(), reason.to_owned());
    client.refuse(ADDRESS, &Rejected { name, reason })
}

#[test]
fn what_is_refused_late_is_told_once_with_the_nonce_answered_last() {
    let mut client = wildcard();
    client.open();
    let first = response("n1", vec![sent("a", "1", "A"), sent("b", "1", "B")], &[]);
    feed(&mut client, vec![first]);
    assert!(afterthoughts(&mut client).is_empty());
    assert!(refuse(&mut client, "a", "no"));
    assert!(!refuse(&mut client, "a", "no"), "known");
    assert_eq!(afterthoughts(&mut client), ["n1! a: no"]);
    assert!(afterthoughts(&mut client).is_empty());

    feed(&mut client, vec![response("n2", vec![], &[])]);
    assert!(afterthoughts(&mut client).is_empty(), "known to the server");
    assert!(refuse(&mut client, "b", "nor this"));
    assert_eq!(afterthoughts(&mut client), ["n2! a: no; b: nor this"]);
    assert!(client.accept(ADDRESS, "a"));
    assert!(!client.accept(ADDRESS, "a"));
    assert_eq!(afterthoughts(&mut client), ["n2! b: nor this"]);
    assert!(client.accept(ADDRESS, "b"));
    assert_eq!(afterthoughts(&mut client), ["n2"], "all is well");
}

#[test]
fn what_is_refused_late_is_held_and_told_again_on_the_next_stream() {
    let mut client = wildcard();
    client.open();
    feed(
        &mut client,
        vec![response("n1", vec![sent("a", "1", "A")], &[])],
    );
    refuse(&mut client, "a", "no");
    afterthoughts(&mut client);
    let held = client.open().remove(0).initial_resource_versions;
    assert_eq!(held.get("a").map(String::as_str), Some("1"));
    assert!(
        afterthoughts(&mut client).is_empty(),
        "there is no answer to come back to yet"
    );
    feed(&mut client, vec![response("m1", vec![], &[])]);
    assert_eq!(afterthoughts(&mut client), ["m1! a: no"]);
}

#[test]
fn only_what_is_held_can_be_refused_late_and_only_until_it_changes() {
    let mut client = wildcard();
    client.open();
    let three = ["a", "b", "c"].map(|name| sent(name, "1", "x"));
    feed(&mut client, vec![response("n1", three.into(), &[])]);
    for name in ["a", "b", "c"] {
        assert!(refuse(&mut client, name, "no"));
    }
    assert!(!refuse(&mut client, "d", "no"), "not held");
    assert!(!client.accept(POLICY, "a"), "of another type");
    afterthoughts(&mut client);
    let second = vec![sent("a", "2", "y"), sent("b", "2", "bad")];
    let (replies, _) = feed(&mut client, vec![response("n2", second, &["c"])]);
    assert_eq!(replies, ["n2! b: is bad"]);
    client.open();
    feed(&mut client, vec![response("m1", vec![], &[])]);
    assert!(afterthoughts(&mut client).is_empty());
}
