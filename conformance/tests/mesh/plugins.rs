//! Users' code that cannot run: who is told, and what traffic sees.

use std::path::{Path, PathBuf};

use testkit::{Mesh, eventually};

use crate::world::{client, server};

const WORLD: &str = "apiVersion: v1
kind: Namespace
metadata:
  name: default
  labels: {istio.io/dataplane-mode: ambient, istio.io/use-waypoint: waypoint}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: default}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
";

fn plugin(module: &Path, strategy: &str) -> String {
    format!(
        "# A plugin whose module comes later.
apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: {{name: late, namespace: default}}
spec:
  targetRefs: [{{group: \"\", kind: Service, name: echo}}]
  url: file://{}
  failStrategy: {strategy}
  pluginConfig: {{paths: [{{exact: /no}}]}}
",
        module.display()
    )
}

/// A folder that is gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("cairn-plugins-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn code(mesh: &Mesh, path: &str) -> String {
    let url = format!("http://echo{path}");
    let write = ["-o", "/dev/null", "-w", "%{http_code}", &url];
    let args = ["curl", "-s", "-m", "5"].into_iter().chain(write);
    mesh.exec("web", args).stdout
}

/// The condition of the plugin, as `STATUS REASON MESSAGE`.
fn accepted(mesh: &Mesh) -> Option<String> {
    let plugin = mesh.object("wasmplugins", "default/late")?;
    let conditions = plugin.pointer("/status/conditions")?.as_array()?;
    let is = |condition: &&serde_json::Value| {
        condition
            .get("type")
            .is_some_and(|kind| kind == "WaypointAccepted")
    };
    let condition = conditions.iter().find(is)?;
    let field = |name: &str| condition.get(name)?.as_str();
    Some([field("status")?, field("reason")?, field("message")?].join(" "))
}

#[test]
fn a_plugin_that_cannot_run_is_told_in_status() {
    if !testkit::require_root() {
        return;
    }
    let folder = Folder::new();
    let module = folder.0.join("late.wasm");
    let world = [
        WORLD.to_owned(),
        server("default", "echo", "v1"),
        client("default", "web"),
    ];
    let mesh = Mesh::builder().manifest("world.yaml", &world.concat()).up();
    assert_eq!(code(&mesh, "/"), "200");
    for (strategy, answer, effect) in [
        ("FAIL_OPEN", "200", "requests pass it by"),
        (
            "FAIL_CLOSE",
            "503",
            "requests it is meant for are answered 503",
        ),
    ] {
        mesh.apply("plugin.yaml", &plugin(&module, strategy));
        let why = format!(
            "waypoint default/waypoint cannot use it: file://{}: No such file or directory, {effect}",
            module.display()
        );
        let line = format!("plugin.yaml:5 WasmPlugin default/late spec: {why}");
        eventually("status tells it", || {
            let told = mesh.run(["status"]).stdout;
            told.lines().any(|told| told.ends_with(&line)).then_some(())
        });
        let condition = format!("False Rejected {why}");
        eventually("the object says so", || {
            (accepted(&mesh)? == condition).then_some(())
        });
        eventually("its failStrategy is followed", || {
            (code(&mesh, "/") == answer).then_some(())
        });
    }
    let built = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../filters/prebuilt/deny-by-path.wasm"
    );
    std::fs::copy(built, &module).unwrap();
    eventually("it runs", || (code(&mesh, "/no") == "403").then_some(()));
    assert_eq!(code(&mesh, "/"), "200");
    eventually("nothing is told any more", || {
        mesh.run(["status"]).stdout.is_empty().then_some(())
    });
    eventually("the object is accepted", || {
        accepted(&mesh)?.starts_with("True Accepted ").then_some(())
    });
}
