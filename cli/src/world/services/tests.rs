use super::*;

fn port(transport: Transport, endpoints: &[&str]) -> ServicePort {
    ServicePort {
        name: "shop/cart:http".to_owned(),
        vip: Ipv4Addr::new(10, 92, 1, 2),
        transport,
        port: 80,
        endpoints: endpoints.iter().map(|text| text.parse().unwrap()).collect(),
    }
}

/// The rules of `chain` for `ports`, as `nft list` prints them.
fn check(chain: &str, ports: &[ServicePort], expected: &[&str]) {
    let printed: Vec<String> = rules(ports)
        .unwrap()
        .into_iter()
        .filter(|(name, _)| *name == chain)
        .map(|(_, rule)| {
            rule.nft_syntax_stateless(Family::Ip)
                .unwrap_or_else(|| format!("{rule:?}"))
        })
        .collect();
    assert_eq!(printed, expected);
}

#[test]
fn each_endpoint_takes_an_equal_share() {
    check(
        SERVICES,
        &[port(
            Transport::Tcp,
            &["10.91.1.2:8080", "10.91.2.2:8080", "10.91.2.3:9090"],
        )],
        &[
            "ip daddr 10.92.1.2 tcp dport 80 numgen random mod 3 0 dnat to 10.91.1.2:8080 comment \"shop/cart:http\"",
            "ip daddr 10.92.1.2 tcp dport 80 numgen random mod 2 0 dnat to 10.91.2.2:8080 comment \"shop/cart:http\"",
            "ip daddr 10.92.1.2 tcp dport 80 dnat to 10.91.2.3:9090 comment \"shop/cart:http\"",
        ],
    );
}

#[test]
fn udp_ports_are_balanced_too() {
    check(
        SERVICES,
        &[port(Transport::Udp, &["10.91.1.2:53"])],
        &["ip daddr 10.92.1.2 udp dport 80 dnat to 10.91.1.2:53 comment \"shop/cart:http\""],
    );
}

#[test]
fn a_service_without_endpoints_has_no_rule_and_is_refused() {
    check(SERVICES, &[port(Transport::Tcp, &[])], &[]);
    check(
        REFUSE_FORWARDED,
        &[port(Transport::Tcp, &[])],
        &[
            "ip daddr != 10.92.0.10 ip daddr 10.92.0.0/16 ct state invalid drop",
            "ip daddr != 10.92.0.10 ip daddr 10.92.0.0/16 reject with tcp reset",
            "ip daddr != 10.92.0.10 ip daddr 10.92.0.0/16 reject",
        ],
    );
}

#[test]
fn a_pod_that_calls_itself_is_masqueraded_once() {
    let ports = [
        port(Transport::Tcp, &["10.91.1.2:8080"]),
        port(Transport::Udp, &["10.91.1.2:53"]),
    ];
    check(
        POSTROUTING,
        &ports,
        &["ip saddr 10.91.1.2 ip daddr 10.91.1.2 ct status dnat masquerade"],
    );
}
