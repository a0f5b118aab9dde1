use std::sync::Arc;

use proto::cairn::waypoint::Route;
use proto::security::Authorization;
use proto::workload::{Address, Service, address};
use proto::{ADDRESS_TYPE, AUTHORIZATION_TYPE, ROUTE_TYPE};
use xds::server::Catalog;

use super::Catalogs;
use crate::translate::{ResourceEdits, Resources, WaypointEdits, WaypointName, WaypointResources};

fn service(name: &str) -> Arc<Address> {
    let service = Service {
        name: name.to_owned(),
        ..Service::default()
    };
    Arc::new(Address {
        r#type: Some(address::Type::Service(service)),
    })
}

fn names(catalog: &Catalog, url: &str) -> Vec<String> {
    catalog
        .snapshot()
        .resources(url)
        .iter()
        .map(|(name, _)| name.to_string())
        .collect()
}

/// Two services, a policy, and a route at one of two waypoints.
fn mesh() -> Resources {
    let routes = [("shop/reviews".to_owned(), Arc::new(Route::default()))].into();
    let own = WaypointResources {
        routes,
        ..WaypointResources::default()
    };
    Resources {
        addresses: [
            ("a".to_owned(), service("a")),
            ("b".to_owned(), service("b")),
        ]
        .into(),
        authorizations: [("shop/deny".to_owned(), Arc::new(Authorization::default()))].into(),
        waypoints: [(WaypointName::new("shop", "waypoint"), own)].into(),
    }
}

#[test]
fn each_audience_gets_its_own_and_all_get_the_addresses() {
    let catalogs = Catalogs::default();
    catalogs.replace(&mesh());
    let ztunnels = catalogs.ztunnels();
    assert_eq!(names(&ztunnels, ADDRESS_TYPE), ["a", "b"]);
    assert_eq!(names(&ztunnels, AUTHORIZATION_TYPE), ["shop/deny"]);
    assert!(names(&ztunnels, ROUTE_TYPE).is_empty());

    let shop = catalogs.waypoint(&WaypointName::new("shop", "waypoint"));
    assert_eq!(names(&shop, ADDRESS_TYPE), ["a", "b"]);
    assert_eq!(names(&shop, ROUTE_TYPE), ["shop/reviews"]);
    assert!(names(&shop, AUTHORIZATION_TYPE).is_empty());

    let other = catalogs.waypoint(&WaypointName::new("other", "waypoint"));
    assert_eq!(names(&other, ADDRESS_TYPE), ["a", "b"]);
    assert!(names(&other, ROUTE_TYPE).is_empty());
}

#[test]
fn an_edit_reaches_every_audience() {
    let catalogs = Catalogs::default();
    catalogs.replace(&mesh());
    let shop = WaypointName::new("shop", "waypoint");
    let held = catalogs.waypoint(&shop);
    let routes = [("shop/reviews".to_owned(), None)].into();
    catalogs.apply(&ResourceEdits {
        addresses: [("a".to_owned(), None), ("c".to_owned(), Some(service("c")))].into(),
        authorizations: [("shop/deny".to_owned(), None)].into(),
        waypoints: [(
            shop,
            WaypointEdits {
                routes,
                ..WaypointEdits::default()
            },
        )]
        .into(),
    });
    assert_eq!(names(&catalogs.ztunnels(), ADDRESS_TYPE), ["b", "c"]);
    assert!(names(&catalogs.ztunnels(), AUTHORIZATION_TYPE).is_empty());
    assert_eq!(names(&held, ADDRESS_TYPE), ["b", "c"]);
    assert!(names(&held, ROUTE_TYPE).is_empty());
}

#[test]
fn an_edit_of_one_waypoint_is_no_news_to_others() {
    let catalogs = Catalogs::default();
    catalogs.replace(&mesh());
    let (shop, other) = (
        WaypointName::new("shop", "waypoint"),
        WaypointName::new("other", "w"),
    );
    let catalog = catalogs.waypoint(&other);
    let before = (catalogs.ztunnels().generation(), catalog.generation());
    let routes = [("shop/new".to_owned(), Some(Arc::new(Route::default())))].into();
    catalogs.apply(&ResourceEdits {
        waypoints: [(
            shop,
            WaypointEdits {
                routes,
                ..WaypointEdits::default()
            },
        )]
        .into(),
        ..ResourceEdits::default()
    });
    assert_eq!(
        (catalogs.ztunnels().generation(), catalog.generation()),
        before
    );
}

#[test]
fn publishing_the_same_again_is_no_news() {
    let catalogs = Catalogs::default();
    catalogs.replace(&mesh());
    let shop = catalogs.waypoint(&WaypointName::new("shop", "waypoint"));
    let before = (catalogs.ztunnels().generation(), shop.generation());
    catalogs.replace(&mesh());
    catalogs.apply(&ResourceEdits::default());
    assert_eq!(
        (catalogs.ztunnels().generation(), shop.generation()),
        before
    );
}

#[test]
fn a_publication_of_everything_takes_away_what_it_does_not_name() {
    let catalogs = Catalogs::default();
    catalogs.replace(&mesh());
    let shop = catalogs.waypoint(&WaypointName::new("shop", "waypoint"));
    catalogs.replace(&Resources::default());
    assert!(names(&catalogs.ztunnels(), ADDRESS_TYPE).is_empty());
    assert!(names(&shop, ADDRESS_TYPE).is_empty() && names(&shop, ROUTE_TYPE).is_empty());
}

#[test]
fn a_waypoint_that_is_gone_is_forgotten() {
    let catalogs = Catalogs::default();
    catalogs.replace(&mesh());
    let gone = catalogs.waypoint(&WaypointName::new("gone", "waypoint"));
    catalogs.replace(&mesh());
    assert_eq!(catalogs.waypoints.lock().len(), 2, "somebody listens");
    drop(gone);
    catalogs.replace(&mesh());
    assert_eq!(catalogs.waypoints.lock().len(), 1);
}
