//! Processes that die.

use testkit::{Mesh, eventually};

use crate::world::{client, server};

const NAMESPACE: &str = "apiVersion: v1
kind: Namespace
metadata: {name: default, labels: {istio.io/dataplane-mode: ambient}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: default}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
";

fn mesh() -> Mesh {
    let behind = server("default", "behind", "v1").replacen(
        "metadata: {name: behind,",
        "metadata: {labels: {istio.io/use-waypoint: waypoint}, name: behind,",
        1,
    );
    let world = [
        NAMESPACE.to_owned(),
        behind,
        server("default", "echo", "v1"),
        client("default", "web"),
    ];
    Mesh::builder().manifest("world.yaml", &world.concat()).up()
}

fn code(mesh: &Mesh, url: &str) -> String {
    let args = [
        "curl",
        "-s",
        "-m",
        "5",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        url,
    ];
    mesh.exec("web", args).stdout
}

/// The process of a role, as `status` shows it.
pub(crate) fn pid(mesh: &Mesh, role: &str) -> Option<i64> {
    let status = mesh.status();
    let processes = status.get("processes")?.as_array()?;
    let found = processes
        .iter()
        .find(|process| process.get("role").is_some_and(|is| is == role));
    found?.get("pid")?.as_i64()
}

/// Ends a process at once.
pub(crate) fn kill(pid: i64) {
    let killed = std::process::Command::new("kill")
        .args(["-KILL", &pid.to_string()])
        .status();
    assert!(killed.unwrap().success());
}

#[test]
fn without_control_traffic_goes_on_and_control_comes_back() {
    if !testkit::require_root() {
        return;
    }
    let mesh = mesh();
    let before = pid(&mesh, "control").unwrap();
    kill(before);
    for url in ["http://echo/", "http://behind/"] {
        assert_eq!(code(&mesh, url), "200", "{url}");
    }
    eventually("control is restarted", || {
        pid(&mesh, "control").filter(|now| *now != before)
    });
    mesh.apply("more.yaml", &server("default", "more", "v1"));
    eventually("what is new reaches the proxies", || {
        (code(&mesh, "http://more/") == "200").then_some(())
    });
}

#[test]
fn without_its_waypoint_a_service_fails_closed_and_nothing_else_does() {
    if !testkit::require_root() {
        return;
    }
    let mesh = mesh();
    assert_eq!(code(&mesh, "http://behind/"), "200");
    let before = pid(&mesh, "waypoint").unwrap();
    kill(before);
    assert_eq!(code(&mesh, "http://echo/"), "200");
    eventually("the waypoint is restarted", || {
        pid(&mesh, "waypoint").filter(|now| *now != before)
    });
    eventually("its services answer again", || {
        (code(&mesh, "http://behind/") == "200").then_some(())
    });
}

#[test]
fn down_leaves_nothing_also_after_the_runner_was_killed() {
    if !testkit::require_root() {
        return;
    }
    let mesh = mesh();
    let name = mesh.name().to_owned();
    let runner = pid(&mesh, "runner");
    if let Some(runner) = runner {
        kill(runner);
    }
    mesh.run(["down"]).ok();
    mesh.run(["down"]).ok();
    let namespaces = std::fs::read_dir("/run/netns").map(|entries| {
        let names = entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned());
        names
            .filter(|file| file.contains(&name))
            .collect::<Vec<_>>()
    });
    assert!(namespaces.unwrap_or_default().is_empty());
    assert!(!std::path::Path::new("/run/cairn").join(&name).exists());
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    assert!(!mounts.contains(&name), "{mounts}");
}
