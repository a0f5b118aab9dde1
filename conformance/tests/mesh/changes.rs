//! Changes while traffic flows.

use nlink::netlink::namespace::Netns;
use testkit::{Mesh, eventually};

use crate::hbone::run;
use crate::places;
use crate::redirection::ruleset;
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

/// Namespaces `left` and `right` of pods, each with these labels.
fn two_namespaces(left: &str, right: &str) -> String {
    let namespace = |(name, labels)| {
        format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{{labels}}}}}\n"
        )
    };
    [("left", left), ("right", right)]
        .map(namespace)
        .join("---\n")
}

/// Requests without end on one connection, and a line for each: the length of its answer.
const KEPT_ALIVE: &str = "\
trap exit INT
exec 3<>/dev/tcp/$1/80 || echo no connection
while printf 'GET / HTTP/1.1\\r\\nHost: echo\\r\\n\\r\\n' >&3; do
  length=
  while read -r -t 5 -u 3 line && [ \"$line\" != $'\\r' ]; do
    case ${line,,} in content-length:*) length=${line#*:} length=${length//[^0-9]/} ;; esac
  done
  read -r -t 5 -N \"$length\" -u 3 body || break
  echo \"$length\"
  sleep 0.02
done
echo broken
";

#[test]
fn enrolling_and_leaving_fails_no_request_on_connections_that_stay() {
    if !testkit::require_root() {
        return;
    }
    let ambient = "istio.io/dataplane-mode: ambient";
    let world = [
        server("left", "echo", "v1"),
        server("right", "echo", "v1"),
        client("left", "web"),
        client("right", "web"),
    ]
    .concat();
    // Pods of `right` are never enrolled.
    let mesh = Mesh::builder()
        .manifest("namespaces.yaml", &two_namespaces("", ""))
        .manifest("world.yaml", &world)
        .up();
    let ways = [("left", "left"), ("right", "left"), ("left", "right")];
    let begin = |since: &'static str| {
        ways.map(|(from, to)| {
            let server = mesh.object("services", &format!("{to}/echo")).unwrap();
            let address = server.pointer("/spec/clusterIP").unwrap();
            let address = address.as_str().unwrap().to_owned();
            let pod = format!("{from}/web");
            let curl = ["-s", "-m", "5", "-o", "/dev/null", &address];
            let command = ["timeout", "300", "bash", "-c", KEPT_ALIVE, "bash", &address];
            eventually("the server answers", || {
                let answer = mesh.exec(&pod, ["curl"].iter().chain(&curl));
                (answer.code == Some(0)).then_some(())
            });
            (since, from, to, mesh.spawn(&pod, command))
        })
    };
    let label = |pods: &str, enrolled: bool| {
        mesh.apply("namespaces.yaml", &two_namespaces(pods, ""));
        eventually("the pods follow the labels", || {
            let pods = mesh.objects("pods");
            let of_left = pods
                .iter()
                .filter(|pod| pod.pointer("/metadata/namespace").unwrap() == "left");
            let mut annotations = of_left.map(|pod| {
                pod.pointer("/metadata/annotations/ambient.istio.io~1redirection")
                    .is_some()
            });
            annotations
                .all(|annotated| annotated == enrolled)
                .then_some(())
        });
    };
    let nothing_is_redirected = || {
        for pod in ["echo", "web"] {
            let netns = Netns::open(&places::pod(&mesh, "left", pod).netns).unwrap();
            eventually("nothing is redirected", || {
                (!run(ruleset(&netns)).contains("redirect")).then_some(())
            });
        }
    };
    let mut running = vec![];
    running.extend(begin("before the first enrolment"));
    for _ in 0..2 {
        label(ambient, true);
        running.extend(begin("while enrolled"));
        label("", false);
        nothing_is_redirected();
        running.extend(begin("after leaving"));
        label(ambient, true);
        label("", false);
    }
    nothing_is_redirected();
    for (since, from, to, requests) in running {
        let answers = requests.stop().stdout;
        let lines: Vec<_> = answers.lines().collect();
        let which = format!("{from} to {to}, open since {since}");
        assert!(lines.len() > 5, "{which}: {answers}");
        let fine = |line: &&str| line.parse::<u32>().is_ok();
        assert!(lines.iter().all(fine), "{which}: {answers}");
    }
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
