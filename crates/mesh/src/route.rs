//! Routes: which rule a request falls under, and what the rule does with it.
//!
//! Words are Gateway API's: a [`Route`] has [`Rule`]s, a rule has [`Match`]es, filters and
//! backends. A [`Table`] holds the routes of one service port, compiled; [`Table::select`] finds
//! the rule. Precedence stands in `order` and nowhere else.
//!
//! A route of the service's namespace (producer) is for every client; one of another namespace
//! (consumer) only for clients of its own, and for those instead of the producer's.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::Str;
use crate::address::NamespacedHostname;
use crate::origin::Origin;

mod explain;
mod filter;
mod matcher;
mod order;
mod table;
#[cfg(test)]
mod tests;

pub use explain::{Loser, Lost};
pub use filter::{Filter, HeaderEdits, PathModifier, Redirect, RequestTarget, UrlRewrite};
pub use matcher::{Match, PathMatch, Text, ValueMatch};
pub use table::{Selected, Selection, Table};

/// The rule set of one route object.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// The object it was made from.
    pub origin: Arc<Origin>,
    /// Service ports it is attached to.
    pub parents: Vec<Parent>,
    /// Set on a consumer route: the namespace whose clients it is for.
    pub client_namespace: Option<Str>,
    /// Its rules, in order.
    pub rules: Vec<Arc<Rule>>,
}

/// A service port a route is attached to.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize)]
pub struct Parent {
    /// The service.
    pub service: NamespacedHostname,
    /// One of its ports; `None` is all of them.
    pub port: Option<u16>,
}

/// What happens to the requests that match.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Name, when the user gave one.
    pub name: Str,
    /// Place in its route.
    pub index: usize,
    /// Any of these.
    pub matches: Vec<Match>,
    /// Filters, in order.
    pub filters: Vec<Filter>,
    /// Where requests go, by weight.
    pub backends: Vec<Arc<Backend>>,
    /// Time limits.
    pub timeouts: Timeouts,
    /// Trying again; `None` when the user asked for nothing.
    pub retry: Option<Retry>,
    /// Why the rule cannot be honoured: its requests are answered with 500.
    pub invalid: Option<Str>,
}

impl Rule {
    /// Its name, or its place when it has none.
    pub fn label(&self) -> Str {
        if self.name.is_empty() {
            format!("{}", self.index).into()
        } else {
            self.name.clone()
        }
    }

    /// Chooses a backend by weight.
    ///
    /// Shares are of the sum of *all* weights, invalid references included: their share fails
    /// instead of falling to the others.
    ///
    /// * `draw` — uniform in `[0, 1)`; the caller owns randomness so that tests are exact.
    pub fn choose(&self, draw: f64) -> Choice<'_> {
        let total: u64 = self
            .backends
            .iter()
            .map(|backend| u64::from(backend.weight))
            .sum();
        // Weights are 32 bits and at most a few dozen, so the sum is exact in 53 bits.
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the product is below the total, which is exact"
        )]
        let mut point = (draw.clamp(0.0, 1.0) * total as f64) as u64;
        point = point.min(total.saturating_sub(1));
        for backend in &self.backends {
            let weight = u64::from(backend.weight);
            if point < weight {
                return match &backend.invalid {
                    Some(why) => Choice::Invalid(backend, why),
                    None => Choice::Backend(backend),
                };
            }
            point -= weight;
        }
        Choice::None
    }
}

/// Where the requests of a rule may go.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// The service; `None` only when `invalid`.
    pub service: Option<NamespacedHostname>,
    /// Port of the service.
    pub port: u16,
    /// Share of requests.
    pub weight: u32,
    /// Filters for this backend's requests alone.
    pub filters: Vec<Filter>,
    /// Why the reference cannot be honoured.
    pub invalid: Option<Str>,
    /// Kind and name, as the user wrote them.
    pub reference: Str,
}

/// The backend a request falls to.
#[derive(Clone, Copy, Debug)]
pub enum Choice<'r> {
    /// This one.
    Backend(&'r Arc<Backend>),
    /// One that cannot be used, and why: answer 500.
    Invalid(&'r Arc<Backend>, &'r str),
    /// The rule has none, or none with a weight: answer 500.
    None,
}

/// Time limits of a rule; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Timeouts {
    /// The whole transaction, retries included.
    pub request: Option<Duration>,
    /// Each attempt.
    pub backend_request: Option<Duration>,
}

/// When and how often to try again.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Retry {
    /// Statuses to try again on. Connection errors and attempt timeouts always count.
    pub codes: Vec<u16>,
    /// Attempts after the first.
    pub attempts: u32,
    /// Least wait between attempts.
    pub backoff: Option<Duration>,
}

/// Attempts after the first where the user said nothing about trying again; Istio's.
pub const DEFAULT_ATTEMPTS: u32 = 2;

/// `namespace/name rule`.
impl fmt::Display for Selected<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = &self.route.origin;
        write!(
            f,
            "{}/{} {}",
            origin.namespace,
            origin.name,
            self.rule.label()
        )
    }
}
