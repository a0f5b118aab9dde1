//! What is asked and answered.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use percent_encoding::percent_decode_str;
use serde_json::Value;

/// The query of a request.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(query: Option<&str>) -> Self {
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let pairs = query
            .unwrap_or("")
            .split('&')
            .filter(|pair| !pair.is_empty());
        let pair = |pair: &str| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        };
        Self(pairs.map(pair).collect())
    }

    /// Returns the first value under `key`; empty if there is none with it.
    pub fn get(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().find(|(k, _)| k == key);
        found.map(|(_, value)| value.as_str())
    }

    /// Returns the keys in the order given.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.as_str())
    }
}

/// The answer to a request.
#[derive(Clone, Debug)]
pub struct Reply {
    status: StatusCode,
    content_type: &'static str,
    allow: Option<&'static str>,
    body: Bytes,
}

impl Reply {
    /// A text.
    pub fn text(body: impl Into<Bytes>) -> Self {
        Self::status(StatusCode::OK, body)
    }

    /// A text that says why something did not work.
    pub fn status(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            allow: None,
            body: body.into(),
        }
    }

    /// A JSON document, laid out for people.
    pub fn json(document: &Value) -> Self {
        // The alternate form of a JSON value is its indented text.
        Self::text(format!("{document:#}\n")).of_type("application/json")
    }

    pub(super) fn html(page: String) -> Self {
        Self::text(page).of_type("text/html; charset=utf-8")
    }

    pub(super) fn not_found() -> Self {
        Self::status(StatusCode::NOT_FOUND, "not found\n")
    }

    pub(super) fn wrong_method(allowed: &Method) -> Self {
        let allow = if *allowed == Method::POST {
            "POST"
        } else {
            "GET, HEAD"
        };
        let mut reply = Self::status(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("method not allowed; use {allow}\n"),
        );
        reply.allow = Some(allow);
        reply
    }

    pub(super) fn of_type(mut self, content_type: &'static str) -> Self {
        self.content_type = content_type;
        self
    }

    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        response
    }
}
