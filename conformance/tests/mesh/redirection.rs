//! Which packets of a pod reach ztunnel: what the kernel of a captured pod holds, read back,
//! against what was recorded in a pod that Istio captured.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use conformance::nft::{Hook, Packet, Protocol, Ruleset};
use conformance::vectors;
use nlink::netlink::namespace::Netns;
use nlink::netlink::nftables::Family;
use nlink::netlink::types::route::RouteType;
use nlink::{Connection, Nftables, Route};

use crate::hbone::run;
use crate::places;
use crate::world::shared;

/// The rules in a namespace, as `nft list ruleset` would print them.
pub(crate) async fn ruleset(netns: &Netns) -> String {
    let connection: Connection<Nftables> = Connection::new_in(netns).unwrap();
    let chains = connection.list_chains().await.unwrap();
    let mut text = String::new();
    for table in connection.list_tables_in(Family::Inet).await.unwrap() {
        let rules = connection
            .list_rules(&table.name, Family::Inet)
            .await
            .unwrap();
        writeln!(text, "table inet {} {{", table.name).unwrap();
        for chain in chains.iter().filter(|chain| chain.table == table.name) {
            writeln!(text, "chain {} {{", chain.name).unwrap();
            if let Some(hook) = chain.hook {
                // linux/netfilter.h; another hook is one that the evaluator does not know.
                let hook = match hook {
                    0 => "prerouting".to_owned(),
                    3 => "output".to_owned(),
                    other => other.to_string(),
                };
                let policy = if chain.policy == Some(0) {
                    "drop"
                } else {
                    "accept"
                };
                writeln!(
                    text,
                    "type {} hook {hook} priority {}; policy {policy};",
                    chain.chain_type.unwrap().as_str(),
                    chain.priority.unwrap(),
                )
                .unwrap();
            }
            for rule in rules.iter().filter(|rule| rule.chain == chain.name) {
                writeln!(text, "{}", rule.nft_syntax().unwrap()).unwrap();
            }
            text.push_str("}\n");
        }
        text.push_str("}\n");
    }
    text
}

/// The addresses of a family: the pod's, somebody else's, loopback, loopback of a kind, and the
/// one that kubelet's probes come from.
fn addresses(v6: bool) -> Vec<IpAddr> {
    let addresses = if v6 {
        [
            "fd00::5",
            "2001:db8::9",
            "::1",
            "fe80::1",
            "fd16:9254:7127:1337:ffff:ffff:ffff:ffff",
        ]
    } else {
        [
            "10.244.1.5",
            "203.0.113.9",
            "127.0.0.1",
            "127.0.0.2",
            "169.254.7.127",
        ]
    };
    addresses.map(|address| address.parse().unwrap()).to_vec()
}

/// A packet of every class a rule could tell apart.
fn packets() -> Vec<Packet> {
    let mut packets = vec![];
    let ends = [false, true].map(addresses).into_iter().flat_map(|family| {
        let pairs = family.iter().flat_map(|a| family.iter().map(|b| (*a, *b)));
        pairs.collect::<Vec<_>>()
    });
    let ways = [
        (Hook::Prerouting, None),
        (Hook::Output, Some("lo")),
        (Hook::Output, Some("eth0")),
    ];
    for (source, destination) in ends {
        for (hook, out) in ways {
            for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Other] {
                for mark in [0, 1, 0x111, 0x539, 0x1539, 0xf000_0111] {
                    for connection_mark in [0, 0x111, 0x222, 0xabcd_e111] {
                        for destination_port in [53, 80, 8080, 15001, 15006, 15008, 15053] {
                            packets.extend([53, 40_000].map(|source_port| Packet {
                                hook,
                                protocol,
                                source,
                                destination,
                                source_port,
                                destination_port,
                                mark,
                                connection_mark,
                                out,
                            }));
                        }
                    }
                }
            }
        }
    }
    packets
}

#[test]
fn redirection_decides_for_every_class_of_packet_as_istios_does() {
    let Some(mesh) = shared() else { return };
    let pod = places::pod(&mesh, "default", "web");
    let netns = Netns::open(&pod.netns).unwrap();
    let ours = run(ruleset(&netns));
    let ours = Ruleset::parse(&ours).unwrap_or_else(|error| panic!("{error:?}\n{ours}"));
    let recorded = vectors::text("ztunnel/inpod-nft.txt").unwrap();
    let theirs = Ruleset::parse(&recorded).unwrap();
    assert_eq!(theirs.len(), 24);
    let mut outcomes = BTreeSet::new();
    for packet in packets() {
        let (ours, theirs) = (ours.decide(&packet), theirs.decide(&packet));
        assert_eq!(ours, theirs, "{packet:?}");
        outcomes.insert(format!("{:?} {ours:?}", packet.hook));
    }
    // The classes are worth their name: every port is redirected to, and so on.
    assert!(outcomes.len() > 20, "{outcomes:#?}");
}

/// The policy rules and local routes of a namespace that redirection needs, as `ip` prints them.
async fn routing(netns: &Netns) -> BTreeSet<String> {
    let connection: Connection<Route> = Connection::new_in(netns).unwrap();
    let mut lines = BTreeSet::new();
    for rule in connection.get_rules().await.unwrap() {
        if let (Some(mark), Some(mask)) = (rule.fwmark(), rule.fwmask()) {
            let family = if rule.is_ipv4() { 4 } else { 6 };
            lines.insert(format!(
                "v{family} {}: from all fwmark {mark:#x}/{mask:#x} lookup {}",
                rule.priority(),
                rule.table_id()
            ));
        }
    }
    for route in connection.get_routes_for_table(100).await.unwrap() {
        let family = if route.is_ipv4() { 4 } else { 6 };
        assert_eq!(route.route_type(), RouteType::Local, "{route:?}");
        let default = route.dst_len() == 0;
        // `lo` is the first interface of every namespace.
        lines.insert(format!(
            "v{family} local default={default} dev lo={} table 100",
            route.oif() == Some(1)
        ));
    }
    lines
}

#[test]
fn answers_in_a_clients_name_are_routed_as_istio_routes_them() {
    let Some(mesh) = shared() else { return };
    let pod = places::pod(&mesh, "default", "web");
    let ours = run(routing(&Netns::open(&pod.netns).unwrap()));
    // IPv4 and IPv6 stand one below the other in the recording.
    let recorded = vectors::text("ztunnel/inpod-routes.txt").unwrap();
    let mut theirs = BTreeSet::new();
    let families = [4, 6];
    let rules = recorded.lines().filter(|line| line.contains("fwmark"));
    for (line, family) in rules.zip(families) {
        let words: Vec<_> = line.split_whitespace().collect();
        theirs.insert(format!("v{family} {}", words.join(" ")));
    }
    let routes = recorded.lines().filter(|line| line.contains("table 100"));
    for (line, family) in routes.zip(families) {
        assert!(line.starts_with("local default dev lo"), "{line}");
        theirs.insert(format!(
            "v{family} local default=true dev lo=true table 100"
        ));
    }
    assert_eq!(theirs.len(), 4);
    assert_eq!(ours, theirs);
}

/// The sockets in a namespace that listen on one of ztunnel's ports.
fn listening(netns: &str) -> BTreeSet<String> {
    let tables = ["tcp", "tcp6", "udp", "udp6"];
    let texts = places::inside(netns, || {
        tables.map(|name| std::fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap())
    });
    let mut sockets = BTreeSet::new();
    for (table, text) in tables.iter().zip(texts) {
        for line in text.lines().skip(1) {
            let words: Vec<_> = line.split_whitespace().collect();
            let listens = if table.starts_with("tcp") { "0A" } else { "07" };
            let (address, port) = words[1].split_once(':').unwrap();
            let port = u16::from_str_radix(port, 16).unwrap();
            if words[3] == listens && port > 15_000 && port < 15_100 {
                let address = match address {
                    "0100007F" => "127.0.0.1",
                    "00000000000000000000000001000000" => "[::1]",
                    all if all.chars().all(|c| c == '0') => "*",
                    other => other,
                };
                let protocol = table.trim_end_matches('6');
                sockets.insert(format!("listen {protocol} {address}:{port}"));
            }
        }
    }
    sockets
}

#[test]
fn ztunnel_listens_in_a_pod_where_istios_does() {
    let Some(mesh) = shared() else { return };
    let pod = places::pod(&mesh, "default", "web");
    let recorded = vectors::text("ztunnel/inpod-routes.txt").unwrap();
    let theirs = recorded.lines().filter(|line| {
        let port = line.rsplit_once(':').map(|(_, port)| port);
        line.starts_with("listen ") && port.is_some_and(|port| port.starts_with("150"))
    });
    let theirs: BTreeSet<_> = theirs.map(str::to_owned).collect();
    assert_eq!(theirs.len(), 7);
    assert_eq!(listening(&pod.netns), theirs);
}
