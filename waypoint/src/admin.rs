//! What the process shows of itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result};
use identity::Keyring;
use runtime::admin::Admin;
use runtime::log::Levels;
use runtime::readiness::Gates;
use runtime::{TaskSet, admin};
use serde_json::{Value, json};
use telemetry::span::{Span, Spans};

use crate::config::{Listen, Place};
use crate::state::State;

/// Where the endpoints are.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// `/config_dump`.
    pub admin: SocketAddr,
    /// Metrics.
    pub stats: SocketAddr,
    /// Readiness.
    pub readiness: SocketAddr,
}

/// What is shown.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) place: Place,
    pub(crate) state: Arc<State>,
    pub(crate) spans: Spans,
    pub(crate) keyring: Keyring,
    pub(crate) metrics: admin::stats::Metrics,
    pub(crate) gates: Gates,
    pub(crate) levels: Option<Levels>,
}

impl Shown {
    /// Everything this waypoint knows and does.
    fn dump(&self) -> Value {
        let snapshot = self.state.current();
        let mut dump = serde_json::to_value(snapshot.dump()).unwrap_or_default();
        if let Value::Object(fields) = &mut dump {
            fields.insert("config".to_owned(), json!(self.place));
            fields.insert("certificates".to_owned(), json!(self.keyring.dump()));
            fields.insert("version".to_owned(), json!(env!("CARGO_PKG_VERSION")));
        }
        dump
    }

    /// Opens the three endpoints.
    ///
    /// # Errors
    /// When an address cannot be bound.
    pub(crate) fn serve(self, listen: &Listen, tasks: &TaskSet) -> Result<Addresses> {
        let first = |opened: std::io::Result<Vec<SocketAddr>>, what: &'static str| {
            let opened = opened.with_context(|| format!("cannot open the {what} endpoint"))?;
            opened
                .first()
                .copied()
                .with_context(|| format!("the {what} endpoint is nowhere"))
        };
        let readiness = admin::ready::serve(&self.gates, listen.readiness, tasks);
        let stats = self.metrics.serve(listen.stats, tasks);
        let shown = self.clone();
        let about = "services, endpoints, routes, policies, plugins and certificates";
        let mut admin = Admin::new("waypoint").json("/config_dump", about, move || shown.dump());
        let spans = self.spans.clone();
        let about = "work of plugins for requests that are traced, the latest last";
        admin = admin.json("/spans", about, move || {
            spans.all().iter().map(of_span).collect()
        });
        if let Some(levels) = self.levels {
            admin = admin.logging(levels);
        }
        Ok(Addresses {
            admin: first(admin.serve(listen.admin, tasks), "admin")?,
            stats: first(stats, "stats")?,
            readiness: first(readiness, "readiness")?,
        })
    }
}

/// A span, with the names of OTLP.
fn of_span(span: &Span) -> Value {
    let begin = span.start.duration_since(UNIX_EPOCH).unwrap_or_default();
    let attributes = span.attributes.iter();
    let attributes = attributes.map(|(key, value)| ((*key).to_owned(), json!(value)));
    json!({
        "traceId": format!("{:032x}", span.trace.id),
        "parentSpanId": format!("{:016x}", span.trace.parent),
        "spanId": format!("{:016x}", span.id),
        "name": span.name,
        "startTimeUnixNano": begin.as_nanos().to_string(),
        "endTimeUnixNano": (begin + span.duration).as_nanos().to_string(),
        "attributes": attributes.collect::<serde_json::Map<_, _>>(),
    })
}
