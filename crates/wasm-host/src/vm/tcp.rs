//! One TCP connection on a VM.

use std::sync::Arc;

use wasmtime::Store;

use crate::abi::{CallId, Peer, Side, StreamId};
use crate::callback::Callback;
use crate::embed::{CalloutEvent, StreamHost};
use crate::outcome::{TcpOutcome, TcpPending};
use crate::trap::Trap;
use crate::vm::context::{Context, Farewell};
use crate::vm::exports::Exports;
use crate::vm::{Ask, Kind, State, Vm};

/// A TCP connection and the one it is passed on to, as one plugin sees them.
///
/// A new connection comes first, then data from either side, then the end of each side, then
/// [`TcpStream::finish`]. The bytes a data callback is about are those of
/// [`StreamHost::data`]: what came, and before it what waited since the guest last said so. After
/// every callback, look at [`TcpStream::pending`] as well.
///
/// As with HTTP streams, nothing more happens after a trap, and dropping a stream ends it.
#[derive(Debug)]
pub struct TcpStream(Context);

/// What the guest returned and what it asked for meanwhile.
type Answer = Result<Option<(u32, Asked)>, Arc<Trap>>;

#[derive(Debug)]
struct Asked {
    close: Option<Side>,
    resume: bool,
}

impl TcpStream {
    pub(super) fn new(vm: Vm) -> Self {
        Self(Context::begin(vm, Kind::Tcp))
    }

    /// Returns its name, unique among the live streams of its VM.
    pub fn id(&self) -> StreamId {
        self.0.id()
    }

    /// Returns the VM it is pinned to.
    pub fn vm(&self) -> &Vm {
        self.0.vm()
    }

    /// Runs `proxy_on_new_connection`.
    pub fn on_new_connection(&mut self, host: &mut dyn StreamHost) -> TcpOutcome {
        let callback = Callback::NewConnection;
        read(
            self.ask(callback, Side::Downstream, host, |exports, store, id, _| {
                let call = exports.new_connection.as_ref()?;
                Some(call.call(store, id))
            }),
        )
    }

    /// Runs `proxy_on_downstream_data` for the bytes `host` shows of the client's side.
    ///
    /// `end_of_stream` says that the client sends no more.
    pub fn on_downstream_data(
        &mut self,
        host: &mut dyn StreamHost,
        end_of_stream: bool,
    ) -> TcpOutcome {
        let callback = Callback::DownstreamData;
        read(
            self.ask(callback, Side::Downstream, host, |exports, store, id, n| {
                let call = exports.downstream_data.as_ref()?;
                Some(call.call(store, (id, n, u32::from(end_of_stream))))
            }),
        )
    }

    /// Runs `proxy_on_upstream_data` for the bytes `host` shows of the server's side.
    pub fn on_upstream_data(
        &mut self,
        host: &mut dyn StreamHost,
        end_of_stream: bool,
    ) -> TcpOutcome {
        let callback = Callback::UpstreamData;
        read(
            self.ask(callback, Side::Upstream, host, |exports, store, id, n| {
                let call = exports.upstream_data.as_ref()?;
                Some(call.call(store, (id, n, u32::from(end_of_stream))))
            }),
        )
    }

    /// Runs `proxy_on_downstream_connection_close`.
    ///
    /// # Errors
    /// The trap that ended the VM, now or earlier.
    pub fn on_downstream_close(
        &mut self,
        host: &mut dyn StreamHost,
        by: Peer,
    ) -> Result<(), Arc<Trap>> {
        self.told(Callback::DownstreamClose, host, |exports, store, id| {
            let call = exports.downstream_close.as_ref()?;
            Some(call.call(store, (id, by as u32)))
        })
    }

    /// Runs `proxy_on_upstream_connection_close`.
    ///
    /// # Errors
    /// The trap that ended the VM, now or earlier.
    pub fn on_upstream_close(
        &mut self,
        host: &mut dyn StreamHost,
        by: Peer,
    ) -> Result<(), Arc<Trap>> {
        self.told(Callback::UpstreamClose, host, |exports, store, id| {
            let call = exports.upstream_close.as_ref()?;
            Some(call.call(store, (id, by as u32)))
        })
    }

    /// Delivers what happened to a callout made for this stream, then look at
    /// [`TcpStream::pending`]. What is known of no callout of this stream is dropped.
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

    /// Returns the next thing the guest did to this stream that no callback has answered with.
    /// Call until `None`.
    pub fn pending(&mut self) -> Option<TcpPending> {
        self.0.effects(|effects| {
            let sides = [Side::Downstream, Side::Upstream];
            let closed = sides.into_iter().find(|side| effects.take(close(*side)));
            closed.map(TcpPending::Close).or_else(|| {
                let resumed = sides.into_iter().find(|side| effects.take(resume(*side)));
                resumed.map(TcpPending::Resume)
            })
        })
    }

    /// Ends the stream: done, log, delete, in the order filters were tested with.
    ///
    /// # Errors
    /// The trap that ended the VM, now or earlier.
    pub fn finish(mut self, host: &mut dyn StreamHost) -> Result<(), Arc<Trap>> {
        self.0.end(Some(host), Farewell::DoneThenLog)
    }

    fn ask(
        &self,
        callback: Callback,
        side: Side,
        host: &mut dyn StreamHost,
        guest: impl FnOnce(&Exports, &mut Store<State>, u32, u32) -> Option<wasmtime::Result<u32>>,
    ) -> Answer {
        let length = |host: &mut dyn StreamHost| {
            host.data(side)
                .map_or(0, |data| u32::try_from(data.len()).unwrap_or(u32::MAX))
        };
        self.0.ask(callback, host, length, guest, |effects| Asked {
            close: [Side::Downstream, Side::Upstream]
                .into_iter()
                .find(|side| effects.take(close(*side))),
            resume: effects.take(resume(side)),
        })
    }

    /// Runs a callback that returns nothing.
    fn told(
        &self,
        callback: Callback,
        host: &mut dyn StreamHost,
        guest: impl FnOnce(&Exports, &mut Store<State>, u32) -> Option<wasmtime::Result<()>>,
    ) -> Result<(), Arc<Trap>> {
        let answer = self.0.ask(
            callback,
            host,
            |_| 0,
            |exports, store, id, _| guest(exports, store, id).map(|result| result.map(|()| 0)),
            |_| (),
        );
        answer.map(drop)
    }
}

fn resume(side: Side) -> Ask {
    match side {
        Side::Downstream => Ask::ResumeDownstream,
        Side::Upstream => Ask::ResumeUpstream,
    }
}

fn close(side: Side) -> Ask {
    match side {
        Side::Downstream => Ask::CloseDownstream,
        Side::Upstream => Ask::CloseUpstream,
    }
}

/// Decides what the proxy does. Any action but "continue" means to wait.
fn read(answer: Answer) -> TcpOutcome {
    let (raw, asked) = match answer {
        Ok(Some(answer)) => answer,
        Ok(None) => return TcpOutcome::Continue,
        Err(trap) => return TcpOutcome::Trapped(trap),
    };
    match asked.close {
        Some(side) => TcpOutcome::Close(side),
        None if raw == 0 || asked.resume => TcpOutcome::Continue,
        None => TcpOutcome::Wait,
    }
}
