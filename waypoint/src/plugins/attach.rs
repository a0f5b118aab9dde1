//! Runs the plugins of a request: which ones, in which order, and what follows from their answers.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use hyper::body::Body as _;
use mesh::plugin::Phase;
use smallvec::SmallVec;
use wasm_host::{HttpStream, LocalResponse, Outcome};

use super::bridge::{Bridge, RequestMap, ResponseMap};
use crate::http::body::Body;
use crate::http::context::{RequestCtx, Tunnel};
use crate::http::error::{Error, Kind};
use crate::http::head::Head;
use crate::http::respond;
use crate::state::Loaded;

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
pub(crate) struct Chain {
    tunnel: Option<Rc<Tunnel>>,
    running: SmallVec<[Running; 1]>,
    /// A plugin changed the head since this was last asked.
    changed: bool,
    /// The request and the answer, for plugins that look at them later.
    request: Option<Box<Head>>,
    response: Option<(StatusCode, HeaderMap)>,
}

#[derive(Debug)]
struct Running {
    loaded: Arc<Loaded>,
    /// `None` once it has trapped.
    stream: Option<HttpStream>,
}

impl Chain {
    /// Nothing has seen the request yet.
    pub(crate) fn new(tunnel: &Rc<Tunnel>) -> Self {
        Self {
            tunnel: Some(Rc::clone(tunnel)),
            ..Self::default()
        }
    }

    /// Whether a plugin changed the head since the last call.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Keeps the request as it goes to the endpoint, if a plugin may want to see it again.
    pub(crate) fn keep_request(&mut self, head: &Head) {
        if !self.running.is_empty() {
            self.request = Some(Box::new(head.clone()));
        }
    }

    /// Tells the plugins that the request is over; they write their logs now.
    pub(crate) fn finish(&mut self) {
        let (Some(tunnel), running) = (&self.tunnel, std::mem::take(&mut self.running)) else {
            return;
        };
        for running in running {
            let Some(stream) = running.stream else {
                continue;
            };
            let request = self.request.as_deref_mut().map(RequestMap::read_only);
            let response = self.response.as_mut();
            let response =
                response.map(|(status, headers)| ResponseMap::read_only(status, headers));
            // A trap has been logged, and there is nothing left that it could spoil.
            let _ = stream.finish(&mut Bridge::new(tunnel, request, response));
        }
    }
}

/// Runs the plugins of a phase on a request's head.
///
/// * `ends` — the request has no body.
///
/// # Errors
/// `Plugin` when one cannot run and its `failStrategy` says that requests fail then.
pub(crate) fn request(
    cx: &mut RequestCtx,
    phase: Phase,
    head: &mut Head,
    ends: bool,
) -> Result<Flow, Error> {
    let rules = Arc::clone(&cx.rules);
    for loaded in rules
        .plugins
        .iter()
        .filter(|loaded| loaded.plugin.phase == phase)
    {
        let tunnel = Rc::clone(&cx.tunnel);
        let mut stream = match tunnel.worker.vms.stream(loaded) {
            Ok(stream) => stream,
            Err(why) => {
                failed(loaded, &why)?;
                continue;
            }
        };
        let normalization = tunnel.worker.normalization;
        let map = RequestMap::writable(head, normalization, &mut cx.plugins.changed);
        let outcome = stream.on_request_headers(&mut Bridge::new(&tunnel, Some(map), None), ends);
        let running = |stream| Running {
            loaded: Arc::clone(loaded),
            stream,
        };
        match outcome {
            Outcome::Continue => cx.plugins.running.push(running(Some(stream))),
            Outcome::LocalResponse(reply) => {
                cx.plugins.running.push(running(Some(stream)));
                cx.plugins.keep_request(head);
                cx.report.details(details(&reply));
                return Ok(Flow::Reply(local(*reply, head.is_grpc())));
            }
            Outcome::Pause(_) => failed(loaded, "it waits for something this proxy does not send")?,
            Outcome::Reset => {
                return Err(Error::caused(Kind::Plugin, "the plugin reset the request"));
            }
            Outcome::Trapped(trap) => failed(loaded, &trap.to_string())?,
        }
    }
    Ok(Flow::Continue)
}

/// Runs the plugins that saw the request on the answer's head, the last one first.
///
/// # Errors
/// As [`request`].
pub(crate) fn response(cx: &mut RequestCtx, response: &mut Response<Body>) -> Result<(), Error> {
    if cx.plugins.running.is_empty() {
        return Ok(());
    }
    let ends = response.body().is_end_stream();
    let Chain {
        tunnel: Some(tunnel),
        running,
        request,
        response: kept,
        ..
    } = &mut cx.plugins
    else {
        return Ok(());
    };
    let mut reply = None;
    for Running { loaded, stream } in running.iter_mut().rev() {
        let Some(guest) = stream else { continue };
        let mut status = response.status();
        let map = ResponseMap::writable(&mut status, response.headers_mut());
        let request = request.as_deref_mut().map(RequestMap::read_only);
        let mut bridge = Bridge::new(tunnel, request, Some(map));
        let outcome = guest.on_response_headers(&mut bridge, ends);
        *response.status_mut() = status;
        match outcome {
            Outcome::Continue => {}
            Outcome::LocalResponse(local) => {
                reply = Some(local);
                break;
            }
            Outcome::Pause(_) => failed(loaded, "it waits for something this proxy does not send")?,
            Outcome::Reset => {
                return Err(Error::caused(Kind::Plugin, "the plugin reset the request"));
            }
            Outcome::Trapped(trap) => {
                *stream = None;
                failed(loaded, &trap.to_string())?;
            }
        }
    }
    if let Some(reply) = reply {
        cx.report.details(details(&reply));
        *response = local(*reply, cx.report.is_grpc());
    }
    *kept = Some((response.status(), response.headers().clone()));
    Ok(())
}

/// Applies a plugin's `failStrategy`.
fn failed(loaded: &Loaded, why: &str) -> Result<(), Error> {
    if loaded.fails_open() {
        tracing::debug!(plugin = %loaded, why, "plugin skipped");
        return Ok(());
    }
    tracing::debug!(plugin = %loaded, why, "plugin cannot run");
    Err(Error::caused(Kind::Plugin, format!("{loaded}: {why}")))
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
    if grpc && let Some(status) = reply.grpc_status {
        let message = String::from_utf8_lossy(&reply.body);
        let status = u16::try_from(status).unwrap_or(2);
        return respond::grpc_response(status, &message, headers);
    }
    let mut response = Response::new(Body::full(Bytes::from(reply.body)));
    *response.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    *response.headers_mut() = headers;
    response
}
