//! HTTPRoute: what its matches mean.

use std::collections::BTreeSet;

use proto::cairn::waypoint::{PathMatch, RouteMatch, ValueMatch, path_match, value_match};
use regex::Regex;
use serde::Deserialize;

use super::{Problem, RouteKind};

/// HTTPRoute.
#[derive(Debug)]
pub(super) struct Http;

/// `matches[]` of an HTTPRoute.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HttpMatch {
    path: Option<Path>,
    #[serde(default)]
    headers: Vec<NamedValue>,
    #[serde(default)]
    query_params: Vec<NamedValue>,
    method: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Path {
    r#type: Option<String>,
    value: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct NamedValue {
    r#type: Option<String>,
    name: String,
    #[serde(rename = "value")]
    wanted: String,
}

impl RouteKind for Http {
    type Match = HttpMatch;

    fn matches(given: &HttpMatch) -> Result<RouteMatch, (String, Problem)> {
        Ok(RouteMatch {
            path: Some(given.path.as_ref().map_or_else(|| Ok(any_path()), path)?),
            method: given.method.clone().unwrap_or_default(),
            headers: values("headers", &given.headers, str::to_ascii_lowercase)?,
            query_params: values("queryParams", &given.query_params, str::to_owned)?,
        })
    }
}

/// Returns the match of every request.
pub(super) fn everything() -> RouteMatch {
    RouteMatch {
        path: Some(any_path()),
        ..RouteMatch::default()
    }
}

fn any_path() -> PathMatch {
    PathMatch {
        kind: Some(path_match::Kind::Prefix("/".to_owned())),
    }
}

fn path(path: &Path) -> Result<PathMatch, (String, Problem)> {
    let value = path.value.clone().unwrap_or_else(|| "/".to_owned());
    let kind = match path.r#type.as_deref().unwrap_or("PathPrefix") {
        "Exact" => path_match::Kind::Exact(value),
        "PathPrefix" => path_match::Kind::Prefix(value),
        "RegularExpression" => {
            path_match::Kind::Regex(expression(value).map_err(|e| ("path.value".to_owned(), e))?)
        }
        other => return Err(("path.type".to_owned(), Problem::Word(other.to_owned()))),
    };
    Ok(PathMatch { kind: Some(kind) })
}

/// Converts named values. Of two with one name the first counts (Gateway API); `same` says when
/// names are one.
fn values(
    field: &str,
    given: &[NamedValue],
    same: fn(&str) -> String,
) -> Result<Vec<ValueMatch>, (String, Problem)> {
    let mut seen = BTreeSet::new();
    let mut values = Vec::new();
    for (index, found) in given.iter().enumerate() {
        if !seen.insert(same(&found.name)) {
            continue;
        }
        let at = |part: &str| format!("{field}[{index}].{part}");
        let value = found.wanted.clone();
        let kind = match found.r#type.as_deref().unwrap_or("Exact") {
            "Exact" => value_match::Kind::Exact(value),
            "RegularExpression" => {
                value_match::Kind::Regex(expression(value).map_err(|e| (at("value"), e))?)
            }
            other => return Err((at("type"), Problem::Word(other.to_owned()))),
        };
        values.push(ValueMatch {
            name: same(&found.name),
            kind: Some(kind),
        });
    }
    Ok(values)
}

/// Checks an expression in the dialect that waypoints speak.
fn expression(text: String) -> Result<String, Problem> {
    match Regex::new(&text) {
        Ok(_) => Ok(text),
        Err(_) => Err(Problem::Expression(text)),
    }
}
