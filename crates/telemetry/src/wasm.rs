//! Metrics of plugins: what the proxy counts about each, and what plugins count themselves.
//!
//! A plugin's own metrics are exported with the prefix `wasmcustom_`, so that no plugin can pass
//! for the proxy, and with the plugin as a label. Names that carry tags the way Istio's filters
//! write them (`prefix_k=.=v;.;_name`) become labels.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

use crate::histogram::{Constructor, Histogram};
use crate::label::Label;

#[cfg(test)]
mod tests;

/// Series that all plugins of a process define together.
const SERIES_LIMIT: usize = 10_000;

/// Labels of what concerns a plugin.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct PluginLabels {
    plugin: Label,
}

/// Labels of what concerns one callback of a plugin.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct CallbackLabels {
    plugin: Label,
    callback: &'static str,
}

/// Labels of the end of a VM.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct TrapLabels {
    plugin: Label,
    callback: &'static str,
    reason: &'static str,
}

/// Labels of a limit that was reached.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct BudgetLabels {
    plugin: Label,
    budget: &'static str,
}

/// Labels of a stream that went without a plugin.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct WithoutLabels {
    plugin: Label,
    what: &'static str,
}

/// Labels of a callout.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct CalloutLabels {
    plugin: Label,
    kind: &'static str,
    outcome: &'static str,
}

/// The metric families of plugins. Clones are the same families.
#[derive(Clone, Debug, Default)]
pub struct PluginMetrics(Arc<Families>);

#[derive(Debug)]
struct Families {
    invocations: Family<CallbackLabels, Counter>,
    duration: Family<CallbackLabels, Histogram, Constructor>,
    traps: Family<TrapLabels, Counter>,
    restarts: Family<PluginLabels, Counter>,
    without: Family<WithoutLabels, Counter>,
    waits: Family<PluginLabels, Histogram, Constructor>,
    memory: Family<PluginLabels, Gauge>,
    held: Gauge,
    vms: Family<PluginLabels, Gauge>,
    budget: Family<BudgetLabels, Counter>,
    callouts: Family<CalloutLabels, Counter>,
    custom: Custom,
}

impl Default for Families {
    fn default() -> Self {
        Self {
            invocations: Family::default(),
            duration: Family::new_with_constructor(Constructor),
            traps: Family::default(),
            restarts: Family::default(),
            without: Family::default(),
            waits: Family::new_with_constructor(Constructor),
            memory: Family::default(),
            held: Gauge::default(),
            vms: Family::default(),
            budget: Family::default(),
            callouts: Family::default(),
            custom: Custom::default(),
        }
    }
}

impl PluginMetrics {
    /// Registers the families as `cairn_wasm_…`, and those of plugins as `wasmcustom_…`.
    pub fn register(root: &mut Registry) -> Self {
        let metrics = Self::default();
        let families = &*metrics.0;
        let ours = root.sub_registry_with_prefix("cairn_wasm");
        ours.register(
            "invocations",
            "Calls into a plugin",
            families.invocations.clone(),
        );
        ours.register(
            "callback_duration_microseconds",
            "Time of a call into a plugin",
            families.duration.clone(),
        );
        ours.register(
            "traps",
            "VMs of a plugin that stopped, by callback and reason",
            families.traps.clone(),
        );
        ours.register(
            "restarts",
            "VMs of a plugin that were started again after a trap",
            families.restarts.clone(),
        );
        ours.register(
            "streams_without_plugin",
            "Requests and connections that a plugin did not run on, by what happened to them",
            families.without.clone(),
        );
        ours.register(
            "wait_duration_microseconds",
            "Time a request waited for a plugin, while others had their turn at the worker",
            families.waits.clone(),
        );
        ours.register(
            "memory_bytes",
            "Linear memory of the VMs of a plugin",
            families.memory.clone(),
        );
        ours.register(
            "held_bytes",
            "Bytes of bodies and connections that plugins hold back",
            families.held.clone(),
        );
        ours.register("vms", "Running VMs of a plugin", families.vms.clone());
        ours.register(
            "budget_hits",
            "What a plugin asked for beyond a limit, and was not done",
            families.budget.clone(),
        );
        ours.register(
            "callouts",
            "Calls of a plugin to other services, by outcome",
            families.callouts.clone(),
        );
        root.register_collector(Box::new(families.custom.clone()));
        metrics
    }

    /// Where what plugins hold back is counted, in bytes.
    pub fn held_bodies(&self) -> Gauge {
        self.0.held.clone()
    }

    /// The metrics of one VM of a plugin; what it holds is given back when the last clone goes.
    ///
    /// * `plugin` — `namespace.name`.
    pub fn of(&self, plugin: &str) -> Plugin {
        let label = Label::copied(plugin);
        let labels = PluginLabels {
            plugin: label.clone(),
        };
        Plugin(Arc::new(OfPlugin {
            restarts: self.0.restarts.get_or_create_owned(&labels),
            waits: self.0.waits.get_or_create_owned(&labels),
            memory: self.0.memory.get_or_create_owned(&labels),
            vms: self.0.vms.get_or_create_owned(&labels),
            families: Arc::clone(&self.0),
            plugin: label,
            held: AtomicI64::new(0),
            running: AtomicI64::new(0),
        }))
    }
}

/// The metrics of one VM of a plugin.
#[derive(Clone, Debug)]
pub struct Plugin(Arc<OfPlugin>);

#[derive(Debug)]
struct OfPlugin {
    families: Arc<Families>,
    plugin: Label,
    restarts: Counter,
    waits: Histogram,
    memory: Gauge,
    vms: Gauge,
    /// What this VM adds to the gauges.
    held: AtomicI64,
    running: AtomicI64,
}

impl Drop for OfPlugin {
    fn drop(&mut self) {
        self.memory.dec_by(*self.held.get_mut());
        self.vms.dec_by(*self.running.get_mut());
    }
}

impl Plugin {
    /// The metrics of one callback.
    pub fn callback(&self, callback: &'static str) -> Callback {
        let labels = CallbackLabels {
            plugin: self.0.plugin.clone(),
            callback,
        };
        Callback {
            invocations: self.0.families.invocations.get_or_create_owned(&labels),
            duration: self.0.families.duration.get_or_create_owned(&labels),
        }
    }

    /// Counts the end of a VM.
    pub fn trapped(&self, callback: &'static str, reason: &'static str) {
        let labels = TrapLabels {
            plugin: self.0.plugin.clone(),
            callback,
            reason,
        };
        self.0.families.traps.get_or_create(&labels).inc();
        self.memory(0);
        self.vms(0);
    }

    /// Counts a VM that was started again.
    pub fn restarted(&self) {
        self.0.restarts.inc();
    }

    /// Notes how long a request waited for its turn at the plugin.
    pub fn waited(&self, time: Duration) {
        self.0.waits.observe(time.as_secs_f64() * 1e6);
    }

    /// Counts a stream that the plugin did not run on: `failed` or `passed`.
    pub fn without(&self, what: &'static str) {
        let labels = WithoutLabels {
            plugin: self.0.plugin.clone(),
            what,
        };
        self.0.families.without.get_or_create(&labels).inc();
    }

    /// Notes how much memory the VM has.
    pub fn memory(&self, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let before = self.0.held.swap(bytes, Ordering::Relaxed);
        if before != bytes {
            self.0.memory.inc_by(bytes - before);
        }
    }

    /// Notes whether the VM runs: 1 or 0.
    pub fn vms(&self, running: i64) {
        let before = self.0.running.swap(running, Ordering::Relaxed);
        self.0.vms.inc_by(running - before);
    }

    /// Counts something beyond a limit.
    pub fn budget(&self, budget: &'static str) {
        let labels = BudgetLabels {
            plugin: self.0.plugin.clone(),
            budget,
        };
        self.0.families.budget.get_or_create(&labels).inc();
    }

    /// Counts a callout.
    pub fn callout(&self, kind: &'static str, outcome: &'static str) {
        let labels = CalloutLabels {
            plugin: self.0.plugin.clone(),
            kind,
            outcome,
        };
        self.0.families.callouts.get_or_create(&labels).inc();
    }

    /// Defines a metric of the plugin's own, or finds it again; `None` if there are too many or it
    /// is defined as something else.
    pub fn define(&self, kind: Kind, name: &str) -> Option<u64> {
        self.0.families.custom.define(&self.0.plugin, kind, name)
    }

    /// Moves a counter, never downwards, or a gauge.
    pub fn add(&self, id: u64, delta: i64) {
        self.0.families.custom.with(id, |value| match value {
            Value::Counter(value) => {
                value.fetch_add(u64::try_from(delta).unwrap_or(0), Ordering::Relaxed);
            }
            Value::Gauge(value) => {
                value.fetch_add(delta, Ordering::Relaxed);
            }
            Value::Histogram(_) => {}
        });
    }

    /// Sets a gauge, or adds to a histogram or a counter.
    pub fn record(&self, id: u64, to: u64) {
        self.0.families.custom.with(id, |value| match value {
            Value::Counter(value) => {
                value.fetch_add(to, Ordering::Relaxed);
            }
            Value::Gauge(value) => value.store(to.cast_signed(), Ordering::Relaxed),
            #[expect(clippy::cast_precision_loss, reason = "histograms are of doubles")]
            Value::Histogram(value) => value.observe(to as f64),
        });
    }

    /// Reads a counter or a gauge.
    pub fn read(&self, id: u64) -> u64 {
        let read = |value: &Value| match value {
            Value::Counter(value) => value.load(Ordering::Relaxed),
            Value::Gauge(value) => value.load(Ordering::Relaxed).cast_unsigned(),
            Value::Histogram(_) => 0,
        };
        self.0.families.custom.with(id, read).unwrap_or(0)
    }
}

/// The metrics of one callback.
#[derive(Clone, Debug)]
pub struct Callback {
    invocations: Counter,
    duration: Histogram,
}

impl Callback {
    /// Counts a call.
    pub fn took(&self, time: Duration) {
        self.invocations.inc();
        self.duration.observe(time.as_secs_f64() * 1e6);
    }
}

/// What a plugin's own metric is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// A distribution.
    Histogram,
}

/// Metrics that plugins define, of all plugins of a process.
#[derive(Clone, Debug, Default)]
struct Custom(Arc<RwLock<Defined>>);

#[derive(Debug, Default)]
struct Defined {
    /// By exported name.
    families: BTreeMap<String, (Kind, BTreeMap<Series, usize>)>,
    values: Vec<Arc<Value>>,
}

/// The labels of one series, the plugin's first.
type Series = Vec<(String, String)>;

#[derive(Debug)]
enum Value {
    Counter(AtomicU64),
    Gauge(AtomicI64),
    Histogram(Histogram),
}

impl Custom {
    fn define(&self, plugin: &Label, kind: Kind, name: &str) -> Option<u64> {
        let (name, tags) = exported(name)?;
        let mut series = vec![("plugin".to_owned(), plugin.to_string())];
        series.extend(tags);
        let mut defined = self.0.write();
        let Defined { families, values } = &mut *defined;
        let (known, by_series) = families.entry(name).or_insert((kind, BTreeMap::new()));
        if *known != kind {
            return None;
        }
        if let Some(id) = by_series.get(&series) {
            return Some(*id as u64);
        }
        if values.len() >= SERIES_LIMIT {
            return None;
        }
        let id = values.len();
        values.push(Arc::new(match kind {
            Kind::Counter => Value::Counter(AtomicU64::default()),
            Kind::Gauge => Value::Gauge(AtomicI64::default()),
            Kind::Histogram => Value::Histogram(Histogram::default()),
        }));
        by_series.insert(series, id);
        Some(id as u64)
    }

    fn with<R>(&self, id: u64, act: impl FnOnce(&Value) -> R) -> Option<R> {
        let value = self.0.read().values.get(usize::try_from(id).ok()?).cloned();
        value.map(|value| act(&value))
    }
}

impl Collector for Custom {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let defined = self.0.read();
        for (name, (kind, by_series)) in &defined.families {
            let kind = match kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let help = "Counted by plugins";
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for (series, id) in by_series {
                let Some(value) = defined.values.get(*id) else {
                    continue;
                };
                let one = family.encode_family(series)?;
                match &**value {
                    Value::Counter(n) => {
                        ConstCounter::new(n.load(Ordering::Relaxed)).encode(one)?;
                    }
                    Value::Gauge(n) => ConstGauge::new(n.load(Ordering::Relaxed)).encode(one)?,
                    Value::Histogram(histogram) => histogram.encode(one)?,
                }
            }
        }
        Ok(())
    }
}

/// What a metric is exported as: a name Prometheus takes, and labels.
fn exported(name: &str) -> Option<(String, Vec<(String, String)>)> {
    let (mut base, mut tags) = (String::new(), vec![]);
    for part in name.split(";.;") {
        let (text, tag) = match part.split_once("=.=") {
            Some((key, value)) => {
                // What stands before the key is of the name; a key has no underscore in Istio's
                // filters but may follow one.
                let (text, key) = match key.strip_prefix('_') {
                    Some(key) => ("", key),
                    None if tags.is_empty() => key.split_once('_').unwrap_or(("", key)),
                    None => ("", key),
                };
                (text, Some((plain(key), value.to_owned())))
            }
            None => (part, None),
        };
        base.push_str(text);
        tags.extend(tag.filter(|(key, _)| !key.is_empty() && key != "plugin"));
    }
    let base = plain(&base);
    (!base.is_empty()).then(|| (format!("wasmcustom_{base}"), tags))
}

/// Leaves letters, digits and underscores.
fn plain(text: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    text.chars()
        .map(keep)
        .collect::<String>()
        .trim_matches('_')
        .to_owned()
}
