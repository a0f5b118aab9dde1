//! Updates in, snapshots out.

use std::sync::Arc;

use mesh::address::NamespacedHostname;
use mesh::authz::Action;
use mesh::route::Selection;
use prost::Message;
use proto::cairn::waypoint as wire;
use proto::workload::{Address, NetworkAddress, Port, Service, Workload, address};
use xds::client::{Handler, Resource, Update};

use super::snapshot::HEARSAY;
use super::{Rules, Snapshot, State, Writer};
use crate::fixtures;

/// A writer, its state, and what it asked to be loaded.
struct Mesh {
    writer: Writer,
    state: Arc<State>,
    loads: tokio::sync::mpsc::UnboundedReceiver<super::Load>,
}

/// What applies to port 80 of a service.
fn rules_of<'s>(snapshot: &'s Snapshot, service: &NamespacedHostname) -> Option<&'s Arc<Rules>> {
    snapshot.service_rules(service)?.port(80)
}

impl Mesh {
    fn new() -> Self {
        let state = Arc::new(State::new(&fixtures::place()));
        let (writer, loads) = Writer::new(Arc::clone(&state));
        Self {
            writer,
            state,
            loads,
        }
    }

    /// Applies one response; the names and reasons of what was refused.
    fn put<M: Message>(&mut self, type_url: &str, resources: &[(&str, M)]) -> Vec<String> {
        let update = |(name, message): &(&str, M)| {
            Update::Put(Resource {
                name: (*name).to_owned(),
                aliases: vec![],
                version: String::new(),
                bytes: message.encode_to_vec().into(),
            })
        };
        let updates = resources.iter().map(update).collect();
        let refused = self.writer.apply(type_url, updates);
        refused
            .into_iter()
            .map(|refused| format!("{}: {}", refused.name, refused.reason))
            .collect()
    }

    fn remove(&mut self, type_url: &str, name: &str) {
        self.writer
            .apply(type_url, vec![Update::Remove(name.to_owned())]);
    }

    /// Two services, `cart` and `user`.
    fn with_services(mut self) -> Self {
        let services = [
            ("shop/cart.shop", service("cart")),
            ("shop/user.shop", service("user")),
        ];
        assert!(self.put(proto::ADDRESS_TYPE, &services).is_empty());
        self
    }

    fn policies(&self, service: &str) -> Vec<String> {
        let snapshot = self.state.current();
        let rules = rules_of(&snapshot, &key(service)).unwrap();
        let name = |policy: &Arc<mesh::authz::Policy>| policy.origin.name.to_string();
        rules.policies.iter().map(name).collect()
    }

    fn plugins(&self, service: &str) -> Vec<(String, bool)> {
        let snapshot = self.state.current();
        let rules = rules_of(&snapshot, &key(service)).unwrap();
        let shown = |loaded: &Arc<super::Loaded>| {
            (loaded.plugin.origin.name.to_string(), loaded.module.is_ok())
        };
        rules.plugins.iter().map(shown).collect()
    }

    fn compiled(&self) -> u64 {
        self.state.current().compiled
    }
}

fn key(name: &str) -> NamespacedHostname {
    NamespacedHostname::new("shop", format!("{name}.shop"))
}

fn service(name: &str) -> Address {
    let address = vec![10, 9, 0, u8::try_from(name.len()).unwrap()];
    let vip = NetworkAddress {
        address: address.into(),
        ..Default::default()
    };
    let service = Service {
        name: name.to_owned(),
        namespace: "shop".to_owned(),
        hostname: format!("{name}.shop"),
        addresses: vec![vip],
        ports: vec![Port {
            service_port: 80,
            target_port: 8080,
            app_protocol: 1,
        }],
        waypoint: Some(fixtures::waypoint()),
        ..Default::default()
    };
    Address {
        r#type: Some(address::Type::Service(service)),
    }
}

fn origin(name: &str) -> wire::Origin {
    let (kind, namespace) = ("Kind".to_owned(), "shop".to_owned());
    wire::Origin {
        kind,
        namespace,
        name: name.to_owned(),
        ..Default::default()
    }
}

fn service_ref(name: &str) -> wire::ServiceRef {
    wire::ServiceRef {
        namespace: "shop".to_owned(),
        hostname: format!("{name}.shop"),
    }
}

fn target(service: Option<&str>) -> Vec<wire::Target> {
    let kind = match service {
        Some(name) => wire::target::Kind::Service(service_ref(name)),
        None => wire::target::Kind::Waypoint(true),
    };
    vec![wire::Target { kind: Some(kind) }]
}

fn policy(name: &str, service: Option<&str>) -> wire::Policy {
    wire::Policy {
        origin: Some(origin(name)),
        targets: target(service),
        action: wire::policy::Action::Deny.into(),
        ..Default::default()
    }
}

fn route(name: &str, service: &str, path: &str) -> wire::Route {
    let exact = wire::path_match::Kind::Exact(path.to_owned());
    let path = Some(wire::PathMatch { kind: Some(exact) });
    let matches = vec![wire::RouteMatch {
        path,
        ..Default::default()
    }];
    wire::Route {
        origin: Some(origin(name)),
        parents: vec![wire::RouteParent {
            service: Some(service_ref(service)),
            port: 0,
        }],
        rules: vec![wire::RouteRule {
            matches,
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn plugin(name: &str, service: Option<&str>) -> wire::Plugin {
    wire::Plugin {
        origin: Some(origin(name)),
        targets: target(service),
        url: "file:///none.wasm".to_owned(),
        ..Default::default()
    }
}

#[test]
fn policies_reach_their_targets_in_any_order() {
    let mut mesh = Mesh::new();
    mesh.put(
        proto::POLICY_TYPE,
        &[
            ("a", policy("all", None)),
            ("c", policy("cart", Some("cart"))),
        ],
    );
    let mut mesh = mesh.with_services();
    assert_eq!(mesh.policies("cart"), ["all", "cart"]);
    assert_eq!(mesh.policies("user"), ["all"]);
    mesh.put(proto::POLICY_TYPE, &[("c", policy("cart", Some("user")))]);
    assert_eq!(mesh.policies("cart"), ["all"]);
    assert_eq!(mesh.policies("user"), ["all", "cart"]);
    mesh.remove(proto::POLICY_TYPE, "a");
    assert_eq!(mesh.policies("cart"), Vec::<String>::new());
    assert_eq!(mesh.state.current().direct().policies.len(), 0);
}

#[test]
fn a_change_compiles_only_what_it_touches() {
    let mut mesh = Mesh::new().with_services();
    let before = mesh.compiled();
    mesh.put(proto::ROUTE_TYPE, &[("r", route("r", "cart", "/a"))]);
    assert_eq!(mesh.compiled(), before + 1);
    mesh.put(proto::ROUTE_TYPE, &[("r", route("r", "user", "/a"))]);
    assert_eq!(mesh.compiled(), before + 3, "the old and the new parent");
    let pod = Workload {
        uid: "u".into(),
        namespace: "shop".into(),
        ..Default::default()
    };
    let pod = Address {
        r#type: Some(address::Type::Workload(pod)),
    };
    mesh.put(proto::ADDRESS_TYPE, &[("u", pod)]);
    assert_eq!(mesh.compiled(), before + 3, "endpoints compile nothing");
    mesh.put(proto::POLICY_TYPE, &[("a", policy("all", None))]);
    assert_eq!(mesh.compiled(), before + 5, "what is for all compiles all");
}

#[test]
fn a_reader_keeps_the_snapshot_it_took() {
    let mut mesh = Mesh::new().with_services();
    let old = mesh.state.current();
    mesh.put(proto::POLICY_TYPE, &[("c", policy("cart", Some("cart")))]);
    assert_eq!(rules_of(&old, &key("cart")).unwrap().policies.len(), 0);
    assert_eq!(mesh.policies("cart"), ["cart"]);
}

#[test]
fn a_rejected_update_leaves_the_last_good_version() {
    let mut mesh = Mesh::new().with_services();
    mesh.put(proto::POLICY_TYPE, &[("c", policy("cart", Some("cart")))]);
    let bad = wire::Policy {
        action: 99,
        ..policy("cart", Some("cart"))
    };
    let refused = mesh.put(proto::POLICY_TYPE, &[("c", bad)]);
    assert!(refused[0].starts_with("c: action: "), "{refused:?}");
    let snapshot = mesh.state.current();
    let rules = rules_of(&snapshot, &key("cart")).unwrap();
    assert_eq!(rules.policies[0].action, Action::Deny);
    assert!(
        rules.policies[0].rules.is_empty(),
        "the policy that never matches"
    );
}

#[test]
fn a_policy_that_never_was_valid_denies_what_it_is_about() {
    let mut mesh = Mesh::new().with_services();
    let bad = wire::Policy {
        action: 99,
        ..policy("bad", Some("cart"))
    };
    mesh.put(
        proto::POLICY_TYPE,
        &[("bad", bad), ("good", policy("good", Some("cart")))],
    );
    let snapshot = mesh.state.current();
    let rules = rules_of(&snapshot, &key("cart")).unwrap();
    let all = rules
        .policies
        .iter()
        .find(|policy| &*policy.origin.name == "bad")
        .unwrap();
    assert_eq!((all.action.clone(), all.rules.len()), (Action::Deny, 1));
    assert_eq!(mesh.policies("user"), Vec::<String>::new());
    assert!(
        mesh.policies("cart").contains(&"good".to_owned()),
        "the rest still applies"
    );
}

#[test]
fn a_policy_that_is_no_message_denies_everything() {
    let mut mesh = Mesh::new().with_services();
    let garbage = Update::Put(Resource {
        name: "shop/x".to_owned(),
        aliases: vec![],
        version: String::new(),
        bytes: vec![0xff; 4].into(),
    });
    assert_eq!(
        mesh.writer.apply(proto::POLICY_TYPE, vec![garbage]).len(),
        1
    );
    assert_eq!(mesh.policies("cart"), ["shop/x"]);
    assert_eq!(mesh.policies("user"), ["shop/x"]);
}

#[test]
fn a_route_that_never_was_valid_fails_its_requests() {
    let mut mesh = Mesh::new().with_services();
    let refused = mesh.put(proto::ROUTE_TYPE, &[("r", route("r", "cart", "no-slash"))]);
    assert!(
        refused[0].starts_with("r: rules[0].matches[0].path.exact"),
        "{refused:?}"
    );
    let snapshot = mesh.state.current();
    let rules = rules_of(&snapshot, &key("cart")).unwrap();
    let headers = vec![];
    let request = mesh::request::Request {
        method: "GET",
        path: "/any",
        query: None,
        host: "cart",
        headers: &headers,
    };
    let Selection::Rule(selected) = rules.routes.select(None, &request) else {
        panic!("unrouted")
    };
    assert!(selected.rule.invalid.is_some());
}

#[test]
fn a_plugin_takes_effect_when_it_is_loaded_and_its_old_version_stays_until_then() {
    let mut mesh = Mesh::new().with_services();
    let idle = mesh.writer.idle();
    mesh.put(proto::PLUGIN_TYPE, &[("p", plugin("p", Some("cart")))]);
    assert_eq!(mesh.plugins("cart"), []);
    assert!(!*idle.borrow());
    let first = mesh.loads.try_recv().unwrap();
    mesh.writer.loaded(&first, Err("no module".into()), true);
    assert_eq!(mesh.plugins("cart"), [("p".to_owned(), false)]);
    assert!(*idle.borrow());
    // A change of target: the old version goes on where it was.
    mesh.put(proto::PLUGIN_TYPE, &[("p", plugin("p", Some("user")))]);
    assert_eq!(mesh.plugins("cart").len(), 1);
    let second = mesh.loads.try_recv().unwrap();
    mesh.writer.loaded(&first, Err("late".into()), true);
    assert_eq!(
        mesh.plugins("user"),
        [],
        "the answer to an older load is dropped"
    );
    mesh.writer.loaded(&second, Err("no module".into()), true);
    assert_eq!(mesh.plugins("cart"), []);
    assert_eq!(mesh.plugins("user").len(), 1);
}

#[test]
fn a_plugin_that_was_removed_does_not_come_back_when_it_is_loaded() {
    let mut mesh = Mesh::new().with_services();
    mesh.put(proto::PLUGIN_TYPE, &[("p", plugin("p", Some("cart")))]);
    mesh.remove(proto::PLUGIN_TYPE, "p");
    let load = mesh.loads.try_recv().unwrap();
    mesh.writer.loaded(&load, Err("no module".into()), true);
    assert_eq!(mesh.plugins("cart"), []);
    assert!(*mesh.writer.idle().borrow());
}

#[test]
fn a_plugin_that_never_was_valid_stands_in_for_itself() {
    let mut mesh = Mesh::new().with_services();
    let bad = wire::Plugin {
        sha256: "short".to_owned(),
        ..plugin("p", Some("cart"))
    };
    let refused = mesh.put(proto::PLUGIN_TYPE, &[("p", bad)]);
    assert!(refused[0].starts_with("p: sha256"), "{refused:?}");
    assert_eq!(mesh.plugins("cart"), [("p".to_owned(), false)]);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_went_to_another_waypoint_is_served_until_all_have_heard() {
    let mut mesh = Mesh::new().with_services();
    let ip = "10.9.0.4".parse().unwrap();
    let is_served = |mesh: &Mesh| {
        let snapshot = mesh.state.current();
        let by_name = snapshot.service_named("cart.shop", "web").is_some();
        assert_eq!(snapshot.service_at(ip, "web").is_some(), by_name);
        by_name
    };
    let key = key("cart");
    let has_left = |mesh: &Mesh| {
        let snapshot = mesh.state.current();
        snapshot.service_rules(&key).unwrap().left().is_some()
    };
    assert!(is_served(&mesh) && !has_left(&mesh));
    let Some(address::Type::Service(mut other)) = service("cart").r#type else {
        panic!()
    };
    other.waypoint = Some(fixtures::gateway("other.infra"));
    let other = Address {
        r#type: Some(address::Type::Service(other)),
    };
    mesh.put(proto::ADDRESS_TYPE, &[("shop/cart.shop", other)]);
    assert!(is_served(&mesh) && has_left(&mesh));
    tokio::time::advance(HEARSAY).await;
    assert!(!is_served(&mesh));
    let snapshot = mesh.state.current();
    assert!(
        rules_of(&snapshot, &key).is_some(),
        "for connections that stay"
    );
}

#[test]
fn its_own_record_is_known_from_the_start_and_replaced_when_it_comes() {
    let mut mesh = Mesh::new();
    let own = mesh.state.current().own().clone();
    assert_eq!(&*own.node, "");
    assert_eq!(
        own.identity.to_string(),
        "spiffe://cluster.local/ns/infra/sa/waypoint"
    );
    let place = fixtures::place();
    let workload = Workload {
        uid: "wp".into(),
        name: place.pod.to_string(),
        namespace: place.namespace.to_string(),
        node: "node-1".into(),
        ..Default::default()
    };
    let workload = Address {
        r#type: Some(address::Type::Workload(workload)),
    };
    mesh.put(proto::ADDRESS_TYPE, &[("wp", workload)]);
    assert_eq!(&*mesh.state.current().own().node, "node-1");
}
