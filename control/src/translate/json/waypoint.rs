//! Resources of waypoints as JSON.

use proto::cairn::waypoint::{Condition, Operation, Redirect, RouteRetry, RouteTimeouts, Source};
use proto::cairn::waypoint::{
    Header, HeaderModifier, Origin, PathModifier, Plugin, PluginLimits, Policy, PolicyRule, Route,
    RouteBackend, RouteFilter, RouteMatch, RouteParent, RouteRule, ServiceRef, Target, Upstream,
    Upstreams, UrlRewrite, ValueMatch, path_match, path_modifier, route_filter, target,
    value_match,
};
use serde_json::{Value, json};

use super::Fields;

/// Returns a route.
pub fn route(route: &Route) -> Value {
    Fields::default()
        .some("origin", route.origin.as_ref(), origin)
        .list("parents", &route.parents, parent)
        .text("clientNamespace", &route.client_namespace)
        .list("rules", &route.rules, rule)
        .done()
}

/// Returns a policy.
pub fn policy(policy: &Policy) -> Value {
    Fields::default()
        .some("origin", policy.origin.as_ref(), origin)
        .list("targets", &policy.targets, target)
        .word("action", policy.action, policy.action().as_str_name())
        .list("rules", &policy.rules, policy_rule)
        .text("provider", &policy.provider)
        .value("dryRun", policy.dry_run.into())
        .done()
}

/// Returns a plugin.
pub fn plugin(plugin: &Plugin) -> Value {
    let configuration = String::from_utf8_lossy(&plugin.configuration);
    let strategy = plugin.fail_strategy().as_str_name();
    let fields = Fields::default()
        .some("origin", plugin.origin.as_ref(), origin)
        .list("targets", &plugin.targets, target)
        .text("url", &plugin.url)
        .text("sha256", &plugin.sha256)
        .word("phase", plugin.phase, plugin.phase().as_str_name())
        .value("priority", plugin.priority.map_or(Value::Null, Value::from))
        .text("configuration", &configuration)
        .text("rootId", &plugin.root_id)
        .word("failStrategy", plugin.fail_strategy, strategy)
        .value(
            "env",
            if plugin.env.is_empty() {
                Value::Null
            } else {
                json!(plugin.env)
            },
        )
        .word("type", plugin.r#type, plugin.r#type().as_str_name())
        .list("ports", &plugin.ports, |port| json!(port))
        .word(
            "pullPolicy",
            plugin.pull_policy,
            plugin.pull_policy().as_str_name(),
        )
        .some("pullSecret", plugin.pull_secret.as_ref(), |_| {
            json!("hidden")
        })
        .text("unfetchable", &plugin.unfetchable)
        .list("hostEnv", &plugin.host_env, |name| json!(name))
        .some("limits", plugin.limits.as_ref(), limits)
        .value(
            "allowOnHeadersStopIteration",
            plugin.allow_on_headers_stop_iteration.into(),
        )
        .value("byRoutes", plugin.by_routes.into());
    // None is everywhere, an empty list is nowhere: both are said.
    match &plugin.allowed_upstreams {
        Some(allowed) => fields.always("allowedUpstreams", upstreams(allowed)),
        None => fields,
    }
    .done()
}

fn upstreams(upstreams: &Upstreams) -> Value {
    let one = |upstream: &Upstream| match upstream.port {
        0 => json!(upstream.host),
        port => json!(format!("{}:{port}", upstream.host)),
    };
    upstreams.list.iter().map(one).collect()
}

fn limits(limits: &PluginLimits) -> Value {
    Fields::default()
        .value("memoryBytes", limits.memory_bytes.into())
        .some("callback", limits.callback.as_ref(), duration)
        .value("bufferBytes", limits.buffer_bytes.into())
        .done()
}

/// Age is not shown: it says when, not what.
fn origin(origin: &Origin) -> Value {
    json!(format!(
        "{} {}/{}",
        origin.kind, origin.namespace, origin.name
    ))
}

fn service_ref(service: &ServiceRef) -> Value {
    json!(format!("{}/{}", service.namespace, service.hostname))
}

fn target(target: &Target) -> Value {
    match &target.kind {
        Some(target::Kind::Waypoint(_)) => json!("waypoint"),
        Some(target::Kind::Service(service)) => service_ref(service),
        None => Value::Null,
    }
}

fn parent(parent: &RouteParent) -> Value {
    Fields::default()
        .some("service", parent.service.as_ref(), service_ref)
        .value("port", parent.port.into())
        .done()
}

fn rule(rule: &RouteRule) -> Value {
    Fields::default()
        .text("name", &rule.name)
        .list("matches", &rule.matches, route_match)
        .list("filters", &rule.filters, filter)
        .list("backends", &rule.backends, backend)
        .some("timeouts", rule.timeouts.as_ref(), timeouts)
        .some("retry", rule.retry.as_ref(), retry)
        .text("invalid", &rule.invalid)
        .done()
}

fn route_match(found: &RouteMatch) -> Value {
    let path = found
        .path
        .as_ref()
        .and_then(|path| path.kind.as_ref())
        .map(|kind| match kind {
            path_match::Kind::Exact(text) => json!({"exact": text}),
            path_match::Kind::Prefix(text) => json!({"prefix": text}),
            path_match::Kind::Regex(text) => json!({"regex": text}),
        });
    Fields::default()
        .value("path", path.unwrap_or_default())
        .text("method", &found.method)
        .list("headers", &found.headers, value_match)
        .list("queryParams", &found.query_params, value_match)
        .done()
}

fn value_match(found: &ValueMatch) -> Value {
    match &found.kind {
        Some(value_match::Kind::Exact(text)) => json!({"name": found.name, "exact": text}),
        Some(value_match::Kind::Regex(text)) => json!({"name": found.name, "regex": text}),
        None => json!({"name": found.name}),
    }
}

fn filter(filter: &RouteFilter) -> Value {
    match &filter.kind {
        Some(route_filter::Kind::RequestHeaders(edits)) => {
            json!({"requestHeaders": headers(edits)})
        }
        Some(route_filter::Kind::ResponseHeaders(edits)) => {
            json!({"responseHeaders": headers(edits)})
        }
        Some(route_filter::Kind::UrlRewrite(found)) => json!({"urlRewrite": rewrite(found)}),
        Some(route_filter::Kind::Redirect(found)) => json!({"redirect": redirect(found)}),
        Some(route_filter::Kind::Plugin(name)) => json!({"plugin": name}),
        None => Value::Null,
    }
}

fn headers(edits: &HeaderModifier) -> Value {
    let header = |header: &Header| json!(format!("{}: {}", header.name, header.value));
    Fields::default()
        .list("set", &edits.set, header)
        .list("add", &edits.add, header)
        .list("remove", &edits.remove, |name| json!(name))
        .done()
}

fn rewrite(rewrite: &UrlRewrite) -> Value {
    Fields::default()
        .text("hostname", &rewrite.hostname)
        .some("path", rewrite.path.as_ref(), path)
        .done()
}

fn redirect(redirect: &Redirect) -> Value {
    Fields::default()
        .text("scheme", &redirect.scheme)
        .text("hostname", &redirect.hostname)
        .value("port", redirect.port.into())
        .some("path", redirect.path.as_ref(), path)
        .value("statusCode", redirect.status_code.into())
        .done()
}

fn path(path: &PathModifier) -> Value {
    match &path.kind {
        Some(path_modifier::Kind::ReplaceFull(text)) => json!({"replaceFull": text}),
        Some(path_modifier::Kind::ReplacePrefix(text)) => json!({"replacePrefix": text}),
        None => Value::Null,
    }
}

fn backend(backend: &RouteBackend) -> Value {
    Fields::default()
        .some("service", backend.service.as_ref(), service_ref)
        .value("port", backend.port.into())
        .always("weight", backend.weight.into())
        .list("filters", &backend.filters, filter)
        .text("invalid", &backend.invalid)
        .text("kind", &backend.kind)
        .text("name", &backend.name)
        .done()
}

fn duration(duration: &prost_types::Duration) -> Value {
    json!(duration.to_string())
}

fn timeouts(timeouts: &RouteTimeouts) -> Value {
    Fields::default()
        .some("request", timeouts.request.as_ref(), duration)
        .some(
            "backendRequest",
            timeouts.backend_request.as_ref(),
            duration,
        )
        .done()
}

fn retry(retry: &RouteRetry) -> Value {
    Fields::default()
        .list("codes", &retry.codes, |code| json!(code))
        .value("attempts", retry.attempts.into())
        .some("backoff", retry.backoff.as_ref(), duration)
        .done()
}

fn policy_rule(rule: &PolicyRule) -> Value {
    Fields::default()
        .list("from", &rule.from, source)
        .list("to", &rule.to, operation)
        .list("when", &rule.when, condition)
        .done()
}

fn texts(fields: Fields, lists: &[(&str, &Vec<String>)]) -> Fields {
    lists.iter().fold(fields, |fields, (name, list)| {
        fields.list(name, list, |text| json!(text))
    })
}

fn source(source: &Source) -> Value {
    let lists = [
        ("principals", &source.principals),
        ("notPrincipals", &source.not_principals),
        ("requestPrincipals", &source.request_principals),
        ("notRequestPrincipals", &source.not_request_principals),
        ("namespaces", &source.namespaces),
        ("notNamespaces", &source.not_namespaces),
        ("ipBlocks", &source.ip_blocks),
        ("notIpBlocks", &source.not_ip_blocks),
        ("remoteIpBlocks", &source.remote_ip_blocks),
        ("notRemoteIpBlocks", &source.not_remote_ip_blocks),
        ("serviceAccounts", &source.service_accounts),
        ("notServiceAccounts", &source.not_service_accounts),
        ("trustDomains", &source.trust_domains),
        ("notTrustDomains", &source.not_trust_domains),
    ];
    texts(Fields::default(), &lists).done()
}

fn operation(operation: &Operation) -> Value {
    let lists = [
        ("hosts", &operation.hosts),
        ("notHosts", &operation.not_hosts),
        ("methods", &operation.methods),
        ("notMethods", &operation.not_methods),
        ("paths", &operation.paths),
        ("notPaths", &operation.not_paths),
    ];
    texts(Fields::default(), &lists)
        .list("ports", &operation.ports, |port| json!(port))
        .list("notPorts", &operation.not_ports, |port| json!(port))
        .done()
}

fn condition(condition: &Condition) -> Value {
    let lists = [
        ("values", &condition.values),
        ("notValues", &condition.not_values),
    ];
    texts(Fields::default().text("key", &condition.key), &lists).done()
}
