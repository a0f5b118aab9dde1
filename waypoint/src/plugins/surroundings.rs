//! What a running plugin has around it outside of requests: log, metrics, timer, queues, callouts.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use runtime::LocalTasks;
use telemetry::wasm::{Callback as CallbackMetrics, Plugin as PluginMetrics};
use tokio::sync::{Notify, mpsc, oneshot};
use wasm_host::{
    CallId, CallRefused, Callback, CalloutEvent, GrpcCall, GrpcMethod, HttpCall, LogLevel,
    MetricId, MetricKind, Notice, PluginHost, QueueNotifier, Reason, StreamHost, StreamId, Trap,
    Value,
};

use super::callout::{Reach, Request};
use super::grpc;
use super::turns::Usage;
use super::vms::Running;
use crate::state::Loaded;

/// Most bytes of a body that are held for a plugin; Envoy's default for a stream.
const BUFFER_LIMIT: usize = 1 << 20;
/// The shortest period of a timer.
const SHORTEST_TICK: Duration = Duration::from_millis(1);

/// What plugins of one request or connection share, as far as events go.
pub(super) trait Heard: fmt::Debug {
    /// Hands the guest of a seat what became of a callout.
    fn deliver(self: Rc<Self>, seat: usize, call: CallId, event: CalloutEvent);

    /// Wakes whoever waits for a guest: one of them acted from elsewhere, or its VM is dead.
    fn stir(&self);

    /// Lends what there is to see, to a guest that was entered for something else.
    fn lend(self: Rc<Self>) -> Option<Box<dyn StreamHost>> {
        None
    }
}

/// Who hears of what happens to a stream of a guest.
#[derive(Clone, Debug)]
pub(super) struct Addressee {
    heard: Weak<dyn Heard>,
    seat: usize,
}

impl Addressee {
    pub(super) fn new(heard: Weak<dyn Heard>, seat: usize) -> Self {
        Self { heard, seat }
    }

    fn deliver(&self, call: CallId, event: CalloutEvent) {
        if let Some(heard) = self.heard.upgrade() {
            heard.deliver(self.seat, call, event);
        }
    }

    fn stir(&self) {
        if let Some(heard) = self.heard.upgrade() {
            heard.stir();
        }
    }
}

/// A callout on its way; dropping it ends it.
struct OnItsWay {
    stream: Option<StreamId>,
    /// Where messages of a gRPC stream go, until its end.
    messages: Option<mpsc::Sender<Bytes>>,
    /// Dropped when the callout is over or called off.
    _end: oneshot::Sender<()>,
}

/// The surroundings of one running plugin.
pub(super) struct Surroundings {
    own: Weak<Self>,
    loaded: Arc<Loaded>,
    reach: Rc<Reach>,
    tasks: LocalTasks,
    metrics: PluginMetrics,
    usage: Rc<Usage>,
    /// What callbacks were counted as, by the address of their name.
    counted: RefCell<Vec<(*const u8, CallbackMetrics)>>,
    /// The plugin itself, once it has started.
    running: OnceCell<Weak<Running>>,
    listed: RefCell<HashMap<StreamId, Addressee>>,
    calls: RefCell<HashMap<CallId, OnItsWay>>,
    has_called: Cell<bool>,
    period: Cell<Option<Duration>>,
    period_changed: Notify,
    has_queue: Cell<bool>,
    retired: Cell<bool>,
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings")
            .field("plugin", &self.loaded.to_string())
            .field("calls", &self.calls.borrow().len())
            .finish_non_exhaustive()
    }
}

impl Surroundings {
    pub(super) fn new(
        loaded: Arc<Loaded>,
        reach: Rc<Reach>,
        tasks: LocalTasks,
        metrics: PluginMetrics,
        usage: Rc<Usage>,
    ) -> Rc<Self> {
        Rc::new_cyclic(|own| Self {
            own: Weak::clone(own),
            loaded,
            reach,
            tasks,
            metrics,
            usage,
            counted: RefCell::default(),
            running: OnceCell::new(),
            listed: RefCell::default(),
            calls: RefCell::default(),
            has_called: Cell::new(false),
            period: Cell::new(None),
            period_changed: Notify::new(),
            has_queue: Cell::new(false),
            retired: Cell::new(false),
        })
    }

    /// The plugin runs: its timer begins, if it has asked for one.
    pub(super) fn started(&self, running: &Rc<Running>) {
        self.metrics.memory(running.vm().memory());
        self.metrics.vms(1);
        // Set once, just now.
        let _ = self.running.set(Rc::downgrade(running));
        let vm = Rc::downgrade(running);
        self.usage
            .runs(move || vm.upgrade().map_or(0, |running| running.vm().streams()));
        self.run_timer();
    }

    /// The plugin takes no more requests: its timer ends.
    pub(super) fn retire(&self) {
        self.retired.set(true);
        self.period_changed.notify_one();
    }

    /// The plugin is dead: everybody who waits for it is told.
    pub(super) fn died(&self, trap: &Trap) {
        self.calls.borrow_mut().clear();
        self.metrics.trapped(trap.callback, word(&trap.reason));
        self.period_changed.notify_one();
        let listed = std::mem::take(&mut *self.listed.borrow_mut());
        for addressee in listed.values() {
            addressee.stir();
        }
    }

    pub(super) fn has(&self, callback: Callback) -> bool {
        let module = self.loaded.module.as_ref();
        module.is_ok_and(|plugin| plugin.module().callbacks().contains(callback))
    }

    pub(super) fn buffer_limit(&self) -> usize {
        let limit = self.loaded.plugin.limits.buffer;
        limit.map_or(BUFFER_LIMIT, |limit| {
            usize::try_from(limit).unwrap_or(usize::MAX)
        })
    }

    /// Counts that something beyond a limit was not done for it.
    pub(super) fn refused(&self, limit: &'static str) {
        self.metrics.budget(limit);
    }

    pub(super) fn acts_by_itself(&self) -> bool {
        self.period.get().is_some() || self.has_queue.get()
    }

    pub(super) fn has_called(&self) -> bool {
        self.has_called.take()
    }

    pub(super) fn list(&self, stream: StreamId, addressee: Addressee) {
        self.listed.borrow_mut().insert(stream, addressee);
    }

    pub(super) fn unlist(&self, stream: StreamId) {
        self.listed.borrow_mut().remove(&stream);
    }

    fn run_timer(&self) {
        let Some(running) = self.running.get().cloned() else {
            return;
        };
        if self.period.get().is_some() {
            self.tasks.spawn("plugin timer", tick(running));
        }
    }

    /// Hands the guest what became of a callout.
    fn deliver(running: &Rc<Running>, call: CallId, stream: Option<StreamId>, event: CalloutEvent) {
        let surroundings = running.surroundings();
        let addressee =
            stream.and_then(|stream| surroundings.listed.borrow().get(&stream).cloned());
        match addressee {
            Some(addressee) => addressee.deliver(call, event),
            // Nobody is there for it any more but the plugin itself.
            None => {
                if let Err(trap) = running.vm().on_callout(call, event) {
                    running.died(&trap);
                }
            }
        }
        surroundings.metrics.memory(running.vm().memory());
    }

    /// Keeps a callout, and has `made` run until it is over or called off.
    fn make<F>(
        &self,
        call: CallId,
        stream: Option<StreamId>,
        messages: Option<mpsc::Sender<Bytes>>,
        made: F,
    ) where
        F: Future<Output = ()> + 'static,
    {
        let (end, called_off) = oneshot::channel();
        let on_its_way = OnItsWay {
            stream,
            messages,
            _end: end,
        };
        self.has_called.set(true);
        self.calls.borrow_mut().insert(call, on_its_way);
        self.tasks.spawn("plugin callout", async move {
            tokio::select! {
                biased;
                _ = called_off => {}
                () = made => {}
            }
        });
    }

    /// Tells of a callout that is over, when it is the plugin's turn.
    async fn end(
        running: &Weak<Running>,
        call: CallId,
        stream: Option<StreamId>,
        event: CalloutEvent,
    ) {
        if let Some(running) = running.upgrade() {
            running.usage().turn().await;
            let ended = running.surroundings().calls.borrow_mut().remove(&call);
            Self::deliver(&running, call, stream, event);
            drop(ended);
        }
    }

    /// The plugin, for tasks that outlive this call. While it starts there is none yet, but it is
    /// there when the task runs.
    fn later(&self) -> impl Fn() -> Weak<Running> + use<> {
        let surroundings = Weak::clone(&self.own);
        move || {
            let surroundings = surroundings.upgrade();
            let running = surroundings.and_then(|around| around.running.get().cloned());
            running.unwrap_or_default()
        }
    }
}

/// Calls a plugin's timer until the plugin is let go.
async fn tick(running: Weak<Running>) {
    loop {
        let Some(plugin) = running.upgrade() else {
            return;
        };
        let surroundings = Rc::clone(plugin.surroundings());
        if plugin.vm().trap().is_some() || surroundings.retired.get() {
            return;
        }
        let period = surroundings.period.get();
        drop(plugin);
        let Some(period) = period else {
            surroundings.period_changed.notified().await;
            continue;
        };
        tokio::select! {
            () = tokio::time::sleep(period.max(SHORTEST_TICK)) => {}
            () = surroundings.period_changed.notified() => continue,
        }
        if let Some(plugin) = running.upgrade() {
            plugin.usage().turn().await;
            // It may have been replaced while it waited.
            if surroundings.retired.get() {
                return;
            }
            if let Err(trap) = plugin.vm().on_tick() {
                plugin.died(&trap);
            }
        }
    }
}

impl PluginHost for Surroundings {
    fn log_level(&self) -> LogLevel {
        if tracing::enabled!(target: "wasm", tracing::Level::TRACE) {
            LogLevel::Trace
        } else if tracing::enabled!(target: "wasm", tracing::Level::DEBUG) {
            LogLevel::Debug
        } else {
            LogLevel::Info
        }
    }

    fn notice(&self, notice: Notice) {
        self.metrics.budget(notice.name());
    }

    fn property(&self, path: &[&str]) -> Option<Value<'_>> {
        self.reach.node.property(path)
    }

    fn define_metric(&self, kind: MetricKind, name: &str) -> Option<MetricId> {
        let kind = match kind {
            MetricKind::Counter => telemetry::wasm::Kind::Counter,
            MetricKind::Gauge => telemetry::wasm::Kind::Gauge,
            MetricKind::Histogram => telemetry::wasm::Kind::Histogram,
        };
        self.metrics.define(kind, name).map(MetricId)
    }

    fn add_to_metric(&self, id: MetricId, delta: i64) {
        self.metrics.add(id.0, delta);
    }

    fn record_metric(&self, id: MetricId, value: u64) {
        self.metrics.record(id.0, value);
    }

    fn metric(&self, id: MetricId) -> u64 {
        self.metrics.read(id.0)
    }

    fn http_call(&self, call: HttpCall<'_>) -> Result<(), CallRefused> {
        let target = self.reach.find(&self.loaded.plugin, call.upstream);
        let target = target.inspect_err(|_| self.metrics.callout("http", "refused"))?;
        let request = Request::of(&call).ok_or(CallRefused::Malformed)?;
        let (id, stream, limit) = (call.id, call.stream, call.timeout);
        let (reach, running, metrics) =
            (Rc::clone(&self.reach), self.later(), self.metrics.clone());
        self.make(id, stream, None, async move {
            let outcome = reach.http(target, request, limit).await;
            metrics.callout("http", outcome.word);
            Self::end(&running(), id, stream, outcome.event).await;
        });
        Ok(())
    }

    fn grpc_call(&self, call: GrpcCall<'_>) -> Result<(), CallRefused> {
        let name = grpc::upstream(call.upstream).ok_or(CallRefused::Malformed)?;
        let target = self.reach.find(&self.loaded.plugin, name);
        let target = target.inspect_err(|_| self.metrics.callout("grpc", "refused"))?;
        let made = grpc::Call::of(&call, name).ok_or(CallRefused::Malformed)?;
        let (id, stream) = (call.id, call.stream);
        let (reach, running, metrics) =
            (Rc::clone(&self.reach), self.later(), self.metrics.clone());
        match call.kind {
            GrpcMethod::Unary { message, timeout } => {
                let message = grpc::frame(message);
                self.make(id, stream, None, async move {
                    let event = made.unary(&reach, &target, message, timeout).await;
                    metrics.callout("grpc", grpc_word(&event));
                    Self::end(&running(), id, stream, event).await;
                });
            }
            GrpcMethod::Streaming => {
                let (messages, queue) = mpsc::channel(grpc::QUEUE);
                self.make(id, stream, Some(messages), async move {
                    let tell = async |event: CalloutEvent| match event {
                        event @ CalloutEvent::GrpcClosed { .. } => {
                            metrics.callout("grpc_stream", grpc_word(&event));
                            Self::end(&running(), id, stream, event).await;
                        }
                        event => {
                            if let Some(running) = running().upgrade() {
                                running.usage().turn().await;
                                Self::deliver(&running, id, stream, event);
                            }
                        }
                    };
                    made.stream(&reach, &target, queue, &tell).await;
                });
            }
        }
        Ok(())
    }

    fn grpc_send(&self, call: CallId, message: &[u8], end_of_stream: bool) {
        let mut calls = self.calls.borrow_mut();
        let Some(OnItsWay {
            messages, stream, ..
        }) = calls.get_mut(&call)
        else {
            return;
        };
        let stream = *stream;
        let sent = messages
            .as_ref()
            .is_none_or(|messages| messages.try_send(grpc::frame(message)).is_ok());
        if end_of_stream {
            *messages = None;
        }
        if !sent {
            // The guest is running: it hears of the end of its call when it has returned.
            calls.remove(&call);
            let running = self.later();
            self.tasks.spawn("plugin callout", async move {
                Self::end(&running(), call, stream, grpc::overrun()).await;
            });
        }
    }

    fn grpc_close(&self, call: CallId) {
        if let Some(on_its_way) = self.calls.borrow_mut().get_mut(&call) {
            on_its_way.messages = None;
        }
    }

    fn cancel_call(&self, call: CallId) {
        self.calls.borrow_mut().remove(&call);
    }

    fn wake(&self, stream: StreamId) {
        if let Some(addressee) = self.listed.borrow().get(&stream) {
            addressee.stir();
        }
    }

    fn lend(&self, stream: StreamId) -> Option<Box<dyn StreamHost>> {
        let addressee = self.listed.borrow().get(&stream).cloned()?;
        addressee.heard.upgrade()?.lend()
    }

    fn tick_period_changed(&self, period: Option<Duration>) {
        let had = self.period.replace(period).is_some();
        self.period_changed.notify_one();
        if !had && period.is_some() {
            self.run_timer();
        }
    }

    fn queue_notifier(&self) -> Option<QueueNotifier> {
        self.has_queue.set(true);
        let (ring, mut bell) = mpsc::unbounded_channel();
        let running = self.later();
        self.tasks.spawn("plugin queue", async move {
            while let Some(queue) = bell.recv().await {
                let Some(running) = running().upgrade() else {
                    return;
                };
                running.usage().turn().await;
                if let Err(trap) = running.vm().on_queue_ready(queue) {
                    running.died(&trap);
                    return;
                }
            }
        });
        Some(Arc::new(move |queue| {
            // Nobody listens any more: the plugin is gone.
            let _ = ring.send(queue);
        }))
    }

    fn wants_timing(&self) -> bool {
        true
    }

    fn called(&self, callback: &'static str, took: Duration) {
        self.usage.spent(took);
        let mut counted = self.counted.borrow_mut();
        let key = callback.as_ptr();
        if let Some((_, metrics)) = counted.iter().find(|(known, _)| *known == key) {
            return metrics.took(took);
        }
        let metrics = self.metrics.callback(callback);
        metrics.took(took);
        counted.push((key, metrics));
    }
}

/// A trap's reason in a word, for labels.
fn word(reason: &Reason) -> &'static str {
    match reason {
        Reason::Deadline { .. } => "deadline",
        Reason::HostCalls { .. } => "host_calls",
        Reason::Memory => "memory",
        Reason::Stack => "stack",
        Reason::Exit { .. } => "exit",
        Reason::Forbidden { .. } => "forbidden",
        Reason::HostPanicked | Reason::Reentered => "host",
        _ => "trap",
    }
}

fn grpc_word(event: &CalloutEvent) -> &'static str {
    match event {
        CalloutEvent::GrpcMessage(_) | CalloutEvent::GrpcClosed { status: 0, .. } => "answered",
        _ => "failed",
    }
}
