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
use mesh::plugin::FailStrategy;
use runtime::LocalTasks;
use telemetry::wasm::PluginMetrics;
use tokio::time::{Instant, sleep};
use wasm_host::{Callback, HttpStream, StreamId, Trap, Vm};

use super::callout::Reach;
use super::exchange::Exchange;
use super::surroundings::{Addressee, Surroundings};
use crate::state::{Loaded, State};

/// The wait before a plugin that trapped is started again; doubles with each trap in a row.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest such wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A plugin that ran so long is no longer taken for one that traps at once.
const SETTLED: Duration = Duration::from_mins(1);
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
}

struct Slot {
    loaded: Arc<Loaded>,
    running: Option<Rc<Running>>,
    /// When it may be started again, and after how many traps.
    pause: Option<(Instant, u32)>,
}

/// A running plugin.
#[derive(Debug)]
pub(crate) struct Running {
    vm: Vm,
    surroundings: Rc<Surroundings>,
    since: Instant,
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
    pub(crate) fn new(tasks: LocalTasks, reach: Reach, metrics: PluginMetrics) -> Rc<Self> {
        Rc::new(Self {
            slots: RefCell::default(),
            tasks,
            reach: Rc::new(reach),
            metrics,
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
        let is_wanted = |slot: &Slot| wanted.iter().any(|loaded| Arc::ptr_eq(loaded, &slot.loaded));
        let gone = slots.extract_if(|_, slot| !is_wanted(slot));
        let gone: Vec<_> = gone.filter_map(|(_, slot)| slot.running).collect();
        drop(slots);
        for running in gone {
            self.retire(running);
        }
        for loaded in wanted.iter().filter(|loaded| loaded.module.is_ok()) {
            if let Err(why) = self.running(loaded) {
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

    /// Counts a stream that a plugin did not run on.
    pub(super) fn without(&self, loaded: &Loaded) {
        let what = if loaded.fails_open() { "passed" } else { "failed" };
        self.metrics.of(&loaded.plugin.name()).without(what);
    }

    /// Returns a running plugin, starting it if it does not run.
    pub(super) fn running(&self, loaded: &Arc<Loaded>) -> Result<Rc<Running>, Str> {
        let key = Arc::as_ptr(loaded).addr();
        let mut slots = self.slots.borrow_mut();
        let slot = slots.entry(key).or_insert_with(|| Slot {
            loaded: Arc::clone(loaded),
            running: None,
            pause: None,
        });
        slot.bury();
        if let Some(running) = &slot.running {
            return Ok(Rc::clone(running));
        }
        if let Some((until, _)) = slot.pause
            && Instant::now() < until
        {
            return Err("it trapped and is started again later".into());
        }
        let is_again = slot.pause.is_some();
        let running = self.start(loaded, is_again).inspect_err(|_| slot.postpone())?;
        slot.running = Some(Rc::clone(&running));
        Ok(running)
    }

    fn start(&self, loaded: &Arc<Loaded>, is_again: bool) -> Result<Rc<Running>, Str> {
        let plugin = loaded.module.as_ref().map_err(Arc::clone)?;
        let metrics = self.metrics.of(&loaded.plugin.name());
        if is_again {
            metrics.restarted();
        }
        let (reach, tasks) = (Rc::clone(&self.reach), self.tasks.clone());
        let surroundings = Surroundings::new(Arc::clone(loaded), reach, tasks, metrics);
        let vm = plugin
            .instantiate(Rc::clone(&surroundings) as Rc<dyn wasm_host::PluginHost>)
            .map_err(|error| runtime::report(&error))?;
        let running = Rc::new(Running {
            vm,
            surroundings: Rc::clone(&surroundings),
            since: Instant::now(),
            died: Cell::new(false),
        });
        surroundings.started(&running);
        Ok(running)
    }
}

impl Slot {
    /// Lets go of a VM that is dead.
    fn bury(&mut self) {
        let dead = self
            .running
            .as_ref()
            .is_some_and(|running| running.vm.trap().is_some());
        if dead && let Some(running) = self.running.take() {
            if running.since.elapsed() > SETTLED {
                self.pause = None;
            }
            self.postpone();
        }
    }

    /// Sets when it may be started again. The first trap of a plugin that is to be reloaded costs
    /// no wait.
    fn postpone(&mut self) {
        let traps = self.pause.map_or(0, |(_, traps)| traps);
        let reload = self.loaded.plugin.fail_strategy == FailStrategy::Reload;
        let wait = if reload && traps == 0 {
            Duration::ZERO
        } else {
            (FIRST_PAUSE * 2_u32.saturating_pow(traps.min(16))).min(LONGEST_PAUSE)
        };
        self.pause = Some((Instant::now() + wait, traps + 1));
    }
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

    /// Has events for a stream go to its exchange.
    pub(super) fn list(&self, stream: StreamId, exchange: &Rc<Exchange>, seat: usize) {
        let exchange = Rc::downgrade(exchange);
        self.surroundings.list(stream, Addressee::new(exchange, seat));
    }

    /// Ends that.
    pub(super) fn unlist(&self, stream: StreamId) {
        self.surroundings.unlist(stream);
    }

    /// Takes note of its end: everybody on it is told, once.
    pub(super) fn died(&self, trap: &Trap) {
        if !self.died.replace(true) {
            self.surroundings.died(trap);
        }
    }
}
