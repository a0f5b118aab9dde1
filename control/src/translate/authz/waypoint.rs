//! AuthorizationPolicy as a waypoint enforces it: as it is written.
//!
//! The waypoint matches; control only resolves what it is attached to. Values stay as their
//! author wrote them, except that a service account gets its namespace and a port is a number.

use std::collections::BTreeMap;
use std::sync::Arc;

use proto::cairn::waypoint::{self as message, Policy, PolicyRule, Target, policy};

use super::is_dry_run;
use crate::kinds::authorization::{
    Action, AuthorizationPolicySpec, Condition, Operation, Rule, Source,
};
use crate::object::Object;
use crate::translate::origin;
use crate::translate::resources::WaypointName;
use crate::translate::target::{self, Resolved};

/// Returns a policy as each waypoint it is attached to gets it.
pub(crate) fn convert(
    object: &Object,
    spec: &AuthorizationPolicySpec,
    targets: &[Resolved],
) -> BTreeMap<WaypointName, Arc<Policy>> {
    let by_waypoint = target::by_waypoint(targets).into_iter();
    by_waypoint
        .map(|(name, targets)| (name, Arc::new(policy(object, spec, targets))))
        .collect()
}

/// Whether a policy looks at what only requests have.
pub(crate) fn needs_requests(spec: &AuthorizationPolicySpec) -> bool {
    let of_operation = |operation: &Operation| {
        let Operation {
            hosts,
            not_hosts,
            methods,
            not_methods,
            paths,
            not_paths,
            ..
        } = operation;
        [hosts, not_hosts, methods, not_methods, paths, not_paths]
            .iter()
            .any(|values| !values.is_empty())
    };
    let of_source = |source: &Source| {
        let Source {
            request_principals,
            not_request_principals,
            ..
        } = source;
        !request_principals.is_empty() || !not_request_principals.is_empty()
    };
    spec.rules.iter().flatten().any(|rule| {
        let mut to = rule.to.iter().flatten();
        let mut from = rule.from.iter().flatten();
        to.any(|to| to.operation.as_ref().is_some_and(of_operation))
            || from.any(|from| from.source.as_ref().is_some_and(of_source))
            || rule
                .when
                .iter()
                .any(|when| when.key.starts_with("request."))
    })
}

fn policy(object: &Object, spec: &AuthorizationPolicySpec, targets: Vec<Target>) -> Policy {
    let action = match spec.action {
        Action::Allow => policy::Action::Allow,
        Action::Deny => policy::Action::Deny,
        Action::Audit => policy::Action::Audit,
        Action::Custom => policy::Action::Custom,
    };
    let namespace = &object.key.namespace;
    Policy {
        origin: Some(origin(object)),
        targets,
        action: action.into(),
        rules: spec
            .rules
            .iter()
            .flatten()
            .map(|found| rule(found, namespace))
            .collect(),
        provider: spec
            .provider
            .as_ref()
            .map(|found| found.name.clone())
            .unwrap_or_default(),
        dry_run: is_dry_run(object),
    }
}

fn rule(rule: &Rule, namespace: &str) -> PolicyRule {
    let from = rule
        .from
        .iter()
        .flatten()
        .map(|from| from.source.clone().unwrap_or_default());
    let to = rule
        .to
        .iter()
        .flatten()
        .map(|to| to.operation.clone().unwrap_or_default());
    PolicyRule {
        from: from.map(|found| source(found, namespace)).collect(),
        to: to.map(operation).collect(),
        when: rule.when.iter().map(condition).collect(),
    }
}

fn source(source: Source, namespace: &str) -> message::Source {
    message::Source {
        principals: source.principals,
        not_principals: source.not_principals,
        request_principals: source.request_principals,
        not_request_principals: source.not_request_principals,
        namespaces: source.namespaces,
        not_namespaces: source.not_namespaces,
        ip_blocks: source.ip_blocks,
        not_ip_blocks: source.not_ip_blocks,
        remote_ip_blocks: source.remote_ip_blocks,
        not_remote_ip_blocks: source.not_remote_ip_blocks,
        service_accounts: accounts(source.service_accounts, namespace),
        not_service_accounts: accounts(source.not_service_accounts, namespace),
        trust_domains: source.trust_domains,
        not_trust_domains: source.not_trust_domains,
    }
}

fn accounts(names: Vec<String>, namespace: &str) -> Vec<String> {
    let full = |name: String| {
        if name.contains('/') {
            name
        } else {
            format!("{namespace}/{name}")
        }
    };
    names.into_iter().map(full).collect()
}

fn operation(operation: Operation) -> message::Operation {
    message::Operation {
        hosts: operation.hosts,
        not_hosts: operation.not_hosts,
        ports: ports(&operation.ports),
        not_ports: ports(&operation.not_ports),
        methods: operation.methods,
        not_methods: operation.not_methods,
        paths: operation.paths,
        not_paths: operation.not_paths,
    }
}

/// Reads ports; admission has refused what is none. Zero is a port that nothing has.
fn ports(values: &[String]) -> Vec<u32> {
    values
        .iter()
        .map(|value| value.parse::<u16>().map_or(0, u32::from))
        .collect()
}

fn condition(condition: &Condition) -> message::Condition {
    message::Condition {
        key: condition.key.clone(),
        values: condition.values.clone(),
        not_values: condition.not_values.clone(),
    }
}
