use nlink::netlink::nftables::Family;

use super::{Redirection, tables};

/// The rules as `nft -s list ruleset` prints them, a line each, below `table/chain`.
fn text(redirection: Redirection) -> Vec<String> {
    let mut lines = vec![];
    for table in tables(redirection) {
        for chain in table.chains {
            lines.push(format!("{}/{}", table.name, chain.name));
            for rule in chain.rules {
                lines.push(format!(
                    "  {}",
                    rule.nft_syntax_stateless(Family::Inet).unwrap()
                ));
            }
        }
    }
    lines
}

fn check(redirection: Redirection, expected: &str) {
    let found = text(redirection);
    let expected: Vec<_> = expected
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    assert_eq!(found, expected, "\nfound:\n{}\n", found.join("\n"));
}

/// What Istio's agent sets in a captured pod, counters left out; the recording is in
/// `conformance/vectors/ztunnel/inpod-nft.txt`.
#[test]
fn a_captured_pod_has_the_rules_of_istio() {
    check(
        Redirection::default(),
        "\
cairn-ambient-nat/prerouting
  meta l4proto tcp ip saddr 169.254.7.127 counter accept
  meta l4proto tcp ip6 saddr fd16:9254:7127:1337:ffff:ffff:ffff:ffff counter accept
  ip daddr != 127.0.0.1 tcp dport != 15008 meta mark & 0x00000fff != 0x00000539 counter redirect to :15006
  ip6 daddr != ::1 tcp dport != 15008 meta mark & 0x00000fff != 0x00000539 counter redirect to :15006
cairn-ambient-nat/output
  meta l4proto tcp ip daddr 169.254.7.127 counter accept
  meta l4proto tcp ip6 daddr fd16:9254:7127:1337:ffff:ffff:ffff:ffff counter accept
  oifname != \"lo\" meta mark & 0x00000fff != 0x00000539 udp dport 53 counter redirect to :15053
  ip daddr != 127.0.0.1 tcp dport 53 meta mark & 0x00000fff != 0x00000539 counter redirect to :15053
  ip6 daddr != ::1 tcp dport 53 meta mark & 0x00000fff != 0x00000539 counter redirect to :15053
  meta l4proto tcp meta mark & 0x00000fff == 0x00000111 counter accept
  oifname \"lo\" ip daddr != 127.0.0.1 counter accept
  oifname \"lo\" ip6 daddr != ::1 counter accept
  meta l4proto tcp ip daddr != 127.0.0.1 meta mark & 0x00000fff != 0x00000539 counter redirect to :15001
  meta l4proto tcp ip6 daddr != ::1 meta mark & 0x00000fff != 0x00000539 counter redirect to :15001
cairn-ambient-mangle/prerouting
  meta mark & 0x00000fff == 0x00000539 counter ct mark set ct mark & 0xfffff111 | 0x00000111
cairn-ambient-mangle/output
  ct mark & 0x00000fff == 0x00000111 counter meta mark set ct mark
cairn-ambient-raw/prerouting
  udp sport 53 meta mark & 0x00000fff != 0x00000539 counter ct zone set 1
cairn-ambient-raw/output
  udp dport 53 meta mark & 0x00000fff == 0x00000539 counter ct zone set 1
",
    );
}

#[test]
fn without_dns_capture_nothing_is_sent_to_the_dns_proxy() {
    let lines = text(Redirection {
        capture_dns: false,
        ..Redirection::default()
    });
    assert!(
        !lines
            .iter()
            .any(|line| line.contains("15053") || line.contains("zone")),
        "{lines:#?}"
    );
    assert!(lines.iter().any(|line| line.contains("15001")));
}

/// `ambient.istio.io/bypass-inbound-capture`: outbound stays, and so does HBONE, whose answers
/// need the connection mark (istio/istio release note 58577).
#[test]
fn a_pod_that_bypasses_inbound_capture_keeps_outbound_and_the_mark() {
    let lines = text(Redirection {
        capture_inbound: false,
        ..Redirection::default()
    });
    assert!(
        !lines.iter().any(|line| line.contains("15006")),
        "{lines:#?}"
    );
    assert!(lines.iter().any(|line| line.contains("15001")));
    assert!(lines.iter().any(|line| line.contains("ct mark set")));
}
