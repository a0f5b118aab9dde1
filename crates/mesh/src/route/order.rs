//! Precedence: which of several matching entries wins.
//!
//! An entry is one match of one rule of one route; each is ranked on its own. Source: Gateway
//! API, `HTTPRouteRule.matches`. Where the specification leaves a choice, regular expressions
//! rank below prefixes and among themselves by length, as in Istio.

use std::cmp::{Ordering, Reverse};
use std::sync::Arc;

use super::{Match, PathMatch, Route, Rule};

/// One match of one rule.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) route: Arc<Route>,
    pub(super) rule: Arc<Rule>,
    pub(super) match_index: usize,
}

impl Entry {
    /// Every entry of a route, in the order written.
    pub(super) fn all(route: &Arc<Route>) -> impl Iterator<Item = Self> {
        route.rules.iter().flat_map(move |rule| {
            (0..rule.matches.len()).map(move |match_index| Self {
                route: route.clone(),
                rule: rule.clone(),
                match_index,
            })
        })
    }

    pub(super) fn found(&self) -> Option<&Match> {
        self.rule.matches.get(self.match_index)
    }

    /// Orders the winner first.
    pub(super) fn precedence(&self, other: &Self) -> Ordering {
        let rank = |entry: &Self| entry.found().map(rank);
        let place = |entry: &Self| (entry.rule.index, entry.match_index);
        rank(self)
            .cmp(&rank(other))
            .then_with(|| {
                self.route
                    .origin
                    .precedence()
                    .cmp(&other.route.origin.precedence())
            })
            .then_with(|| place(self).cmp(&place(other)))
    }
}

type Rank = (
    u8,
    Reverse<usize>,
    Reverse<bool>,
    Reverse<usize>,
    Reverse<usize>,
);

/// Smaller wins: kind of path, length of path, method, number of headers, number of parameters.
fn rank(found: &Match) -> Rank {
    let kind = match found.path {
        PathMatch::Exact(_) => 0,
        PathMatch::Prefix(_) => 1,
        PathMatch::Regex(_) => 2,
    };
    (
        kind,
        Reverse(found.path.len()),
        Reverse(found.method.is_some()),
        Reverse(found.headers.len()),
        Reverse(found.query.len()),
    )
}
