//! L4: policies as ztunnel gets them.

use proto::security::string_match::MatchType;
use proto::security::{
    Address, Authorization, Clause, Match, Rule, ServiceAccountMatch, StringMatch,
};

use super::{Policy, WEB, check, from};

fn string(kind: MatchType) -> Vec<StringMatch> {
    vec![StringMatch {
        match_type: Some(kind),
    }]
}

fn exact(text: &str) -> Vec<StringMatch> {
    string(MatchType::Exact(text.to_owned()))
}

fn prefix(text: &str) -> Vec<StringMatch> {
    string(MatchType::Prefix(text.to_owned()))
}

fn suffix(text: &str) -> Vec<StringMatch> {
    string(MatchType::Suffix(text.to_owned()))
}

fn presence() -> Vec<StringMatch> {
    string(MatchType::Presence(()))
}

fn cidr(block: &str) -> Vec<Address> {
    let block: ipnet::Ipv4Net = block.parse().unwrap();
    let address = block.addr().octets().to_vec().into();
    vec![Address {
        address,
        length: u32::from(block.prefix_len()),
    }]
}

/// A policy of clauses in one rule.
fn policy(action: proto::security::Action, clauses: Vec<Vec<Match>>) -> Policy {
    let clauses = clauses
        .into_iter()
        .map(|matches| Clause { matches })
        .collect();
    Authorization {
        name: "p".to_owned(),
        namespace: "shop".to_owned(),
        action: action.into(),
        rules: vec![Rule { clauses }],
        ..Authorization::default()
    }
    .try_into()
    .unwrap()
}

fn allow(found: Match) -> [Policy; 1] {
    [policy(proto::security::Action::Allow, vec![vec![found]])]
}

fn deny(found: Match) -> [Policy; 1] {
    [policy(proto::security::Action::Deny, vec![vec![found]])]
}

#[test]
fn principals_match_without_the_scheme() {
    for (principals, matches) in [
        (exact(WEB), true),
        (exact("spiffe://cluster.local/ns/shop/sa/web"), false),
        (exact("cluster.local/ns/shop/sa/we"), false),
        (prefix("cluster.local/ns/shop/"), true),
        (prefix("spiffe"), false),
        (suffix("/sa/web"), true),
        (suffix("/sa/db"), false),
        (presence(), true),
    ] {
        let expected = if matches { "allow by p/0" } else { "deny" };
        let found = Match {
            principals: principals.clone(),
            ..Match::default()
        };
        check(&allow(found), &from(WEB), expected);
        // Without mTLS there is no principal to match.
        check(
            &allow(Match {
                principals,
                ..Match::default()
            }),
            &from(""),
            "deny",
        );
    }
}

#[test]
fn negations_pass_without_an_identity() {
    let strict = deny(Match {
        not_principals: presence(),
        ..Match::default()
    });
    check(&strict, &from(""), "deny by p/0");
    check(&strict, &from(WEB), "allow");
    let other = deny(Match {
        not_namespaces: exact("shop"),
        ..Match::default()
    });
    check(&other, &from(""), "deny by p/0");
    check(&other, &from(WEB), "allow");
}

#[test]
fn namespaces_are_those_of_the_identity() {
    let found = |namespaces| {
        allow(Match {
            namespaces,
            ..Match::default()
        })
    };
    check(&found(exact("shop")), &from(WEB), "allow by p/0");
    check(&found(prefix("sh")), &from(WEB), "allow by p/0");
    check(
        &found(exact("shop")),
        &from("cluster.local/ns/shopping/sa/web"),
        "deny",
    );
    check(
        &found(presence()),
        &from("example.org/some/machine"),
        "deny",
    );
}

#[test]
fn service_accounts_match_in_any_trust_domain() {
    let account = ServiceAccountMatch {
        namespace: "shop".to_owned(),
        service_account: "web".to_owned(),
    };
    let found = Match {
        service_accounts: vec![account],
        ..Match::default()
    };
    check(&allow(found.clone()), &from(WEB), "allow by p/0");
    check(
        &allow(found.clone()),
        &from("other.org/ns/shop/sa/web"),
        "allow by p/0",
    );
    check(
        &allow(found),
        &from("cluster.local/ns/shop/sa/webs"),
        "deny",
    );
}

#[test]
fn addresses_match_by_block_with_host_bits() {
    let found = |block| {
        allow(Match {
            source_ips: cidr(block),
            ..Match::default()
        })
    };
    check(&found("10.0.1.99/24"), &from(WEB), "allow by p/0");
    check(&found("10.0.2.0/24"), &from(WEB), "deny");
    let destination = Match {
        destination_ips: cidr("10.0.2.9/32"),
        ..Match::default()
    };
    check(&allow(destination), &from(WEB), "allow by p/0");
}

#[test]
fn ports_match_positively_and_negatively() {
    let only = allow(Match {
        destination_ports: vec![80, 8080],
        ..Match::default()
    });
    check(&only, &from(WEB), "allow by p/0");
    check(&only, &from(WEB).port(81), "deny");
    let others = deny(Match {
        not_destination_ports: vec![9090],
        ..Match::default()
    });
    check(&others, &from(WEB).port(9090), "allow");
    check(&others, &from(WEB), "deny by p/0");
}

#[test]
fn fields_of_a_match_are_all_needed() {
    let found = Match {
        principals: exact(WEB),
        destination_ports: vec![9090],
        ..Match::default()
    };
    check(&allow(found.clone()), &from(WEB).port(9090), "allow by p/0");
    check(&allow(found), &from(WEB), "deny");
}

#[test]
fn matches_of_a_clause_are_alternatives_and_clauses_are_all_needed() {
    let port = |port| Match {
        destination_ports: vec![port],
        ..Match::default()
    };
    let web = Match {
        principals: exact(WEB),
        ..Match::default()
    };
    let allow = [policy(
        proto::security::Action::Allow,
        vec![vec![port(80), port(81)], vec![web]],
    )];
    check(&allow, &from(WEB).port(81), "allow by p/0");
    check(&allow, &from(WEB).port(82), "deny");
    check(&allow, &from("").port(81), "deny");
}

#[test]
fn an_empty_match_never_matches_and_an_empty_clause_always_does() {
    check(&allow(Match::default()), &from(WEB), "deny");
    let empty_clause = [policy(proto::security::Action::Allow, vec![vec![]])];
    check(&empty_clause, &from(WEB), "allow by p/0");
    let no_clause = [policy(proto::security::Action::Allow, vec![])];
    check(&no_clause, &from(WEB), "allow by p/0");
}

#[test]
fn peer_authentication_strict_denies_plaintext_except_on_the_excepted_port() {
    let strict = [policy(
        proto::security::Action::Deny,
        vec![
            vec![Match {
                not_principals: presence(),
                ..Match::default()
            }],
            vec![Match {
                not_destination_ports: vec![9090],
                ..Match::default()
            }],
        ],
    )];
    check(&strict, &from(""), "deny by p/0");
    check(&strict, &from("").port(9090), "allow");
    check(&strict, &from(WEB), "allow");
}

#[test]
fn rejects_what_it_cannot_read_and_names_the_field() {
    let broken = |found: Match| {
        let clauses = vec![Clause {
            matches: vec![Match::default(), found],
        }];
        let message = Authorization {
            name: "p".to_owned(),
            namespace: "shop".to_owned(),
            rules: vec![Rule { clauses }],
            ..Authorization::default()
        };
        Policy::try_from(message).unwrap_err().to_string()
    };
    let unset = vec![StringMatch { match_type: None }];
    for (found, expected) in [
        (
            Match {
                not_principals: unset,
                ..Match::default()
            },
            "rules[0].clauses[0].matches[1].not_principals[0].match_type: it is missing or not \
             one we know",
        ),
        (
            Match {
                source_ips: vec![Address {
                    address: vec![10, 0, 0].into(),
                    length: 8,
                }],
                ..Match::default()
            },
            "rules[0].clauses[0].matches[1].source_ips[0].address: an address has 4 or 16 bytes, \
             not 3",
        ),
        (
            Match {
                source_ips: vec![Address {
                    address: vec![10, 0, 0, 1].into(),
                    length: 33,
                }],
                ..Match::default()
            },
            "rules[0].clauses[0].matches[1].source_ips[0].length: 33 is no prefix length of \
             10.0.0.1",
        ),
        (
            Match {
                destination_ports: vec![70_000],
                ..Match::default()
            },
            "rules[0].clauses[0].matches[1].destination_ports[0]: 70000 is no port number",
        ),
    ] {
        assert_eq!(broken(found), expected);
    }
    let unknown = |scope, action| {
        let message = Authorization {
            name: "p".to_owned(),
            scope,
            action,
            ..Default::default()
        };
        Policy::try_from(message).unwrap_err().field
    };
    assert_eq!(unknown(7, 0), "scope");
    assert_eq!(unknown(0, 7), "action");
}
