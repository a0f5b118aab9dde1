//! From a compiled module to a configured VM.
//!
//! Order: instantiate (with the module's start section), `_initialize` and `main`, or `_start`;
//! `proxy_on_context_create`, `proxy_on_vm_start`, `proxy_on_configure`.
//! Source: proxy-wasm specification v0.2.1, "Lifecycle"; proxy-wasm-cpp-host for the start functions.

use std::rc::Rc;
use std::sync::Arc;

use wasmtime::{Instance, Store, UpdateDeadline};

use crate::callback::Callbacks;
use crate::embed::PluginHost;
use crate::error::StartError;
use crate::plugin::Configured;
use crate::trap::{Reason, Stop};
use crate::vm::clock::Verdict;
use crate::vm::exports::{ALLOCATORS, Exports, find};
use crate::vm::{Entry, Live, Phase, ROOT, State, trap_of};

/// Makes a VM and brings it to where it can take streams.
pub(super) fn run(
    plugin: &Arc<Configured>,
    host: Rc<dyn PluginHost>,
    callbacks: Callbacks,
) -> Result<Live, StartError> {
    let limits = &plugin.config.limits;
    let (mut live, instance) = instantiate(plugin, host, callbacks)?;
    for callback in ["_initialize", "main", "__main_void", "_start"] {
        call_start_function(&mut live, instance, callback, limits.start)?;
    }

    let root = |callback, phase, budget| Entry {
        callback,
        phase,
        context: ROOT,
        lent_for: None,
        budget,
    };
    let entry = root("proxy_on_context_create", Phase::Running, limits.start);
    let created = step(&mut live, entry, |exports, store| {
        match &exports.context_create {
            Some(call) => call.call(store, (ROOT, 0)),
            None => Ok(()),
        }
    });
    created.map_err(|error| no_root(error, &plugin.config.root_id))?;

    let size = byte_count(&plugin.config.vm_configuration);
    let entry = root("proxy_on_vm_start", Phase::Running, limits.start);
    let started = step(&mut live, entry, |exports, store| match &exports.vm_start {
        Some(call) => call.call(store, (ROOT, size)).map(|yes| yes != 0),
        None => Ok(true),
    })?;
    if !started {
        return Err(StartError::StartRefused {
            said: live.store.data_mut().frame.said.take(),
        });
    }

    let size = byte_count(&plugin.config.configuration);
    let entry = root("proxy_on_configure", Phase::Configuring, limits.configure);
    let configured = step(&mut live, entry, |exports, store| {
        match &exports.configure {
            Some(call) => call.call(store, (ROOT, size)).map(|yes| yes != 0),
            None => Ok(true),
        }
    })?;
    if !configured {
        return Err(StartError::ConfigurationRefused {
            said: live.store.data_mut().frame.said.take(),
        });
    }
    Ok(live)
}

fn instantiate(
    plugin: &Arc<Configured>,
    host: Rc<dyn PluginHost>,
    callbacks: Callbacks,
) -> Result<(Live, Instance), StartError> {
    let compiled = plugin.module.compiled();
    let tick = compiled.host.ticker.period();
    let mut store = Store::new(
        &compiled.host.engine,
        State::new(Arc::clone(plugin), host, tick),
    );
    store.limiter(|state| &mut state.meter);
    store.epoch_deadline_callback(|mut store| {
        Ok(match store.data_mut().clock.look() {
            Verdict::GoOn(ticks) => UpdateDeadline::Continue(ticks),
            Verdict::Over => UpdateDeadline::Interrupt,
        })
    });
    compiled.host.ticker.note_entry();
    let ticks = store.data_mut().clock.begin(plugin.config.limits.start);
    store.set_epoch_deadline(ticks);
    let instance = match compiled.instance.instantiate(&mut store) {
        Ok(instance) => instance,
        Err(error) => return Err(StartError::Trapped(trap_of(store.data_mut(), &error))),
    };
    let memory = instance.get_memory(&mut store, "memory");
    let allocator = ALLOCATORS
        .iter()
        .find_map(|name| find(instance, &mut store, name));
    let state = store.data_mut();
    state.memory = memory;
    state.allocator = allocator;
    let exports = Exports::of(instance, &mut store, callbacks);
    Ok((Live { store, exports }, instance))
}

/// Calls a start function if the module has it and it is its turn: `main` follows `_initialize`
/// only, and `_start` is for modules without.
fn call_start_function(
    live: &mut Live,
    instance: Instance,
    callback: &'static str,
    budget: std::time::Duration,
) -> Result<(), StartError> {
    let has = |live: &mut Live, name: &str| instance.get_func(&mut live.store, name).is_some();
    let reactor = has(live, "_initialize");
    let its_turn = match callback {
        "main" => reactor,
        "__main_void" => reactor && !has(live, "main"),
        "_start" => !reactor,
        _ => true,
    };
    if !its_turn || !has(live, callback) {
        return Ok(());
    }
    let entry = Entry {
        callback,
        phase: Phase::Starting,
        context: 0,
        lent_for: None,
        budget,
    };
    step(live, entry, |_, store| {
        let called = match callback {
            "main" => find(instance, &mut *store, callback)
                .map(|f| f.call(store, (0_u32, 0_u32)).map(|_: u32| ())),
            "__main_void" => {
                find(instance, &mut *store, callback).map(|f| f.call(store, ()).map(|_: u32| ()))
            }
            _ => find(instance, &mut *store, callback).map(|f| f.call(store, ())),
        };
        match called {
            // A command may end by exiting with success (TinyGo does).
            Some(Err(error)) if callback == "_start" && is_exit_with_success(&error) => Ok(()),
            Some(result) => result,
            None => Ok(()),
        }
    })
}

/// SDKs that look filters up by root id give up here when they find none.
fn no_root(error: StartError, root_id: &str) -> StartError {
    match error {
        StartError::Trapped(trap)
            if matches!(trap.reason, Reason::Exit { .. } | Reason::Guest(_)) =>
        {
            StartError::NoRoot {
                root_id: root_id.to_owned(),
                trap,
            }
        }
        other => other,
    }
}

fn is_exit_with_success(error: &wasmtime::Error) -> bool {
    matches!(
        error.downcast_ref::<Stop>(),
        Some(Stop(Reason::Exit { code: 0 }))
    )
}

fn step<R>(
    live: &mut Live,
    entry: Entry,
    guest: impl FnOnce(&Exports, &mut Store<State>) -> wasmtime::Result<R>,
) -> Result<R, StartError> {
    let result = live.enter(entry, None, guest);
    result.map_err(|error| StartError::Trapped(trap_of(live.store.data_mut(), &error)))
}

/// Sizes are told to guests as 32 bits; configurations beyond that do not happen.
fn byte_count(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}
