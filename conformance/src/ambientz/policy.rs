//! `istio.security`. What the messages call rules, clauses and matches is shown as groups, rules
//! and matches.

use proto::security::{
    Action, Address, Authorization, Clause, Extension, Match, Rule, Scope, ServiceAccountMatch,
    StringMatch, string_match::MatchType,
};
use serde_json::{Map, Value};

use super::{Object, base64, ip, list, named};

/// An L4 policy; unlike elsewhere, scope and action are always shown.
pub fn policy(policy: &Authorization) -> Value {
    let Authorization {
        name,
        namespace,
        scope,
        action,
        rules,
        dry_run,
        extensions,
    } = policy;
    Object::default()
        .field("name", name.as_str())
        .field("namespace", namespace.as_str())
        .optional("scope", Some(named(*scope, Scope::as_str_name)))
        .optional("action", Some(named(*action, Action::as_str_name)))
        .field("groups", list(rules, group))
        .field("dryRun", *dry_run)
        .field("extensions", list(extensions, extension))
        .done()
}

fn group(Rule { clauses }: &Rule) -> Value {
    Object::default()
        .field("rules", list(clauses, clause))
        .done()
}

fn clause(Clause { matches }: &Clause) -> Value {
    Object::default()
        .field("matches", list(matches, condition))
        .done()
}

fn condition(condition: &Match) -> Value {
    let Match {
        namespaces,
        not_namespaces,
        principals,
        not_principals,
        source_ips,
        not_source_ips,
        destination_ips,
        not_destination_ips,
        destination_ports,
        not_destination_ports,
        service_accounts,
        not_service_accounts,
        extensions,
    } = condition;
    Object::default()
        .field("namespaces", list(namespaces, text))
        .field("notNamespaces", list(not_namespaces, text))
        .field("principals", list(principals, text))
        .field("notPrincipals", list(not_principals, text))
        .field("sourceIps", list(source_ips, block))
        .field("notSourceIps", list(not_source_ips, block))
        .field("destinationIps", list(destination_ips, block))
        .field("notDestinationIps", list(not_destination_ips, block))
        .field("destinationPorts", destination_ports.clone())
        .field("notDestinationPorts", not_destination_ports.clone())
        .field("serviceAccounts", list(service_accounts, account))
        .field("notServiceAccounts", list(not_service_accounts, account))
        .field("extensions", list(extensions, extension))
        .done()
}

fn text(StringMatch { match_type }: &StringMatch) -> Value {
    let (key, value) = match match_type {
        Some(MatchType::Exact(text)) => ("exact", Value::from(text.as_str())),
        Some(MatchType::Prefix(text)) => ("prefix", Value::from(text.as_str())),
        Some(MatchType::Suffix(text)) => ("suffix", Value::from(text.as_str())),
        Some(MatchType::Presence(())) => ("presence", Value::Object(Map::new())),
        None => return Value::Object(Map::new()),
    };
    Object::default().optional(key, Some(value)).done()
}

fn block(Address { address, length }: &Address) -> Value {
    Object::default()
        .field("address", ip(address))
        .field("length", *length)
        .done()
}

fn account(
    ServiceAccountMatch {
        namespace,
        service_account,
    }: &ServiceAccountMatch,
) -> Value {
    Object::default()
        .field("namespace", namespace.as_str())
        .field("serviceAccount", service_account.as_str())
        .done()
}

fn extension(Extension { name, config }: &Extension) -> Value {
    let config = config.as_ref().map(|any| {
        Object::default()
            .field("@type", any.type_url.as_str())
            .field("value", base64(&any.value))
            .done()
    });
    Object::default()
        .field("name", name.as_str())
        .optional("config", config)
        .done()
}
