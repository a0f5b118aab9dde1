mod life;

use std::path::Path;

use serde_json::json;

use super::*;
use crate::object::{Change, Kind};
use crate::source::yaml;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + second).unwrap()
}

fn written() -> Root {
    Root::Written {
        order: 0,
        path: Arc::from(Path::new("shop")),
    }
}

fn recorded() -> Root {
    Root::Recorded {
        order: 0,
        path: Arc::from(Path::new("state")),
    }
}

/// A store that reads files of text.
struct Desk {
    store: Store,
    second: i64,
}

impl Desk {
    fn new() -> Self {
        Self {
            store: Store::new(at(0)),
            second: 0,
        }
    }

    /// Puts a file of `root`, one second after the last.
    fn put_in(&mut self, root: Root, file: &str, text: &str) -> &mut Self {
        self.second += 1;
        let manifest = yaml::parse(&Arc::from(file), text);
        let event = Event::Snapshot {
            scope: Scope::new(root, file),
            documents: manifest.documents,
            unreadable: manifest.unreadable,
        };
        self.store.apply(event, at(self.second));
        self
    }

    fn put(&mut self, file: &str, text: &str) -> &mut Self {
        self.put_in(written(), file, text)
    }

    fn object(&self, kind: &str, name: &str) -> &Arc<Object> {
        self.find(kind, name)
            .unwrap_or_else(|| panic!("{kind} {name}"))
    }

    fn find(&self, kind: &str, name: &str) -> Option<&Arc<Object>> {
        let named =
            |object: &&Arc<Object>| object.key.kind.name() == kind && &*object.key.name == name;
        self.store.objects().iter().find(named)
    }

    fn findings(&self) -> Vec<String> {
        self.store
            .findings()
            .iter()
            .map(ToString::to_string)
            .collect()
    }
}

fn service(name: &str, port: u16) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: {port}}}]}}\n"
    )
}

fn route(name: &str, path: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}}}\n\
         spec: {{rules: [{{matches: [{{path: {{value: {path}}}}}]}}]}}\n"
    )
}

#[test]
fn what_no_one_writes_exists() {
    let desk = Desk::new();
    for class in ["istio-waypoint", "istio", "istio-remote"] {
        assert_eq!(desk.object("GatewayClass", class).life.generation, 1);
    }
    let waypoint = desk.object("GatewayClass", "istio-waypoint");
    assert_eq!(
        waypoint.value["spec"]["controllerName"],
        "istio.io/mesh-controller"
    );
    assert_eq!(
        waypoint.status.as_ref().unwrap()["conditions"][0]["reason"],
        "Pending"
    );
    assert_eq!(
        &*desk.object("ServiceAccount", "default").key.namespace,
        "default"
    );
    assert_eq!(
        desk.object("Namespace", "default").status.as_deref(),
        Some(&json!({"phase": "Active"}))
    );
    assert_eq!(desk.findings(), Vec::<String>::new());
}

#[test]
fn a_namespace_exists_while_anything_is_in_it() {
    let mut desk = Desk::new();
    let in_shop = service("a", 80).replace("name: a", "name: a, namespace: shop");
    desk.put("a.yaml", &in_shop);
    assert_eq!(
        desk.object("Namespace", "shop")
            .label("kubernetes.io/metadata.name"),
        Some("shop")
    );
    let account = Key::new(Kind::of("", "ServiceAccount"), "shop", "default");
    assert!(desk.store.objects().find(&account).is_some());
    let uid = desk.object("Namespace", "shop").life.uid.clone();

    desk.put(
        "ns.yaml",
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {a: b}}\n",
    );
    assert_eq!(desk.object("Namespace", "shop").label("a"), Some("b"));
    assert_eq!(desk.object("Namespace", "shop").life.uid, uid);
    desk.put("a.yaml", "");
    assert_eq!(desk.object("Namespace", "shop").label("a"), Some("b"));
    desk.put("ns.yaml", "");
    assert!(desk.find("Namespace", "shop").is_none());
    assert!(desk.store.objects().find(&account).is_none());
    assert_eq!(desk.findings(), Vec::<String>::new());
}

#[test]
fn a_refused_object_keeps_its_last_good_version() {
    let mut desk = Desk::new();
    desk.put("a.yaml", &(route("a", "/a") + &route("b", "b")));
    assert!(desk.find("HTTPRoute", "b").is_none());
    assert_eq!(
        desk.findings(),
        [
            "a.yaml:10 HTTPRoute default/b spec.rules[0].matches[0].path.value: is \"b\", no absolute path, \
          the object is refused and has no effect, begin it with '/'"
        ]
    );
    let good = desk.object("HTTPRoute", "a").clone();
    desk.put("a.yaml", &route("a", "a"));
    assert_eq!(desk.object("HTTPRoute", "a").life, good.life);
    assert_eq!(desk.object("HTTPRoute", "a").value, good.value);
    assert_eq!(
        desk.findings(),
        [
            "a.yaml:5 HTTPRoute default/a spec.rules[0].matches[0].path.value: is \"a\", no absolute path, \
          the object is refused and its last good version stays in effect, begin it with '/'"
        ]
    );
    desk.put("a.yaml", &route("a", "/c"));
    assert_eq!(desk.object("HTTPRoute", "a").life.generation, 2);
    assert_eq!(desk.findings(), Vec::<String>::new());
}

#[test]
fn a_file_with_a_broken_document_loses_nothing() {
    let mut desk = Desk::new();
    desk.put("a.yaml", &(service("a", 80) + &service("b", 80)));
    desk.put("a.yaml", &(service("a", 81) + "---\nkind: [\n"));
    assert_eq!(
        desk.object("Service", "a").value["spec"]["ports"][0]["port"],
        81
    );
    assert_eq!(
        desk.object("Service", "b").value["spec"]["ports"][0]["port"],
        80
    );
    assert_eq!(desk.findings().len(), 1);
    desk.put(
        "a.yaml",
        &(service("a", 81) + "---\nkind: Service\nmetadata: {name: b}\n"),
    );
    assert!(desk.find("Service", "b").is_some());
    assert!(
        desk.findings()[0]
            .starts_with("a.yaml:7 apiVersion: is required, this document is refused")
    );
    desk.put("a.yaml", &service("a", 81));
    assert!(desk.find("Service", "b").is_none());
    assert_eq!(desk.findings(), Vec::<String>::new());
}

#[test]
fn of_two_objects_with_one_name_the_first_counts_and_both_are_named() {
    let mut desk = Desk::new();
    desk.put("b.yaml", &service("x", 2))
        .put("a.yaml", &service("x", 1));
    assert_eq!(
        desk.object("Service", "x").value["spec"]["ports"][0]["port"],
        1
    );
    assert_eq!(
        desk.findings(),
        [
            "b.yaml:2 Service default/x: is also declared in a.yaml:2, which counts, \
          this one has no effect, remove one of the two"
        ]
    );
    let uid = desk.object("Service", "x").life.uid.clone();
    desk.put("a.yaml", "");
    assert_eq!(
        desk.object("Service", "x").value["spec"]["ports"][0]["port"],
        2
    );
    assert_eq!(desk.object("Service", "x").life.uid, uid);
    assert_eq!(desk.findings(), Vec::<String>::new());

    desk.put("b.yaml", &(service("x", 3) + &service("x", 4)));
    assert_eq!(
        desk.object("Service", "x").value["spec"]["ports"][0]["port"],
        3
    );
    assert!(
        desk.findings()[0].starts_with("b.yaml:7 Service default/x: is also declared in b.yaml:2")
    );
}

#[test]
fn what_people_write_counts_before_what_is_recorded_or_builtin() {
    let mut desk = Desk::new();
    desk.put_in(recorded(), "state/x.json", &service("x", 1))
        .put("z.yaml", &service("x", 2));
    assert_eq!(
        desk.object("Service", "x").value["spec"]["ports"][0]["port"],
        2
    );
    desk.put(
        "class.yaml",
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\n\
        metadata: {name: istio}\nspec: {controllerName: example.com/mine}\n",
    );
    let class = desk.object("GatewayClass", "istio");
    assert_eq!(class.value["spec"]["controllerName"], "example.com/mine");
    assert_eq!(desk.findings().len(), 1, "{:?}", desk.findings());
}

fn allocated(ip: &str, service: &str) -> String {
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: IPAddress\nmetadata: {{name: {ip}}}\n\
         spec: {{parentRef: {{group: \"\", resource: services, namespace: default, name: {service}}}}}\n"
    )
}

#[test]
fn a_service_without_an_address_gets_the_allocated_one() {
    let mut desk = Desk::new();
    let headless = service("h", 80).replace("ports:", "clusterIP: None, ports:");
    let own = service("o", 80).replace("ports:", "clusterIP: 10.9.9.9, ports:");
    desk.put("a.yaml", &(service("a", 80) + &headless + &own));
    assert_eq!(
        desk.object("Service", "a").value["spec"].get("clusterIP"),
        None
    );

    let addresses =
        allocated("10.1.0.1", "a") + &allocated("10.1.0.2", "h") + &allocated("10.1.0.3", "o");
    desk.put_in(recorded(), "state/ips.yaml", &addresses);
    let spec = |desk: &Desk, name| desk.object("Service", name).value["spec"].clone();
    assert_eq!(spec(&desk, "a")["clusterIP"], "10.1.0.1");
    assert_eq!(spec(&desk, "a")["clusterIPs"], json!(["10.1.0.1"]));
    assert_eq!(spec(&desk, "h")["clusterIP"], "None");
    assert_eq!(spec(&desk, "o")["clusterIP"], "10.9.9.9");
    let typed: &k8s_openapi::api::core::v1::Service =
        desk.object("Service", "a").decoded().unwrap();
    assert_eq!(
        typed.spec.as_ref().unwrap().cluster_ip.as_deref(),
        Some("10.1.0.1")
    );

    desk.put("a.yaml", &service("a", 81));
    assert_eq!(spec(&desk, "a")["clusterIP"], "10.1.0.1");
    let both = allocated("10.1.0.7", "a") + &allocated("fd00::7", "a");
    desk.put_in(recorded(), "state/ips.yaml", &both);
    assert_eq!(
        spec(&desk, "a")["clusterIPs"],
        json!(["10.1.0.7", "fd00::7"])
    );
    desk.put_in(recorded(), "state/ips.yaml", "");
    assert_eq!(spec(&desk, "a").get("clusterIP"), None);
    desk.put_in(recorded(), "state/ips.yaml", &allocated("10.1.0.8", "b"));
    desk.put("b.yaml", &service("b", 80));
    assert_eq!(spec(&desk, "b")["clusterIP"], "10.1.0.8");
}

#[test]
fn files_that_are_gone_take_their_objects_with_them() {
    let mut desk = Desk::new();
    desk.put("a.yaml", &service("a", 80))
        .put("b.yaml", "kind: [\n")
        .put("c.yaml", &service("c", 80));
    desk.put_in(recorded(), "a.yaml", &service("r", 80));
    let names = [Arc::from("c.yaml")].into();
    desk.store.apply(
        Event::Scopes {
            root: written(),
            names,
        },
        at(9),
    );
    assert!(desk.find("Service", "a").is_none() && desk.find("Service", "c").is_some());
    assert!(desk.find("Service", "r").is_some());
    assert_eq!(desk.findings(), Vec::<String>::new());
}

#[test]
fn trouble_with_a_root_is_reported_and_costs_nothing() {
    let mut desk = Desk::new();
    desk.put("a.yaml", &service("a", 80));
    let origin = Origin {
        file: Some("shop".into()),
        ..Origin::default()
    };
    let finding = origin.finding(
        None,
        &FieldPath::root(),
        Severity::Error,
        "does not exist".to_owned(),
    );
    desk.store.apply(
        Event::Trouble {
            root: written(),
            findings: vec![finding],
        },
        at(2),
    );
    assert_eq!(desk.findings(), ["shop: does not exist"]);
    assert!(desk.find("Service", "a").is_some());
    desk.store.apply(
        Event::Trouble {
            root: written(),
            findings: vec![],
        },
        at(3),
    );
    assert_eq!(desk.findings(), Vec::<String>::new());
}

#[test]
fn single_objects_come_and_go_as_from_a_watch() {
    let mut desk = Desk::new();
    let scope = Scope::new(Root::Generated, "deploy");
    let document = || {
        yaml::parse(&Arc::from(""), &service("a", 80))
            .documents
            .remove(0)
    };
    let touched = desk.store.apply(
        Event::Applied {
            scope: scope.clone(),
            document: document(),
        },
        at(1),
    );
    let key = Key::new(Kind::of("", "Service"), "default", "a");
    assert!(touched.contains(&key));
    assert!(desk.store.objects().find(&key).is_some());
    desk.store.apply(
        Event::Deleted {
            scope,
            key: key.clone(),
        },
        at(2),
    );
    assert!(desk.store.objects().find(&key).is_none());
}

#[test]
fn two_views_differ_in_what_changed() {
    let mut desk = Desk::new();
    desk.put(
        "a.yaml",
        &(service("a", 1) + &service("b", 1) + &service("c", 1)),
    );
    let before = desk.store.objects().clone();
    desk.put(
        "a.yaml",
        &(service("a", 1) + &service("b", 2) + &service("d", 1)),
    );
    let told: Vec<String> = desk
        .store
        .objects()
        .changes_since(&before)
        .iter()
        .map(|change| {
            let word = match change {
                Change::Added(_) => "added",
                Change::Modified { .. } => "modified",
                Change::Deleted(_) => "deleted",
            };
            format!("{word} {}", change.key().name)
        })
        .collect();
    assert_eq!(told, ["modified b", "deleted c", "added d"]);
    assert_eq!(
        before.list::<k8s_openapi::api::core::v1::Service>().count(),
        3
    );
    let services = Kind::of("", "Service");
    assert_eq!(
        desk.store
            .objects()
            .in_namespace(&services, "default")
            .count(),
        3
    );
    assert_eq!(
        desk.store
            .objects()
            .in_namespace(&services, "other")
            .count(),
        0
    );
}

#[test]
fn an_object_is_shown_whole() {
    let mut desk = Desk::new();
    desk.put("a.yaml", &route("a", "/a"));
    let whole = desk.object("HTTPRoute", "a").to_json();
    assert_eq!(whole["apiVersion"], "gateway.networking.k8s.io/v1");
    assert_eq!(whole["metadata"]["generation"], 1);
    assert_eq!(whole["metadata"]["namespace"], "default");
    assert_eq!(whole["metadata"]["creationTimestamp"], at(1).to_string());
    assert!(
        whole["metadata"]["uid"].is_string() && whole["metadata"]["resourceVersion"].is_string()
    );
    let namespace = desk.object("Namespace", "default").to_json();
    assert_eq!(namespace["metadata"].get("generation"), None);
}
