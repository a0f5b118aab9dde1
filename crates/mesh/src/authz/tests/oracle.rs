//! The engine against an evaluator that is slow and obvious, on random L4 policies.

use proptest::prelude::*;
use proto::security as wire;
use proto::security::string_match::MatchType;

use std::sync::Arc;

use super::{Policy, decide};
use crate::authz::Attributes;
use crate::spiffe::SpiffeId;

fn string(kind: &wire::StringMatch, text: &str) -> bool {
    match kind.match_type.as_ref().unwrap() {
        MatchType::Exact(exact) => text == exact,
        MatchType::Prefix(prefix) => text.starts_with(prefix.as_str()),
        MatchType::Suffix(suffix) => text.ends_with(suffix.as_str()),
        MatchType::Presence(()) => !text.is_empty(),
    }
}

fn found(found: &wire::Match, peer: Option<&SpiffeId>, port: u16) -> bool {
    let principal = peer.map(|peer| peer.principal().to_owned());
    let namespace = peer.and_then(|peer| peer.namespace().map(str::to_owned));
    let any = |list: &[wire::StringMatch], text: &Option<String>| {
        text.as_ref()
            .is_some_and(|text| list.iter().any(|kind| string(kind, text)))
    };
    let port = u32::from(port);
    let mut tests = vec![];
    if !found.principals.is_empty() {
        tests.push(any(&found.principals, &principal));
    }
    if !found.not_principals.is_empty() {
        tests.push(!any(&found.not_principals, &principal));
    }
    if !found.namespaces.is_empty() {
        tests.push(any(&found.namespaces, &namespace));
    }
    if !found.not_namespaces.is_empty() {
        tests.push(!any(&found.not_namespaces, &namespace));
    }
    if !found.destination_ports.is_empty() {
        tests.push(found.destination_ports.contains(&port));
    }
    if !found.not_destination_ports.is_empty() {
        tests.push(!found.not_destination_ports.contains(&port));
    }
    !tests.is_empty() && !tests.contains(&false)
}

fn policy(policy: &wire::Authorization, peer: Option<&SpiffeId>, port: u16) -> bool {
    policy.rules.iter().any(|rule| {
        rule.clauses.iter().all(|clause| {
            clause.matches.is_empty()
                || clause
                    .matches
                    .iter()
                    .any(|candidate| found(candidate, peer, port))
        })
    })
}

fn allowed(policies: &[wire::Authorization], peer: Option<&SpiffeId>, port: u16) -> bool {
    let matched = |action: wire::Action| {
        let mut of_action = policies.iter().filter(|policy| policy.action() == action);
        of_action.any(|candidate| policy(candidate, peer, port))
    };
    let has_allow = policies
        .iter()
        .any(|policy| policy.action() == wire::Action::Allow);
    !matched(wire::Action::Deny) && (!has_allow || matched(wire::Action::Allow))
}

fn strings() -> impl Strategy<Value = Vec<wire::StringMatch>> {
    let text = prop::sample::select(vec![
        "shop",
        "sh",
        "web",
        "cluster.local/ns/shop/sa/web",
        "cluster.local/ns/shop",
        "/sa/web",
        "",
    ]);
    let kind = (0..4, text).prop_map(|(kind, text)| {
        let text = text.to_owned();
        let match_type = Some(match kind {
            0 => MatchType::Exact(text),
            1 => MatchType::Prefix(text),
            2 => MatchType::Suffix(text),
            _ => MatchType::Presence(()),
        });
        wire::StringMatch { match_type }
    });
    prop::collection::vec(kind, 0..2)
}

fn ports() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(80..83_u32, 0..2)
}

prop_compose! {
    fn any_match()(
        principals in strings(), not_principals in strings(),
        namespaces in strings(), not_namespaces in strings(),
        destination_ports in ports(), not_destination_ports in ports(),
    ) -> wire::Match {
        wire::Match {
            principals, not_principals, namespaces, not_namespaces,
            destination_ports, not_destination_ports, ..Default::default()
        }
    }
}

prop_compose! {
    fn any_policy()(
        action in 0..2,
        rules in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(any_match(), 0..3), 0..3), 0..3),
    ) -> wire::Authorization {
        let clause = |matches| wire::Clause { matches };
        let rule = |clauses: Vec<_>| wire::Rule { clauses: clauses.into_iter().map(clause).collect() };
        wire::Authorization {
            name: "p".to_owned(),
            action,
            rules: rules.into_iter().map(rule).collect(),
            ..Default::default()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn decides_as_the_obvious_evaluator_does(
        policies in prop::collection::vec(any_policy(), 0..4),
        peer in prop::option::of(prop::sample::select(vec![
            "cluster.local/ns/shop/sa/web", "cluster.local/ns/db/sa/web", "cluster.local/machine",
        ])),
        port in 79..84_u16,
    ) {
        let peer: Option<SpiffeId> = peer.map(|peer| format!("spiffe://{peer}").parse().unwrap());
        let expected = allowed(&policies, peer.as_ref(), port);
        let converted: Vec<Arc<Policy>> =
            policies.into_iter().map(|policy| Arc::new(policy.try_into().unwrap())).collect();
        let source = "10.0.1.7".parse().unwrap();
        let attributes = Attributes::connection(peer.as_ref(), source, None, port);
        let decision = decide(&converted, &attributes).decision;
        prop_assert_eq!(decision.is_allow(), expected, "{:?}", converted);
    }
}
