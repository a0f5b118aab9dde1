//! L7: policies as a waypoint gets them.

use proto::cairn::waypoint as wire;
use proto::cairn::waypoint::policy::Action;

use super::{Policy, WEB, check, from};

fn list(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

fn message(action: Action, rules: Vec<wire::PolicyRule>) -> wire::Policy {
    let kind = Some(wire::target::Kind::Waypoint(true));
    wire::Policy {
        origin: Some(wire::Origin {
            name: "p".to_owned(),
            ..Default::default()
        }),
        targets: vec![wire::Target { kind }],
        action: action.into(),
        rules,
        ..Default::default()
    }
}

fn policy(action: Action, rules: Vec<wire::PolicyRule>) -> [Policy; 1] {
    [message(action, rules).try_into().unwrap()]
}

fn to(operation: wire::Operation) -> wire::PolicyRule {
    wire::PolicyRule {
        to: vec![operation],
        ..Default::default()
    }
}

fn source(source: wire::Source) -> wire::PolicyRule {
    wire::PolicyRule {
        from: vec![source],
        ..Default::default()
    }
}

fn when(key: &str, values: &[&str], not_values: &[&str]) -> wire::PolicyRule {
    let condition = wire::Condition {
        key: key.to_owned(),
        values: list(values),
        not_values: list(not_values),
    };
    wire::PolicyRule {
        when: vec![condition],
        ..Default::default()
    }
}

fn paths(values: &[&str]) -> wire::PolicyRule {
    to(wire::Operation {
        paths: list(values),
        ..Default::default()
    })
}

#[test]
fn a_star_stands_anywhere_in_a_namespace() {
    for (pattern, expected) in [
        ("s*p", "deny by p/0"),
        ("s*o*", "deny by p/0"),
        ("*h*", "deny by p/0"),
        ("sh**op", "deny by p/0"),
        ("shop*shop", "allow"),
        ("s*x*p", "allow"),
        ("o*p", "allow"),
    ] {
        let rule = source(wire::Source {
            namespaces: list(&[pattern]),
            ..Default::default()
        });
        check(&policy(Action::Deny, vec![rule]), &from(WEB), expected);
        let rule = when("source.namespace", &[pattern], &[]);
        check(&policy(Action::Deny, vec![rule]), &from(WEB), expected);
    }
}

#[test]
fn paths_match_by_string_and_template() {
    for (pattern, path, matches) in [
        ("/a", "/a", true),
        ("/a", "/A", false),
        ("/a", "/a/", false),
        ("/a*", "/ab", true),
        ("*/b", "/a/b", true),
        ("*", "/", true),
        ("/a*b", "/a*b", true),
        ("/a*b", "/axb", false),
        ("/a/{*}", "/a/b", true),
        ("/a/{*}", "/a/", false),
        ("/a/{*}", "/a/b/c", false),
        ("/a/{*}/c", "/a/b/c", true),
        ("/a/{*}/c", "/a/b/d", false),
        ("/{*}", "/a", true),
        ("/a/{**}", "/a/", true),
        ("/a/{**}", "/a/b/c", true),
        ("/a/{**}", "/a", false),
        ("/a/{**}", "/ab", false),
        ("/{**}", "/", true),
        ("/{**}", "/x/y", true),
        ("/a/{**}/z", "/a/b/c/z", true),
        ("/a/{**}/z", "/a/b/c", false),
        ("/a/{*}/{**}", "/a/b/c/d", true),
        ("/a/{*}/{**}", "/a//c", false),
        ("/pkg.Service/Method", "/pkg.Service/Method", true),
    ] {
        let allow = policy(Action::Allow, vec![paths(&[pattern])]);
        let expected = if matches { "allow by p/0" } else { "deny" };
        eprintln!("{pattern} against {path}");
        check(&allow, &from(WEB).get(path.to_owned().leak()), expected);
    }
}

#[test]
fn hosts_match_in_any_case_and_with_any_port() {
    for (pattern, host, matches) in [
        ("example.com", "example.com", true),
        ("example.com", "EXAMPLE.com", true),
        ("Example.COM", "example.com", true),
        ("example.com", "example.com:8080", true),
        ("example.com", "example.com.", true),
        ("example.com", "Example.com.:80", true),
        ("example.com", "example.com:", true),
        ("example.com", "example.com.evil.org", false),
        ("example.com:8080", "example.com:8080", true),
        ("example.com:8080", "example.com:80", false),
        ("example.com:8080", "example.com", false),
        ("example.com:*", "example.com:80", true),
        ("*.example.com", "a.example.com:443", true),
        ("*.example.com", "example.com", false),
        ("example.*", "example.org", true),
        ("[fd00::1]", "[fd00::1]:80", true),
        ("[fd00::1]:80", "[fd00::1]:80", true),
        ("*", "x", true),
        ("*", "", false),
    ] {
        let hosts = wire::Operation {
            hosts: list(&[pattern]),
            ..Default::default()
        };
        let deny = policy(Action::Deny, vec![to(hosts)]);
        let expected = if matches { "deny by p/0" } else { "allow" };
        eprintln!("{pattern} against {host}");
        check(&deny, &from(WEB).get("/").host(host), expected);
    }
}

#[test]
fn methods_are_case_sensitive() {
    let methods = wire::Operation {
        methods: list(&["GET", "PO*"]),
        ..Default::default()
    };
    let allow = policy(Action::Allow, vec![to(methods)]);
    check(&allow, &from(WEB).send("GET", "/"), "allow by p/0");
    check(&allow, &from(WEB).send("POST", "/"), "allow by p/0");
    check(&allow, &from(WEB).send("get", "/"), "deny");
    check(&allow, &from(WEB).send("PURGE", "/"), "deny");
}

#[test]
fn sources_are_alternatives_and_their_fields_all_needed() {
    let rule = wire::PolicyRule {
        from: vec![
            wire::Source {
                principals: list(&[WEB]),
                not_ip_blocks: list(&["10.0.1.0/24"]),
                ..Default::default()
            },
            wire::Source {
                service_accounts: list(&["shop/batch"]),
                ..Default::default()
            },
        ],
        ..Default::default()
    };
    let allow = policy(Action::Allow, vec![rule]);
    check(&allow, &from(WEB).get("/"), "deny");
    check(
        &allow,
        &from("cluster.local/ns/shop/sa/batch").get("/"),
        "allow by p/0",
    );
}

#[test]
fn trust_domains_and_addresses_match() {
    let domain = wire::Source {
        trust_domains: list(&["cluster.local"]),
        ..Default::default()
    };
    check(
        &policy(Action::Deny, vec![source(domain)]),
        &from(WEB).get("/"),
        "deny by p/0",
    );
    let address = wire::Source {
        ip_blocks: list(&["10.0.1.7"]),
        ..Default::default()
    };
    check(
        &policy(Action::Deny, vec![source(address)]),
        &from(WEB).get("/"),
        "deny by p/0",
    );
    let remote = wire::Source {
        remote_ip_blocks: list(&["10.0.1.0/24"]),
        ..Default::default()
    };
    check(
        &policy(Action::Deny, vec![source(remote)]),
        &from(WEB).get("/"),
        "deny by p/0",
    );
}

#[test]
fn headers_match_each_value_and_not_only_the_joined_one() {
    let key = "request.headers[X-Role]";
    let deny = policy(Action::Deny, vec![when(key, &["admin"], &[])]);
    check(
        &deny,
        &from(WEB).get("/").header("x-role", "admin"),
        "deny by p/0",
    );
    check(
        &deny,
        &from(WEB).get("/").header("x-role", "Admin"),
        "allow",
    );
    let hidden = from(WEB)
        .get("/")
        .header("x-role", "user")
        .header("X-ROLE", "admin");
    check(&deny, &hidden, "deny by p/0");
    // An element of one line counts only where the field is a list by definition.
    check(
        &deny,
        &from(WEB).get("/").header("x-role", "user, admin"),
        "allow",
    );
    let via = policy(
        Action::Deny,
        vec![when("request.headers[Via]", &["1.1 evil"], &[])],
    );
    check(
        &via,
        &from(WEB).get("/").header("via", "1.1 fine, 1.1 evil"),
        "deny by p/0",
    );
}

#[test]
fn negated_headers_fail_when_any_value_matches() {
    let key = "request.headers[x-role]";
    let allow = policy(Action::Allow, vec![when(key, &[], &["guest"])]);
    check(&allow, &from(WEB).get("/"), "allow by p/0");
    check(
        &allow,
        &from(WEB).get("/").header("x-role", "staff"),
        "allow by p/0",
    );
    let both = from(WEB)
        .get("/")
        .header("x-role", "staff")
        .header("x-role", "guest");
    check(&allow, &both, "deny");
}

#[test]
fn values_and_not_values_of_a_condition_both_hold() {
    let rule = when("request.headers[x-role]", &["staff*"], &["staff-guest"]);
    let allow = policy(Action::Allow, vec![rule]);
    check(
        &allow,
        &from(WEB).get("/").header("x-role", "staff-1"),
        "allow by p/0",
    );
    check(
        &allow,
        &from(WEB).get("/").header("x-role", "staff-guest"),
        "deny",
    );
    check(&allow, &from(WEB).get("/"), "deny");
}

#[test]
fn conditions_read_every_attribute_we_have() {
    for (key, value) in [
        ("source.principal", WEB),
        ("source.namespace", "shop"),
        ("source.serviceAccount", "shop/web"),
        ("source.trustDomain", "cluster.local"),
        ("source.ip", "10.0.1.0/24"),
        ("remote.ip", "10.0.1.7"),
        ("destination.ip", "10.0.2.9"),
        ("destination.port", "8080"),
        ("request.headers[:method]", "GET"),
        ("request.headers[:path]", "/a"),
        ("request.headers[:authority]", "cart.shop"),
    ] {
        let deny = policy(Action::Deny, vec![when(key, &[value], &[])]);
        eprintln!("{key}");
        check(&deny, &from(WEB).get("/a"), "deny by p/0");
    }
}

#[test]
fn a_token_nobody_validated_matches_nothing() {
    for key in ["request.auth.principal", "request.auth.claims[group][sub]"] {
        let wanted = policy(Action::Allow, vec![when(key, &["*"], &[])]);
        check(&wanted, &from(WEB).get("/"), "deny");
        let unwanted = policy(Action::Deny, vec![when(key, &[], &["*"])]);
        check(&unwanted, &from(WEB).get("/"), "deny by p/0");
    }
}

#[test]
fn opaque_bytes_lose_allow_rules_with_http_and_widen_deny_rules() {
    let rule = || {
        vec![to(wire::Operation {
            paths: list(&["/admin"]),
            ports: vec![8080],
            ..Default::default()
        })]
    };
    check(&policy(Action::Allow, rule()), &from(WEB), "deny");
    check(&policy(Action::Deny, rule()), &from(WEB), "deny by p/0");
    check(&policy(Action::Deny, rule()), &from(WEB).port(81), "allow");
    // The whole ALLOW rule goes, not only the alternative with HTTP in it.
    let mixed = wire::PolicyRule {
        from: vec![
            wire::Source {
                principals: list(&[WEB]),
                ..Default::default()
            },
            wire::Source {
                request_principals: list(&["*"]),
                ..Default::default()
            },
        ],
        ..Default::default()
    };
    check(&policy(Action::Allow, vec![mixed]), &from(WEB), "deny");
    // A negated HTTP test must not admit what it cannot see.
    let negated = wire::Operation {
        not_paths: list(&["/admin"]),
        ..Default::default()
    };
    check(
        &policy(Action::Allow, vec![to(negated)]),
        &from(WEB),
        "deny",
    );
}

#[test]
fn the_rule_that_decided_is_named() {
    let rules = vec![paths(&["/a"]), paths(&["/b"])];
    check(
        &policy(Action::Deny, rules),
        &from(WEB).get("/b"),
        "deny by p/1",
    );
}

#[test]
fn an_empty_rule_matches_everything() {
    let rules = vec![wire::PolicyRule::default()];
    check(
        &policy(Action::Deny, rules),
        &from(WEB).get("/"),
        "deny by p/0",
    );
}

#[test]
fn rejects_what_it_cannot_read_and_names_the_field() {
    let source_of = |source: wire::Source| wire::PolicyRule {
        from: vec![
            wire::Source {
                principals: list(&["*"]),
                ..Default::default()
            },
            source,
        ],
        ..Default::default()
    };
    for (rule, field) in [
        (
            source_of(wire::Source {
                ip_blocks: list(&["10.0.0.300"]),
                ..Default::default()
            }),
            "rules[0].from[1].ip_blocks[0]",
        ),
        (
            source_of(wire::Source {
                not_namespaces: list(&["a", ""]),
                ..Default::default()
            }),
            "rules[0].from[1].not_namespaces[1]",
        ),
        (
            source_of(wire::Source {
                service_accounts: list(&["web"]),
                ..Default::default()
            }),
            "rules[0].from[1].service_accounts[0]",
        ),
        (source_of(wire::Source::default()), "rules[0].from[1]"),
        (
            to(wire::Operation {
                ports: vec![65_536],
                ..Default::default()
            }),
            "rules[0].to[0].ports[0]",
        ),
        (
            to(wire::Operation {
                paths: list(&["/{**}/{*}"]),
                ..Default::default()
            }),
            "rules[0].to[0].paths[0]",
        ),
        (
            to(wire::Operation {
                paths: list(&["/a{*}"]),
                ..Default::default()
            }),
            "rules[0].to[0].paths[0]",
        ),
        (
            to(wire::Operation {
                hosts: list(&["*a*"]),
                ..Default::default()
            }),
            "rules[0].to[0].hosts[0]",
        ),
        (
            when("destination.port", &["http"], &[]),
            "rules[0].when[0].values[0]",
        ),
        (
            when("request.headers[]", &["x"], &[]),
            "rules[0].when[0].key",
        ),
        (
            when("request.regex.headers[a]", &["x"], &[]),
            "rules[0].when[0].key",
        ),
        (when("source.ip", &[], &[]), "rules[0].when[0].values"),
    ] {
        let rejected = Policy::try_from(message(Action::Allow, vec![rule])).unwrap_err();
        assert_eq!(rejected.field, field, "{rejected}");
    }
}

#[test]
fn rejects_a_policy_without_targets() {
    let mut untargeted = message(Action::Allow, vec![]);
    untargeted.targets.clear();
    assert_eq!(Policy::try_from(untargeted).unwrap_err().field, "targets");
}
