//! One HTTP stream on a VM.

use std::sync::Arc;

use wasmtime::Store;

use crate::abi::{Action, Body, CallId, Direction, Map, StreamId};
use crate::embed::{CalloutEvent, StreamHost};
use crate::outcome::{LocalResponse, Outcome, Pending};
use crate::trap::Trap;
use crate::vm::exports::Exports;
use crate::vm::{Entry, Phase, ROOT, State, Stream, Vm};

/// An HTTP stream as one plugin sees it; pinned to its VM for life.
///
/// Callbacks come in this order, each body callback any number of times: request headers, body,
/// trailers, response headers, body, trailers; then [`HttpStream::finish`]. A callback the module
/// does not export is [`Outcome::Continue`] at next to no cost.
///
/// After [`Outcome::Trapped`] nothing more happens for this stream, `finish` included. Dropping a
/// stream that was not finished ends it in the guest, without a log callback.
#[derive(Debug)]
pub struct HttpStream {
    vm: Vm,
    id: u32,
    finished: bool,
}

/// The id of a stream begun on a VM that is dead or running; the guest never hears of it.
const NO_CONTEXT: u32 = 0;

/// What the guest returned and what it asked for meanwhile.
#[derive(Debug, Default)]
struct Answer {
    action: Option<u32>,
    local_response: Option<Box<LocalResponse>>,
    reset: bool,
    resume: bool,
}

impl HttpStream {
    pub(super) fn new(vm: Vm) -> Self {
        let id = vm.poke(|state| {
            let last = vm.0.last_context.get();
            let mut id = last;
            loop {
                id = id.checked_add(1).unwrap_or(ROOT + 1);
                if !state.streams.contains_key(&id) {
                    break;
                }
            }
            vm.0.last_context.set(id);
            state.streams.insert(id, Stream::default());
            id
        });
        Self {
            id: id.unwrap_or(NO_CONTEXT),
            vm,
            finished: false,
        }
    }

    /// Returns its name, unique among the live streams of its VM.
    pub fn id(&self) -> StreamId {
        StreamId(self.id)
    }

    /// Returns the VM it is pinned to.
    pub fn vm(&self) -> &Vm {
        &self.vm
    }

    /// Runs `proxy_on_request_headers`.
    ///
    /// `end_of_stream` says that neither body nor trailers follow; then no body callback is due.
    pub fn on_request_headers(
        &mut self,
        host: &mut dyn StreamHost,
        end_of_stream: bool,
    ) -> Outcome {
        let n = count(host, Map::RequestHeaders);
        let answer = self.ask(
            "proxy_on_request_headers",
            Direction::Request,
            host,
            |exports, store, id| {
                exports.request_headers.as_ref().map(|call| {
                    introduce(exports, store, id, "proxy_on_request_headers")?;
                    call.call(store, id, n, end_of_stream)
                })
            },
        );
        self.read_headers(answer)
    }

    /// Runs `proxy_on_request_body` for the bytes `host` shows as its request body.
    pub fn on_request_body(&mut self, host: &mut dyn StreamHost, end_of_stream: bool) -> Outcome {
        let n = length(host, Body::Request);
        let answer = self.ask(
            "proxy_on_request_body",
            Direction::Request,
            host,
            |exports, store, id| {
                exports.request_body.as_ref().map(|call| {
                    introduce(exports, store, id, "proxy_on_request_body")?;
                    call.call(store, (id, n, u32::from(end_of_stream)))
                })
            },
        );
        read(answer, Action::from_body)
    }

    /// Runs `proxy_on_request_trailers`.
    pub fn on_request_trailers(&mut self, host: &mut dyn StreamHost) -> Outcome {
        let n = count(host, Map::RequestTrailers);
        let answer = self.ask(
            "proxy_on_request_trailers",
            Direction::Request,
            host,
            |exports, store, id| {
                exports.request_trailers.as_ref().map(|call| {
                    introduce(exports, store, id, "proxy_on_request_trailers")?;
                    call.call(store, (id, n))
                })
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
        let n = count(host, Map::ResponseHeaders);
        let answer = self.ask(
            "proxy_on_response_headers",
            Direction::Response,
            host,
            |exports, store, id| {
                exports.response_headers.as_ref().map(|call| {
                    introduce(exports, store, id, "proxy_on_response_headers")?;
                    call.call(store, id, n, end_of_stream)
                })
            },
        );
        self.read_headers(answer)
    }

    /// Runs `proxy_on_response_body` for the bytes `host` shows as its response body.
    pub fn on_response_body(&mut self, host: &mut dyn StreamHost, end_of_stream: bool) -> Outcome {
        let n = length(host, Body::Response);
        let answer = self.ask(
            "proxy_on_response_body",
            Direction::Response,
            host,
            |exports, store, id| {
                exports.response_body.as_ref().map(|call| {
                    introduce(exports, store, id, "proxy_on_response_body")?;
                    call.call(store, (id, n, u32::from(end_of_stream)))
                })
            },
        );
        read(answer, Action::from_body)
    }

    /// Runs `proxy_on_response_trailers`.
    pub fn on_response_trailers(&mut self, host: &mut dyn StreamHost) -> Outcome {
        let n = count(host, Map::ResponseTrailers);
        let answer = self.ask(
            "proxy_on_response_trailers",
            Direction::Response,
            host,
            |exports, store, id| {
                exports.response_trailers.as_ref().map(|call| {
                    introduce(exports, store, id, "proxy_on_response_trailers")?;
                    call.call(store, (id, n))
                })
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
        self.vm.deliver(call, event, Some((self.id, host)))
    }

    /// Returns the next thing the guest did to this stream outside its callbacks: in a callout or
    /// timer callback, or from another stream. Call until `None`.
    pub fn pending(&mut self) -> Option<Pending> {
        let id = self.id;
        let next = self.vm.poke(|state| {
            let effects = &mut state.streams.get_mut(&id)?.effects;
            if let Some(response) = effects.local_response.take() {
                return Some(Pending::LocalResponse(response));
            }
            if std::mem::take(&mut effects.reset) {
                return Some(Pending::Reset);
            }
            if std::mem::take(&mut effects.resume_request) {
                return Some(Pending::Resume(Direction::Request));
            }
            std::mem::take(&mut effects.resume_response)
                .then_some(Pending::Resume(Direction::Response))
        });
        next.flatten()
    }

    /// Ends the stream: log, done, delete, in the order filters were tested with.
    ///
    /// Envoy logs before it tells that the stream is done; the specification has it the other way
    /// round, and every SDK accepts both.
    ///
    /// # Errors
    /// The trap that ended the VM, now or earlier.
    pub fn finish(mut self, host: &mut dyn StreamHost) -> Result<(), Arc<Trap>> {
        self.on_log(host)?;
        self.end(Some(host))
    }

    /// Runs `proxy_on_log`; headers, trailers and properties are readable, nothing can be changed.
    fn on_log(&self, host: &mut dyn StreamHost) -> Result<(), Arc<Trap>> {
        let id = self.id;
        let entry = self.entry("proxy_on_log", Phase::Ended)?;
        self.vm
            .enter(entry, Some(host), |exports, store| match &exports.log {
                Some(call) => {
                    introduce(exports, store, id, entry.callback)?;
                    call.call(store, id)
                }
                None => Ok(()),
            })
    }

    /// Runs `proxy_on_done` and `proxy_on_delete`, if the guest ever heard of the stream.
    fn end(&mut self, host: Option<&mut dyn StreamHost>) -> Result<(), Arc<Trap>> {
        self.finished = true;
        let id = self.id;
        let entry = self.entry("proxy_on_done", Phase::Ended)?;
        self.vm.enter(entry, host, |exports, store| {
            if store
                .data()
                .streams
                .get(&id)
                .is_some_and(|stream| stream.known)
            {
                if let Some(call) = &exports.done {
                    // Only a root context can ask for more time.
                    call.call(&mut *store, id)?;
                }
                store.data_mut().frame.callback = "proxy_on_delete";
                if let Some(call) = &exports.delete {
                    call.call(&mut *store, id)?;
                }
            }
            forget(store.data_mut(), id);
            Ok(())
        })
    }

    fn entry(&self, callback: &'static str, phase: Phase) -> Result<Entry, Arc<Trap>> {
        if self.id == NO_CONTEXT {
            return Err(self.vm.0.unusable(callback));
        }
        let budget = self.vm.0.plugin.config.limits.callback;
        Ok(Entry {
            callback,
            phase,
            context: self.id,
            lent_for: Some(self.id),
            budget,
        })
    }

    /// Runs one callback and collects what came of it.
    fn ask(
        &self,
        callback: &'static str,
        direction: Direction,
        host: &mut dyn StreamHost,
        guest: impl FnOnce(&Exports, &mut Store<State>, u32) -> Option<wasmtime::Result<u32>>,
    ) -> Result<Answer, Arc<Trap>> {
        let id = self.id;
        let entry = self.entry(callback, Phase::Running)?;
        self.vm.enter(entry, Some(host), |exports, store| {
            let Some(action) = guest(exports, store, id).transpose()? else {
                return Ok(Answer::default());
            };
            let action = Some(action);
            let Some(stream) = store.data_mut().streams.get_mut(&id) else {
                return Ok(Answer {
                    action,
                    ..Answer::default()
                });
            };
            let resume = match direction {
                Direction::Request => &mut stream.effects.resume_request,
                Direction::Response => &mut stream.effects.resume_response,
            };
            Ok(Answer {
                action,
                resume: std::mem::take(resume),
                reset: std::mem::take(&mut stream.effects.reset),
                local_response: stream.effects.local_response.take(),
            })
        })
    }

    fn read_headers(&self, answer: Result<Answer, Arc<Trap>>) -> Outcome {
        let body_while_headers_wait = self.vm.0.plugin.config.body_while_headers_wait;
        read(answer, |raw| {
            Action::from_headers(raw, body_while_headers_wait)
        })
    }
}

impl Drop for HttpStream {
    fn drop(&mut self) {
        // Not while a panic passes: the guest may be the one it came through.
        if !self.finished && !std::thread::panicking() {
            // A trap here has been logged, and the stream is over either way.
            let _ = self.end(None);
        }
    }
}

/// Tells the guest of a stream it does not know yet; the callback proper follows.
fn introduce(
    exports: &Exports,
    store: &mut Store<State>,
    id: u32,
    callback: &'static str,
) -> wasmtime::Result<()> {
    let Some(stream) = store.data_mut().streams.get_mut(&id) else {
        return Ok(());
    };
    if std::mem::replace(&mut stream.known, true) {
        return Ok(());
    }
    if let Some(create) = &exports.context_create {
        store.data_mut().frame.callback = "proxy_on_context_create";
        create.call(&mut *store, (id, ROOT))?;
        store.data_mut().frame.callback = callback;
    }
    Ok(())
}

/// Drops what the VM kept for a stream, and calls off its callouts.
fn forget(state: &mut State, id: u32) {
    for call in state.calls.drain(Some(id)) {
        state.host.cancel_call(CallId(call));
    }
    state.streams.remove(&id);
}

/// Decides what the proxy does, in the order of what overrides what.
fn read(answer: Result<Answer, Arc<Trap>>, action: impl FnOnce(u32) -> Action) -> Outcome {
    let answer = match answer {
        Ok(answer) => answer,
        Err(trap) => return Outcome::Trapped(trap),
    };
    if let Some(response) = answer.local_response {
        return Outcome::LocalResponse(response);
    }
    if answer.reset {
        return Outcome::Reset;
    }
    match answer.action.map(action) {
        // Resuming in the very callback that asks to wait results in going on.
        Some(Action::Pause(_)) if answer.resume => Outcome::Continue,
        Some(Action::Pause(how)) => Outcome::Pause(how),
        Some(Action::Continue) | None => Outcome::Continue,
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
