//! AuthorizationPolicy as a ztunnel enforces it: by who connects from where to which port.
//!
//! Scenarios 20, 21 and 23. What only HTTP knows is dropped, by Istio's rules: an ALLOW loses the
//! whole rule, which makes it stricter than written; a DENY keeps the rule without the field, and
//! an entry that loses all of its fields never matches. [`Converted::dropped`] names what was
//! dropped, so that status can say so.
//!
//! Trust domains are treated like HTTP attributes here: a ztunnel cannot compare them alone.
//! (istiod drops them in silence, which makes an ALLOW wider than written.)

use std::collections::BTreeSet;
use std::net::IpAddr;

use proto::security::string_match::MatchType;
use proto::security::{
    Action, Address, Authorization, Clause, Match, Rule, Scope, ServiceAccountMatch, StringMatch,
};

use super::is_dry_run;
use crate::kinds::authorization::{
    self as given, AuthorizationPolicySpec, Condition, Operation, Source,
};
use crate::object::{Key, Object};
use crate::translate::view::View;
use crate::translate::waypoint::ip_bytes;

/// A policy for ztunnels.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Converted {
    /// The policy.
    pub(crate) authorization: Authorization,
    /// What could not be expressed, by its name in the policy; sorted.
    pub(crate) dropped: BTreeSet<String>,
    /// Whether nothing is left that could ever match although rules were given.
    pub(crate) never_matches: bool,
}

/// Converts a policy without targets; `None` if ztunnels are not told about it.
pub(crate) fn convert(
    view: &View<'_>,
    object: &Object,
    spec: &AuthorizationPolicySpec,
) -> Option<Converted> {
    if !super::is_for_ztunnel(view, object, spec) {
        return None;
    }
    let Key {
        namespace, name, ..
    } = &object.key;
    let is_allow = spec.action == given::Action::Allow;
    let mut dropped = BTreeSet::new();
    let mut rules = Vec::new();
    for rule in spec.rules.iter().flatten() {
        let mut reader = Reader {
            namespace,
            dropped: BTreeSet::new(),
        };
        let converted = reader.rule(rule);
        if !is_allow || reader.dropped.is_empty() {
            rules.push(converted);
        }
        dropped.append(&mut reader.dropped);
    }
    let never_matches = !dropped.is_empty() && !rules.iter().any(can_match);
    let authorization = Authorization {
        name: name.to_string(),
        namespace: namespace.to_string(),
        scope: scope(view, namespace, spec).into(),
        action: if is_allow {
            Action::Allow
        } else {
            Action::Deny
        }
        .into(),
        rules,
        dry_run: is_dry_run(object),
        extensions: Vec::new(),
    };
    Some(Converted {
        authorization,
        dropped,
        never_matches,
    })
}

fn scope(view: &View<'_>, namespace: &str, spec: &AuthorizationPolicySpec) -> Scope {
    match spec.selector {
        Some(_) => Scope::WorkloadSelector,
        None if namespace == view.settings.root_namespace => Scope::Global,
        None => Scope::Namespace,
    }
}

/// Whether a rule can match anything: every clause needs an entry with a field.
fn can_match(rule: &Rule) -> bool {
    rule.clauses.iter().all(|clause| {
        clause
            .matches
            .iter()
            .any(|found| *found != Match::default())
    })
}

/// Reads one rule and notes what cannot be expressed.
struct Reader<'a> {
    namespace: &'a str,
    dropped: BTreeSet<String>,
}

impl Reader<'_> {
    /// Istio's order of clauses: `to`, `from`, then each `when`.
    fn rule(&mut self, rule: &given::Rule) -> Rule {
        let mut clauses = Vec::new();
        if let Some(to) = rule.to.as_ref().filter(|to| !to.is_empty()) {
            let operations = to.iter().map(|to| to.operation.clone().unwrap_or_default());
            let matches = operations
                .map(|operation| self.operation(&operation))
                .collect();
            clauses.push(Clause { matches });
        }
        if let Some(from) = rule.from.as_ref().filter(|from| !from.is_empty()) {
            let sources = from
                .iter()
                .map(|from| from.source.clone().unwrap_or_default());
            let matches = sources.map(|source| self.source(&source)).collect();
            clauses.push(Clause { matches });
        }
        for condition in &rule.when {
            clauses.push(Clause {
                matches: vec![self.condition(condition)],
            });
        }
        Rule { clauses }
    }

    fn source(&mut self, source: &Source) -> Match {
        self.drop("requestPrincipals", &source.request_principals);
        self.drop("notRequestPrincipals", &source.not_request_principals);
        self.drop("remoteIpBlocks", &source.remote_ip_blocks);
        self.drop("notRemoteIpBlocks", &source.not_remote_ip_blocks);
        self.drop("trustDomains", &source.trust_domains);
        self.drop("notTrustDomains", &source.not_trust_domains);
        Match {
            principals: strings(&source.principals),
            not_principals: strings(&source.not_principals),
            namespaces: strings(&source.namespaces),
            not_namespaces: strings(&source.not_namespaces),
            service_accounts: self.service_accounts(&source.service_accounts),
            not_service_accounts: self.service_accounts(&source.not_service_accounts),
            source_ips: self.blocks("ipBlocks", &source.ip_blocks),
            not_source_ips: self.blocks("notIpBlocks", &source.not_ip_blocks),
            ..Match::default()
        }
    }

    fn operation(&mut self, operation: &Operation) -> Match {
        self.drop("hosts", &operation.hosts);
        self.drop("notHosts", &operation.not_hosts);
        self.drop("methods", &operation.methods);
        self.drop("notMethods", &operation.not_methods);
        self.drop("paths", &operation.paths);
        self.drop("notPaths", &operation.not_paths);
        Match {
            destination_ports: self.ports("ports", &operation.ports),
            not_destination_ports: self.ports("notPorts", &operation.not_ports),
            ..Match::default()
        }
    }

    fn condition(&mut self, condition: &Condition) -> Match {
        let Condition {
            key,
            values,
            not_values,
        } = condition;
        let mut found = Match::default();
        match key.as_str() {
            "source.ip" => {
                found.source_ips = self.blocks(key, values);
                found.not_source_ips = self.blocks(key, not_values);
            }
            "source.namespace" => {
                found.namespaces = strings(values);
                found.not_namespaces = strings(not_values);
            }
            "source.principal" => {
                found.principals = strings(values);
                found.not_principals = strings(not_values);
            }
            "destination.ip" => {
                found.destination_ips = self.blocks(key, values);
                found.not_destination_ips = self.blocks(key, not_values);
            }
            "destination.port" => {
                found.destination_ports = self.ports(key, values);
                found.not_destination_ports = self.ports(key, not_values);
            }
            _ => {
                self.dropped.insert(key.clone());
            }
        }
        found
    }

    fn drop(&mut self, name: &str, values: &[String]) {
        if !values.is_empty() {
            self.dropped.insert(name.to_owned());
        }
    }

    /// Reads values; one that cannot be read is dropped by name, like a field.
    fn read<T>(
        &mut self,
        name: &str,
        values: &[String],
        read: impl Fn(&str) -> Option<T>,
    ) -> Vec<T> {
        let read = |value: &String| {
            let read = read(value);
            if read.is_none() {
                self.dropped.insert(format!("{name} {value:?}"));
            }
            read
        };
        values.iter().filter_map(read).collect()
    }

    fn ports(&mut self, name: &str, values: &[String]) -> Vec<u32> {
        self.read(name, values, |value| {
            value.parse::<u16>().ok().map(u32::from)
        })
    }

    fn blocks(&mut self, name: &str, values: &[String]) -> Vec<Address> {
        self.read(name, values, block)
    }

    fn service_accounts(&self, values: &[String]) -> Vec<ServiceAccountMatch> {
        let read = |value: &String| {
            let (namespace, name) = value.split_once('/').unwrap_or((self.namespace, value));
            ServiceAccountMatch {
                namespace: namespace.to_owned(),
                service_account: name.to_owned(),
            }
        };
        values.iter().map(read).collect()
    }
}

/// Reads `10.0.0.0/8` or a single address. Host bits stay as they are written.
fn block(text: &str) -> Option<Address> {
    let (ip, length) = match text.split_once('/') {
        Some((ip, length)) => (ip, Some(length.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let longest = if ip.parse::<IpAddr>().ok()?.is_ipv4() {
        32
    } else {
        128
    };
    let length = length.unwrap_or(longest);
    let address = ip_bytes(ip)?;
    (length <= longest).then(|| Address {
        address,
        length: u32::from(length),
    })
}

fn strings(values: &[String]) -> Vec<StringMatch> {
    values
        .iter()
        .map(|value| StringMatch {
            match_type: Some(string(value)),
        })
        .collect()
}

/// Reads `abc`, `abc*`, `*abc` and `*`. A second star is taken literally.
pub(crate) fn string(value: &str) -> MatchType {
    if value == "*" {
        MatchType::Presence(())
    } else if let Some(suffix) = value.strip_prefix('*') {
        MatchType::Suffix(suffix.to_owned())
    } else if let Some(prefix) = value.strip_suffix('*') {
        MatchType::Prefix(prefix.to_owned())
    } else {
        MatchType::Exact(value.to_owned())
    }
}

/// Returns the match of peers without identity.
pub(crate) fn no_identity() -> Match {
    let anyone = StringMatch {
        match_type: Some(MatchType::Presence(())),
    };
    Match {
        not_principals: vec![anyone],
        ..Match::default()
    }
}

/// Returns a clause of one match.
pub(crate) fn clause(found: Match) -> Clause {
    Clause {
        matches: vec![found],
    }
}
