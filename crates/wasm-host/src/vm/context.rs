//! What streams of every kind have in common: a context in the guest, from its first callback to
//! its last.

use std::sync::Arc;

use wasmtime::Store;

use crate::abi::StreamId;
use crate::callback::Callback;
use crate::embed::StreamHost;
use crate::trap::Trap;
use crate::vm::exports::Exports;
use crate::vm::{Effects, Entry, Kind, Phase, ROOT, State, Stream, Vm};

/// The id of a stream begun on a VM that is dead or running; the guest never hears of it.
const NO_CONTEXT: u32 = 0;

/// A stream of any kind, pinned to its VM.
#[derive(Debug)]
pub(super) struct Context {
    vm: Vm,
    id: u32,
    finished: bool,
}

/// Which of the last callbacks comes first. HTTP streams are logged first, TCP streams last: the
/// orders Envoy has, with which filters were tested.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Farewell {
    LogThenDone,
    DoneThenLog,
    /// The stream was dropped: there is nothing to log it from.
    Unlogged,
}

impl Context {
    pub(super) fn begin(vm: Vm, kind: Kind) -> Self {
        let id = vm.poke(|state| {
            let mut id = vm.0.last_context.get();
            loop {
                id = id.checked_add(1).unwrap_or(ROOT + 1);
                if !state.streams.contains_key(&id) {
                    break;
                }
            }
            vm.0.last_context.set(id);
            state.streams.insert(id, Stream::new(kind));
            id
        });
        Self {
            id: id.unwrap_or(NO_CONTEXT),
            vm,
            finished: false,
        }
    }

    pub(super) fn id(&self) -> StreamId {
        StreamId(self.id)
    }

    pub(super) fn number(&self) -> u32 {
        self.id
    }

    pub(super) fn vm(&self) -> &Vm {
        &self.vm
    }

    /// Runs one callback with what `size` finds in the stream as its argument, and returns what the
    /// guest returned and what `collect` takes of what it asked for. `None`: it has no such callback.
    pub(super) fn ask<T>(
        &self,
        callback: Callback,
        host: &mut dyn StreamHost,
        size: impl FnOnce(&mut dyn StreamHost) -> u32,
        guest: impl FnOnce(&Exports, &mut Store<State>, u32, u32) -> Option<wasmtime::Result<u32>>,
        collect: impl FnOnce(&mut Effects) -> T,
    ) -> Result<Option<(u32, T)>, Arc<Trap>> {
        let id = self.id;
        let entry = self.entry(callback, Phase::Running)?;
        if !self.vm.0.callbacks.contains(callback) {
            return match self.vm.trap() {
                Some(trap) => Err(trap),
                None => Ok(None),
            };
        }
        let size = size(host);
        self.vm.enter(entry, Some(host), |exports, store| {
            introduce(exports, store, id)?;
            let Some(returned) = guest(exports, store, id, size) else {
                return Ok(None);
            };
            let returned = returned?;
            let state = store.data_mut();
            let effects = state.streams.get_mut(&id).map(|stream| &mut stream.effects);
            Ok(effects.map(|effects| (returned, collect(effects))))
        })
    }

    /// Tells the guest of the stream, and that it is gone: neither done nor logged, since nothing
    /// came on it that a filter could count on there.
    pub(super) fn come_and_go(mut self) -> Result<(), Arc<Trap>> {
        self.finished = true;
        let id = self.id;
        let entry = self.entry(Callback::ContextCreate, Phase::Running)?;
        self.vm.enter(entry, None, |exports, store| {
            introduce(exports, store, id)?;
            if let Some(call) = exports
                .delete
                .as_ref()
                .filter(|_| exports.context_create.is_some())
            {
                call.call(&mut *store, id)?;
            }
            forget(store.data_mut(), id);
            Ok(())
        })
    }

    /// Looks at what the guest asked for outside the callbacks of this stream.
    pub(super) fn effects<R>(&self, take: impl FnOnce(&mut Effects) -> Option<R>) -> Option<R> {
        let id = self.id;
        self.vm
            .poke(|state| take(&mut state.streams.get_mut(&id)?.effects))
            .flatten()
    }

    /// Runs the last callbacks.
    pub(super) fn end(
        &mut self,
        host: Option<&mut dyn StreamHost>,
        farewell: Farewell,
    ) -> Result<(), Arc<Trap>> {
        self.finished = true;
        let id = self.id;
        let first = match farewell {
            Farewell::LogThenDone => Callback::Log,
            Farewell::DoneThenLog | Farewell::Unlogged => Callback::Done,
        };
        let entry = self.entry(first, Phase::Ended)?;
        self.vm.enter(entry, host, |exports, store| {
            if farewell != Farewell::Unlogged && exports.log.is_some() {
                introduce(exports, store, id)?;
            }
            if is_known(store.data(), id) {
                if farewell == Farewell::LogThenDone {
                    log(exports, store, id)?;
                    renew(store);
                }
                if let Some(call) = &exports.done {
                    // Only a root context can ask for more time.
                    call.call(&mut *store, id)?;
                }
                if farewell == Farewell::DoneThenLog {
                    renew(store);
                    log(exports, store, id)?;
                }
                if let Some(call) = &exports.delete {
                    call.call(&mut *store, id)?;
                }
            }
            forget(store.data_mut(), id);
            Ok(())
        })
    }

    pub(super) fn entry(&self, callback: Callback, phase: Phase) -> Result<Entry, Arc<Trap>> {
        if self.id == NO_CONTEXT {
            return Err(self.vm.0.unusable(callback.name()));
        }
        Ok(Entry {
            callback: callback.name(),
            phase,
            context: self.id,
            lent_for: Some(self.id),
            budget: self.vm.0.plugin.config.limits.callback,
        })
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // Not while a panic passes: the guest may be the one it came through.
        if !self.finished && !std::thread::panicking() {
            // A trap here has been logged, and the stream is over either way.
            let _ = self.end(None, Farewell::Unlogged);
        }
    }
}

/// Tells the guest of a stream it does not know yet; the callback proper follows.
pub(super) fn introduce(
    exports: &Exports,
    store: &mut Store<State>,
    id: u32,
) -> wasmtime::Result<()> {
    let Some(stream) = store.data_mut().streams.get_mut(&id) else {
        return Ok(());
    };
    if std::mem::replace(&mut stream.known, true) {
        return Ok(());
    }
    match &exports.context_create {
        Some(create) => create.call(&mut *store, (id, ROOT)),
        None => Ok(()),
    }
}

fn log(exports: &Exports, store: &mut Store<State>, id: u32) -> wasmtime::Result<()> {
    match &exports.log {
        Some(call) => call.call(store, id),
        None => Ok(()),
    }
}

/// Gives the next callback of the same entry what callbacks may use, but no time of its own: nobody
/// else runs between the two.
fn renew(store: &mut Store<State>) {
    let state = store.data_mut();
    state.frame.renew(&state.plugin.config.limits);
}

fn is_known(state: &State, id: u32) -> bool {
    state.streams.get(&id).is_some_and(|stream| stream.known)
}

/// Drops what the VM kept for a stream. Its callouts go on, as the root's: a filter that reports by
/// callout does not wait for the answer, and what nobody waits for SDKs drop.
fn forget(state: &mut State, id: u32) {
    let calls = state.streams.remove(&id).map_or(0, |stream| stream.calls);
    if calls > 0 {
        state.calls.adopt(id, ROOT);
    }
}
