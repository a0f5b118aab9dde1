//! Changes while traffic flows.

use testkit::{Mesh, eventually};

use crate::world::{client, server};

fn namespace(labels: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: default, labels: {{{labels}}}}}\n")
}

const WAYPOINT: &str = "---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: default}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
";

fn route(to: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: echo, namespace: default}}
spec:
  parentRefs: [{{group: \"\", kind: Service, name: echo-v1}}]
  rules: [{{backendRefs: [{{name: {to}, port: 80}}]}}]
"
    )
}

#[test]
fn editing_a_route_moves_traffic_and_fails_no_request() {
    if !testkit::require_root() {
        return;
    }
    let world = [
        WAYPOINT.to_owned(),
        server("default", "echo-v1", "v1"),
        server("default", "echo-v2", "v2"),
        client("default", "web"),
    ]
    .concat();
    let mesh = Mesh::builder()
        .manifest(
            "namespace.yaml",
            &namespace("istio.io/dataplane-mode: ambient, istio.io/use-waypoint: waypoint"),
        )
        .manifest("world.yaml", &world)
        .manifest("route.yaml", &route("echo-v1"))
        .up();
    let count = "for i in $(seq 10000); do echo 'url=http://echo-v1/'; echo 'write-out=%{http_code}\\n'; echo output=/dev/null; done | curl -s -K - | sort | uniq -c";
    let requests = mesh.spawn("web", ["bash", "-c", count]);
    for edit in 0..50 {
        let to = if edit % 2 == 0 { "echo-v2" } else { "echo-v1" };
        mesh.apply("route.yaml", &route(to));
        let version = to.strip_prefix("echo-").unwrap();
        mesh.until(
            "traffic follows the route",
            "web",
            &["http://echo-v1/"],
            |answer| answer.stdout.contains(&format!("\"{version}\"")),
        );
    }
    let counted = requests.wait().ok();
    let counted: Vec<_> = counted.split_whitespace().collect();
    assert_eq!(counted, ["10000", "200"]);
}

#[test]
fn labels_change_identity_and_path_and_never_reachability() {
    if !testkit::require_root() {
        return;
    }
    let world = [
        WAYPOINT.to_owned(),
        server("default", "echo", "v1"),
        client("default", "web"),
    ]
    .concat();
    let mesh = Mesh::builder()
        .manifest("namespace.yaml", &namespace(""))
        .manifest("world.yaml", &world)
        .up();
    let started = |mesh: &Mesh| {
        let mut uids: Vec<_> = mesh
            .objects("pods")
            .iter()
            .filter(|pod| pod.pointer("/metadata/namespace").unwrap() == "default")
            .map(|pod| pod.pointer("/metadata/uid").unwrap().to_string())
            .collect();
        uids.sort();
        uids
    };
    let before = started(&mesh);
    let probe =
        "while sleep 0.02; do curl -s -m 5 -o /dev/null -w '%{http_code}\\n' http://echo/; done";
    let probing = mesh.spawn("web", ["timeout", "60", "bash", "-c", probe]);
    let is_l7 = |answer: &testkit::Output| answer.stdout.to_lowercase().contains("x-request-id");
    for (labels, through_waypoint) in [
        ("istio.io/dataplane-mode: ambient", false),
        (
            "istio.io/dataplane-mode: ambient, istio.io/use-waypoint: waypoint",
            true,
        ),
        ("istio.io/dataplane-mode: ambient", false),
        ("", false),
    ] {
        mesh.apply("namespace.yaml", &namespace(labels));
        mesh.until(
            "the path follows the labels",
            "web",
            &["http://echo/"],
            |answer| answer.code == Some(0) && is_l7(answer) == through_waypoint,
        );
        let enrolled = labels.contains("ambient");
        eventually("the pods follow the labels", || {
            let pods = mesh.objects("pods");
            let annotated = |pod: &serde_json::Value| {
                pod.pointer("/metadata/annotations/ambient.istio.io~1redirection")
                    .is_some()
            };
            let echo = pods.iter().find(|pod| {
                pod.pointer("/metadata/labels/app")
                    .is_some_and(|app| app == "echo")
            });
            (annotated(echo?) == enrolled).then_some(())
        });
    }
    let answers = probing.stop();
    let failed: Vec<_> = answers
        .stdout
        .lines()
        .filter(|code| *code != "200")
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(started(&mesh), before, "a label restarts nothing");
}

#[test]
fn a_broken_file_changes_nothing_and_is_told_with_its_line() {
    if !testkit::require_root() {
        return;
    }
    let world = [server("default", "echo", "v1"), client("default", "web")].concat();
    let mesh = Mesh::builder()
        .manifest(
            "namespace.yaml",
            &namespace("istio.io/dataplane-mode: ambient"),
        )
        .manifest("world.yaml", &world)
        .up();
    mesh.apply(
        "namespace.yaml",
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: default\n",
    );
    let told = eventually("the broken file is told", || {
        let status = mesh.run(["status"]);
        (status.code == Some(1)).then_some(status.stdout)
    });
    assert!(told.contains("namespace.yaml:"), "{told}");
    let answer = mesh
        .exec("web", ["curl", "-s", "-m", "5", "http://echo/"])
        .ok();
    assert!(answer.contains("echo"), "{answer}");
    mesh.apply(
        "namespace.yaml",
        &namespace("istio.io/dataplane-mode: ambient"),
    );
    eventually("all is well again", || {
        (mesh.run(["status"]).code == Some(0)).then_some(())
    });
}
