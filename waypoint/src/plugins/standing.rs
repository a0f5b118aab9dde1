//! How each plugin stands, as the control plane is told: fetched, programmed, healthy.
//!
//! The loader says what became of the module, each worker how its VM is doing; what goes out is one
//! report, in which the worst worker counts. See [`Reports`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh::Str;
use mesh::plugin::{FailStrategy, Plugin};
use parking_lot::Mutex;
use wasm_host::HealthState;
use xds::client::{PluginReport, Reports, Stage};

#[cfg(test)]
mod tests;

/// Where everyone says what he knows of a plugin. Clones are the same place.
#[derive(Clone, Debug)]
pub(crate) struct Standings(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    reports: Reports,
    plugins: Mutex<BTreeMap<Str, Standing>>,
}

/// What is known of one plugin.
#[derive(Debug, Default)]
struct Standing {
    report: PluginReport,
    /// By worker; a worker without trouble is not in it.
    trouble: BTreeMap<usize, (HealthState, String)>,
    /// Workers on which requests wait long for it.
    crowded: BTreeSet<usize>,
}

impl Standings {
    /// Nothing is known yet; what becomes known goes to `reports`.
    pub(crate) fn new(reports: Reports) -> Self {
        Self(Arc::new(Inner {
            reports,
            plugins: Mutex::default(),
        }))
    }

    /// The loader's word on a plugin: `change` edits the report as it stands, except for `healthy`.
    ///
    /// * `name` — of the resource.
    pub(crate) fn loader(&self, name: &Str, change: impl FnOnce(&mut PluginReport)) {
        self.edit(name, |standing| change(&mut standing.report));
    }

    /// A worker's word on a plugin.
    ///
    /// * `said` — the end of its last VM, with everything that is known of it.
    pub(crate) fn worker(
        &self,
        name: &Str,
        plugin: &Plugin,
        worker: usize,
        state: HealthState,
        said: &str,
    ) {
        self.edit(name, |standing| {
            if state == HealthState::Healthy {
                standing.trouble.remove(&worker);
            } else {
                standing.report.stops += 1;
                standing.trouble.insert(worker, (state, said.to_owned()));
            }
            standing.report.healthy = health(plugin, standing);
        });
    }

    /// A worker's word on whether requests wait long for a plugin.
    pub(crate) fn crowded(&self, name: &Str, plugin: &Plugin, worker: usize, crowded: bool) {
        let mut plugins = self.0.plugins.lock();
        // What ends after the plugin was forgotten does not bring it back.
        if let Some(standing) = plugins.get_mut(name) {
            if crowded {
                standing.crowded.insert(worker);
            } else {
                standing.crowded.remove(&worker);
            }
            standing.report.healthy = health(plugin, standing);
            self.0.reports.set(name, standing.report.clone());
        }
    }

    /// There is no such plugin any more.
    pub(crate) fn forget(&self, name: &Str) {
        self.0.plugins.lock().remove(name);
        self.0.reports.forget(name);
    }

    fn edit(&self, name: &Str, change: impl FnOnce(&mut Standing)) {
        let mut plugins = self.0.plugins.lock();
        let standing = plugins.entry(Str::clone(name)).or_default();
        change(standing);
        self.0.reports.set(name, standing.report.clone());
    }
}

/// The stage of the worst worker.
fn health(plugin: &Plugin, standing: &Standing) -> Stage {
    let runs = || match standing.crowded.len() {
        0 => Stage::yes("Healthy", "it runs"),
        workers => Stage::yes(
            "Throttled",
            format!(
                "it runs, but on {workers} worker(s) it uses more than its share: its requests \
                 wait, so that those of others need not"
            ),
        ),
    };
    let rank = |state: &HealthState| match state {
        HealthState::Healthy => 0,
        HealthState::Restarting { .. } => 1,
        HealthState::Open { .. } => 2,
        HealthState::Degraded { .. } => 3,
    };
    let worst = standing
        .trouble
        .values()
        .max_by_key(|(state, _)| rank(state));
    let Some((state, said)) = worst else {
        return runs();
    };
    let (reason, what) = match state {
        HealthState::Healthy => return runs(),
        HealthState::Restarting { .. } => (
            "Restarting",
            "it stopped, or did not start, and is started again",
        ),
        HealthState::Open { why, .. } if why.contains("longer than its budget") => (
            "BudgetExceeded",
            "it took too long several times and is passed over until a try succeeds",
        ),
        HealthState::Open { .. } => (
            "Crashing",
            "it stopped several times and is passed over until a try succeeds",
        ),
        HealthState::Degraded { .. } => {
            ("Degraded", "it stops again and again and is tried rarely")
        }
    };
    let effect = match plugin.fail_strategy {
        FailStrategy::Open => "requests pass it by",
        FailStrategy::Close | FailStrategy::Reload => "requests it is meant for are answered 503",
    };
    Stage::no(reason, format!("{what}; meanwhile {effect}: {said}"))
}
