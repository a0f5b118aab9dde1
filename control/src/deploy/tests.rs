//! What is deployed, against the contract recorded in scenario 15, and the folder it is put into.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::files::Folder;
use super::name::{gateway_label, service_name};
use crate::index::GATEWAY;
use crate::object::Key;
use crate::translate::tests::{objects, translate};
use crate::translate::{Settings, Translator};

fn gateway(metadata: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway,
          metadata: {{namespace: a, uid: u-1, {metadata}}},
          spec: {{gatewayClassName: istio-waypoint, {spec}
            listeners: [{{name: mesh, port: 15008, protocol: HBONE}}]}}}}"
    )
}

/// The manifests of the only Gateway, by kind.
fn deployed(text: &str) -> BTreeMap<String, Value> {
    let (translator, _) = translate(text);
    let manifests = translator.manifests().into_values().flatten();
    manifests
        .map(|manifest| (manifest["kind"].as_str().unwrap().to_owned(), manifest))
        .collect()
}

#[test]
fn everything_belongs_to_its_gateway() {
    let manifests = deployed(&gateway("name: w", ""));
    assert_eq!(
        manifests.keys().collect::<Vec<_>>(),
        ["Deployment", "Service", "ServiceAccount"]
    );
    for manifest in manifests.values() {
        let metadata = &manifest["metadata"];
        assert_eq!(metadata["namespace"], "a");
        assert_eq!(metadata["name"], "w");
        let owner = json!([{"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "name": "w", "uid": "u-1"}]);
        assert_eq!(metadata["ownerReferences"], owner);
        let labels = json!({
            "gateway.istio.io/managed": "istio.io-mesh-controller",
            "gateway.networking.k8s.io/gateway-class-name": "istio-waypoint",
            "gateway.networking.k8s.io/gateway-name": "w",
        });
        assert_eq!(metadata["labels"], labels);
    }
}

/// A name that does not fit into a DNS label is shortened, where istiod deploys nothing.
#[test]
fn names_are_dns_labels() {
    let long = "a-rather-long-waypoint-name-that-goes-on-and-on-beyond-sixty-three";
    for name in [long, "with.dot"] {
        let manifests = deployed(&gateway(&format!("name: {name}"), ""));
        let service = manifests["Service"]["metadata"]["name"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(service.len() <= 63 && !service.contains('.'), "{service}");
        let label =
            &manifests["Service"]["spec"]["selector"]["gateway.networking.k8s.io/gateway-name"];
        assert!(label.as_str().unwrap().len() <= 63);
    }
    assert_eq!(gateway_label("with.dot"), "with.dot");
    assert_ne!(
        gateway_label(&format!("{long}-a")),
        gateway_label(&format!("{long}-b"))
    );
}

#[test]
fn names_can_be_given() {
    let annotations = "annotations: {gateway.istio.io/name-override: other, gateway.istio.io/service-account: account, note: x}";
    let manifests = deployed(&gateway(&format!("name: w, {annotations}"), ""));
    assert_eq!(manifests["Deployment"]["metadata"]["name"], "other");
    assert_eq!(manifests["Service"]["metadata"]["name"], "other");
    assert_eq!(manifests["ServiceAccount"]["metadata"]["name"], "account");
    let pod = &manifests["Deployment"]["spec"]["template"];
    assert_eq!(pod["spec"]["serviceAccountName"], "account");
    assert_eq!(
        pod["metadata"]["labels"]["service.istio.io/canonical-name"],
        "other"
    );
    assert_eq!(
        manifests["ServiceAccount"]["metadata"]["annotations"],
        json!({"note": "x"})
    );
}

#[test]
fn infrastructure_goes_before_the_gateways_own_labels() {
    let given = "infrastructure: {labels: {tier: edge, gateway.networking.k8s.io/x: v, istio.io/dataplane-mode: ambient}},";
    let manifests = deployed(&gateway(
        "name: w, labels: {team: red}, annotations: {note: x}",
        given,
    ));
    let labels = &manifests["Deployment"]["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels["tier"], "edge");
    assert_eq!(labels["istio.io/dataplane-mode"], "ambient");
    assert_eq!(
        (
            labels.get("team"),
            labels.get("gateway.networking.k8s.io/x")
        ),
        (None, None)
    );
    assert_eq!(
        manifests["Deployment"]["metadata"]["annotations"]["note"],
        "x"
    );

    let manifests = deployed(&gateway("name: w, labels: {team: red}", ""));
    let labels = &manifests["Deployment"]["spec"]["template"]["metadata"]["labels"];
    assert_eq!(
        (&labels["team"], &labels["istio.io/dataplane-mode"]),
        (&json!("red"), &json!("none"))
    );
}

#[test]
fn a_gateway_of_another_control_plane_is_left_alone() {
    let version = |version: &str| {
        let annotation =
            format!("annotations: {{gateway.istio.io/controller-version: \"{version}\"}}");
        deployed(&gateway(&format!("name: w, {annotation}"), "")).len()
    };
    assert_eq!((version("5"), version("6"), version("x")), (3, 0, 0));
}

#[test]
fn a_gateway_with_a_service_of_its_own_is_not_deployed() {
    let addresses = |addresses: &str| {
        deployed(&gateway("name: w", &format!("addresses: [{addresses}],"))).len()
    };
    assert_eq!(
        addresses("{type: Hostname, value: mine.a.svc.cluster.local}"),
        0
    );
    assert_eq!(addresses("{type: IPAddress, value: 10.2.0.77}"), 3);
    assert_eq!(
        addresses("{type: IPAddress, value: 10.2.0.77}, {type: IPAddress, value: 10.2.0.78}"),
        0
    );
}

#[test]
fn ports_are_readiness_and_each_listener_once() {
    let text = gateway("name: w", "").replace(
        "protocol: HBONE}]",
        "protocol: HBONE}, {name: same, port: 15008, protocol: HTTP, hostname: x}, {name: web, port: 8080, protocol: HTTP}]",
    );
    let manifests = deployed(&text);
    let ports = manifests["Service"]["spec"]["ports"].as_array().unwrap();
    let ports: Vec<(&str, i64, &str)> = ports
        .iter()
        .map(|port| {
            let text = |field: &str| port[field].as_str().unwrap();
            (
                text("name"),
                port["port"].as_i64().unwrap(),
                text("appProtocol"),
            )
        })
        .collect();
    assert_eq!(
        ports,
        [
            ("status-port", 15021, "tcp"),
            ("mesh", 15008, "hbone"),
            ("web", 8080, "http")
        ]
    );
}

struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn folder(name: &str) -> (Temporary, Folder) {
    let path = std::env::temp_dir().join(format!("cairn-deploy-{}-{name}", std::process::id()));
    let folder = Folder::open(path.join("generated")).unwrap();
    (Temporary(path), folder)
}

fn files(folder: &Temporary) -> Vec<String> {
    let entries = fs::read_dir(folder.0.join("generated")).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn files_follow_gateways() {
    let (path, folder) = folder("follow");
    let key = Key::new(GATEWAY, "a", "w");
    let manifest = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "w"}});
    folder.put(&key, std::slice::from_ref(&manifest)).unwrap();
    assert_eq!(files(&path), ["gateway_a_w.json"]);
    let text = fs::read_to_string(path.0.join("generated/gateway_a_w.json")).unwrap();
    let list: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(list["items"], json!([manifest]));
    folder.put(&key, &[]).unwrap();
    folder.put(&key, &[]).unwrap();
    assert_eq!(files(&path), Vec::<String>::new());
}

#[test]
fn what_is_stale_goes_when_control_comes_back() {
    let (path, folder) = folder("stale");
    let key = |name| Key::new(GATEWAY, "a", name);
    let manifest = json!({"kind": "Service"});
    folder
        .put(&key("gone"), std::slice::from_ref(&manifest))
        .unwrap();
    fs::write(path.0.join("generated/.gateway_a_gone.json"), "half").unwrap();
    folder
        .restore(&BTreeMap::from([
            (key("w"), vec![manifest]),
            (key("none"), vec![]),
        ]))
        .unwrap();
    assert_eq!(files(&path), ["gateway_a_w.json"]);
}

#[test]
fn what_a_waypoint_keeps_goes_with_its_gateway_and_no_other() {
    let (path, folder) = folder("kept");
    let kept = path.0.join("waypoints");
    let folder = folder.with_kept(Some(kept.clone()));
    let key = |name| Key::new(GATEWAY, "a", name);
    for name in ["a_one", "a_two", "a_before"] {
        fs::create_dir_all(kept.join(name).join("modules")).unwrap();
    }
    let names = || {
        let entries = fs::read_dir(&kept).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let manifest = json!({"kind": "Service"});
    let all = BTreeMap::from([
        (key("one"), vec![manifest.clone()]),
        (key("two"), vec![manifest]),
    ]);
    folder.restore(&all).unwrap();
    assert_eq!(names(), ["a_one", "a_two"]);
    folder.put(&key("one"), &[]).unwrap();
    assert_eq!(names(), ["a_two"]);
}

/// The environment of a waypoint's container.
fn environment(manifests: &BTreeMap<String, Value>) -> BTreeMap<String, String> {
    let env = &manifests["Deployment"]["spec"]["template"]["spec"]["containers"][0]["env"];
    let pairs = env.as_array().unwrap().iter().filter_map(|variable| {
        let text = |field: &str| Some(variable.get(field)?.as_str()?.to_owned());
        Some((text("name")?, text("value")?))
    });
    pairs.collect()
}

#[test]
fn a_gateway_sets_what_is_its_to_set_at_its_waypoint() {
    let config = r#"proxy.istio.io/config: '{"proxyMetadata": {"WASM_MODULE_EXPIRY": "5m", "XDS_ADDRESS": "https://x"}}'"#;
    let own = deployed(&gateway(&format!("name: w, annotations: {{{config}}}"), ""));
    let given = format!("infrastructure: {{annotations: {{{config}}}}},");
    let given = deployed(&gateway("name: w", &given));
    for manifests in [own, given] {
        let env = environment(&manifests);
        assert_eq!(env["WASM_MODULE_EXPIRY"], "5m");
        assert_eq!(env["XDS_ADDRESS"], "https://istiod.istio-system.svc:15012");
        assert_eq!(
            env.get("STATE_DIR"),
            None,
            "pods of a cluster have no such place"
        );
    }
}

/// ADR 0010: what was fetched with the secrets of one is not another's to read.
#[test]
fn each_gateways_waypoint_has_a_folder_of_its_own() {
    let mut settings = Settings::default();
    settings.waypoint.state = Some("/run/cairn/t/waypoints".into());
    let mut translator = Translator::new(settings);
    let both = format!(
        "{}\n---\n{}",
        gateway("name: w", ""),
        gateway("name: v", "")
    );
    translator.update(&objects(&both));
    let folders: Vec<String> = translator
        .manifests()
        .into_values()
        .map(|manifests| {
            let by_kind = manifests.into_iter();
            let by_kind = by_kind.map(|found| (found["kind"].as_str().unwrap().to_owned(), found));
            environment(&by_kind.collect())["STATE_DIR"].clone()
        })
        .collect();
    let expected = ["/run/cairn/t/waypoints/a_v", "/run/cairn/t/waypoints/a_w"];
    assert_eq!(folders, expected);
}

#[test]
fn a_file_that_would_not_change_is_not_touched() {
    let (path, folder) = folder("same");
    let key = Key::new(GATEWAY, "a", "w");
    let manifests = [json!({"kind": "Service"})];
    folder.put(&key, &manifests).unwrap();
    let inode = || {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(path.0.join("generated/gateway_a_w.json"))
            .unwrap()
            .ino()
    };
    let first = inode();
    folder.put(&key, &manifests).unwrap();
    assert_eq!(inode(), first);
}

#[test]
fn an_error_names_the_folder() {
    let error = Folder::open("/proc/nowhere/generated").unwrap_err();
    assert_eq!(error.to_string(), "cannot create /proc/nowhere/generated");
}

#[test]
fn a_name_that_is_a_label_stays() {
    let (_, objects) = translate(&gateway("name: 9-w", ""));
    let object = objects.find(&Key::new(GATEWAY, "a", "9-w")).unwrap();
    assert_eq!(service_name(object), "9-w");
}
