//! Runs the plugins of a request: which ones, in which order, and what follows from their answers.
//!
//! Heads pass the plugins here, straight; a plugin that stops one is waited for. Bodies pass them
//! as they are read: each plugin that looks at bodies is one layer of [`Filtered`].

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use hyper::body::Body as HttpBody;
use mesh::plugin::{Kind as PluginKind, Phase};
use telemetry::span::Trace;
use wasm_host::{Body as Side, Callback, LocalResponse, Outcome, Pause};

use super::bridge::Lent;
use super::exchange::{Exchange, RequestHead, ResponseHead, Verdict, failed, reset};
use super::filtered::Filtered;
use super::vms::Running;
use crate::endpoint::Endpoint;
use crate::http::body::{Body, Cut, Inbound};
use crate::http::context::RequestCtx;
use crate::http::error::{Error, Kind};
use crate::http::head::Head;
use crate::http::report::{End, Report};
use crate::http::respond;
use crate::state::Loaded;

/// How long a plugin may hold a request or an answer without a byte moving; Envoy's idle timeout of
/// a stream.
const PATIENCE: Duration = Duration::from_mins(5);

/// What plugins say of a request.
#[derive(Debug)]
pub(crate) enum Flow {
    /// Go on.
    Continue,
    /// This is the answer.
    Reply(Response<Body>),
}

/// The plugins that have seen a request, in the order they did.
#[derive(Debug, Default)]
pub(crate) struct Chain(Option<Rc<Exchange>>);

impl Drop for Chain {
    fn drop(&mut self) {
        // The client went away before there was an answer: plugins log that, too.
        self.finish(None);
    }
}

impl Chain {
    /// Whether a plugin changed the head since the last call.
    pub(crate) fn take_changed(&self) -> bool {
        let seen = self.0.as_ref();
        seen.is_some_and(|exchange| exchange.show(|seen| std::mem::take(&mut seen.changed)))
    }

    /// Lets plugins that look at the request later see it as it goes to the endpoint.
    pub(crate) fn sent(&self, head: &Rc<Head>) {
        self.show(|exchange| {
            exchange.show(|seen| seen.request = RequestHead::Sent(Rc::clone(head)));
        });
    }

    /// As [`sent`](Self::sent), for a request that goes to no endpoint.
    pub(crate) fn keep(&self, head: Head) {
        self.show(|exchange| {
            exchange.show(|seen| {
                if matches!(seen.request, RequestHead::Away) {
                    seen.request = RequestHead::Sent(Rc::new(head));
                }
            });
        });
    }

    /// Notes the rule that was chosen.
    pub(crate) fn routed(&self, rule: &str) {
        self.show(|exchange| exchange.show(|seen| rule.clone_into(&mut seen.facts.route)));
    }

    /// Notes the endpoint of an attempt.
    pub(crate) fn upstream(&self, endpoint: &Endpoint) {
        self.show(|exchange| {
            exchange.show(|seen| {
                seen.facts.upstream = Some(endpoint.clone());
                seen.facts.attempts += 1;
            });
        });
    }

    /// Keeps trailers that nobody can change any more.
    pub(crate) fn trailers(&self, trailers: &HeaderMap) {
        self.show(|exchange| {
            exchange.show(|seen| seen.response_trailers = Some(trailers.clone()));
        });
    }

    /// Whether a plugin has ended the exchange; otherwise the caller is woken when one may have.
    pub(crate) fn poll_ended(&self, cx: &Context<'_>) -> bool {
        let exchange = self.0.as_ref();
        exchange.is_some_and(|exchange| exchange.poll_concluded(cx))
    }

    fn show(&self, act: impl FnOnce(&Exchange)) {
        if let Some(exchange) = &self.0 {
            act(exchange);
        }
    }

    /// The plugins' common part, if there are any.
    pub(crate) fn exchange(&self) -> Option<&Rc<Exchange>> {
        self.0.as_ref()
    }

    /// Tells the plugins that the request is over; they write their logs now.
    pub(crate) fn finish(&mut self, report: Option<&Report>) {
        let Some(exchange) = self.0.take() else {
            return;
        };
        let end: Option<End> = report.map(Report::end);
        exchange.show(|seen| seen.facts.end = end);
        exchange.finish();
    }

    /// Gives a plugin its place.
    fn sit(&mut self, cx: &Seating<'_>) -> Result<(Rc<Exchange>, usize, Rc<Running>), mesh::Str> {
        let (running, stream) = cx.tunnel.worker.vms.stream(cx.loaded)?;
        let exchange = self.0.get_or_insert_with(|| {
            let exchange = Exchange::new(Rc::clone(cx.tunnel), cx.trace);
            exchange.show(|seen| {
                seen.facts.started = Some(cx.report.wall());
                seen.facts.protocol = cx.report.protocol();
            });
            exchange
        });
        let seat = exchange.sit(cx.loaded, Rc::clone(&running), stream);
        Ok((Rc::clone(exchange), seat, running))
    }
}

/// What a place is made of.
struct Seating<'a> {
    tunnel: &'a Rc<crate::http::context::Tunnel>,
    report: &'a Report,
    loaded: &'a Arc<Loaded>,
    trace: Option<Trace>,
}

/// Runs the plugins of a phase on a request.
///
/// # Errors
/// `Plugin` when one cannot run and its `failStrategy` says that requests fail then; `PluginReset`
/// when one closes the stream.
pub(crate) async fn request(
    cx: &mut RequestCtx,
    phase: Phase,
    head: &mut Head,
    body: &mut Inbound,
) -> Result<Flow, Error> {
    let rules = Arc::clone(&cx.rules);
    let mut due = rules
        .plugins
        .iter()
        .filter(|loaded| loaded.plugin.phase == phase && loaded.plugin.kind == PluginKind::Http);
    for loaded in &mut due {
        if let Flow::Reply(reply) = one(cx, loaded, head, body).await? {
            return Ok(Flow::Reply(reply));
        }
    }
    Ok(Flow::Continue)
}

/// Runs one plugin on a request.
///
/// # Errors
/// As [`request`].
pub(crate) fn one<'a>(
    cx: &'a mut RequestCtx,
    loaded: &'a Arc<Loaded>,
    head: &'a mut Head,
    body: &'a mut Inbound,
) -> Pin<Box<dyn Future<Output = Result<Flow, Error>> + 'a>> {
    // Boxed: requests without plugins keep no room for one.
    Box::pin(run(cx, loaded, head, body))
}

async fn run(
    cx: &mut RequestCtx,
    loaded: &Arc<Loaded>,
    head: &mut Head,
    body: &mut Inbound,
) -> Result<Flow, Error> {
    if let Err(why) = cx.tunnel.worker.vms.turn(loaded).await {
        cx.tunnel.worker.vms.without(loaded);
        return failed(loaded, &why).map(|()| Flow::Continue);
    }
    let seating = Seating {
        tunnel: &cx.tunnel,
        report: &cx.report,
        loaded,
        trace: trace(head),
    };
    let (exchange, seat, running) = match cx.plugins.sit(&seating) {
        Ok(place) => place,
        Err(why) => {
            cx.tunnel.worker.vms.without(loaded);
            return failed(loaded, &why).map(|()| Flow::Continue);
        }
    };
    let ends = body.is_end_stream();
    let lent = Lent {
        request: Some(head),
        ..Lent::default()
    };
    let answer = exchange.call(seat, lent, |stream, host| {
        stream.on_request_headers(host, ends)
    });
    let pause = match verdict(answer)? {
        Next::Go => None,
        Next::Wait(how) => Some(how),
        Next::Reply(reply) => return Ok(Flow::Reply(made(&mut cx.report, *reply))),
    };
    let looks = running.has(Callback::RequestBody) || running.has(Callback::RequestTrailers);
    if ends || (!looks && pause.is_none()) {
        if let Some(how) = pause {
            let mut nothing = Filtered::new(Inbound::Made(None), &exchange, seat, Side::Request);
            return wait_with_head(cx, &exchange, &mut nothing, how, head).await;
        }
        return Ok(Flow::Continue);
    }
    let inner = std::mem::replace(body, Inbound::Made(None));
    let mut filtered = Filtered::new(inner, &exchange, seat, Side::Request);
    if let Some(how) = pause
        && let Flow::Reply(reply) = wait_with_head(cx, &exchange, &mut filtered, how, head).await?
    {
        return Ok(Flow::Reply(reply));
    }
    if filtered.is_changed() {
        head.headers.remove(CONTENT_LENGTH);
    }
    *body = Inbound::Filtered(Box::new(filtered));
    Ok(Flow::Continue)
}

/// The trace a request belongs to, if its client asks for spans.
fn trace(head: &Head) -> Option<Trace> {
    let parent = head.headers.get("traceparent")?;
    Trace::sampled(parent.to_str().ok()?)
}

/// Waits for a plugin that stopped a request at its head. The guest can look at the head and change
/// it meanwhile.
async fn wait_with_head(
    cx: &mut RequestCtx,
    exchange: &Rc<Exchange>,
    body: &mut Filtered<Inbound>,
    how: Pause,
    head: &mut Head,
) -> Result<Flow, Error> {
    let waiting = std::mem::replace(head, Head::away());
    exchange.show(|seen| seen.request = RequestHead::Held(Box::new(waiting)));
    let waited = wait(exchange, body, how).await;
    let back = exchange.show(|seen| std::mem::take(&mut seen.request));
    if let RequestHead::Held(held) = back {
        *head = *held;
    }
    match waited {
        Ok(()) => Ok(Flow::Continue),
        Err(Verdict::Reply(reply)) => Ok(Flow::Reply(made(&mut cx.report, *reply))),
        Err(Verdict::Failed(error)) => Err(error),
    }
}

/// Waits until a plugin lets go what it stopped at the head.
async fn wait<B>(exchange: &Rc<Exchange>, body: &mut Filtered<B>, how: Pause) -> Result<(), Verdict>
where
    B: HttpBody<Data = Bytes, Error = Cut> + Unpin,
{
    let going_on = poll_fn(|cx| {
        if exchange.poll_concluded(cx) {
            return Poll::Ready(Err(Cut::Plugin));
        }
        if body.is_let_go() {
            body.resume();
            return Poll::Ready(Ok(()));
        }
        match how {
            Pause::Stop => Poll::Pending,
            Pause::Buffer | Pause::Discard => body.poll_gather(cx),
            Pause::HoldHeaders => body.poll_progress(cx),
        }
    });
    let Ok(outcome) = tokio::time::timeout(PATIENCE, pin!(going_on)).await else {
        return Err(Verdict::Failed(Kind::Timeout.into()));
    };
    match outcome {
        Ok(()) => Ok(()),
        Err(cut) => Err(exchange.take_verdict().unwrap_or_else(|| {
            let kind = match cut {
                Cut::Downstream => Kind::Disconnected,
                Cut::Timeout => Kind::Timeout,
                Cut::Upstream | Cut::Superseded => Kind::Reset,
                Cut::Plugin => return Verdict::Failed(reset()),
            };
            Verdict::Failed(kind.into())
        })),
    }
}

/// Runs the plugins that saw the request on its answer, the last one first.
///
/// # Errors
/// As [`request`].
pub(crate) async fn response(
    cx: &mut RequestCtx,
    response: &mut Response<Body>,
) -> Result<(), Error> {
    let Some(exchange) = cx.plugins.exchange().cloned() else {
        return Ok(());
    };
    // Boxed, as in `request`.
    Box::pin(answer(cx, &exchange, response)).await
}

async fn answer(
    cx: &mut RequestCtx,
    exchange: &Rc<Exchange>,
    response: &mut Response<Body>,
) -> Result<(), Error> {
    let is_upgrade = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    for seat in (0..exchange.seats()).rev() {
        exchange.turn(seat).await;
        let ends = response.body().is_end_stream();
        let (mut status, headers) = (response.status(), response.headers_mut());
        let lent = Lent {
            response: Some((&mut status, headers)),
            ..Lent::default()
        };
        let answer = exchange.call(seat, lent, |stream, host| {
            stream.on_response_headers(host, ends)
        });
        *response.status_mut() = status;
        let pause = match verdict(answer)? {
            Next::Go => None,
            Next::Wait(how) => Some(how),
            Next::Reply(reply) => {
                *response = made(&mut cx.report, *reply);
                break;
            }
        };
        let running = exchange.running(seat);
        let looks = running.is_some_and(|running| {
            running.has(Callback::ResponseBody) || running.has(Callback::ResponseTrailers)
        });
        let filters = looks && !ends && !is_upgrade && exchange.is_asked(seat);
        if !filters && pause.is_none() {
            continue;
        }
        let inner = std::mem::replace(response.body_mut(), Body::empty());
        let mut filtered = Filtered::new(inner, exchange, seat, Side::Response);
        if let Some(how) = pause {
            match wait_with_answer(exchange, &mut filtered, how, response).await {
                Ok(()) => {}
                Err(Verdict::Reply(reply)) => {
                    *response = made(&mut cx.report, *reply);
                    break;
                }
                Err(Verdict::Failed(error)) => return Err(error),
            }
        }
        if filtered.is_changed() {
            response.headers_mut().remove(CONTENT_LENGTH);
        }
        if !ends {
            filtered.promise(length(response.headers()));
        }
        *response.body_mut() = Body::Filtered(Box::new(filtered));
    }
    exchange.show(|seen| {
        seen.response = Some(ResponseHead {
            status: response.status(),
            headers: response.headers().clone(),
            sent: true,
        });
    });
    Ok(())
}

/// As [`wait_with_head`], for an answer.
async fn wait_with_answer(
    exchange: &Rc<Exchange>,
    body: &mut Filtered<Body>,
    how: Pause,
    response: &mut Response<Body>,
) -> Result<(), Verdict> {
    let head = ResponseHead {
        status: response.status(),
        headers: std::mem::take(response.headers_mut()),
        sent: false,
    };
    exchange.show(|seen| seen.response = Some(head));
    let waited = wait(exchange, body, how).await;
    if let Some(head) = exchange.show(|seen| seen.response.take()) {
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
    }
    waited
}

/// What the head says of the body's length.
pub(crate) fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// What follows from a callback at a head.
enum Next {
    Go,
    Wait(Pause),
    Reply(Box<LocalResponse>),
}

fn verdict(answer: Option<Result<Outcome, Error>>) -> Result<Next, Error> {
    match answer {
        None => Ok(Next::Go),
        Some(outcome) => match outcome? {
            Outcome::Continue => Ok(Next::Go),
            Outcome::Pause(how) => Ok(Next::Wait(how)),
            Outcome::LocalResponse(reply) => Ok(Next::Reply(reply)),
            Outcome::Reset | Outcome::Trapped(_) => Err(reset()),
        },
    }
}

/// Turns what a plugin concluded while the request was on its way into what the client gets.
///
/// # Errors
/// As [`request`].
pub(crate) fn concluded(cx: &mut RequestCtx, verdict: Verdict) -> Result<Response<Body>, Error> {
    match verdict {
        Verdict::Reply(reply) => Ok(made(&mut cx.report, *reply)),
        Verdict::Failed(error) => Err(error),
    }
}

/// The answer of a plugin.
fn made(report: &mut Report, reply: LocalResponse) -> Response<Body> {
    report.details(details(&reply));
    local(reply, report.is_grpc())
}

fn details(reply: &LocalResponse) -> String {
    if reply.details.is_empty() {
        "wasm_local_response".to_owned()
    } else {
        reply.details.clone()
    }
}

/// Makes a guest's answer ours. Names and values were checked when the guest gave them.
fn local(reply: LocalResponse, grpc: bool) -> Response<Body> {
    let mut headers = HeaderMap::new();
    for (name, value) in reply.headers.iter() {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    if grpc {
        let message = String::from_utf8_lossy(&reply.body);
        let status = reply
            .grpc_status
            .and_then(|status| u16::try_from(status).ok());
        let status = status.unwrap_or_else(|| respond::grpc_of_http(reply.status));
        return respond::grpc_response(status, &message, headers);
    }
    if !reply.body.is_empty() {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(reply.body.len()));
    }
    let mut response = Response::new(Body::full(Bytes::from(reply.body)));
    *response.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    *response.headers_mut() = headers;
    response
}
