//! The head of a request once it is clean: what every stage after `sanitize` works on.

use http::header::{CONTENT_TYPE, HOST, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Uri, Version};
use mesh::request::Headers;

/// A clean request head.
///
/// The host stands in `authority` and nowhere else; `target` is normalised; no header is left
/// that concerns the client's connection.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// Method.
    pub(crate) method: Method,
    /// Host the client wrote; `None` for HTTP/1.0 without one.
    pub(crate) authority: Option<Authority>,
    /// Path and query; `*` for `OPTIONS *`.
    pub(crate) target: PathAndQuery,
    /// Header fields.
    pub(crate) headers: HeaderMap,
    /// What the client speaks.
    pub(crate) version: Version,
    /// The client asks for a WebSocket.
    pub(crate) websocket: bool,
    /// The client may send something else than requests from here on, unless we agree to that.
    pub(crate) last: bool,
}

impl Head {
    /// What stands in for a head that is elsewhere.
    pub(crate) fn away() -> Self {
        Self {
            method: Method::GET,
            authority: None,
            target: PathAndQuery::from_static("/"),
            headers: HeaderMap::new(),
            version: Version::HTTP_11,
            websocket: false,
            last: false,
        }
    }

    /// The view that policies and routes decide by.
    pub(crate) fn view<'a>(&'a self, headers: &'a View<'a>) -> mesh::request::Request<'a> {
        mesh::request::Request {
            method: self.method.as_str(),
            path: self.target.path(),
            query: self.target.query(),
            host: self.host(),
            headers,
        }
    }

    /// The host, or nothing.
    pub(crate) fn host(&self) -> &str {
        self.authority.as_ref().map_or("", Authority::as_str)
    }

    /// Whether this is a gRPC call.
    pub(crate) fn is_grpc(&self) -> bool {
        is_grpc(&self.headers)
    }

    /// Whether the client's connection is HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        self.version == Version::HTTP_2
    }

    /// Builds the request for an endpoint that speaks HTTP/2 or HTTP/1.1.
    ///
    /// `None` when the parts do not make a request; they were checked one by one, so that does
    /// not happen.
    pub(crate) fn request<B>(&self, http2: bool, body: B) -> Option<Request<B>> {
        let mut request = Request::new(body);
        request.method_mut().clone_from(&self.method);
        request.headers_mut().clone_from(&self.headers);
        if http2 {
            *request.version_mut() = Version::HTTP_2;
            let mut uri = http::uri::Parts::default();
            uri.scheme = Some(Scheme::HTTP);
            uri.authority.clone_from(&self.authority);
            uri.path_and_query = Some(self.target.clone());
            // Without an authority there is no absolute form; HTTP/2 needs one of the two.
            uri.authority
                .get_or_insert(Authority::from_static("localhost"));
            *request.uri_mut() = Uri::from_parts(uri).ok()?;
        } else {
            *request.uri_mut() = Uri::from(self.target.clone());
            let host = HeaderValue::from_str(self.host()).ok()?;
            request.headers_mut().insert(HOST, host);
        }
        Some(request)
    }
}

/// Whether these are the headers of a gRPC call or answer.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = kind.and_then(|kind| kind.strip_prefix(b"application/grpc"));
    // Not `application/grpc-web`, which is another protocol.
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Headers as decisions read them.
#[derive(Debug)]
pub(crate) struct View<'a>(pub(crate) &'a HeaderMap);

impl Headers for View<'_> {
    fn each<'a>(&'a self, name: &str, visit: &mut dyn FnMut(&'a [u8])) {
        for value in self.0.get_all(name) {
            visit(value.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method, Version};

    use super::{Head, is_grpc};

    fn head() -> Head {
        Head {
            method: Method::GET,
            authority: Some("cart.shop:8080".parse().unwrap()),
            target: "/a?b=c".parse().unwrap(),
            headers: HeaderMap::new(),
            version: Version::HTTP_11,
            websocket: false,
            last: false,
        }
    }

    #[test]
    fn http1_gets_a_host_and_http2_an_authority() {
        let one = head().request(false, ()).unwrap();
        assert_eq!(one.uri(), "/a?b=c");
        assert_eq!(one.headers()["host"], "cart.shop:8080");
        let two = head().request(true, ()).unwrap();
        assert_eq!(two.uri(), "http://cart.shop:8080/a?b=c");
        assert!(two.headers().is_empty());
    }

    #[test]
    fn an_asterisk_stays_an_asterisk() {
        let star = Head {
            method: Method::OPTIONS,
            target: "*".parse().unwrap(),
            ..head()
        };
        assert_eq!(star.request(false, ()).unwrap().uri(), "*");
    }

    #[test]
    fn grpc_is_told_by_its_content_type() {
        for (kind, grpc) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;x=y", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("content-type", HeaderValue::from_static(kind));
            assert_eq!(is_grpc(&headers), grpc, "{kind}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }
}
