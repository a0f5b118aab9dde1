//! `/metrics` and `/stats/prometheus`.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use http::header::ACCEPT;
use http::{HeaderMap, Method, StatusCode};
use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::reply::Reply;
use super::server::{self, Answer, Asked, Listen};
use crate::tasks::TaskSet;

/// What OpenMetrics calls itself (OpenMetrics 1.0 §"Content type").
const OPEN_METRICS: &str = "application/openmetrics-text;charset=utf-8;version=1.0.0";

/// The metrics of a process. Clones share them.
///
/// The lock is taken by scrapes, and by whoever registers a family; counting never takes it.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Metrics {
    /// Shares what is registered.
    pub fn new(registry: Registry) -> Self {
        Self(Arc::new(Mutex::new(registry)))
    }

    /// Registers more.
    pub fn register<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(&mut self.0.lock())
    }

    /// Returns all metrics as text.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail; a collector that does leaves what came before it.
        if encode(&mut text, &self.0.lock()).is_err() {
            tracing::warn!("a metric could not be encoded");
        }
        text
    }

    /// Opens the endpoint and returns where. Must be called inside a runtime.
    ///
    /// # Errors
    /// When an address cannot be bound.
    pub fn serve(&self, listen: impl Into<Listen>, tasks: &TaskSet) -> io::Result<Vec<SocketAddr>> {
        let answer: Arc<dyn Answer> = Arc::new(self.clone());
        server::serve("stats", listen.into(), tasks, &answer)
    }

    fn reply(&self, asked: &Asked) -> Reply {
        if !matches!(asked.path.as_str(), "/metrics" | "/stats/prometheus") {
            return Reply::not_found();
        }
        if let Err(wrong) = asked.only(&Method::GET) {
            return wrong;
        }
        let text = Reply::status(StatusCode::OK, self.encode());
        if accepts_open_metrics(&asked.headers) {
            text.of_type(OPEN_METRICS)
        } else {
            text
        }
    }
}

impl Answer for Metrics {
    fn answer(&self, asked: Asked) -> Pin<Box<dyn Future<Output = Reply> + Send>> {
        Box::pin(std::future::ready(self.reply(&asked)))
    }
}

/// The text is the same either way, as ztunnel's is; only its name differs.
fn accepts_open_metrics(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter();
    accepted
        .filter_map(|value| value.to_str().ok())
        .any(|value| {
            let types = value.split(',').filter_map(|range| range.split(';').next());
            types
                .map(str::trim)
                .any(|name| name.eq_ignore_ascii_case("application/openmetrics-text"))
        })
}
