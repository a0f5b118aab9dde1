//! Filters of rules and backends.

use std::collections::BTreeSet;

use mesh::convert::route::is_fixed;
use proto::cairn::waypoint::{
    self as message, PathModifier, Redirect, RouteFilter, path_modifier, route_filter,
};

use super::spec::{self, ExtensionRef, Filter};
use super::{Problem, Reader};
use crate::object::{Key, Kind};
use crate::translate::plugin;

const HOST: &str = "host";

/// Where a filter stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// On a rule.
    Rule,
    /// On a backend.
    Backend,
}

impl Reader<'_, '_> {
    /// Converts filters in the order they are given, which is the order they are performed in.
    pub(super) fn filters(
        &mut self,
        field: &str,
        filters: &[Filter],
        place: Place,
    ) -> Vec<RouteFilter> {
        let mut converted = Vec::new();
        for (index, filter) in filters.iter().enumerate() {
            let result = match (&filter.extension_ref, place) {
                (Some(named), Place::Rule) => self.extension(named),
                _ => convert(filter, place),
            };
            match result {
                Ok(kind) => {
                    converted.extend(host_set_by(filter).into_iter().map(in_list));
                    converted.push(in_list(kind));
                }
                Err(problem) => self.note(format!("{field}[{index}]"), problem),
            }
            if let Some(mirror) = &filter.request_mirror {
                let field = format!("{field}[{index}].requestMirror.backendRef");
                if let Err(problem) = self.service(&mirror.backend_ref) {
                    self.note(field, problem);
                }
            }
        }
        converted
    }

    /// Resolves a filter that names a plugin, in the namespace of the route and in no other.
    fn extension(&self, named: &ExtensionRef) -> Result<route_filter::Kind, Problem> {
        let kind = Kind::read(&format!("{}/", named.group), &named.kind);
        if !plugin::KINDS.contains(&kind) {
            return Err(Problem::ExtensionKind(
                named.group.clone(),
                named.kind.clone(),
            ));
        }
        let key = Key::new(kind, &self.object.key.namespace, &named.name);
        let what = format!("{} {}", named.kind, named.name);
        let object = self.view.object(&key);
        let Some(spec) = object.and_then(|object| plugin::Spec::of(object)) else {
            return Err(Problem::ExtensionNotFound(what));
        };
        match spec.module() {
            None => Err(Problem::ExtensionLua(what)),
            Some(module) if module.is_network() => Err(Problem::ExtensionNetwork(what)),
            Some(_) => Ok(route_filter::Kind::Plugin(plugin::resource_name(&key))),
        }
    }
}

fn in_list(kind: route_filter::Kind) -> RouteFilter {
    RouteFilter { kind: Some(kind) }
}

/// The host that a `RequestHeaderModifier` sets. It is what is asked for and no header like others.
fn host_set_by(filter: &Filter) -> Option<route_filter::Kind> {
    let given = filter.request_header_modifier.as_ref()?;
    let host = given
        .set
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case(HOST))?;
    Some(route_filter::Kind::UrlRewrite(message::UrlRewrite {
        hostname: host.value.clone(),
        path: None,
    }))
}

fn convert(filter: &Filter, place: Place) -> Result<route_filter::Kind, Problem> {
    let missing = || Problem::FilterUnknown(filter.r#type.clone());
    Ok(match (filter.r#type.as_str(), place) {
        ("RequestHeaderModifier", _) => {
            let given = filter.request_header_modifier.as_ref();
            let mut given = given.ok_or_else(missing)?.clone();
            given
                .set
                .retain(|header| !header.name.eq_ignore_ascii_case(HOST));
            route_filter::Kind::RequestHeaders(headers(&given)?)
        }
        ("ResponseHeaderModifier", _) => {
            let given = filter.response_header_modifier.as_ref();
            route_filter::Kind::ResponseHeaders(headers(given.ok_or_else(missing)?)?)
        }
        ("URLRewrite", Place::Rule) => {
            let rewrite = filter.url_rewrite.as_ref().ok_or_else(missing)?;
            route_filter::Kind::UrlRewrite(message::UrlRewrite {
                hostname: rewrite.hostname.clone().unwrap_or_default(),
                path: rewrite.path.as_ref().map(path).transpose()?,
            })
        }
        ("RequestRedirect", Place::Rule) => route_filter::Kind::Redirect(redirect(
            filter.request_redirect.as_ref().ok_or_else(missing)?,
        )?),
        ("RequestMirror" | "CORS" | "ExternalAuth", _) | ("ExtensionRef", Place::Backend) => {
            return Err(Problem::FilterUnsupported(filter.r#type.clone()));
        }
        _ => return Err(missing()),
    })
}

fn redirect(redirect: &spec::RequestRedirect) -> Result<Redirect, Problem> {
    Ok(Redirect {
        scheme: redirect.scheme.clone().unwrap_or_default(),
        hostname: redirect.hostname.clone().unwrap_or_default(),
        port: u32::from(redirect.port.unwrap_or_default()),
        path: redirect.path.as_ref().map(path).transpose()?,
        status_code: u32::from(redirect.status_code.unwrap_or(302)),
    })
}

fn path(path: &spec::PathModifier) -> Result<PathModifier, Problem> {
    let kind = match path.r#type.as_str() {
        "ReplaceFullPath" => {
            path_modifier::Kind::ReplaceFull(path.replace_full_path.clone().unwrap_or_default())
        }
        "ReplacePrefixMatch" => path_modifier::Kind::ReplacePrefix(
            path.replace_prefix_match.clone().unwrap_or_default(),
        ),
        other => return Err(Problem::Word(other.to_owned())),
    };
    Ok(PathModifier { kind: Some(kind) })
}

/// Of two entries whose names differ in case only the first counts (Gateway API).
fn headers(given: &spec::HeaderModifier) -> Result<message::HeaderModifier, Problem> {
    let written = given
        .set
        .iter()
        .chain(&given.add)
        .map(|header| &header.name);
    let mut names = written.chain(&given.remove);
    if let Some(fixed) = names.find(|name| is_fixed(&name.to_ascii_lowercase())) {
        return Err(Problem::HeaderFixed(fixed.clone()));
    }
    let distinct = |headers: &[spec::Header]| {
        let mut seen = BTreeSet::new();
        headers
            .iter()
            .filter(|header| seen.insert(header.name.to_ascii_lowercase()))
            .map(|header| message::Header {
                name: header.name.clone(),
                value: header.value.clone(),
            })
            .collect()
    };
    Ok(message::HeaderModifier {
        set: distinct(&given.set),
        add: distinct(&given.add),
        remove: given.remove.clone(),
    })
}
