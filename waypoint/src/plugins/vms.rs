//! The running plugins of one worker.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use mesh::Str;
use mesh::plugin::FailStrategy;
use runtime::LocalTasks;
use tokio::sync::Notify;
use tokio::time::Instant;
use wasm_host::{HttpStream, PluginHost, Vm};

use crate::state::Loaded;

/// The wait before a plugin that trapped is started again; doubles with each trap in a row.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest such wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A plugin that ran so long is no longer taken for one that traps at once.
const SETTLED: Duration = Duration::from_mins(1);

/// Running plugins, by the configuration they run.
#[derive(Debug)]
pub(crate) struct Vms {
    /// The key is the address of the value's `Arc`, which is kept, so it is not used again.
    slots: RefCell<HashMap<usize, Slot>>,
    tasks: LocalTasks,
}

struct Slot {
    loaded: Arc<Loaded>,
    vm: Option<Running>,
    /// When it may be started again, and after how many traps.
    pause: Option<(Instant, u32)>,
}

struct Running {
    vm: Vm,
    since: Instant,
    /// Ends the timer when the VM is let go.
    _alive: Rc<()>,
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
    pub(crate) fn new(tasks: LocalTasks) -> Self {
        Self {
            slots: RefCell::default(),
            tasks,
        }
    }

    /// Begins a stream on a plugin, starting the plugin if it does not run.
    ///
    /// # Errors
    /// Why it cannot run, for people.
    pub(super) fn stream(&self, loaded: &Arc<Loaded>) -> Result<HttpStream, Str> {
        let mut slots = self.slots.borrow_mut();
        let key = Arc::as_ptr(loaded).addr();
        if !slots.contains_key(&key) {
            // Configurations that only this map still knows have been replaced.
            slots.retain(|_, slot| Arc::strong_count(&slot.loaded) > 1);
            slots.insert(
                key,
                Slot {
                    loaded: loaded.clone(),
                    vm: None,
                    pause: None,
                },
            );
        }
        let Some(slot) = slots.get_mut(&key) else {
            return Err("no place for it".into());
        };
        slot.bury();
        if let Some(running) = &slot.vm {
            return Ok(running.vm.new_stream());
        }
        if let Some((until, _)) = slot.pause
            && Instant::now() < until
        {
            return Err("it trapped and is started again later".into());
        }
        let running = self.start(loaded).inspect_err(|_| slot.postpone())?;
        let stream = running.vm.new_stream();
        slot.vm = Some(running);
        Ok(stream)
    }

    fn start(&self, loaded: &Arc<Loaded>) -> Result<Running, Str> {
        let plugin = loaded.module.as_ref().map_err(Arc::clone)?;
        let timer = Rc::new(Timer::default());
        let vm = plugin
            .instantiate(timer.clone())
            .map_err(|error| runtime::report(&error))?;
        let alive = Rc::new(());
        if timer.period.get().is_some() {
            let (vm, alive) = (vm.clone(), Rc::downgrade(&alive));
            self.tasks.spawn("plugin timer", tick(vm, timer, alive));
        }
        Ok(Running {
            vm,
            since: Instant::now(),
            _alive: alive,
        })
    }
}

impl Slot {
    /// Lets go of a VM that is dead.
    fn bury(&mut self) {
        let dead = self
            .vm
            .as_ref()
            .is_some_and(|running| running.vm.trap().is_some());
        if dead && let Some(running) = self.vm.take() {
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

/// What a plugin gets from us outside of requests: a timer, and the log.
#[derive(Debug, Default)]
struct Timer {
    period: Cell<Option<Duration>>,
    changed: Notify,
}

impl PluginHost for Timer {
    fn tick_period_changed(&self, period: Option<Duration>) {
        self.period.set(period);
        self.changed.notify_one();
    }
}

/// Calls a plugin's timer until the plugin is let go.
async fn tick(vm: Vm, timer: Rc<Timer>, alive: Weak<()>) {
    while alive.strong_count() > 0 && vm.trap().is_none() {
        let Some(period) = timer.period.get() else {
            timer.changed.notified().await;
            continue;
        };
        tokio::select! {
            () = tokio::time::sleep(period.max(Duration::from_millis(1))) => {
                // A trap has been logged, and buries the VM at the next request.
                let _ = vm.on_tick();
            }
            () = timer.changed.notified() => {}
        }
    }
}
