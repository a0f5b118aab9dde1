//! The routes of one service port, indexed.
//!
//! Exact paths are found by hash, prefixes by walking a tree of path segments, regular
//! expressions by one pass of a combined automaton, so that the cost of a request depends on its
//! path and not on how many rules there are. Within one path, entries stand in order of
//! precedence and the first that matches wins.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use regex::bytes::{RegexSet, RegexSetBuilder};
use smallvec::SmallVec;

use super::order::Entry;
use super::{Match, Parent, PathMatch, Route, Rule};
use crate::Str;
use crate::address::NamespacedHostname;
use crate::request::Request;

/// The routes of one service port, compiled.
#[derive(Debug, Default)]
pub struct Table {
    producers: Group,
    /// By namespace of the client.
    consumers: BTreeMap<Str, Group>,
}

/// The rule a request falls under.
#[derive(Clone, Copy, Debug)]
pub struct Selected<'t> {
    /// The route.
    pub route: &'t Arc<Route>,
    /// Its rule.
    pub rule: &'t Arc<Rule>,
    /// The match of the rule that decided.
    pub found: &'t Match,
}

/// What the routes of a service port say about a request.
#[derive(Clone, Copy, Debug)]
pub enum Selection<'t> {
    /// No route is attached for this client: requests go to the service's endpoints.
    Unrouted,
    /// There are routes and none matches: answer 404.
    NoMatch,
    /// This rule.
    Rule(Selected<'t>),
}

impl Table {
    /// Compiles the routes attached to a port of a service.
    pub fn compile<'r>(
        service: &NamespacedHostname,
        port: u16,
        routes: impl IntoIterator<Item = &'r Arc<Route>>,
    ) -> Self {
        let attached = |parent: &Parent| {
            parent.service == *service && parent.port.is_none_or(|only| only == port)
        };
        let mut producers = vec![];
        let mut consumers = BTreeMap::<Str, Vec<Arc<Route>>>::new();
        for route in routes
            .into_iter()
            .filter(|route| route.parents.iter().any(attached))
        {
            match &route.client_namespace {
                None => producers.push(route.clone()),
                Some(namespace) => {
                    consumers
                        .entry(namespace.clone())
                        .or_default()
                        .push(route.clone());
                }
            }
        }
        Self {
            producers: Group::compile(&producers),
            consumers: consumers
                .into_iter()
                .map(|(namespace, routes)| (namespace, Group::compile(&routes)))
                .collect(),
        }
    }

    /// Whether no route is attached.
    pub fn is_empty(&self) -> bool {
        self.producers.routes == 0 && self.consumers.is_empty()
    }

    /// Finds the rule for a request of a client of `client_namespace`, which must come from a
    /// verified identity.
    pub fn select(&self, client_namespace: Option<&str>, request: &Request<'_>) -> Selection<'_> {
        self.group(client_namespace).select(request)
    }

    pub(super) fn group(&self, client_namespace: Option<&str>) -> &Group {
        client_namespace
            .and_then(|namespace| self.consumers.get(namespace))
            .unwrap_or(&self.producers)
    }
}

/// Routes that are ranked against each other.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Number of routes; some may have no entry.
    routes: usize,
    /// In order of precedence. The indices below point in here, each list in the same order.
    pub(super) entries: Vec<Entry>,
    exact: HashMap<Str, Vec<usize>>,
    prefixes: PrefixTree,
    residual: Vec<usize>,
    /// The patterns of `residual`, combined; `None` when they are too large together.
    residual_set: Option<RegexSet>,
}

impl Group {
    fn compile(routes: &[Arc<Route>]) -> Self {
        let mut entries: Vec<Entry> = routes.iter().flat_map(Entry::all).collect();
        entries.sort_by(Entry::precedence);
        let mut group = Self {
            routes: routes.len(),
            ..Self::default()
        };
        let mut patterns = vec![];
        for (index, entry) in entries.iter().enumerate() {
            match entry.found().map(|found| &found.path) {
                Some(PathMatch::Exact(path)) => {
                    group.exact.entry(path.clone()).or_default().push(index);
                }
                Some(PathMatch::Prefix(prefix)) => group.prefixes.insert(prefix, index),
                Some(PathMatch::Regex(regex)) => {
                    group.residual.push(index);
                    patterns.push(regex.as_str().to_owned());
                }
                None => {}
            }
        }
        if patterns.len() > 1 {
            let mut builder = RegexSetBuilder::new(&patterns);
            group.residual_set = builder.size_limit(RESIDUAL_LIMIT).build().ok();
        }
        group.entries = entries;
        group
    }

    fn select(&self, request: &Request<'_>) -> Selection<'_> {
        if self.routes == 0 {
            return Selection::Unrouted;
        }
        let rest_matches = |entry: &&Entry| {
            entry
                .found()
                .is_some_and(|found| found.first_mismatch(request).is_none())
        };
        let indexed = self.candidates(request.path).find(rest_matches);
        let entry = indexed.or_else(|| self.residual(request));
        match entry.and_then(Selected::of) {
            Some(selected) => Selection::Rule(selected),
            None => Selection::NoMatch,
        }
    }

    /// The entries whose exact path or prefix covers `path`, in order of precedence.
    pub(super) fn candidates(&self, path: &str) -> impl Iterator<Item = &Entry> + use<'_> {
        let exact = self.exact.get(path);
        let prefixes = self.prefixes.walk(path);
        // Deeper prefixes are longer, and longer ones win.
        let indices = exact
            .into_iter()
            .chain(prefixes.into_iter().rev())
            .flatten();
        indices.filter_map(|index| self.entries.get(*index))
    }

    fn residual(&self, request: &Request<'_>) -> Option<&Entry> {
        let entry = |place: usize| {
            self.residual
                .get(place)
                .and_then(|at| self.entries.get(*at))
        };
        match &self.residual_set {
            Some(set) => {
                let hits = set.matches(request.path.as_bytes());
                let mut hits = hits.into_iter().filter_map(entry);
                hits.find(|entry| {
                    entry
                        .found()
                        .is_some_and(|found| found.first_mismatch(request).is_none())
                })
            }
            None => (0..self.residual.len())
                .filter_map(entry)
                .find(|entry| entry.found().is_some_and(|found| found.matches(request))),
        }
    }
}

impl<'t> Selected<'t> {
    pub(super) fn of(entry: &'t Entry) -> Option<Self> {
        entry.found().map(|found| Self {
            route: &entry.route,
            rule: &entry.rule,
            found,
        })
    }
}

/// Compiled size up to which the regular expressions of one group are combined, in bytes.
const RESIDUAL_LIMIT: usize = 16 << 20;

/// Prefixes by path segment.
#[derive(Debug)]
struct PrefixTree {
    /// The root is first.
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    entries: Vec<usize>,
    children: HashMap<Box<str>, usize>,
}

impl Default for PrefixTree {
    fn default() -> Self {
        Self {
            nodes: vec![Node::default()],
        }
    }
}

impl PrefixTree {
    fn insert(&mut self, prefix: &str, entry: usize) {
        let mut at = 0;
        for segment in segments(prefix.strip_suffix('/').unwrap_or(prefix)) {
            let known = self
                .nodes
                .get(at)
                .and_then(|node| node.children.get(segment))
                .copied();
            let next = known.unwrap_or(self.nodes.len());
            if known.is_none() {
                self.nodes.push(Node::default());
                if let Some(node) = self.nodes.get_mut(at) {
                    node.children.insert(segment.into(), next);
                }
            }
            at = next;
        }
        if let Some(node) = self.nodes.get_mut(at) {
            node.entries.push(entry);
        }
    }

    /// The entries of every prefix of `path`, shortest prefix first.
    fn walk(&self, path: &str) -> SmallVec<[&Vec<usize>; 8]> {
        let mut found = SmallVec::new();
        let mut node = self.nodes.first();
        let mut segments = segments(path);
        while let Some(at) = node {
            if !at.entries.is_empty() {
                found.push(&at.entries);
            }
            node = segments
                .next()
                .and_then(|segment| at.children.get(segment))
                .and_then(|next| self.nodes.get(*next));
        }
        found
    }
}

/// The segments behind each slash.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').skip(1)
}
