//! Why the other entries did not win. Costs a pass over all of them: for explanations only.

use std::sync::Arc;

use super::{Route, Rule, Selected, Selection, Table};
use crate::request::Request;

/// A match that did not decide.
#[derive(Clone, Copy, Debug)]
pub struct Loser<'t> {
    /// Its route.
    pub route: &'t Arc<Route>,
    /// Its rule.
    pub rule: &'t Arc<Rule>,
    /// Place of the match in its rule.
    pub match_index: usize,
    /// Why.
    pub lost: Lost<'t>,
}

/// Why a match did not decide.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lost<'t> {
    /// It does not match: the field that differs, a header or parameter by its name.
    Mismatch(&'t str),
    /// It matches, and another has precedence.
    Outranked,
}

impl Table {
    /// The entries that did not decide about a request, in order of precedence.
    pub fn losers(&self, client_namespace: Option<&str>, request: &Request<'_>) -> Vec<Loser<'_>> {
        let winner = match self.select(client_namespace, request) {
            Selection::Rule(Selected { found, .. }) => Some(found),
            Selection::Unrouted | Selection::NoMatch => None,
        };
        let entries = self.group(client_namespace).entries.iter();
        entries
            .filter_map(|entry| {
                let found = entry.found()?;
                if winner.is_some_and(|winner| std::ptr::eq(winner, found)) {
                    return None;
                }
                let lost = if found.path.matches(request.path) {
                    found
                        .first_mismatch(request)
                        .map_or(Lost::Outranked, Lost::Mismatch)
                } else {
                    Lost::Mismatch("path")
                };
                Some(Loser {
                    route: &entry.route,
                    rule: &entry.rule,
                    match_index: entry.match_index,
                    lost,
                })
            })
            .collect()
    }
}
