//! The local API of control: HTTP over a socket file that only its owner can open.
//!
//! The runner and the `cairn` command use it. What it answers is a table, [`Routes`], to which any
//! part of control adds its rows; this room knows those about objects ([`objects`]) and how to
//! serve them ([`Server`]). It is no network service: there is no TLS and no identity here.

mod objects;
mod query;
mod server;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde::Serialize;

pub use objects::routes as objects;
pub use query::Query;
pub use server::{LONGEST_PATH, Server};

/// The body of an answer.
pub type Body = BoxBody<Bytes, Infallible>;

/// An answer.
pub type Answer = Response<Body>;

/// The largest body of a request, in bytes.
const MAX_BODY: usize = 1 << 20;

type Handler =
    Arc<dyn Fn(Request<Incoming>) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

/// What the API answers: method and path → handler.
#[derive(Clone, Default)]
pub struct Routes(Vec<Route>);

#[derive(Clone)]
struct Route {
    method: Method,
    path: &'static str,
    handler: Handler,
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|route| (&route.method, route.path)))
            .finish()
    }
}

impl Routes {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one row. A handler gets the request as it came ([`read_body`] reads its body).
    #[must_use]
    pub fn on<F, A>(mut self, method: Method, path: &'static str, handler: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |request| Box::pin(handler(request)));
        self.0.push(Route {
            method,
            path,
            handler,
        });
        self
    }

    /// Adds all rows of `other`.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path();
        let here: Vec<&Route> = self.0.iter().filter(|route| route.path == path).collect();
        if here.is_empty() {
            let paths: BTreeSet<&str> = self.0.iter().map(|route| route.path).collect();
            let paths = paths.into_iter().collect::<Vec<_>>().join(", ");
            return error(StatusCode::NOT_FOUND, &format!("there is {paths}"));
        }
        if let Some(route) = here.iter().find(|route| route.method == *request.method()) {
            return (route.handler)(request).await;
        }
        let allowed: Vec<&str> = here.iter().map(|route| route.method.as_str()).collect();
        let allowed = allowed.join(", ");
        let what = format!("this takes {allowed}");
        let mut answer = error(StatusCode::METHOD_NOT_ALLOWED, &what);
        if let Ok(value) = HeaderValue::from_str(&allowed) {
            answer.headers_mut().insert(header::ALLOW, value);
        }
        answer
    }
}

/// An answer with `value` as JSON.
pub fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(text) => with_body(status, "application/json", Full::from(text).boxed()),
        Err(problem) => error(StatusCode::INTERNAL_SERVER_ERROR, &problem.to_string()),
    }
}

/// An answer that says in words what is wrong: `{"error": "…"}`.
pub fn error(status: StatusCode, what: &str) -> Answer {
    let text = serde_json::json!({"error": what}).to_string();
    with_body(status, "application/json", Full::from(text).boxed())
}

/// The body of a request, read to its end; an answer that refuses it if it is too large or breaks.
///
/// # Errors
/// The answer to give.
pub async fn read_body(request: Request<Incoming>) -> Result<Bytes, Box<Answer>> {
    let body = Limited::new(request.into_body(), MAX_BODY).collect().await;
    body.map(http_body_util::Collected::to_bytes)
        .map_err(|problem| {
            let status = match problem.downcast_ref::<LengthLimitError>() {
                Some(_) => StatusCode::PAYLOAD_TOO_LARGE,
                None => StatusCode::BAD_REQUEST,
            };
            Box::new(error(status, &problem.to_string()))
        })
}

fn with_body(status: StatusCode, content_type: &'static str, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

#[cfg(test)]
mod tests;
