//! Routes.

use std::sync::Arc;
use std::time::Duration;

use proto::cairn::waypoint as wire;
use regex::bytes::{Regex, RegexBuilder};

use super::authz::each;
use super::origin::{origin, service};
use super::{Rejected, port};
use crate::Str;
use crate::route::{
    Backend, Filter, HeaderEdits, Match, Parent, PathMatch, PathModifier, Redirect, Retry, Route,
    Rule, Text, Timeouts, UrlRewrite, ValueMatch,
};

impl TryFrom<wire::Route> for Route {
    type Error = Rejected;

    fn try_from(message: wire::Route) -> Result<Self, Rejected> {
        let rules = message.rules.iter().enumerate().map(|(index, message)| {
            rule(index, message)
                .map(Arc::new)
                .map_err(|rejected| rejected.within(format!("rules[{index}]")))
        });
        Ok(Self {
            origin: origin(message.origin.as_ref())?,
            parents: parents(&message.parents)?,
            client_namespace: filled(&message.client_namespace),
            rules: rules.collect::<Result<_, _>>()?,
        })
    }
}

/// The route to hold while there is no valid one of this name: its requests fail, because
/// without it they would go past what the user asked for. `None` when its parents cannot be read.
pub fn broken(message: &wire::Route, why: &Rejected) -> Option<Route> {
    let rule = Rule {
        name: "".into(),
        index: 0,
        matches: vec![Match::default()],
        filters: vec![],
        backends: vec![],
        timeouts: Timeouts::default(),
        retry: None,
        invalid: Some(why.to_string().into()),
    };
    Some(Route {
        origin: origin(message.origin.as_ref()).ok()?,
        parents: parents(&message.parents).ok()?,
        client_namespace: filled(&message.client_namespace),
        rules: vec![Arc::new(rule)],
    })
}

fn parents(list: &[wire::RouteParent]) -> Result<Vec<Parent>, Rejected> {
    each("parents", list, |parent| {
        Ok(Parent {
            service: service(parent.service.as_ref())?,
            port: Some(port("port", parent.port)?).filter(|port| *port != 0),
        })
    })
}

fn rule(index: usize, message: &wire::RouteRule) -> Result<Rule, Rejected> {
    let mut matches = each("matches", &message.matches, found)?;
    if matches.is_empty() {
        matches.push(Match::default());
    }
    Ok(Rule {
        name: message.name.as_str().into(),
        index,
        matches,
        filters: each("filters", &message.filters, filter)?,
        backends: each("backends", &message.backends, |message| {
            backend(message).map(Arc::new)
        })?,
        timeouts: message
            .timeouts
            .as_ref()
            .map(timeouts)
            .transpose()
            .map_err(|rejected| rejected.within("timeouts"))?
            .unwrap_or_default(),
        retry: message
            .retry
            .as_ref()
            .map(retry)
            .transpose()
            .map_err(|rejected| rejected.within("retry"))?,
        invalid: filled(&message.invalid),
    })
}

fn found(message: &wire::RouteMatch) -> Result<Match, Rejected> {
    use wire::path_match::Kind;
    let path = match message.path.as_ref().map(|path| &path.kind) {
        None => Match::default().path,
        Some(Some(Kind::Exact(text))) => PathMatch::Exact(absolute("path.exact", text)?),
        Some(Some(Kind::Prefix(text))) => PathMatch::Prefix(absolute("path.prefix", text)?),
        Some(Some(Kind::Regex(text))) => PathMatch::Regex(regex("path.regex", text)?),
        Some(None) => return Err(Rejected::new("path", "its kind is not one we know")),
    };
    let headers = each("headers", &message.headers, |message| {
        value(message, header_name)
    })?;
    let name = |name: &str| Ok(name.into());
    let query = each("query_params", &message.query_params, |message| {
        value(message, name)
    })?;
    Ok(Match {
        path,
        method: filled(&message.method),
        headers: first_of_each(headers),
        query: first_of_each(query),
    })
}

fn value(
    message: &wire::ValueMatch,
    name: impl Fn(&str) -> Result<Str, Rejected>,
) -> Result<ValueMatch, Rejected> {
    use wire::value_match::Kind;
    let value = match &message.kind {
        None => return Err(Rejected::new("kind", "it is missing or not one we know")),
        Some(Kind::Exact(text)) => Text::Exact(text.as_str().into()),
        Some(Kind::Regex(text)) => Text::Regex(regex("regex", text)?),
    };
    Ok(ValueMatch {
        name: name(&message.name)?,
        value,
    })
}

/// Of equivalent names only the first counts (Gateway API, `HTTPHeaderMatch.name`).
fn first_of_each(list: Vec<ValueMatch>) -> Vec<ValueMatch> {
    let mut kept: Vec<ValueMatch> = vec![];
    for value in list {
        if kept.iter().all(|earlier| earlier.name != value.name) {
            kept.push(value);
        }
    }
    kept
}

/// Longest regular expression, in bytes, and the size it may compile to.
const REGEX_LIMITS: (usize, usize) = (1024, 1 << 20);

fn regex(field: &str, text: &str) -> Result<Regex, Rejected> {
    if text.len() > REGEX_LIMITS.0 {
        return Err(Rejected::new(
            field,
            "the expression is longer than 1024 bytes",
        ));
    }
    // Compiled on its own first: `a)(b` must not become valid by the brackets put around it.
    let build = |text: &str| RegexBuilder::new(text).size_limit(REGEX_LIMITS.1).build();
    build(text)
        .and_then(|_| build(&format!("^(?:{text})$")))
        .map_err(|error| Rejected::new(field, error))
}

fn absolute(field: &str, path: &str) -> Result<Str, Rejected> {
    if path.starts_with('/') {
        return Ok(path.into());
    }
    Err(Rejected::new(
        field,
        format!("`{path}` does not begin with `/`"),
    ))
}

fn filter(message: &wire::RouteFilter) -> Result<Filter, Rejected> {
    use wire::route_filter::Kind;
    match &message.kind {
        None => Err(Rejected::new("kind", "it is missing or not one we know")),
        Some(Kind::RequestHeaders(edits)) => header_edits(edits)
            .map(Filter::RequestHeaders)
            .map_err(within("request_headers")),
        Some(Kind::ResponseHeaders(edits)) => header_edits(edits)
            .map(Filter::ResponseHeaders)
            .map_err(within("response_headers")),
        Some(Kind::UrlRewrite(rewrite)) => {
            let path = rewrite.path.as_ref().map(path_modifier).transpose();
            let path = path.map_err(within("url_rewrite"))?;
            Ok(Filter::UrlRewrite(UrlRewrite {
                hostname: filled(&rewrite.hostname),
                path,
            }))
        }
        Some(Kind::Redirect(message)) => redirect(message)
            .map(Filter::Redirect)
            .map_err(within("redirect")),
        Some(Kind::Plugin(name)) if name.is_empty() => Err(Rejected::new("plugin", "it is empty")),
        Some(Kind::Plugin(name)) => Ok(Filter::Plugin(name.as_str().into())),
    }
}

fn within(outer: &'static str) -> impl Fn(Rejected) -> Rejected {
    move |rejected| rejected.within(outer)
}

fn header_edits(message: &wire::HeaderModifier) -> Result<HeaderEdits, Rejected> {
    let pair = |header: &wire::Header| {
        let valid = header
            .value
            .bytes()
            .all(|byte| byte == b'\t' || !byte.is_ascii_control());
        if !valid {
            return Err(Rejected::new("value", "it holds a control character"));
        }
        Ok((editable(&header.name)?, Str::from(header.value.trim())))
    };
    Ok(HeaderEdits {
        set: each("set", &message.set, pair)?,
        add: each("add", &message.add, pair)?,
        remove: each("remove", &message.remove, |name| editable(name))?,
    })
}

/// Fields that frame or route a message; editing one would let a route smuggle requests.
const FIXED: [&str; 10] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// Whether a route may not edit the header `name`, in lower case.
pub fn is_fixed(name: &str) -> bool {
    FIXED.contains(&name)
}

fn editable(name: &str) -> Result<Str, Rejected> {
    let name = header_name(name)?;
    if is_fixed(&name) {
        return Err(Rejected::new("name", format!("`{name}` cannot be edited")));
    }
    Ok(name)
}

fn header_name(name: &str) -> Result<Str, Rejected> {
    if is_token(name) {
        return Ok(name.to_ascii_lowercase().into());
    }
    Err(Rejected::new("name", format!("`{name}` is no header name")))
}

/// Whether a text is a token of RFC 9110 §5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(token)
}

fn path_modifier(message: &wire::PathModifier) -> Result<PathModifier, Rejected> {
    use wire::path_modifier::Kind;
    let (text, modifier): (_, fn(Str) -> PathModifier) = match &message.kind {
        None => return Err(Rejected::new("path", "its kind is not one we know")),
        Some(Kind::ReplaceFull(text)) => (text, PathModifier::ReplaceFull),
        Some(Kind::ReplacePrefix(text)) => (text, PathModifier::ReplacePrefix),
    };
    let valid = text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'?'));
    if !valid {
        return Err(Rejected::new("path", format!("`{text}` is no path")));
    }
    Ok(modifier(text.as_str().into()))
}

fn redirect(message: &wire::Redirect) -> Result<Redirect, Rejected> {
    let status = match message.status_code {
        0 => 302,
        301 | 302 | 303 | 307 | 308 => u16::try_from(message.status_code).unwrap_or(302),
        other => {
            return Err(Rejected::new(
                "status_code",
                format!("{other} is no redirect"),
            ));
        }
    };
    if !matches!(message.scheme.as_str(), "" | "http" | "https") {
        let why = format!("`{}` is neither http nor https", message.scheme);
        return Err(Rejected::new("scheme", why));
    }
    Ok(Redirect {
        scheme: filled(&message.scheme),
        hostname: filled(&message.hostname),
        port: Some(port("port", message.port)?).filter(|port| *port != 0),
        path: message.path.as_ref().map(path_modifier).transpose()?,
        status,
    })
}

fn backend(message: &wire::RouteBackend) -> Result<Backend, Rejected> {
    let invalid = filled(&message.invalid);
    let service = service(message.service.as_ref());
    let target = port("port", message.port)?;
    if invalid.is_none() && target == 0 {
        return Err(Rejected::new("port", "it is missing"));
    }
    Ok(Backend {
        // A reference that cannot be honoured may name no service at all.
        service: if invalid.is_some() {
            service.ok()
        } else {
            Some(service?)
        },
        port: target,
        weight: message.weight,
        filters: each("filters", &message.filters, filter)?,
        invalid,
        reference: format!("{} {}", message.kind, message.name).into(),
    })
}

fn timeouts(message: &wire::RouteTimeouts) -> Result<Timeouts, Rejected> {
    Ok(Timeouts {
        request: message
            .request
            .as_ref()
            .map(|span| duration("request", span))
            .transpose()?
            .flatten(),
        backend_request: message
            .backend_request
            .as_ref()
            .map(|span| duration("backend_request", span))
            .transpose()?
            .flatten(),
    })
}

fn retry(message: &wire::RouteRetry) -> Result<Retry, Rejected> {
    let code = |code: &u32| match u16::try_from(*code) {
        Ok(status @ 400..=599) => Ok(status),
        _ => Err(Rejected::new("", format!("{code} is no error status"))),
    };
    Ok(Retry {
        codes: each("codes", &message.codes, code)?,
        attempts: message.attempts,
        backoff: message
            .backoff
            .as_ref()
            .map(|span| duration("backoff", span))
            .transpose()?
            .flatten(),
    })
}

/// Reads a time span; zero is none.
fn duration(field: &str, span: &prost_types::Duration) -> Result<Option<Duration>, Rejected> {
    let span = Duration::try_from(*span).map_err(|error| Rejected::new(field, error))?;
    Ok(Some(span).filter(|span| !span.is_zero()))
}

fn filled(text: &str) -> Option<Str> {
    (!text.is_empty()).then(|| text.into())
}
