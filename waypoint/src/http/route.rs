//! Which rule? Asks `mesh::route` and applies the rule's filters.

use std::sync::Arc;

use http::header::{HeaderName, HeaderValue, LOCATION, SET_COOKIE};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, Response, StatusCode};
use mesh::route::{
    Choice, Filter, HeaderEdits, PathMatch, PathModifier, RequestTarget, Retry, Selection,
    Timeouts, UrlRewrite,
};
use mesh::store::ServiceEntry;

use super::body::Body;
use super::context::{Destination, RequestCtx};
use super::error::{Error, Kind};
use super::head::{Head, View};
use crate::state::{Loaded, Snapshot};

#[cfg(test)]
mod tests;

/// What routing says of a request.
pub(crate) enum Flow {
    /// It goes there.
    To(Routed),
    /// It is answered here.
    Reply(Response<Body>),
}

/// Where a request goes and how.
#[derive(Debug)]
pub(crate) struct Routed {
    /// Whose endpoints.
    pub(crate) to: To,
    /// Time limits.
    pub(crate) timeouts: Timeouts,
    /// What the user said about trying again.
    pub(crate) retry: Option<Retry>,
    /// Plugins of the rule and of the backend, in order.
    pub(crate) plugins: Vec<Arc<Loaded>>,
    response_filters: Vec<HeaderEdits>,
}

/// Whose endpoints a request goes to.
#[derive(Clone, Debug)]
pub(crate) enum To {
    /// One of a service's.
    Service(ServiceEntry, u16),
    /// This workload.
    Workload(mesh::workload::SharedWorkload, u16),
}

impl Routed {
    /// A request that no route is about.
    fn unrouted(to: To) -> Self {
        Self {
            to,
            timeouts: Timeouts::default(),
            retry: None,
            plugins: vec![],
            response_filters: vec![],
        }
    }

    /// Applies what the rule says about the answer.
    pub(crate) fn edit_response(&self, response: &mut Response<Body>) {
        for edits in &self.response_filters {
            edit(response.headers_mut(), edits);
        }
    }
}

/// Finds the rule, applies its filters to the request, and chooses a backend.
///
/// # Errors
/// `NoRoute` or `InvalidBackend`.
pub(crate) fn select(cx: &mut RequestCtx, head: &mut Head) -> Result<Flow, Error> {
    let tunnel = cx.tunnel.clone();
    let (service, port) = match &tunnel.destination {
        Destination::Workload(workload, port) => {
            return Ok(Flow::To(Routed::unrouted(To::Workload(
                Arc::clone(workload),
                *port,
            ))));
        }
        Destination::Service(service, port) => (service, *port),
    };
    let rules = Arc::clone(&cx.rules);
    let headers = View(&head.headers);
    // By the certificate: whose routes apply must not be for the client to say.
    let selection = rules
        .routes
        .select(tunnel.peer.id.namespace(), &head.view(&headers));
    let selected = match selection {
        Selection::NoMatch => return Err(Kind::NoRoute.into()),
        Selection::Unrouted => {
            let entry = cx.snapshot.store().service(&service.key).cloned();
            let entry = entry.ok_or(Kind::NoRoute)?;
            return Ok(Flow::To(Routed::unrouted(To::Service(entry, port))));
        }
        Selection::Rule(selected) => selected,
    };
    let name = selected.to_string();
    cx.plugins.routed(&name);
    cx.report.route(name);
    let rule = selected.rule;
    if let Some(why) = &rule.invalid {
        return Err(Error::caused(Kind::InvalidBackend, why.to_string()));
    }
    let scope = Scope {
        path: &selected.found.path,
        port,
        snapshot: &cx.snapshot,
    };
    let mut later = Later::default();
    if let Some(reply) = scope.apply(&rule.filters, head, &mut later)? {
        cx.report.details("direct_response");
        return Ok(Flow::Reply(reply));
    }
    let backend = match rule.choose(tunnel.worker.draw.unit()) {
        Choice::Backend(backend) => backend,
        Choice::Invalid(_, why) => {
            return Err(Error::caused(Kind::InvalidBackend, why.to_owned()));
        }
        Choice::None => return Err(Kind::InvalidBackend.into()),
    };
    if let Some(reply) = scope.apply(&backend.filters, head, &mut later)? {
        cx.report.details("direct_response");
        return Ok(Flow::Reply(reply));
    }
    let entry = backend
        .service
        .as_ref()
        .and_then(|key| cx.snapshot.store().service(key));
    let entry = entry.ok_or_else(|| {
        Error::caused(
            Kind::InvalidBackend,
            format!("{} is not known", backend.reference),
        )
    })?;
    cx.report.service(&entry.service);
    Ok(Flow::To(Routed {
        to: To::Service(entry.clone(), backend.port),
        timeouts: rule.timeouts,
        retry: rule.retry.clone(),
        plugins: later.plugins,
        response_filters: later.response,
    }))
}

/// What a filter needs to know beside the request.
struct Scope<'a> {
    /// What the rule matched the path by.
    path: &'a PathMatch,
    /// Port of the service that was asked for.
    port: u16,
    snapshot: &'a Snapshot,
}

/// What filters leave to be done.
#[derive(Default)]
struct Later {
    response: Vec<HeaderEdits>,
    plugins: Vec<Arc<Loaded>>,
}

impl Scope<'_> {
    /// Applies filters in order; a redirect answers.
    fn apply(
        &self,
        filters: &[Filter],
        head: &mut Head,
        later: &mut Later,
    ) -> Result<Option<Response<Body>>, Error> {
        for filter in filters {
            match filter {
                Filter::RequestHeaders(edits) => edit(&mut head.headers, edits),
                Filter::ResponseHeaders(edits) => later.response.push(edits.clone()),
                Filter::UrlRewrite(rewrite) => self.rewrite(rewrite, head)?,
                Filter::Plugin(name) => later.plugins.push(self.plugin(name)?),
                Filter::Redirect(redirect) => {
                    let target = RequestTarget {
                        // The client spoke plain HTTP inside its tunnel.
                        scheme: "http",
                        host: head.host(),
                        path: head.target.path(),
                        query: head.target.query(),
                        port: self.port,
                    };
                    let location = redirect.location(&target, self.path);
                    let mut reply = redirect_to(redirect.status, &location)?;
                    for edits in &later.response {
                        edit(reply.headers_mut(), edits);
                    }
                    return Ok(Some(reply));
                }
            }
        }
        Ok(None)
    }

    /// A plugin that the rule names. One that is not known yet must not be passed by.
    fn plugin(&self, name: &str) -> Result<Arc<Loaded>, Error> {
        let known = self.snapshot.plugin(name).cloned();
        known.ok_or_else(|| {
            let why = format!("the rule names plugin {name}, which is not known");
            Error::caused(Kind::InvalidBackend, why)
        })
    }

    fn rewrite(&self, rewrite: &UrlRewrite, head: &mut Head) -> Result<(), Error> {
        let unusable = |error: http::uri::InvalidUri| Error::caused(Kind::InvalidBackend, error);
        if let Some(host) = &rewrite.hostname {
            head.authority = Some(Authority::try_from(&**host).map_err(unusable)?);
        }
        if let Some(modifier) = &rewrite.path {
            head.target = with_path(&head.target, modifier, self.path).map_err(unusable)?;
        }
        Ok(())
    }
}

fn with_path(
    target: &PathAndQuery,
    modifier: &PathModifier,
    matched: &PathMatch,
) -> Result<PathAndQuery, http::uri::InvalidUri> {
    let mut path = modifier.apply(target.path(), matched);
    if let Some(query) = target.query() {
        path.push('?');
        path.push_str(query);
    }
    PathAndQuery::try_from(path)
}

fn redirect_to(status: u16, location: &str) -> Result<Response<Body>, Error> {
    let location = HeaderValue::from_str(location)
        .map_err(|error| Error::caused(Kind::InvalidBackend, error))?;
    let mut reply = Response::new(Body::empty());
    *reply.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::FOUND);
    reply.headers_mut().insert(LOCATION, location);
    Ok(reply)
}

/// Edits headers: set, add, remove. Adding extends the one value there is.
///
/// Names and values were checked when the route came; one that is no header all the same is left
/// out.
fn edit(headers: &mut HeaderMap, edits: &HeaderEdits) {
    let pair = |(name, value): &(mesh::Str, mesh::Str)| {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_str(value).ok()?))
    };
    for (name, value) in edits.set.iter().filter_map(pair) {
        headers.insert(name, value);
    }
    for (name, value) in edits.add.iter().filter_map(pair) {
        let mut lines: Vec<_> = headers
            .get_all(&name)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        // Cookies are the one list that cannot stand on one line (RFC 9110 §5.3).
        if lines.is_empty() || name == SET_COOKIE {
            headers.append(name, value);
        } else {
            lines.push(value.as_bytes());
            let joined = HeaderValue::from_bytes(&lines.join(&b","[..]));
            headers.insert(name, joined.unwrap_or(value));
        }
    }
    for name in &edits.remove {
        headers.remove(&**name);
    }
}
