//! What a client says of a response it has answered.

use super::*;

fn refused(stream: &Stream) -> Vec<(&str, String, &str)> {
    let rejected = stream.holding(ADDRESS).rejected();
    rejected
        .map(|r| (&*r.name, r.version.to_string(), &*r.reason))
        .collect()
}

/// A stream that has answered `a=1 b=1`, and the nonce of that.
fn answered() -> (Stream, String) {
    let mut stream = Stream::new();
    stream.publish(ADDRESS, &["a=1", "b=1"]);
    stream.open(ADDRESS, &[]);
    stream.session.round();
    let (_, nonces) = stream.send();
    let nonce = nonces.into_iter().next().unwrap().1;
    stream.answer(ADDRESS, &nonce, None).unwrap();
    (stream, nonce)
}

#[test]
fn a_second_nack_of_the_response_answered_last_says_all_that_is_refused() {
    let (mut stream, nonce) = answered();
    let answer = stream.answer(ADDRESS, &nonce, Some("a: no; b: nor this"));
    assert_eq!(answer.unwrap().rejected.len(), 2);
    assert_eq!(
        refused(&stream),
        [("a", version("1"), "no"), ("b", version("1"), "nor this")]
    );
    assert_eq!(
        stream.answer(ADDRESS, &nonce, Some("a: no; b: nor this")),
        None,
        "nothing new"
    );
    let answer = stream.answer(ADDRESS, &nonce, Some("b: nor this")).unwrap();
    assert_eq!((&*answer.acked[0].0, answer.rejected.len()), ("a", 0));
    let answer = stream.answer(ADDRESS, &nonce, None).unwrap();
    assert_eq!(&*answer.acked[0].0, "b");
    assert!(refused(&stream).is_empty());
    assert!(stream.round().is_empty(), "nothing is sent for any of that");
}

#[test]
fn only_what_the_client_has_can_be_refused_late() {
    let (mut stream, nonce) = answered();
    stream.publish(ADDRESS, &["c=1"]);
    assert_eq!(stream.answer(ADDRESS, &nonce, Some("all wrong")), None);
    assert_eq!(stream.answer(ADDRESS, &nonce, Some("c: not sent")), None);
    assert_eq!(stream.answer(ADDRESS, "7-9", Some("a: no")), None);
    assert!(refused(&stream).is_empty());
}

#[test]
fn a_late_refusal_is_of_the_version_that_was_answered() {
    let (mut stream, first) = answered();
    stream.publish(ADDRESS, &["a=2", "c=1"]);
    stream.session.round();
    let (_, nonces) = stream.send();
    // Sent before the client had read the newer version.
    let late = Some("a: no; b: no");
    assert!(stream.answer(ADDRESS, &first, late).is_some());
    assert_eq!(refused(&stream)[0], ("a", version("1"), "no"));
    stream.answer(ADDRESS, &nonces[0].1, None);
    assert_eq!(refused(&stream), [("b", version("1"), "no")]);
    assert_eq!(
        stream.answer(ADDRESS, &first, None),
        None,
        "another response was answered last"
    );
    assert_eq!(refused(&stream).len(), 1);
}

#[test]
fn what_a_client_brought_along_can_be_refused_before_its_removals_are_answered() {
    let mut stream = Stream::new();
    stream.publish(POLICY, &["a=1"]);
    stream.open(ADDRESS, &[("gone", "x")]);
    stream.open(POLICY, &[("a", &version("1")), ("gone", "x")]);
    stream.session.round();
    let (texts, nonces) = stream.send();
    assert_eq!(texts, ["Policy", "Address -gone", "Policy -gone"]);
    let nonce = &nonces[0].1;
    stream.answer(POLICY, nonce, None);
    assert!(stream.answer(POLICY, nonce, Some("a: no")).is_some());
    let names: Vec<_> = stream
        .holding(POLICY)
        .rejected()
        .map(|r| &*r.name)
        .collect();
    assert_eq!(names, ["a"]);
}

#[test]
fn a_resource_refused_twice_is_shown_with_its_newest_version() {
    let (mut stream, nonce) = answered();
    stream.answer(ADDRESS, &nonce, Some("a: late"));
    stream.publish(ADDRESS, &["a=2"]);
    stream.session.round();
    let (_, nonces) = stream.send();
    stream.answer(ADDRESS, &nonces[0].1, Some("a: at once"));
    assert_eq!(refused(&stream), [("a", version("2"), "at once")]);
    stream.answer(ADDRESS, &nonces[0].1, Some("a: late"));
    assert_eq!(refused(&stream), [("a", version("2"), "at once")]);
}
