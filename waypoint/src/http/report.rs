//! What the operator is told of a request: metrics and one log line, when its last byte has left.
//!
//! A [`Report`] is filled in as the request goes along and told exactly once. One that is dropped
//! before its end is told as a client that went away, which is what that means.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt::{self, Write as _};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::USER_AGENT;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, Uri, Version};
use hyper::body::{Body as _, Frame, SizeHint};
use mesh::service::Service;
use mesh::workload::SharedWorkload;
use telemetry::http::log::Line;
use telemetry::http::{Ending, Flag, Flags, GrpcStatus, Handles, Protocol, RequestLabels};
use telemetry::label::PeerLabels;
use tokio::time::Instant;

use super::body::{Body, Cut, RequestBody};
use super::context::Tunnel;
use super::head::{Head, is_grpc};
use super::respond::Row;
use super::sanitize::{X_FORWARDED_FOR, X_REQUEST_ID};
use crate::endpoint::Endpoint;
use crate::plugins::{Chain, Visit};

/// What is known of a request.
#[derive(Debug)]
pub(crate) struct Report {
    tunnel: Rc<Tunnel>,
    start: Instant,
    wall: SystemTime,
    asked: Asked,
    request_head: u64,
    request_body: Option<RequestBody>,
    /// Bytes that came behind a head, where they are not a body's: of a WebSocket.
    request_more: u64,
    response_head: u64,
    sent: u64,
    status: u16,
    grpc: bool,
    grpc_status: Option<u16>,
    flags: Flags,
    details: Cow<'static, str>,
    upstream: Option<Endpoint>,
    upstream_time: Option<Duration>,
    upstream_failure: String,
    service: Option<Arc<Service>>,
    route: String,
    told: bool,
    _visit: Visit,
}

/// What has become of a request.
#[derive(Debug)]
pub(crate) struct End {
    /// From its first byte to its last.
    pub(crate) duration: Duration,
    /// Until the endpoint's answer began.
    pub(crate) backend_latency: Option<Duration>,
    /// Who answered, in a word.
    pub(crate) details: String,
    /// Envoy's response flags, as bits.
    pub(crate) flags: u64,
    /// Of a gRPC call.
    pub(crate) grpc_status: Option<u16>,
    /// Bytes of the body, and with the head.
    pub(crate) request_size: u64,
    pub(crate) request_total: u64,
    pub(crate) response_size: u64,
    pub(crate) response_total: u64,
}

/// The request as the client sent it, and what `sanitize` made of its identity.
#[derive(Debug)]
struct Asked {
    method: Method,
    uri: Uri,
    version: Version,
    authority: String,
    user_agent: Option<HeaderValue>,
    request_id: Option<HeaderValue>,
    forwarded_for: Option<HeaderValue>,
}

impl Report {
    /// Begins with a request that nothing has looked at yet.
    pub(crate) fn new(tunnel: &Rc<Tunnel>, parts: &Parts) -> Self {
        Self {
            tunnel: Rc::clone(tunnel),
            start: Instant::now(),
            wall: SystemTime::now(),
            asked: Asked {
                method: parts.method.clone(),
                uri: parts.uri.clone(),
                version: parts.version,
                authority: parts
                    .uri
                    .authority()
                    .map_or_else(String::new, ToString::to_string),
                user_agent: parts.headers.get(USER_AGENT).cloned(),
                request_id: None,
                forwarded_for: None,
            },
            request_head: size(&parts.headers) + parts.uri.path().len() as u64,
            request_body: None,
            request_more: 0,
            response_head: 0,
            sent: 0,
            status: 0,
            grpc: is_grpc(&parts.headers),
            grpc_status: None,
            flags: Flags::default(),
            details: Cow::Borrowed("via_upstream"),
            upstream: None,
            upstream_time: None,
            upstream_failure: String::new(),
            service: tunnel.destination.service().cloned(),
            route: String::new(),
            told: false,
            _visit: tunnel.worker.vms.visit(),
        }
    }

    /// Notes what `sanitize` made of the head.
    pub(crate) fn clean(&mut self, head: &Head) {
        head.host().clone_into(&mut self.asked.authority);
        self.asked.request_id = head.headers.get(X_REQUEST_ID).cloned();
        self.asked.forwarded_for = head.headers.get(X_FORWARDED_FOR).cloned();
    }

    /// When it came, by the clock on the wall.
    pub(crate) fn wall(&self) -> SystemTime {
        self.wall
    }

    /// What the client speaks.
    pub(crate) fn protocol(&self) -> &'static str {
        match self.asked.version {
            Version::HTTP_2 => "HTTP/2",
            Version::HTTP_10 => "HTTP/1.0",
            _ => "HTTP/1.1",
        }
    }

    /// What has become of it.
    pub(crate) fn end(&self) -> End {
        let received = self.received();
        End {
            duration: self.start.elapsed(),
            backend_latency: self.upstream_time,
            details: self.details.to_string(),
            flags: self.flags.bits(),
            grpc_status: self.grpc_status,
            request_size: received,
            request_total: self.request_head + received,
            response_size: self.sent,
            response_total: self.response_head + self.sent,
        }
    }

    /// Bytes of the request behind its head.
    fn received(&self) -> u64 {
        let body = self.request_body.as_ref().map_or(0, RequestBody::received);
        body + self.request_more
    }

    /// Whether it is a gRPC call.
    pub(crate) fn is_grpc(&self) -> bool {
        self.grpc
    }

    /// Whether it came over HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        self.asked.version == Version::HTTP_2
    }

    /// Notes the rule that was chosen.
    pub(crate) fn route(&mut self, route: String) {
        self.route = route;
    }

    /// Notes the service whose endpoints are asked.
    pub(crate) fn service(&mut self, service: &Arc<Service>) {
        self.service = Some(Arc::clone(service));
    }

    /// Notes the body, which is counted as it is read.
    pub(crate) fn body(&mut self, body: &RequestBody) {
        self.request_body = Some(body.clone());
    }

    /// Notes the endpoint of an attempt.
    pub(crate) fn upstream(&mut self, endpoint: &Endpoint) {
        self.upstream = Some(endpoint.clone());
    }

    /// Notes that an endpoint's answer has begun.
    pub(crate) fn answered(&mut self) {
        self.upstream_time = Some(self.start.elapsed());
    }

    /// Notes why an attempt failed, for people.
    pub(crate) fn failure(&mut self, why: String) {
        self.upstream_failure = why;
    }

    /// Raises a flag.
    pub(crate) fn flag(&mut self, flag: Flag) {
        self.flags.raise(flag);
    }

    /// Says who answered, in a word.
    pub(crate) fn details(&mut self, details: impl Into<Cow<'static, str>>) {
        self.details = details.into();
    }

    /// Notes an error that is about to be answered.
    pub(crate) fn error(&mut self, row: &Row) {
        self.flags.raise(row.flag);
        self.details = Cow::Owned(row.details.clone());
        if self.grpc {
            self.grpc_status = Some(row.grpc);
        }
    }

    /// Notes the head of the response.
    pub(crate) fn response(&mut self, response: &Response<Body>) {
        self.status = response.status().as_u16();
        self.response_head = size(response.headers());
        self.grpc_from(response.headers());
    }

    /// Notes a part of the response's body.
    fn passed(&mut self, frame: &Frame<Bytes>) {
        if let Some(data) = frame.data_ref() {
            self.sent += data.len() as u64;
        } else if let Some(trailers) = frame.trailers_ref() {
            self.grpc_from(trailers);
        }
    }

    /// Notes that the response's body was cut.
    fn cut(&mut self, cut: Cut) {
        let (flag, details) = match cut {
            Cut::Timeout => (Flag::UpstreamTimeout, "response_timeout"),
            Cut::Plugin => (Flag::None, "wasm_fail_stream"),
            Cut::Upstream | Cut::Downstream | Cut::Superseded => (
                Flag::UpstreamTermination,
                "upstream_reset_after_response_started",
            ),
        };
        self.flag(flag);
        self.details(details);
    }

    /// Notes bytes of a WebSocket.
    pub(crate) fn moved(&mut self, received: u64, sent: u64) {
        self.request_more += received;
        self.sent += sent;
    }

    fn grpc_from(&mut self, headers: &HeaderMap) {
        let status = headers
            .get("grpc-status")
            .and_then(|status| status.to_str().ok()?.parse().ok());
        if self.grpc && status.is_some() {
            self.grpc_status = status;
        }
    }

    /// Tells everything; once.
    pub(crate) fn tell(&mut self) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        let duration = self.start.elapsed();
        let received = self.received();
        let ending = Ending {
            protocol: if self.grpc {
                Protocol::Grpc
            } else {
                Protocol::Http
            },
            response_code: self.status,
            grpc_status: GrpcStatus(self.grpc_status),
            flags: self.flags,
        };
        let workload = self.upstream.as_ref().map(|endpoint| &endpoint.workload);
        let tunnel = &self.tunnel;
        let milliseconds = duration.as_secs_f64() * 1000.0;
        let (request, response) = (self.request_head + received, self.response_head + self.sent);
        tunnel
            .series
            .with(tunnel, self.service.as_ref(), workload, ending, |handles| {
                handles.record(milliseconds, request, response);
            });
        if let Some(access) = &tunnel.worker.reporting.access {
            access.raw(runtime::log::Level::Info, |out| {
                self.write_line(out, duration, received)
            });
        }
    }

    fn write_line(&self, out: &mut String, duration: Duration, received: u64) -> fmt::Result {
        let text = |value: &Option<HeaderValue>| -> String {
            let bytes = value.as_ref().map_or(&b""[..], HeaderValue::as_bytes);
            String::from_utf8_lossy(bytes).into_owned()
        };
        let asked = &self.asked;
        let (user_agent, request_id) = (text(&asked.user_agent), text(&asked.request_id));
        let port = self.tunnel.destination.port();
        let cluster = match &self.service {
            Some(service) => format!("inbound-vip|{port}|http|{}", service.key.hostname),
            None => "encap".to_owned(),
        };
        let path = asked.uri.path_and_query().map_or("", |path| path.as_str());
        let line = Line {
            start: self.wall,
            method: asked.method.as_str(),
            path,
            protocol: self.protocol(),
            response_code: self.status,
            flags: self.flags,
            details: &self.details,
            upstream_failure: &self.upstream_failure,
            bytes_received: received,
            bytes_sent: self.sent,
            duration,
            upstream_time: self.upstream_time,
            forwarded_for: &text(&asked.forwarded_for),
            user_agent: &user_agent,
            request_id: &request_id,
            authority: &asked.authority,
            upstream_host: self.upstream.as_ref().map(|endpoint| endpoint.address),
            upstream_cluster: &cluster,
            downstream_local: self.tunnel.asked,
            downstream_remote: self.tunnel.peer.addr,
            route: &self.route,
        };
        write!(out, "{line}")
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if !self.told {
            self.flags.raise(Flag::DownstreamTermination);
            self.details = Cow::Borrowed("downstream_remote_disconnect");
            self.tell();
        }
    }
}

/// Bytes of a head on the wire, near enough: names, values, and what stands between.
fn size(headers: &HeaderMap) -> u64 {
    let lines = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4);
    lines.sum::<usize>() as u64
}

/// Metrics of one tunnel that were looked up before: looking up hashes 25 labels, and the
/// requests of a tunnel nearly always end the same few ways.
#[derive(Debug, Default)]
pub(crate) struct Series {
    known: RefCell<Vec<Known>>,
    next: Cell<usize>,
}

/// Label sets remembered per tunnel.
const REMEMBERED: usize = 8;

#[derive(Debug)]
struct Known {
    service: Option<Arc<Service>>,
    workload: Option<SharedWorkload>,
    ending: Ending,
    handles: Handles,
}

fn same<T>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
    one.map(Arc::as_ptr) == other.map(Arc::as_ptr)
}

impl Series {
    fn with(
        &self,
        tunnel: &Tunnel,
        service: Option<&Arc<Service>>,
        workload: Option<&SharedWorkload>,
        ending: Ending,
        record: impl FnOnce(&Handles),
    ) {
        let mut known = self.known.borrow_mut();
        let hit = known.iter().find(|known| {
            known.ending == ending
                && same(known.service.as_ref(), service)
                && same(known.workload.as_ref(), workload)
        });
        if let Some(hit) = hit {
            return record(&hit.handles);
        }
        let labels = RequestLabels::new(
            source_labels(tunnel),
            workload.map_or(PeerLabels::UNKNOWN, |workload| {
                PeerLabels::of(workload, Some(&workload.identity))
            }),
            service.map(|service| &**service),
            ending,
        );
        let handles = tunnel.worker.reporting.http.handles(&labels);
        record(&handles);
        let (service, workload) = (service.cloned(), workload.cloned());
        let new = Known {
            service,
            workload,
            ending,
            handles,
        };
        if known.len() < REMEMBERED {
            known.push(new);
        } else if let Some(oldest) = known.get_mut(self.next.get() % REMEMBERED) {
            *oldest = new;
            self.next.set(self.next.get().wrapping_add(1));
        }
    }
}

/// The labels of whoever opened a tunnel.
pub(crate) fn source_labels(tunnel: &Tunnel) -> PeerLabels {
    let id = &tunnel.peer.id;
    match &tunnel.source {
        Some(workload) => PeerLabels::of(workload, Some(id)),
        None => PeerLabels::identity(id),
    }
}

/// A response body that is counted, and whose end ends the request.
#[derive(Debug)]
pub(crate) struct Reported {
    body: Body,
    /// `None` when something else outlives the answer and will tell.
    report: Option<Report>,
    plugins: Chain,
}

impl Reported {
    /// Counts `body` for `report` and lets plugins know when it has ended.
    pub(crate) fn new(body: Body, report: Report, plugins: Chain) -> Self {
        Self {
            body,
            report: Some(report),
            plugins,
        }
    }

    /// The empty body of an answer that does not end the request.
    pub(crate) fn silent() -> Self {
        Self {
            body: Body::empty(),
            report: None,
            plugins: Chain::default(),
        }
    }

    fn finish(&mut self) {
        self.plugins.finish(self.report.as_ref());
        if let Some(report) = &mut self.report {
            report.tell();
        }
    }
}

impl Drop for Reported {
    fn drop(&mut self) {
        // A body that was empty from the start is never polled.
        if self.body.is_end_stream() {
            self.finish();
        } else {
            self.plugins.finish(self.report.as_ref());
        }
    }
}

impl hyper::body::Body for Reported {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = self.get_mut();
        let frame = if this.plugins.poll_ended(cx) {
            // A plugin ended the exchange after the answer had begun: it can only be cut.
            Some(Err(Cut::Plugin))
        } else {
            ready!(Pin::new(&mut this.body).poll_frame(cx))
        };
        match &frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    this.plugins.trailers(trailers);
                }
                if let Some(report) = &mut this.report {
                    report.passed(frame);
                }
            }
            Some(Err(cut)) => {
                if let Some(report) = &mut this.report {
                    report.cut(*cut);
                }
                this.finish();
            }
            None => this.finish(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
