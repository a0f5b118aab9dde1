//! Calls of guests to other services: through the mesh, as whatever the waypoint itself sends.
//!
//! A guest names an upstream as Envoy's clusters are named in a mesh of Istio
//! (`outbound|80||name.ns.svc.cluster.local`), or plainly: `name[.ns[.svc…]][:port]`. Only services
//! that the mesh knows are reached, and only those the plugin may call. An answer is buffered whole
//! and bounded; where there is none, one is made up as Envoy makes it up, because filters look at
//! `:status`.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery};
use http::{Method, Version};
use hyper::body::{Body as _, Incoming};
use mesh::plugin::Plugin;
use mesh::service::AppProtocol;
use mesh::store::ServiceEntry;
use tokio::time::{Instant, timeout};
use wasm_host::{CallRefused, CalloutEvent, HeaderMap as _, Headers, HttpCall};

use super::node::NodeFacts;
use crate::connect::CONNECT_TIMEOUT;
use crate::draw::Draw;
use crate::endpoint::{InFlight, Loads};
use crate::http::body::{Inbound, RequestBody};
use crate::http::head::Head;
use crate::http::upstream::{Answer, Upstreams};
use crate::state::{Snapshot, State};

/// Most bytes of an answer, or of one message.
pub(super) const ANSWER_LIMIT: usize = 1 << 20;
/// Ports of the mesh itself, which no guest talks to.
const OWN_PORTS: std::ops::RangeInclusive<u16> = 15_000..=15_099;
/// What services are called in, where a guest does not say so.
const CLUSTER_DOMAIN: &str = "cluster.local";

/// What a worker reaches other services with.
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    pub(crate) state: Arc<State>,
    pub(crate) upstreams: Rc<Upstreams>,
    pub(crate) loads: Rc<Loads>,
    pub(crate) draw: Rc<Draw>,
    /// What guests may know of this waypoint.
    pub(crate) node: NodeFacts,
}

/// A port of a service that was found.
#[derive(Clone, Debug)]
pub(super) struct Target {
    entry: ServiceEntry,
    port: u16,
}

/// Why a call got no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Missing {
    /// The service has no endpoint.
    NoEndpoint,
    /// No connection could be made.
    Connect,
    /// It was cut before the answer's head.
    Reset,
    /// It was cut inside the answer.
    Cut,
    /// The answer is larger than is kept.
    TooLarge,
}

impl Reach {
    /// Finds the service a guest names.
    ///
    /// # Errors
    /// `UnknownUpstream` if there is none of that name, or the plugin may not call it.
    pub(super) fn find(&self, plugin: &Plugin, upstream: &str) -> Result<Target, CallRefused> {
        let (host, port) = Name::read(upstream).ok_or(CallRefused::Malformed)?;
        let snapshot = self.state.current();
        let namespace = &*plugin.origin.namespace;
        let entry = named(&snapshot, host, namespace).ok_or(CallRefused::UnknownUpstream)?;
        let ports = &entry.service.ports;
        let port = match (port, &ports[..]) {
            (Some(port), _) => port,
            (None, [only]) => only.service_port,
            (None, _) => 80,
        };
        let known = entry.service.port(port).is_some() && !OWN_PORTS.contains(&port);
        if !known || !plugin.may_call(&entry.service.key.hostname, port) {
            return Err(CallRefused::UnknownUpstream);
        }
        let entry = entry.clone();
        Ok(Target { entry, port })
    }

    /// Sends a request and returns the head of its answer.
    ///
    /// * `http2` — `None`: as the service's port says.
    pub(super) async fn send(
        &self,
        target: &Target,
        head: &Head,
        body: RequestBody,
        http2: Option<bool>,
    ) -> Result<(Answer, InFlight), Missing> {
        let snapshot = self.state.current();
        let Target { entry, port } = target;
        let picked = self.loads.pick(&snapshot, entry, *port, &[], &self.draw);
        let endpoint = picked.ok_or(Missing::NoEndpoint)?;
        let declared = entry.service.port(*port).map(|port| port.app_protocol);
        let host = Some(&entry.service.key.hostname);
        let http2 = http2.unwrap_or(matches!(
            declared,
            Some(AppProtocol::Http2 | AppProtocol::Grpc)
        ));
        let in_flight = self.loads.begin(endpoint.address);
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        let leased = self.upstreams.lease(&endpoint, host, http2, deadline);
        let lease = leased.await.map_err(|error| {
            tracing::debug!(error = %runtime::report(&error), "callout not connected");
            Missing::Connect
        })?;
        let request = head.request(http2, body.attempt()).ok_or(Missing::Reset)?;
        let answer = lease.send(request).await.map_err(|_| Missing::Reset)?;
        Ok((answer, in_flight))
    }

    /// Makes an HTTP call and returns what the guest hears of it.
    pub(super) async fn http(&self, target: Target, call: Request, limit: Duration) -> Outcome {
        let exchange = async {
            let body = RequestBody::new(Inbound::Made(call.body), true);
            let (answer, _in_flight) = self.send(&target, &call.head, body, None).await?;
            collect(answer).await
        };
        match timeout(limit, exchange).await {
            Ok(Ok(event)) => Outcome::answered(event),
            Ok(Err(missing)) => Outcome::missing(missing),
            Err(_) => Outcome::made_up("timeout", "504", "upstream request timeout"),
        }
    }
}

/// What became of an HTTP call, and the word it is counted under.
pub(super) struct Outcome {
    pub(super) event: CalloutEvent,
    pub(super) word: &'static str,
}

impl Outcome {
    fn answered(event: CalloutEvent) -> Self {
        Self {
            event,
            word: "answered",
        }
    }

    fn missing(missing: Missing) -> Self {
        const REFUSED: &str = "upstream connect error or disconnect/reset before headers. reset \
                               reason: connection failure";
        const CLOSED: &str = "upstream connect error or disconnect/reset before headers. reset \
                              reason: connection termination";
        match missing {
            Missing::NoEndpoint => Self::made_up("no_endpoint", "503", "no healthy upstream"),
            Missing::Connect => Self::made_up("connect_failed", "503", REFUSED),
            Missing::Reset => Self::made_up("reset", "503", CLOSED),
            Missing::Cut | Missing::TooLarge => Self {
                event: CalloutEvent::HttpResponse {
                    headers: Headers::new(),
                    body: vec![],
                    trailers: Headers::new(),
                },
                word: "cut",
            },
        }
    }

    fn made_up(word: &'static str, status: &str, body: &str) -> Self {
        let length = body.len().to_string();
        let headers = [
            (":status", status),
            ("content-length", &length),
            ("content-type", "text/plain"),
        ];
        let event = CalloutEvent::HttpResponse {
            headers: headers.into_iter().collect(),
            body: body.as_bytes().to_vec(),
            trailers: Headers::new(),
        };
        Self { event, word }
    }
}

/// A request of a guest.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) head: Head,
    pub(super) body: Option<Bytes>,
}

impl Request {
    /// Reads what a guest wants to send; `None` if no message can carry it.
    pub(super) fn of(call: &HttpCall<'_>) -> Option<Self> {
        let mut head = head(&call.headers)?;
        head.headers.remove(CONTENT_LENGTH);
        let body = Some(Bytes::copy_from_slice(call.body)).filter(|body| !body.is_empty());
        if let Some(body) = &body {
            head.headers
                .insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        Some(Self { head, body })
    }
}

/// Makes a head of headers with pseudo-headers among them.
pub(super) fn head(headers: &Headers) -> Option<Head> {
    let pseudo = |name| headers.get(name);
    let mut fields = HeaderMap::new();
    for (name, value) in headers.iter().filter(|(name, _)| !name.starts_with(':')) {
        let is_ours = matches!(
            name,
            "connection" | "host" | "transfer-encoding" | "upgrade" | "keep-alive"
        );
        if !is_ours {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            fields.append(name, HeaderValue::from_bytes(value).ok()?);
        }
    }
    Some(Head {
        method: Method::from_bytes(&pseudo(":method")?).ok()?,
        authority: Some(Authority::try_from(&*pseudo(":authority")?).ok()?),
        target: PathAndQuery::try_from(&*pseudo(":path")?).ok()?,
        headers: fields,
        version: Version::HTTP_11,
        websocket: false,
        last: false,
    })
}

/// Reads a whole answer.
async fn collect(answer: Answer) -> Result<CalloutEvent, Missing> {
    let Answer { response, lease } = answer;
    let (parts, mut incoming) = response.into_parts();
    let mut body = BytesMut::new();
    let mut trailers = Headers::new();
    while let Some(frame) = next(&mut incoming).await? {
        match frame.into_data() {
            Ok(data) if body.len() + data.len() > ANSWER_LIMIT => return Err(Missing::TooLarge),
            Ok(data) => body.extend_from_slice(&data),
            Err(frame) => {
                if let Ok(fields) = frame.into_trailers() {
                    trailers = list(&fields);
                }
            }
        }
    }
    lease.give_back();
    let mut headers = Headers::new();
    headers.push(":status", parts.status.as_str());
    for (name, value) in &parts.headers {
        headers.push(name.as_str(), value.as_bytes());
    }
    Ok(CalloutEvent::HttpResponse {
        headers,
        body: body.into(),
        trailers,
    })
}

/// Reads the next frame of an answer.
pub(super) async fn next(
    body: &mut Incoming,
) -> Result<Option<hyper::body::Frame<Bytes>>, Missing> {
    let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
    frame.transpose().map_err(|_| Missing::Cut)
}

/// Headers as guests read them.
pub(super) fn list(headers: &HeaderMap) -> Headers {
    headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect()
}

/// An upstream as a guest writes it.
struct Name;

impl Name {
    /// Returns host and port, if it is well formed.
    fn read(upstream: &str) -> Option<(&str, Option<u16>)> {
        if upstream.contains('|') {
            let mut parts = upstream.split('|');
            let (_, port, _, host) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
            return Some((host, Some(port.parse().ok()?)));
        }
        match upstream.rsplit_once(':') {
            Some((host, port)) => Some((host, Some(port.parse().ok()?))),
            None => Some((upstream, None)),
        }
        .filter(|(host, _)| !host.is_empty())
    }
}

/// Finds a service by the forms of its name that work in a pod of `namespace`.
fn named<'s>(snapshot: &'s Snapshot, host: &str, namespace: &str) -> Option<&'s ServiceEntry> {
    let host = host.trim_end_matches('.');
    let forms = [
        host.to_owned(),
        format!("{host}.{namespace}.svc.{CLUSTER_DOMAIN}"),
        format!("{host}.svc.{CLUSTER_DOMAIN}"),
        format!("{host}.{CLUSTER_DOMAIN}"),
    ];
    forms
        .iter()
        .find_map(|name| snapshot.store().service_named(name, namespace))
}

#[cfg(test)]
mod tests {
    use super::Name;

    #[test]
    fn upstreams_are_named_like_clusters_or_plainly() {
        for (upstream, host, port) in [
            (
                "outbound|80||a.b.svc.cluster.local",
                "a.b.svc.cluster.local",
                Some(80),
            ),
            ("inbound-vip|8080|http|a.b", "a.b", Some(8080)),
            ("auth", "auth", None),
            ("auth.shop:9000", "auth.shop", Some(9000)),
        ] {
            assert_eq!(Name::read(upstream), Some((host, port)), "{upstream}");
        }
        for bad in ["", ":80", "a:b", "outbound|x||a", "outbound|80", "a:70000"] {
            assert_eq!(Name::read(bad), None, "{bad}");
        }
    }
}
