//! Metrics, as guests call them; the numbers are the proxy's.

use crate::abi::{MetricKind, Status};
use crate::embed::Notice;
use crate::hostcalls::Answer;
use crate::hostcalls::memory::{Call, Span, slice};
use crate::vm::{Metric, Metrics, State};

/// Defines a metric, or finds the one of this name and kind again.
pub(super) fn define(call: &mut Call<'_>, kind: u32, name: Span, out: u32) -> Answer {
    let kind = MetricKind::from_raw(kind)?;
    call.check(out, 4)?;
    let (memory, state) = call.split();
    let name = slice(memory, name)?;
    let id = state
        .metrics
        .find(kind, name)
        .unwrap_or_else(|| define_new(state, kind, name));
    Ok(call.write_u32(out, id)?)
}

fn define_new(state: &mut State, kind: MetricKind, name: &[u8]) -> u32 {
    let limits = state.limits();
    let fits = state.metrics.len() < limits.metrics && name.len() <= limits.name_bytes;
    let Some(text) = std::str::from_utf8(name).ok().filter(|_| fits) else {
        state.notice(
            Notice::MetricRefused,
            "a name too long or no text, or too many metrics",
        );
        return Metrics::nowhere(kind);
    };
    let id = state.host.define_metric(kind, text);
    state.metrics.define(name, Metric { kind, id })
}

/// Sets a gauge, adds a value to a histogram; for a counter the value is added.
pub(super) fn record(call: &mut Call<'_>, id: u32, value: u64) -> Answer {
    let state = call.state();
    let metric = state.metrics.get(id).ok_or(Status::NotFound)?;
    if let Some(id) = metric.id {
        match metric.kind {
            MetricKind::Counter => state
                .host
                .add_to_metric(id, i64::try_from(value).unwrap_or(i64::MAX)),
            MetricKind::Gauge | MetricKind::Histogram => state.host.record_metric(id, value),
        }
    }
    Ok(())
}

/// Moves a counter up, or a gauge either way.
pub(super) fn increment(call: &mut Call<'_>, id: u32, delta: u64) -> Answer {
    let delta = delta.cast_signed();
    let state = call.state();
    let metric = state.metrics.get(id).ok_or(Status::NotFound)?;
    if metric.kind == MetricKind::Histogram || metric.kind == MetricKind::Counter && delta <= 0 {
        return Err(Status::BadArgument.into());
    }
    if let Some(id) = metric.id {
        state.host.add_to_metric(id, delta);
    }
    Ok(())
}

pub(super) fn get(call: &mut Call<'_>, id: u32, out: u32) -> Answer {
    call.check(out, 8)?;
    let state = call.state();
    let metric = state.metrics.get(id).ok_or(Status::NotFound)?;
    if metric.kind == MetricKind::Histogram {
        return Err(Status::BadArgument.into());
    }
    let value = metric.id.map_or(0, |id| state.host.metric(id));
    Ok(call.write(out, &value.to_le_bytes())?)
}
