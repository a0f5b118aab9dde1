//! The index against a search through all entries, on random tables and requests.

use std::sync::Arc;

use proptest::prelude::*;
use proto::cairn::waypoint as wire;

use super::{exact, message, prefix, regex, rule, value};
use crate::address::NamespacedHostname;
use crate::request::Request;
use crate::route::order::Entry;
use crate::route::{Route, Selection, Table};

const PATHS: [&str; 8] = ["/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/b", "/a/bc"];

fn paths() -> impl Strategy<Value = Option<wire::PathMatch>> {
    (0..4, prop::sample::select(PATHS.to_vec())).prop_map(|(kind, path)| match kind {
        0 => exact(path),
        1 => regex(&format!("{path}.*")),
        _ => prefix(path),
    })
}

prop_compose! {
    fn any_match()(
        path in paths(),
        method in prop::sample::select(vec!["", "", "GET", "PUT"]),
        headers in prop::collection::vec(prop::sample::select(vec!["x", "y"]), 0..2),
        query in prop::collection::vec(prop::sample::select(vec!["p", "q"]), 0..2),
    ) -> wire::RouteMatch {
        wire::RouteMatch {
            path,
            method: method.to_owned(),
            headers: headers.into_iter().map(|name| value(name, "1")).collect(),
            query_params: query.into_iter().map(|name| value(name, "1")).collect(),
        }
    }
}

fn routes() -> impl Strategy<Value = Vec<wire::Route>> {
    let rules = prop::collection::vec(prop::collection::vec(any_match(), 0..4), 0..4);
    let route = (rules, 0..3_i64).prop_map(|(rules, created_at)| {
        let rules = rules.into_iter().map(|matches| rule("", matches)).collect();
        let mut route = message("", rules);
        route.origin.as_mut().unwrap().created_at = created_at;
        route
    });
    prop::collection::vec(route, 0..4).prop_map(|mut routes| {
        for (index, route) in routes.iter_mut().enumerate() {
            route.origin.as_mut().unwrap().name = format!("r{index}");
        }
        routes
    })
}

/// Looks at every entry and keeps the best that matches.
fn slow<'r>(routes: &'r [Arc<Route>], request: &Request<'_>) -> Option<(&'r str, usize, usize)> {
    let mut best: Option<(Entry, &'r str)> = None;
    for route in routes {
        for entry in Entry::all(route) {
            let better = best
                .as_ref()
                .is_none_or(|(best, _)| entry.precedence(best).is_lt());
            if entry.found().unwrap().matches(request) && better {
                best = Some((entry, &route.origin.name));
            }
        }
    }
    best.map(|(entry, name)| (name, entry.rule.index, entry.match_index))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn selects_what_a_search_through_all_entries_selects(
        routes in routes(),
        path in prop::sample::select(PATHS.to_vec()),
        more in prop::sample::select(vec!["", "/", "c", "/b"]),
        method in prop::sample::select(vec!["GET", "PUT", "POST"]),
        headers in prop::collection::vec(prop::sample::select(vec!["x", "y"]), 0..3),
        query in prop::sample::select(vec![None, Some("p=1"), Some("q=1&p=1")]),
    ) {
        let routes: Vec<Arc<Route>> =
            routes.into_iter().map(|route| Arc::new(route.try_into().unwrap())).collect();
        let table = Table::compile(&NamespacedHostname::new("shop", "cart.shop"), 80, &routes);
        let path = format!("{path}{more}");
        // Each header once: two lines of one name would join to another value.
        let mut names = headers;
        names.sort_unstable();
        names.dedup();
        let headers: Vec<_> =
            names.into_iter().map(|name| (name.to_owned(), "1".to_owned())).collect();
        let request = Request { method, path: &path, query, host: "h", headers: &headers };
        let selected = match table.select(None, &request) {
            Selection::Rule(selected) => {
                let at = selected
                    .rule
                    .matches
                    .iter()
                    .position(|found| std::ptr::eq(found, selected.found))
                    .unwrap();
                Some((&*selected.route.origin.name, selected.rule.index, at))
            }
            Selection::NoMatch | Selection::Unrouted => None,
        };
        prop_assert_eq!(selected, slow(&routes, &request));
    }
}
