//! The recorded ruleset, as far as it can be tested without a kernel: that the evaluator which
//! `tests/mesh/redirection.rs` relies on understands it.

use conformance::nft::{Hook, Outcome, Packet, Protocol, Ruleset};
use conformance::vectors;

/// A packet to `to` that nobody has marked.
fn plain(hook: Hook, protocol: Protocol, to: &str, port: u16) -> Packet {
    Packet {
        hook,
        protocol,
        source: "10.244.1.5".parse().unwrap(),
        destination: to.parse().unwrap(),
        source_port: 40_000,
        destination_port: port,
        mark: 0,
        connection_mark: 0,
        out: (hook == Hook::Output).then_some("eth0"),
    }
}

#[test]
fn the_recorded_rules_mean_what_the_evaluator_says() {
    let text = vectors::text("ztunnel/inpod-nft.txt").unwrap();
    let rules = Ruleset::parse(&text).unwrap();
    let outcome = |redirected| Outcome {
        redirected,
        ..Outcome::default()
    };
    let cases = [
        (Hook::Output, Protocol::Tcp, "203.0.113.9", 80, Some(15001)),
        (Hook::Output, Protocol::Tcp, "127.0.0.1", 80, None),
        (Hook::Output, Protocol::Tcp, "203.0.113.9", 53, Some(15053)),
        (Hook::Output, Protocol::Udp, "203.0.113.9", 53, Some(15053)),
        (Hook::Output, Protocol::Udp, "203.0.113.9", 80, None),
        (
            Hook::Prerouting,
            Protocol::Tcp,
            "10.244.1.5",
            80,
            Some(15006),
        ),
        (Hook::Prerouting, Protocol::Tcp, "10.244.1.5", 15008, None),
    ];
    for (hook, protocol, to, port, redirected) in cases {
        let packet = plain(hook, protocol, to, port);
        assert_eq!(rules.decide(&packet), outcome(redirected), "{packet:?}");
    }
    let ztunnels_own = Packet {
        mark: 0x539,
        ..plain(Hook::Prerouting, Protocol::Tcp, "10.244.1.5", 80)
    };
    let marked = rules.decide(&ztunnels_own);
    assert_eq!((marked.redirected, marked.connection_mark), (None, 0x111));
    let answer = Packet {
        connection_mark: 0x111,
        ..plain(Hook::Output, Protocol::Tcp, "203.0.113.9", 40_000)
    };
    let answer = rules.decide(&answer);
    assert_eq!((answer.redirected, answer.mark), (None, 0x111));
    assert!(
        answer.rerouted,
        "answers in a client's name come back to ztunnel"
    );
    assert!(Ruleset::parse("table inet t {\nchain c {\nfrobnicate\n}\n}").is_err());
}
