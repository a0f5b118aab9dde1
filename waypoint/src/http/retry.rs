//! Which endpoint, and how often? Attempts, time limits, and when another attempt is legal.
//!
//! Without a word from the user, only what an endpoint has not looked at is tried again. With
//! `retry`, the statuses it names, connection errors and attempts that took too long are. An
//! attempt is never repeated once its answer has begun, nor when the request's body cannot be
//! sent a second time.

use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderMap, Method, Response, StatusCode, Version};
use mesh::Str;
use mesh::route::{DEFAULT_ATTEMPTS, Retry};
use mesh::service::AppProtocol;
use smallvec::SmallVec;
use telemetry::http::Flag;
use tokio::time::{Instant, sleep, timeout_at};

use super::body::{Body, Inbound, RequestBody, UpstreamBody};
use super::context::RequestCtx;
use super::error::{Error, Kind};
use super::head::Head;
use super::route::{Routed, To};
use super::sanitize;
use super::upgrade;
use super::upstream::{Answer, Failure};
use crate::connect::CONNECT_TIMEOUT;
use crate::endpoint::{Endpoint, InFlight};

#[cfg(test)]
mod tests;

/// The first wait between attempts, where the user named none; Istio's. It doubles.
const BACKOFF: Duration = Duration::from_millis(25);
/// The longest wait is so many times the first.
const BACKOFF_CAP: u32 = 10;

/// Why an attempt failed.
#[derive(Debug)]
enum Failed {
    NoEndpoint,
    Timeout,
    Upstream(Failure),
    Unbuildable,
}

/// Sends a request to an endpoint, again if need be, and returns the answer.
///
/// # Errors
/// The kind of the last attempt's failure.
pub(crate) async fn send(
    cx: &mut RequestCtx,
    routed: &Routed,
    head: &Head,
    body: Inbound,
) -> Result<Response<Body>, Error> {
    let policy = Policy::of(routed.retry.as_ref(), head);
    let body = RequestBody::new(body, policy.may_resend());
    cx.report.body(&body);
    limit(cx, routed, head);
    let mut tried = SmallVec::<[SocketAddr; 4]>::new();
    for attempt in 0.. {
        let until = earlier(cx.deadline, routed.timeouts.backend_request.map(from_now));
        let outcome = once(cx, routed, head, &body, &tried, until).await;
        let again = attempt < policy.attempts && policy.again(&outcome, &body);
        let wait = again
            .then(|| policy.wait(attempt, cx.tunnel.worker.draw.unit()))
            .filter(|wait| !past(cx.deadline, *wait));
        match outcome {
            Ok((answer, in_flight)) if wait.is_none() => {
                if attempt > 0 && policy.wants_status(answer.response.status()) {
                    cx.report.flag(Flag::RetryLimit);
                }
                return accept(cx, answer, in_flight, &body, until);
            }
            Ok((answer, _)) => {
                tracing::debug!(status = %answer.response.status(), attempt, "trying again");
            }
            Err((failed, endpoint)) => {
                let error = failed.into_error();
                cx.report.failure(runtime::report(&error));
                if wait.is_none() {
                    if attempt > 0 && policy.attempts > 0 {
                        cx.report.flag(Flag::RetryLimit);
                    }
                    return Err(error);
                }
                tracing::debug!(error = %runtime::report(&error), attempt, "trying again");
                tried.extend(endpoint);
            }
        }
        sleep(wait.unwrap_or_default()).await;
    }
    Err(Kind::NoEndpoint.into())
}

/// Sets when the whole transaction must be over: as the rule says, or sooner as the client of a
/// gRPC call says.
fn limit(cx: &mut RequestCtx, routed: &Routed, head: &Head) {
    let asked = if head.is_grpc() {
        grpc_timeout(&head.headers)
    } else {
        None
    };
    let route = routed.timeouts.request;
    let limit = match (route, asked) {
        (Some(route), Some(asked)) => Some(route.min(asked)),
        (one, other) => one.or(other),
    };
    cx.deadline = limit.map(from_now);
}

fn from_now(limit: Duration) -> Instant {
    Instant::now() + limit
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Whether there is no time left after a wait: then what there is already is the answer.
fn past(deadline: Option<Instant>, wait: Duration) -> bool {
    deadline.is_some_and(|deadline| deadline <= Instant::now() + wait)
}

/// Reads `grpc-timeout`: at most eight digits and a unit (gRPC over HTTP/2, "Timeout").
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let plain = !digits.is_empty() && digits.len() <= 8;
    let number: u64 = digits.parse().ok().filter(|_| plain)?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

type Outcome = Result<(Answer, InFlight), (Failed, Option<SocketAddr>)>;

/// One attempt: an endpoint, a connection, the head of an answer.
async fn once(
    cx: &mut RequestCtx,
    routed: &Routed,
    head: &Head,
    body: &RequestBody,
    tried: &[SocketAddr],
    until: Option<Instant>,
) -> Outcome {
    let tunnel = cx.tunnel.clone();
    let worker = &tunnel.worker;
    let (endpoint, host, declared) = match &routed.to {
        To::Service(entry, port) => {
            let picked = worker
                .loads
                .pick(&cx.snapshot, entry, *port, tried, &worker.draw);
            let declared = entry.service.port(*port).map(|port| port.app_protocol);
            (picked, Some(entry.service.key.hostname.clone()), declared)
        }
        To::Workload(workload, port) => (
            Endpoint::new(workload, *port, None, cx.snapshot.own()),
            None,
            None,
        ),
    };
    let Some(endpoint) = endpoint else {
        return Err((Failed::NoEndpoint, None));
    };
    cx.report.upstream(&endpoint);
    cx.plugins.upstream(&endpoint);
    let in_flight = worker.loads.begin(endpoint.address);
    let http2 = speaks_http2(declared, head);
    let exchange = exchange(cx, &endpoint, host.as_ref(), http2, head, body);
    let outcome = match until {
        Some(until) => timeout_at(until, exchange)
            .await
            .unwrap_or(Err(Failed::Timeout)),
        None => exchange.await,
    };
    match outcome {
        Ok(answer) => Ok((answer, in_flight)),
        Err(failed) => Err((failed, Some(endpoint.address))),
    }
}

/// What to speak: what the port is declared to be, else what the client speaks. An upgrade exists
/// in HTTP/1.1 alone, and gRPC in HTTP/2 alone: a port that is declared plain `http` and is called
/// with gRPC all the same is taken at the client's word, since over HTTP/1.1 the call cannot work.
fn speaks_http2(declared: Option<AppProtocol>, head: &Head) -> bool {
    match declared {
        _ if head.websocket => false,
        Some(AppProtocol::Http2 | AppProtocol::Grpc) => true,
        Some(AppProtocol::Http11) => head.is_http2() && head.is_grpc(),
        Some(AppProtocol::Unknown | AppProtocol::Tcp | AppProtocol::Tls) | None => head.is_http2(),
    }
}

async fn exchange(
    cx: &RequestCtx,
    endpoint: &Endpoint,
    host: Option<&Str>,
    http2: bool,
    head: &Head,
    body: &RequestBody,
) -> Result<Answer, Failed> {
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    let upstreams = &cx.tunnel.worker.upstreams;
    let lease = upstreams.lease(endpoint, host, http2, deadline).await;
    let mut lease = lease.map_err(|error| Failed::Upstream(Failure::Connect(error)))?;
    let mut request = head
        .request(http2, body.attempt())
        .ok_or(Failed::Unbuildable)?;
    if head.websocket {
        upgrade::ask(cx, &mut lease, request.headers_mut());
    }
    lease.send(request).await.map_err(Failed::Upstream)
}

/// Makes an endpoint's answer the client's.
fn accept(
    cx: &mut RequestCtx,
    answer: Answer,
    in_flight: InFlight,
    body: &RequestBody,
    until: Option<Instant>,
) -> Result<Response<Body>, Error> {
    cx.report.answered();
    let Answer { response, lease } = answer;
    let (mut parts, incoming) = response.into_parts();
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        return upgrade::agree(cx, parts);
    }
    sanitize::answer(&mut parts.headers)?;
    // Which version the endpoint spoke is between the two of us (RFC 9110 §2.5).
    parts.version = Version::HTTP_11;
    let body = UpstreamBody::new(incoming, lease, body.clone(), in_flight, until);
    Ok(Response::from_parts(parts, Body::Upstream(Box::new(body))))
}

/// When to try again.
#[derive(Debug)]
struct Policy<'a> {
    asked: Option<&'a Retry>,
    attempts: u32,
    idempotent: bool,
}

impl<'a> Policy<'a> {
    fn of(asked: Option<&'a Retry>, head: &Head) -> Self {
        let idempotent = [
            Method::GET,
            Method::HEAD,
            Method::OPTIONS,
            Method::TRACE,
            Method::PUT,
            Method::DELETE,
        ];
        Self {
            asked,
            attempts: asked.map_or(DEFAULT_ATTEMPTS, |retry| retry.attempts),
            idempotent: idempotent.contains(&head.method),
        }
    }

    /// Whether a body may have to be sent twice.
    fn may_resend(&self) -> bool {
        self.attempts > 0 && (self.asked.is_some() || self.idempotent)
    }

    fn wants_status(&self, status: StatusCode) -> bool {
        self.asked
            .is_some_and(|retry| retry.codes.contains(&status.as_u16()))
    }

    fn again(&self, outcome: &Outcome, body: &RequestBody) -> bool {
        if !body.can_replay() {
            // Nothing of the body was read if there was no connection.
            return matches!(outcome, Err((Failed::Upstream(Failure::Connect(_)), _)))
                && !body.failed();
        }
        match outcome {
            Ok((answer, _)) => self.wants_status(answer.response.status()),
            Err((Failed::NoEndpoint | Failed::Unbuildable, _)) => false,
            Err((Failed::Timeout, _)) => self.asked.is_some(),
            Err((Failed::Upstream(failure), _)) => match failure {
                Failure::Connect(_) | Failure::Unsent(_) => true,
                // A connection at rest may have been closed just when it was used again.
                Failure::Reset { reused, .. } => {
                    self.asked.is_some() || (*reused && self.idempotent)
                }
                Failure::Protocol(_) | Failure::Downstream => false,
            },
        }
    }

    /// How long to wait after an attempt: at least what the user asked for, doubling, and never
    /// all requests at once.
    fn wait(&self, attempt: u32, draw: f64) -> Duration {
        let Some(asked) = self.asked else {
            return Duration::ZERO;
        };
        let factor = 2_u32.saturating_pow(attempt).min(BACKOFF_CAP);
        match asked.backoff {
            Some(least) => least + (least * (factor - 1)).mul_f64(draw),
            None => (BACKOFF * factor).mul_f64(draw),
        }
    }
}

impl Failed {
    fn into_error(self) -> Error {
        match self {
            Self::NoEndpoint => Kind::NoEndpoint.into(),
            Self::Timeout => Kind::Timeout.into(),
            Self::Unbuildable => Kind::BadRequest("the request cannot be passed on").into(),
            Self::Upstream(failure) => match failure {
                Failure::Connect(error) => Error::caused(Kind::ConnectFailed, error),
                Failure::Unsent(error) | Failure::Reset { error, .. } => {
                    Error::caused(Kind::Reset, error)
                }
                Failure::Protocol(error) => Error::caused(Kind::Protocol, error),
                Failure::Downstream => Kind::Disconnected.into(),
            },
        }
    }
}
