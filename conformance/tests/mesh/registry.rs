//! A filter on its way through a registry: published, fetched with a Secret, kept over a restart.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use testkit::{Mesh, eventually};

use crate::failure::{kill, pid};
use crate::world::{client, server};

/// Pods cannot leave the machine, so the registry is one of them, outside of the mesh.
const REGISTRY: &str = "registry.shelf.svc.cluster.local:5000";
/// The password of `team` is `correct`.
const PASSWORDS: &str = "team:$2b$04$skOttE5vaIERfi2L5fXMy.dl1hpP98W0rxdI/DX5l4PN6TKx.bOoS\n";
const MODULE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../filters/prebuilt/add-header.wasm"
);

const WORLD: &str = "apiVersion: v1
kind: Namespace
metadata:
  name: default
  labels: {istio.io/dataplane-mode: ambient, istio.io/use-waypoint: waypoint}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: waypoint
  namespace: default
  annotations:
    proxy.istio.io/config: |
      proxyMetadata:
        WASM_INSECURE_REGISTRIES: REGISTRY
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
";

const SHELF: &str = "apiVersion: v1
kind: Service
metadata: {name: registry, namespace: shelf}
spec:
  selector: {app: registry}
  ports: [{name: http, port: 5000}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: registry, namespace: shelf}
spec:
  selector: {matchLabels: {app: registry}}
  template:
    metadata: {labels: {app: registry}}
    spec:
      containers:
      - {name: registry, image: none, command: [docker-registry, serve, FOLDER/config.yml]}
";

const PLUGIN: &str = "apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: {name: mark, namespace: default}
spec:
  targetRefs: [{group: '', kind: Service, name: echo}]
  url: oci://REGISTRY/filters/mark:v1
  imagePullSecret: registry
  pluginConfig: {response: {set: [{name: x-mark, value: seen}]}}
";

/// What the registry keeps; gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("cairn-registry-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let shown = path.display();
        std::fs::write(path.join("htpasswd"), PASSWORDS).unwrap();
        let configuration = format!(
            "version: 0.1\nstorage:\n  filesystem: {{rootdirectory: {shown}/images}}\n\
             http:\n  addr: :5000\nauth:\n  htpasswd: {{realm: shelf, path: {shown}/htpasswd}}\n"
        );
        std::fs::write(path.join("config.yml"), configuration).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Whether Debian's registry is there; where root must be, it must be too.
fn has_registry() -> bool {
    let there = Command::new("docker-registry").arg("--version").output();
    if there.is_ok() {
        return true;
    }
    #[expect(clippy::disallowed_methods, reason = "a test has no Config")]
    let required = std::env::var("REQUIRE_ROOT").is_ok_and(|value| value == "1");
    assert!(!required, "REQUIRE_ROOT=1, but docker-registry is missing");
    #[expect(clippy::print_stderr, reason = "a skipped ring says so")]
    {
        eprintln!("SKIPPED: needs docker-registry");
    }
    false
}

/// The Secret of a password, and the plugin that names it.
fn plugin(password: &str) -> String {
    let secret = format!(
        "apiVersion: v1
kind: Secret
metadata: {{name: registry, namespace: default}}
type: kubernetes.io/dockerconfigjson
stringData:
  .dockerconfigjson: '{{\"auths\": {{\"REGISTRY\": {{\"username\": \"team\", \"password\": \"{password}\"}}}}}}'
---
"
    );
    format!("{secret}{PLUGIN}").replace("REGISTRY", REGISTRY)
}

/// `STATUS REASON MESSAGE` of whether the module is there.
fn fetched(mesh: &Mesh) -> Option<String> {
    let plugin = mesh.object("wasmplugins", "default/mark")?;
    let conditions = plugin.pointer("/status/conditions")?.as_array()?;
    let mut conditions = conditions.iter();
    let condition = conditions.find(|condition| condition["type"] == "ModuleFetched")?;
    let field = |name: &str| condition.get(name).and_then(Value::as_str);
    Some([field("status")?, field("reason")?, field("message")?].join(" "))
}

fn answer(mesh: &Mesh) -> String {
    let ask = ["curl", "-si", "-m", "5", "http://echo/"];
    mesh.exec("web", ask).stdout
}

/// What the waypoint counts, by the name of the metric with its labels.
fn counted(mesh: &Mesh, series: &str) -> Option<f64> {
    let stats = "http://127.0.0.1:15020/stats/prometheus";
    let page = mesh
        .exec("waypoint", ["curl", "-s", "-m", "5", stats])
        .stdout;
    let line = page.lines().find_map(|line| line.strip_prefix(series))?;
    line.trim().parse().ok()
}

/// Compiled modules of the waypoint, each by its file and which file that is.
fn compiled(mesh: &Mesh) -> Vec<(PathBuf, u64)> {
    let folder = Path::new("/run/cairn")
        .join(mesh.name())
        .join("waypoints/default_waypoint/compiled");
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = files.filter(|file| file.path().extension().is_some_and(|is| is == "code"));
    files
        .map(|file| (file.path(), file.metadata().unwrap().ino()))
        .collect()
}

fn publish(mesh: &Mesh) {
    let push = format!(
        "echo correct | {} filter push oci://{REGISTRY}/filters/mark:v1 {MODULE} --insecure \
         --username team --password-stdin",
        testkit::cairn().display()
    );
    mesh.exec("web", ["sh", "-c", &push]).ok();
}

#[test]
fn a_filter_is_published_fetched_with_a_secret_and_kept_over_a_restart() {
    if !testkit::require_root() || !has_registry() {
        return;
    }
    let folder = Folder::new();
    let world = [
        WORLD.replace("REGISTRY", REGISTRY),
        server("default", "echo", "v1"),
        client("default", "web"),
    ];
    let shelf = SHELF.replace("FOLDER", &folder.0.display().to_string());
    let mesh = Mesh::builder()
        .manifest("world.yaml", &world.concat())
        .manifest("shelf.yaml", &shelf)
        .up();
    publish(&mesh);

    mesh.apply("plugin.yaml", &plugin("wrong"));
    eventually("the object says that nobody is let in", || {
        let said = fetched(&mesh)?;
        let is_told = |part: &str| said.contains(part);
        let all = ["False ImagePullFailed", REGISTRY, "401", "imagePullSecret"];
        all.into_iter().all(is_told).then_some(())
    });
    let refused = answer(&mesh);
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert_eq!(compiled(&mesh), []);

    mesh.apply("plugin.yaml", &plugin("correct"));
    let is_marked = || answer(&mesh).contains("x-mark: seen").then_some(());
    eventually("a corrected Secret heals it", is_marked);
    eventually("the object says so", || {
        fetched(&mesh)?.starts_with("True Fetched").then_some(())
    });
    let before = compiled(&mesh);
    assert_eq!(before.len(), 1);

    // With the registry away, what comes back has kept what it needs.
    mesh.remove("shelf.yaml");
    eventually("the registry is gone", || {
        let url = format!("http://{REGISTRY}/v2/");
        let ask = ["curl", "-s", "-m", "1", &url];
        (mesh.exec("web", ask).code != Some(0)).then_some(())
    });
    let was = pid(&mesh, "waypoint").unwrap();
    kill(was);
    eventually("the waypoint is started again", || {
        pid(&mesh, "waypoint").filter(|now| *now != was)
    });
    eventually("it runs the filter", is_marked);
    let lookups = "cairn_wasm_module_cache_lookups_total{hit=\"true\"}";
    let fetches = "cairn_wasm_module_fetches_total{result=\"success\"}";
    assert!(counted(&mesh, lookups).unwrap() >= 1.0);
    assert_eq!(counted(&mesh, fetches), Some(0.0), "nothing was fetched");
    assert_eq!(compiled(&mesh), before, "nothing was compiled");
}
