//! The metrics a guest has defined.

use std::collections::HashMap;

use crate::abi::MetricKind;
use crate::embed::MetricId;

/// The metrics a guest has defined, by name and by the id it knows.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    defined: Vec<Metric>,
    /// Per name, the id of each kind.
    ids: HashMap<Box<[u8]>, [Option<u32>; 3]>,
}

/// A metric as the guest knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metric {
    pub(crate) kind: MetricKind,
    /// `None`: its values go nowhere.
    pub(crate) id: Option<MetricId>,
}

/// The position told to guests for metrics over the limit; no real one comes so far.
const NOWHERE: u32 = u32::MAX >> 2;

impl Metrics {
    /// Returns the id of a metric defined before.
    pub(crate) fn find(&self, kind: MetricKind, name: &[u8]) -> Option<u32> {
        *self.ids.get(name)?.get(kind as usize)?
    }

    pub(crate) fn len(&self) -> usize {
        self.defined.len()
    }

    /// Remembers a metric and returns its id: the kind in the low bits, as Envoy has it.
    pub(crate) fn define(&mut self, name: &[u8], metric: Metric) -> u32 {
        self.defined.push(metric);
        let position = u32::try_from(self.defined.len()).unwrap_or(NOWHERE);
        let id = position << 2 | metric.kind as u32;
        let ids = self.ids.entry(Box::from(name)).or_default();
        if let Some(place) = ids.get_mut(metric.kind as usize) {
            *place = Some(id);
        }
        id
    }

    /// Returns an id whose values go nowhere.
    pub(crate) fn nowhere(kind: MetricKind) -> u32 {
        NOWHERE << 2 | kind as u32
    }

    /// Returns the metric of an id.
    pub(crate) fn get(&self, id: u32) -> Option<Metric> {
        let kind = MetricKind::from_raw(id & 3).ok()?;
        if id >> 2 == NOWHERE {
            return Some(Metric { kind, id: None });
        }
        let position = usize::try_from(id >> 2).ok()?.checked_sub(1)?;
        self.defined
            .get(position)
            .copied()
            .filter(|metric| metric.kind == kind)
    }
}
