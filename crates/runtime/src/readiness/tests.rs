use super::Gates;

#[tokio::test]
async fn ready_when_nothing_is_pending_and_not_before() {
    let gates = Gates::default();
    let (state, proxy) = (gates.gate("state manager"), gates.gate("proxy"));
    assert_eq!(gates.pending(), ["proxy", "state manager"]);
    state.ready();
    assert_eq!(gates.pending(), ["proxy"]);
    proxy.ready();
    gates.ready().await;
    assert!(gates.pending().is_empty());
}

#[test]
fn what_was_ready_may_have_to_be_waited_for_again() {
    let gates = Gates::default();
    let proxy = gates.gate("proxy");
    proxy.ready();
    proxy.pending();
    assert_eq!(gates.pending(), ["proxy"]);
}

#[test]
fn a_name_is_pending_until_all_who_use_it_are_ready() {
    let gates = Gates::default();
    let (first, second) = (gates.gate("proxy"), gates.gate("proxy"));
    first.ready();
    first.ready();
    assert_eq!(gates.pending(), ["proxy"]);
    second.ready();
    assert!(gates.pending().is_empty());
}
