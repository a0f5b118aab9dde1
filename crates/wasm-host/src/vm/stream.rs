//! One HTTP stream on a VM.

use std::sync::Arc;

use wasmtime::Store;

use crate::abi::{Action, Body, CallId, Direction, Map, StreamId};
use crate::callback::Callback;
use crate::embed::{CalloutEvent, StreamHost};
use crate::outcome::{LocalResponse, Outcome, Pending};
use crate::trap::Trap;
use crate::vm::context::{Context, Farewell};
use crate::vm::exports::Exports;
use crate::vm::{Ask, Kind, State, Vm};

/// An HTTP stream as one plugin sees it; pinned to its VM for life.
///
/// Callbacks come in this order, each body callback any number of times: request headers, body,
/// trailers, response headers, body, trailers; then [`HttpStream::finish`]. A callback the module
/// does not export is [`Outcome::Continue`] at next to no cost.
///
/// After [`Outcome::Trapped`] nothing more happens for this stream, `finish` included. Dropping a
/// stream that was not finished ends it in the guest, without a log callback.
#[derive(Debug)]
pub struct HttpStream(Context);

/// What the guest returned and what it asked for meanwhile.
type Answer = Result<Option<(u32, Asked)>, Arc<Trap>>;

#[derive(Debug)]
struct Asked {
    local_response: Option<Box<LocalResponse>>,
    reset: bool,
    resume: bool,
}

impl HttpStream {
    pub(super) fn new(vm: Vm) -> Self {
        Self(Context::begin(vm, Kind::Http))
    }

    /// Returns its name, unique among the live streams of its VM.
    pub fn id(&self) -> StreamId {
        self.0.id()
    }

    /// Returns the VM it is pinned to.
    pub fn vm(&self) -> &Vm {
        self.0.vm()
    }

    /// Runs `proxy_on_request_headers`.
    ///
    /// `end_of_stream` says that neither body nor trailers follow; then no body callback is due.
    pub fn on_request_headers(
        &mut self,
        host: &mut dyn StreamHost,
        end_of_stream: bool,
    ) -> Outcome {
        let answer = self.ask(
            Callback::RequestHeaders,
            Direction::Request,
            host,
            |host| count(host, Map::RequestHeaders),
            |exports, store, id, n| {
                let call = exports.request_headers.as_ref()?;
                Some(call.call(store, id, n, end_of_stream))
            },
        );
        self.read_headers(answer)
    }

    /// Runs `proxy_on_request_body` for the bytes `host` shows as its request body.
    pub fn on_request_body(&mut self, host: &mut dyn StreamHost, end_of_stream: bool) -> Outcome {
        let answer = self.ask(
            Callback::RequestBody,
            Direction::Request,
            host,
            |host| length(host, Body::Request),
            |exports, store, id, n| {
                let call = exports.request_body.as_ref()?;
                Some(call.call(store, (id, n, u32::from(end_of_stream))))
            },
        );
        read(answer, Action::from_body)
    }

    /// Runs `proxy_on_request_trailers`.
    pub fn on_request_trailers(&mut self, host: &mut dyn StreamHost) -> Outcome {
        let answer = self.ask(
            Callback::RequestTrailers,
            Direction::Request,
            host,
            |host| count(host, Map::RequestTrailers),
            |exports, store, id, n| {
                let call = exports.request_trailers.as_ref()?;
                Some(call.call(store, (id, n)))
            },
        );
        read(answer, Action::from_trailers)
    }

    /// Runs `proxy_on_response_headers`. Not for informational (1xx) responses.
    pub fn on_response_headers(
        &mut self,
        host: &mut dyn StreamHost,
        end_of_stream: bool,
    ) -> Outcome {
        let answer = self.ask(
            Callback::ResponseHeaders,
            Direction::Response,
            host,
            |host| count(host, Map::ResponseHeaders),
            |exports, store, id, n| {
                let call = exports.response_headers.as_ref()?;
                Some(call.call(store, id, n, end_of_stream))
            },
        );
        self.read_headers(answer)
    }

    /// Runs `proxy_on_response_body` for the bytes `host` shows as its response body.
    pub fn on_response_body(&mut self, host: &mut dyn StreamHost, end_of_stream: bool) -> Outcome {
        let answer = self.ask(
            Callback::ResponseBody,
            Direction::Response,
            host,
            |host| length(host, Body::Response),
            |exports, store, id, n| {
                let call = exports.response_body.as_ref()?;
                Some(call.call(store, (id, n, u32::from(end_of_stream))))
            },
        );
        read(answer, Action::from_body)
    }

    /// Runs `proxy_on_response_trailers`.
    pub fn on_response_trailers(&mut self, host: &mut dyn StreamHost) -> Outcome {
        let answer = self.ask(
            Callback::ResponseTrailers,
            Direction::Response,
            host,
            |host| count(host, Map::ResponseTrailers),
            |exports, store, id, n| {
                let call = exports.response_trailers.as_ref()?;
                Some(call.call(store, (id, n)))
            },
        );
        read(answer, Action::from_trailers)
    }

    /// Delivers what happened to a callout made for this stream, then look at
    /// [`HttpStream::pending`]. What is known of no callout of this stream is dropped.
    ///
    /// # Errors
    /// The trap that ended the VM, now or earlier.
    pub fn on_callout(
        &mut self,
        host: &mut dyn StreamHost,
        call: CallId,
        event: CalloutEvent,
    ) -> Result<(), Arc<Trap>> {
        let id = self.0.number();
        self.vm().deliver(call, event, Some((id, host)))
    }

    /// Returns the next thing the guest did to this stream outside its callbacks: in a callout or
    /// timer callback, or from another stream. Call until `None`.
    pub fn pending(&mut self) -> Option<Pending> {
        self.0.effects(|effects| {
            if let Some(response) = effects.local_response.take() {
                return Some(Pending::LocalResponse(response));
            }
            if effects.take(Ask::Reset) {
                return Some(Pending::Reset);
            }
            [Direction::Request, Direction::Response]
                .into_iter()
                .find(|direction| effects.take(resume(*direction)))
                .map(Pending::Resume)
        })
    }

    /// Ends the stream: log, done, delete, in the order filters were tested with.
    ///
    /// Envoy logs before it tells that the stream is done; the specification has it the other way
    /// round, and every SDK accepts both. Headers, trailers and properties are readable; nothing
    /// can be changed any more.
    ///
    /// # Errors
    /// The trap that ended the VM, now or earlier.
    pub fn finish(mut self, host: &mut dyn StreamHost) -> Result<(), Arc<Trap>> {
        self.0.end(Some(host), Farewell::LogThenDone)
    }

    /// Runs one callback and collects what came of it.
    fn ask(
        &self,
        callback: Callback,
        direction: Direction,
        host: &mut dyn StreamHost,
        size: impl FnOnce(&mut dyn StreamHost) -> u32,
        guest: impl FnOnce(&Exports, &mut Store<State>, u32, u32) -> Option<wasmtime::Result<u32>>,
    ) -> Answer {
        self.0.ask(callback, host, size, guest, |effects| Asked {
            resume: effects.take(resume(direction)),
            reset: effects.take(Ask::Reset),
            local_response: effects.local_response.take(),
        })
    }

    fn read_headers(&self, answer: Answer) -> Outcome {
        let body_while_headers_wait = self.vm().0.plugin.config.body_while_headers_wait;
        read(answer, |raw| {
            Action::from_headers(raw, body_while_headers_wait)
        })
    }
}

fn resume(direction: Direction) -> Ask {
    match direction {
        Direction::Request => Ask::ResumeRequest,
        Direction::Response => Ask::ResumeResponse,
    }
}

/// Decides what the proxy does, in the order of what overrides what.
fn read(answer: Answer, action: impl FnOnce(u32) -> Action) -> Outcome {
    let (raw, asked) = match answer {
        Ok(Some(answer)) => answer,
        Ok(None) => return Outcome::Continue,
        Err(trap) => return Outcome::Trapped(trap),
    };
    if let Some(response) = asked.local_response {
        return Outcome::LocalResponse(response);
    }
    if asked.reset {
        return Outcome::Reset;
    }
    match action(raw) {
        // Resuming in the very callback that asks to wait results in going on.
        Action::Pause(how) if !asked.resume => Outcome::Pause(how),
        Action::Pause(_) | Action::Continue => Outcome::Continue,
    }
}

fn count(host: &mut dyn StreamHost, map: Map) -> u32 {
    host.headers(map).map_or(0, |headers| {
        u32::try_from(headers.len()).unwrap_or(u32::MAX)
    })
}

fn length(host: &mut dyn StreamHost, body: Body) -> u32 {
    host.body(body)
        .map_or(0, |body| u32::try_from(body.len()).unwrap_or(u32::MAX))
}
