//! One instance of a module on one worker, and the life of its root context.
//!
//! A VM never leaves its thread and is entered by one call at a time. While the guest runs the VM
//! is taken out of its slot: whoever calls in then is told so instead of re-entering, and a VM
//! whose host function panicked does not come back.

pub(crate) mod clock;
mod context;
mod deliver;
pub(crate) mod exports;
mod lend;
mod start;
mod state;
mod stream;
mod tcp;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::Store;

pub(crate) use state::{
    Ask, Call, CallKind, Done, Effects, Kind, Metric, Metrics, NotDeclared, Output, Phase, ROOT,
    Received, State, Stream, printable,
};
pub use stream::HttpStream;
pub use tcp::TcpStream;

use crate::abi::{CallId, LogLevel};
use crate::callback::Callbacks;
use crate::embed::{CalloutEvent, LogSource, PluginHost, StreamHost};
use crate::error::StartError;
use crate::plugin::Configured;
use crate::trap::{Circumstances, Reason, Trap, backtrace};
use crate::vm::context::Context;
use crate::vm::exports::Exports;

/// The longest a guest can be inside one call with this budget.
pub(crate) fn longest_run(budget: Duration) -> Duration {
    clock::wall_limit(budget) + budget
}

/// A running plugin on one worker. Clones are the same VM, which goes with the last of them and of
/// its streams.
#[derive(Clone, Debug)]
pub struct Vm(Rc<Inner>);

struct Inner {
    plugin: Arc<Configured>,
    slot: Cell<Slot>,
    trap: RefCell<Option<Arc<Trap>>>,
    last_context: Cell<u32>,
    /// The callbacks that are made.
    callbacks: Callbacks,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("plugin", &self.plugin.config.name)
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
enum Slot {
    /// Ready to be called.
    Idle(Box<Live>),
    /// Taken out by a call.
    #[default]
    Running,
    /// Gone; `Inner::trap` says why.
    Dead,
}

/// What is needed to call the guest.
struct Live {
    store: Store<State>,
    exports: Exports,
}

/// One way into the guest.
#[derive(Clone, Copy, Debug)]
struct Entry {
    callback: &'static str,
    phase: Phase,
    context: u32,
    lent_for: Option<u32>,
    budget: Duration,
}

impl Live {
    /// Calls the guest once, with its budget and with the proxy's stream lent.
    fn enter<R>(
        &mut self,
        entry: Entry,
        stream: Option<&mut dyn StreamHost>,
        guest: impl FnOnce(&Exports, &mut Store<State>) -> wasmtime::Result<R>,
    ) -> wasmtime::Result<R> {
        let state = self.store.data_mut();
        state.plugin.module.compiled().host.ticker.note_entry();
        state.enter(entry.callback, entry.phase, entry.context, entry.lent_for);
        let ticks = state.clock.begin(entry.budget);
        self.store.set_epoch_deadline(ticks);
        let exports = &self.exports;
        let result = lend::with(&mut self.store, stream, |store| {
            let result = guest(exports, store);
            store.data_mut().end_lines();
            result
        });
        self.store.data_mut().borrowed = None;
        result
    }
}

/// Describes why a guest did not return, and calls off what it had started.
fn trap_of(state: &mut State, error: &wasmtime::Error) -> Arc<Trap> {
    let at = Circumstances {
        budget: state.clock.budget(),
        memory_refused: state.meter.refused,
    };
    for call in state.calls.drain() {
        state.host.cancel_call(CallId(call));
    }
    Arc::new(Trap {
        plugin: state.plugin.config.name.clone(),
        module: state.plugin.module.compiled().short_sha256(),
        callback: state.frame.callback,
        reason: Reason::of(error, at),
        said: state.frame.said.take(),
        backtrace: backtrace(error),
    })
}

impl Vm {
    pub(crate) fn start(
        plugin: Arc<Configured>,
        host: Rc<dyn PluginHost>,
    ) -> Result<Self, StartError> {
        let callbacks = plugin.callbacks();
        let live = start::run(&plugin, host, callbacks)?;
        Ok(Self(Rc::new(Inner {
            callbacks,
            plugin,
            slot: Cell::new(Slot::Idle(Box::new(live))),
            trap: RefCell::new(None),
            last_context: Cell::new(ROOT),
        })))
    }

    /// Begins an HTTP stream. The guest hears of it at the first callback it exports.
    pub fn new_stream(&self) -> HttpStream {
        HttpStream::new(self.clone())
    }

    /// Tells the guest of a stream on which nothing comes, to learn whether it can take one.
    pub(crate) fn try_stream(&self) -> Result<(), Arc<Trap>> {
        Context::begin(self.clone(), Kind::Http).come_and_go()
    }

    /// Begins a TCP stream. The guest hears of it at the first callback it exports.
    pub fn new_tcp_stream(&self) -> TcpStream {
        TcpStream::new(self.clone())
    }

    /// Returns the callbacks that are made: those the module exports and may have.
    pub fn callbacks(&self) -> Callbacks {
        self.0.callbacks
    }

    /// Calls a function the proxy and the filter agreed on, by number. The guest reads the
    /// arguments from buffer 8.
    ///
    /// # Errors
    /// The trap that ended the VM, now or earlier.
    pub fn on_foreign_function(&self, function: u32, args: Vec<u8>) -> Result<(), Arc<Trap>> {
        let size = u32::try_from(args.len()).unwrap_or(u32::MAX);
        self.call_root("proxy_on_foreign_function", |exports, store| {
            let Some(call) = &exports.foreign_function else {
                return Ok(());
            };
            store.data_mut().call_data = Some(args);
            let result = call.call(&mut *store, (ROOT, function, size));
            store.data_mut().call_data = None;
            result
        })
    }

    /// Calls the guest's timer; due every [`Vm::tick_period`], counted from the end of the last.
    ///
    /// # Errors
    /// The trap that ended the VM, now or earlier; as for every call here.
    pub fn on_tick(&self) -> Result<(), Arc<Trap>> {
        self.call_root("proxy_on_tick", |exports, store| match &exports.tick {
            Some(call) => call.call(store, ROOT),
            None => Ok(()),
        })
    }

    /// Tells the guest that an item waits in a queue it registered.
    pub fn on_queue_ready(&self, queue: u32) -> Result<(), Arc<Trap>> {
        self.call_root("proxy_on_queue_ready", |exports, store| {
            match &exports.queue_ready {
                Some(call) => call.call(store, (ROOT, queue)),
                None => Ok(()),
            }
        })
    }

    /// Delivers what happened to a callout that was made outside streams. What is known of no
    /// callout in flight is dropped.
    pub fn on_callout(&self, call: CallId, event: CalloutEvent) -> Result<(), Arc<Trap>> {
        self.deliver(call, event, None)
    }

    /// Returns how often the guest wants [`Vm::on_tick`]; `None`: not at all.
    pub fn tick_period(&self) -> Option<Duration> {
        self.peek(|state| state.root.tick_period).flatten()
    }

    /// Returns the bytes of the guest's memory, or 0 when it has none any more.
    pub fn memory(&self) -> usize {
        self.peek(|state| state.meter.memory).unwrap_or(0)
    }

    /// Returns the number of streams the guest knows.
    pub fn streams(&self) -> usize {
        self.peek(|state| state.streams.len()).unwrap_or(0)
    }

    /// Returns why the VM is dead, if it is.
    pub fn trap(&self) -> Option<Arc<Trap>> {
        self.0.trap.borrow().clone()
    }

    /// Ends the plugin, once its streams have ended: asks the guest (`proxy_on_done`), and if it
    /// needs no more time takes its root context away (`proxy_on_delete`).
    ///
    /// Returns whether that is done. If not, call again later, or drop the VM.
    pub fn stop(&self) -> Result<bool, Arc<Trap>> {
        if self.peek(|state| state.root.done) == Some(Done::NotAsked) {
            // Before the call: the guest may say `proxy_done` even before it returns.
            self.poke(|state| state.root.done = Done::Pending);
            let now = self.call_root("proxy_on_done", |exports, store| match &exports.done {
                Some(call) => call.call(store, ROOT).map(|done| done != 0),
                None => Ok(true),
            })?;
            if now {
                self.poke(|state| state.root.done = Done::Yes);
            }
        }
        if self.peek(|state| state.root.done) == Some(Done::Yes) {
            self.call_root("proxy_on_delete", |exports, store| match &exports.delete {
                Some(call) => call.call(store, ROOT),
                None => Ok(()),
            })?;
            self.poke(|state| state.root.done = Done::Deleted);
        }
        match self.trap() {
            Some(trap) => Err(trap),
            None => Ok(self.peek(|state| state.root.done) == Some(Done::Deleted)),
        }
    }

    /// Calls the root context.
    fn call_root<R>(
        &self,
        callback: &'static str,
        guest: impl FnOnce(&Exports, &mut Store<State>) -> wasmtime::Result<R>,
    ) -> Result<R, Arc<Trap>> {
        let budget = self.0.plugin.config.limits.tick;
        let entry = Entry {
            callback,
            phase: Phase::Running,
            context: ROOT,
            lent_for: None,
            budget,
        };
        self.enter(entry, None, guest)
    }

    /// Enters the guest, unless it is running or dead; a trap makes it dead.
    fn enter<R>(
        &self,
        entry: Entry,
        stream: Option<&mut dyn StreamHost>,
        guest: impl FnOnce(&Exports, &mut Store<State>) -> wasmtime::Result<R>,
    ) -> Result<R, Arc<Trap>> {
        let mut taken = self.0.take(entry.callback)?;
        let result = taken.live()?.enter(entry, stream, guest);
        match result {
            Ok(value) => {
                taken.put_back();
                Ok(value)
            }
            Err(error) => Err(taken.bury(&error)),
        }
    }

    /// Looks at the state; `None` while the guest runs or when it is dead.
    fn peek<R>(&self, look: impl FnOnce(&State) -> R) -> Option<R> {
        self.poke(|state| look(state))
    }

    /// Changes the state; `None` while the guest runs or when it is dead.
    fn poke<R>(&self, change: impl FnOnce(&mut State) -> R) -> Option<R> {
        let mut taken = self.0.take("").ok()?;
        let result = change(taken.live().ok()?.store.data_mut());
        taken.put_back();
        Some(result)
    }
}

/// A VM taken out of its slot. Unless it is put back or buried, a panic of the proxy ended it.
struct Taken<'a> {
    vm: &'a Inner,
    callback: &'static str,
    live: Option<Box<Live>>,
}

impl Inner {
    fn take(&self, callback: &'static str) -> Result<Taken<'_>, Arc<Trap>> {
        match self.slot.take() {
            Slot::Idle(live) => Ok(Taken {
                vm: self,
                callback,
                live: Some(live),
            }),
            Slot::Running => Err(self.unusable(callback)),
            Slot::Dead => {
                self.slot.set(Slot::Dead);
                Err(self.unusable(callback))
            }
        }
    }

    /// Why the guest cannot be called: its end, or that it is running.
    fn unusable(&self, callback: &'static str) -> Arc<Trap> {
        let end = self.trap.borrow().clone();
        end.unwrap_or_else(|| self.trap_without_guest(callback, Reason::Reentered))
    }

    fn trap_without_guest(&self, callback: &'static str, reason: Reason) -> Arc<Trap> {
        Arc::new(Trap {
            plugin: self.plugin.config.name.clone(),
            module: self.plugin.module.compiled().short_sha256(),
            callback,
            reason,
            said: None,
            backtrace: String::new(),
        })
    }

    fn die(&self, trap: &Arc<Trap>) {
        self.slot.set(Slot::Dead);
        *self.trap.borrow_mut() = Some(Arc::clone(trap));
    }
}

impl Taken<'_> {
    fn live(&mut self) -> Result<&mut Live, Arc<Trap>> {
        match &mut self.live {
            Some(live) => Ok(live),
            None => Err(self.vm.trap_without_guest(self.callback, Reason::Reentered)),
        }
    }

    fn put_back(mut self) {
        if let Some(live) = self.live.take() {
            self.vm.slot.set(Slot::Idle(live));
        }
    }

    /// Ends the VM: its memory is freed now, however long its streams stay.
    fn bury(mut self, error: &wasmtime::Error) -> Arc<Trap> {
        let Some(mut live) = self.live.take() else {
            return self.vm.trap_without_guest(self.callback, Reason::Reentered);
        };
        let state = live.store.data_mut();
        let trap = trap_of(state, error);
        self.vm.die(&trap);
        let stack = trap.backtrace.trim_end().replace('\n', " < ");
        state.emit(
            LogLevel::Error,
            LogSource::Host,
            &format!("{trap}; in {stack}"),
        );
        trap
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if self.live.is_some() {
            self.vm.die(
                &self
                    .vm
                    .trap_without_guest(self.callback, Reason::HostPanicked),
            );
        }
    }
}
