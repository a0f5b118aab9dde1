//! The running plugins of one worker.
//!
//! A plugin runs from when its module is ready, not from the first request: it may have a timer.
//! One that is replaced takes no new requests; those it has, end on it, and then it is asked to end
//! itself.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mesh::Str;
use runtime::LocalTasks;
use telemetry::wasm::PluginMetrics;
use tokio::time::{Instant, sleep, sleep_until};
use wasm_host::{
    Admission, Callback, Health, HealthSettings, HealthState, HttpStream, Life, Limits, StreamId,
    TcpStream, Trap, Vm,
};

use super::callout::Reach;
use super::standing::Standings;
use super::surroundings::{Addressee, Surroundings};
use super::turns::{Turns, Usage, Visit};
use crate::state::{Loaded, State};

/// Time a replaced plugin has for its last requests, and for its own end after them.
const LAST_REQUESTS: Duration = Duration::from_mins(5);
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How often is looked whether a replaced plugin is done.
const LOOK: Duration = Duration::from_millis(100);

/// Running plugins, by the configuration they run.
#[derive(Debug)]
pub(crate) struct Vms {
    /// The key is the address of the value's `Arc`, which is kept, so it is not used again.
    slots: RefCell<HashMap<usize, Slot>>,
    tasks: LocalTasks,
    reach: Rc<Reach>,
    metrics: PluginMetrics,
    standings: Standings,
    turns: Rc<Turns>,
    /// Number of the worker.
    worker: usize,
}

/// A plugin's place on a worker.
struct Slot {
    loaded: Arc<Loaded>,
    running: Option<Rc<Running>>,
    care: Rc<Care>,
}

/// How a plugin has been doing on a worker, and who is told.
#[derive(Debug)]
struct Care {
    health: RefCell<Health>,
    loaded: Arc<Loaded>,
    reach: Rc<Reach>,
    standings: Standings,
    worker: usize,
    /// What it uses of the worker.
    usage: Rc<Usage>,
    tasks: LocalTasks,
    /// Another version took its place: what becomes of this one is no word on the plugin.
    is_replaced: Cell<bool>,
}

/// A running plugin.
#[derive(Debug)]
pub(crate) struct Running {
    vm: Vm,
    surroundings: Rc<Surroundings>,
    care: Rc<Care>,
    life: Life,
    /// Its first stream decides whether others follow.
    on_probe: Cell<bool>,
    died: Cell<bool>,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("loaded", &self.loaded.to_string())
            .finish_non_exhaustive()
    }
}

impl Vms {
    /// Nothing runs yet.
    pub(crate) fn new(
        tasks: LocalTasks,
        reach: Reach,
        metrics: PluginMetrics,
        standings: Standings,
        worker: usize,
    ) -> Rc<Self> {
        Rc::new(Self {
            slots: RefCell::default(),
            turns: Turns::new(tasks.clone()),
            tasks,
            reach: Rc::new(reach),
            metrics,
            standings,
            worker,
        })
    }

    /// Starts plugins as they appear, and ends those that are replaced.
    pub(crate) fn follow(self: &Rc<Self>, state: Arc<State>) {
        let vms = Rc::downgrade(self);
        self.tasks.spawn("plugins", async move {
            let mut changes = state.changes();
            loop {
                let Some(vms) = vms.upgrade() else { return };
                vms.adopt(&state);
                drop(vms);
                if changes.changed().await.is_err() {
                    return;
                }
            }
        });
    }

    fn adopt(&self, state: &State) {
        let snapshot = state.current();
        let wanted: Vec<_> = snapshot.plugins().cloned().collect();
        let mut slots = self.slots.borrow_mut();
        let is_wanted = |slot: &Slot| {
            wanted
                .iter()
                .any(|loaded| Arc::ptr_eq(loaded, &slot.loaded))
        };
        let gone = slots.extract_if(|_, slot| !is_wanted(slot));
        let gone = gone.inspect(|(_, slot)| slot.care.is_replaced.set(true));
        let gone: Vec<_> = gone.filter_map(|(_, slot)| slot.running).collect();
        drop(slots);
        for running in gone {
            self.retire(running);
        }
        let known = |loaded: &Arc<Loaded>| {
            let key = Arc::as_ptr(loaded).addr();
            self.slots.borrow().contains_key(&key)
        };
        for loaded in wanted.iter().filter(|loaded| loaded.module.is_ok()) {
            if !known(loaded)
                && let Err(why) = self.running(loaded)
            {
                tracing::debug!(plugin = %loaded, why = &*why, "plugin not started");
            }
        }
    }

    /// Lets a plugin finish what it has begun, and end itself.
    fn retire(&self, running: Rc<Running>) {
        running.surroundings.retire();
        self.tasks.spawn("plugin end", async move {
            let mut until = Instant::now() + LAST_REQUESTS;
            while running.vm.streams() > 0 && Instant::now() < until {
                sleep(LOOK).await;
            }
            until = Instant::now() + LAST_WORDS;
            // A trap has been logged; it is over then, too.
            while matches!(running.vm.stop(), Ok(false)) && Instant::now() < until {
                sleep(LOOK).await;
            }
        });
    }

    /// Begins a stream on a plugin, starting the plugin if it does not run.
    ///
    /// # Errors
    /// Why it cannot run, for people.
    pub(super) fn stream(&self, loaded: &Arc<Loaded>) -> Result<(Rc<Running>, HttpStream), Str> {
        let running = self.running(loaded)?;
        let stream = running.vm.new_stream();
        Ok((running, stream))
    }

    /// As [`stream`](Self::stream), for a connection.
    ///
    /// # Errors
    /// Why it cannot run, for people.
    pub(super) fn connection(&self, loaded: &Arc<Loaded>) -> Result<(Rc<Running>, TcpStream), Str> {
        let running = self.running(loaded)?;
        let stream = running.vm.new_tcp_stream();
        Ok((running, stream))
    }

    /// One more request or connection on this worker.
    pub(crate) fn visit(&self) -> Visit {
        self.turns.visit()
    }

    /// Waits until it is the turn of a stream that is to begin on a plugin, which is this moment.
    ///
    /// # Errors
    /// That it took too long, for people.
    pub(super) async fn turn(&self, loaded: &Arc<Loaded>) -> Result<(), Str> {
        if self.turns.is_quiet() {
            return Ok(());
        }
        match self.usage(loaded) {
            Some(usage) => usage.first_turn().await,
            // It has not run yet.
            None => Ok(()),
        }
    }

    fn usage(&self, loaded: &Arc<Loaded>) -> Option<Rc<Usage>> {
        let key = Arc::as_ptr(loaded).addr();
        let slots = self.slots.borrow();
        slots.get(&key).map(|slot| Rc::clone(&slot.care.usage))
    }

    /// Counts a stream that a plugin did not run on.
    pub(super) fn without(&self, loaded: &Loaded) {
        let what = if loaded.fails_open() {
            "passed"
        } else {
            "failed"
        };
        self.metrics.of(&loaded.plugin.name()).without(what);
    }

    /// Returns a running plugin, starting it if it does not run.
    fn running(&self, loaded: &Arc<Loaded>) -> Result<Rc<Running>, Str> {
        let key = Arc::as_ptr(loaded).addr();
        let mut slots = self.slots.borrow_mut();
        let slot = slots.entry(key).or_insert_with(|| self.slot(loaded));
        if let Some(running) = &slot.running
            && let Some(trap) = running.vm.trap()
        {
            // Nearly always told already, by whoever called it.
            running.died(&trap);
        }
        let admission = slot.care.health.borrow_mut().admit(now());
        match (admission, &slot.running) {
            (Admission::Run, Some(running)) => return Ok(Rc::clone(running)),
            (Admission::Skip(why), _) => return Err(why.into()),
            (Admission::Probe, _) => {
                let running = self.start(slot)?;
                running.on_probe.set(true);
                // Others do not get it before it has shown that it works.
                slot.running = Some(Rc::clone(&running));
                return Ok(running);
            }
            (Admission::Run | Admission::Start, _) => {}
        }
        let running = self.start(slot)?;
        slot.running = Some(Rc::clone(&running));
        Ok(running)
    }

    fn slot(&self, loaded: &Arc<Loaded>) -> Slot {
        let metrics = self.metrics.of(&loaded.plugin.name());
        let (standings, worker, of) = (self.standings.clone(), self.worker, Arc::clone(loaded));
        let tell = move |crowded| standings.crowded(&of.name, &of.plugin, worker, crowded);
        let granted = loaded.plugin.limits.callback;
        let budget = granted.unwrap_or_else(|| Limits::default().callback);
        let turns = Rc::clone(&self.turns);
        Slot {
            loaded: Arc::clone(loaded),
            running: None,
            care: Rc::new(Care {
                health: RefCell::new(Health::new(HealthSettings::default())),
                loaded: Arc::clone(loaded),
                reach: Rc::clone(&self.reach),
                standings: self.standings.clone(),
                worker: self.worker,
                usage: Usage::new(turns, budget, metrics, Box::new(tell)),
                tasks: self.tasks.clone(),
                is_replaced: Cell::new(false),
            }),
        }
    }

    fn start(&self, slot: &Slot) -> Result<Rc<Running>, Str> {
        let (loaded, care) = (&slot.loaded, &slot.care);
        let plugin = loaded.module.as_ref().map_err(Arc::clone)?;
        let metrics = self.metrics.of(&loaded.plugin.name());
        if slot.running.is_some() {
            metrics.restarted();
        }
        let (reach, tasks) = (Rc::clone(&self.reach), self.tasks.clone());
        let usage = Rc::clone(&care.usage);
        let surroundings = Surroundings::new(Arc::clone(loaded), reach, tasks, metrics, usage);
        let around = Rc::clone(&surroundings) as Rc<dyn wasm_host::PluginHost>;
        let vm = match plugin.instantiate(around) {
            Ok(vm) => vm,
            Err(error) => {
                let why = runtime::report(&error);
                let draw = self.reach.draw.unit();
                let state = care.health.borrow_mut().start_failed(now(), &why, draw);
                care.tell(state, &why);
                return Err(why.into());
            }
        };
        let life = care.health.borrow_mut().started(now());
        let running = Rc::new(Running {
            vm,
            surroundings: Rc::clone(&surroundings),
            care: Rc::clone(care),
            life,
            on_probe: Cell::new(false),
            died: Cell::new(false),
        });
        surroundings.started(&running);
        let state = care.health.borrow().state(now());
        if state == HealthState::Healthy {
            care.tell(state, "");
        }
        Ok(running)
    }
}

impl Care {
    fn tell(self: &Rc<Self>, state: HealthState, said: &str) {
        if self.is_replaced.get() {
            return;
        }
        if let HealthState::Restarting { until } = state {
            self.tell_at(until);
        }
        let Loaded { name, plugin, .. } = &*self.loaded;
        self.standings
            .worker(name, plugin, self.worker, state, said);
    }

    /// Says that a plugin can run again, should nobody need it by then.
    fn tell_at(self: &Rc<Self>, until: std::time::Instant) {
        let care = Rc::downgrade(self);
        self.tasks.spawn("plugin health", async move {
            sleep_until(until.into()).await;
            if let Some(care) = care.upgrade() {
                let state = care.health.borrow().state(now());
                if state == HealthState::Healthy {
                    care.tell(state, "");
                }
            }
        });
    }
}

/// A trap in words, with the innermost functions of the guest where their names are known.
fn told(trap: &Trap) -> String {
    const FUNCTIONS: usize = 3;
    let functions: Vec<_> = trap.backtrace.lines().take(FUNCTIONS).collect();
    if functions.is_empty() {
        return trap.to_string();
    }
    format!("{trap}; in {}", functions.join(" < "))
}

/// The time, as the state machine reads it.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

impl Running {
    /// The VM.
    pub(super) fn vm(&self) -> &Vm {
        &self.vm
    }

    /// What it has around it.
    pub(super) fn surroundings(&self) -> &Rc<Surroundings> {
        &self.surroundings
    }

    /// What it uses of the worker.
    pub(super) fn usage(&self) -> &Rc<Usage> {
        &self.care.usage
    }

    /// As [`usage`](Self::usage), if whoever wants to call it has to wait for his turn.
    pub(super) fn busy(&self) -> Option<Rc<Usage>> {
        let usage = self.usage();
        (!usage.is_free()).then(|| Rc::clone(usage))
    }

    /// Whether its module has a callback.
    pub(super) fn has(&self, callback: Callback) -> bool {
        self.surroundings.has(callback)
    }

    /// Most bytes of a body that are held for it.
    pub(super) fn buffer_limit(&self) -> usize {
        self.surroundings.buffer_limit()
    }

    /// Whether it may act on a stream although nobody calls it: by its timer or queue.
    pub(super) fn acts_by_itself(&self) -> bool {
        self.surroundings.acts_by_itself()
    }

    /// Whether it has made a callout since this was last asked.
    pub(super) fn has_called(&self) -> bool {
        self.surroundings.has_called()
    }

    /// Has events for a stream go to whoever hears of it.
    pub(super) fn list(&self, stream: StreamId, addressee: Addressee) {
        self.surroundings.list(stream, addressee);
    }

    /// Ends that.
    pub(super) fn unlist(&self, stream: StreamId) {
        self.surroundings.unlist(stream);
    }

    /// A stream on it has come to a good end.
    pub(super) fn came_through(&self) {
        if self.on_probe.take() {
            self.care.health.borrow_mut().probe_ok(self.life);
            self.care.tell(HealthState::Healthy, "");
        }
    }

    /// A stream on it was broken off.
    pub(super) fn broken_off(&self) {
        if self.on_probe.take() {
            self.care.health.borrow_mut().probe_gone(self.life);
        }
    }

    /// Takes note of its end: everybody on it is told, once.
    pub(super) fn died(&self, trap: &Trap) {
        if self.died.replace(true) {
            return;
        }
        let draw = self.care.reach.draw.unit();
        let state = self
            .care
            .health
            .borrow_mut()
            .trapped(now(), self.life, &trap.reason, draw);
        if let Some(state) = state {
            self.care.tell(state, &told(trap));
        }
        self.surroundings.died(trap);
    }
}
