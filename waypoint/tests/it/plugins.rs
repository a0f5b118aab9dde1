//! Users' code: the repository's own filters, built with the official SDK, as a user attaches them.

use std::path::PathBuf;

use proto::cairn::waypoint as wire;
use proto::cairn::waypoint::plugin::{FailStrategy, Phase, Type};
use proto::cairn::waypoint::policy::Action;

use xds::server::Rejection;

use crate::client::request;
use crate::mesh::{CART_80, Mesh, origin, run, targets};

fn module(name: &str) -> String {
    let filters = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../filters/prebuilt");
    let path = filters.join(format!("{name}.wasm")).canonicalize().unwrap();
    format!("file://{}", path.display())
}

fn plugin(name: &str, module_name: &str, configuration: &str) -> wire::Plugin {
    wire::Plugin {
        origin: Some(origin("WasmPlugin", name)),
        targets: targets(),
        url: module(module_name),
        configuration: configuration.to_owned().into(),
        ..Default::default()
    }
}

/// Adds its own name to `x-order` on both paths.
fn marker(name: &str, phase: Phase, priority: Option<i32>) -> wire::Plugin {
    let add = format!(r#"[{{"name": "x-order", "value": "{name}"}}]"#);
    let configuration = format!(r#"{{"request": {{"add": {add}}}, "response": {{"add": {add}}}}}"#);
    wire::Plugin {
        phase: phase.into(),
        priority,
        ..plugin(name, "add-header", &configuration)
    }
}

fn put(mesh: &Mesh, plugin: &wire::Plugin) {
    let name = &plugin.origin.as_ref().unwrap().name;
    mesh.control.put(proto::PLUGIN_TYPE, name, plugin);
}

/// Every value of a header, as the client got them.
fn all(answer: &crate::client::Answer, name: &str) -> Vec<String> {
    let values = answer.headers.get_all(name).iter();
    values
        .map(|value| value.to_str().unwrap().to_owned())
        .collect()
}

/// Every value of a header, as the endpoint saw them.
fn all_seen(answer: &crate::client::Answer, name: &str) -> Vec<String> {
    let prefix = format!("{name}: ");
    let lines = answer
        .text()
        .lines()
        .filter_map(|line| line.strip_prefix(&prefix));
    lines.map(ToOwned::to_owned).collect()
}

#[test]
fn a_filter_edits_headers_on_both_paths() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let _backend = mesh.endpoint("v1").await;
        mesh.settled(&client).await;
        let configuration = r#"{
            "request": {"set": [{"name": "x-team", "value": "shop"}], "remove": ["x-debug"]},
            "response": {"add": [{"name": "x-seen-by", "value": "waypoint"}]}
        }"#;
        put(&mesh, &plugin("edits", "add-header", configuration));
        let seen = |answer: &crate::client::Answer| answer.header("x-seen-by") == Some("waypoint");
        mesh.until(&client, "/", seen).await;
        let answer = client
            .send(CART_80, request("GET", "/", &[("x-debug", "1")], ""))
            .await;
        assert_eq!(answer.seen("x-team").as_deref(), Some("shop"));
        assert_eq!(answer.seen("x-debug"), None);
        mesh.control.remove(proto::PLUGIN_TYPE, "edits");
        mesh.until(&client, "/", |answer| answer.header("x-seen-by").is_none())
            .await;
    });
}

#[test]
fn phases_and_priorities_order_filters_and_answers_pass_them_in_reverse() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let _backend = mesh.endpoint("v1").await;
        mesh.settled(&client).await;
        for plugin in [
            marker("last", Phase::Unspecified, None),
            marker("stats", Phase::Stats, None),
            marker("authz-unset", Phase::Authz, None),
            marker("authz-low", Phase::Authz, Some(-1)),
            marker("authz-high", Phase::Authz, Some(7)),
            marker("authn", Phase::Authn, None),
        ] {
            put(&mesh, &plugin);
        }
        let order = [
            "authn",
            "authz-high",
            "authz-low",
            "authz-unset",
            "stats",
            "last",
        ];
        let answer = mesh
            .until(&client, "/", |answer| {
                all(answer, "x-order").len() == order.len()
            })
            .await;
        assert_eq!(all_seen(&answer, "x-order"), order);
        let mut reversed = order;
        reversed.reverse();
        assert_eq!(all(&answer, "x-order"), reversed);
    });
}

/// The order of stages, observed: what a plugin of a phase sets, policies see or do not see.
#[test]
fn policies_come_after_authz_plugins_and_before_stats_plugins() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let _backend = mesh.endpoint("v1").await;
        mesh.settled(&client).await;
        put(&mesh, &marker("authz", Phase::Authz, None));
        put(&mesh, &marker("stats", Phase::Stats, None));
        mesh.until(&client, "/", |answer| all(answer, "x-order").len() == 2)
            .await;
        let condition = wire::Condition {
            key: "request.headers[x-order]".to_owned(),
            values: vec!["authz".to_owned()],
            ..Default::default()
        };
        let rule = wire::PolicyRule {
            when: vec![condition],
            ..Default::default()
        };
        let deny = wire::Policy {
            origin: Some(origin("AuthorizationPolicy", "deny")),
            targets: targets(),
            action: Action::Deny.into(),
            rules: vec![rule],
            ..Default::default()
        };
        mesh.control.put(proto::POLICY_TYPE, "deny", &deny);
        let answer = mesh
            .until(&client, "/", |answer| answer.status == 403)
            .await;
        // The answer passes the plugins that saw the request, and no other.
        assert_eq!(all(&answer, "x-order"), ["authz"]);
    });
}

#[test]
fn what_a_late_plugin_changes_is_decided_about_again() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let backend = mesh.endpoint("v1").await;
        mesh.settled(&client).await;
        put(&mesh, &marker("stats", Phase::Stats, None));
        mesh.until(&client, "/", |answer| all(answer, "x-order").len() == 1)
            .await;
        let condition = wire::Condition {
            key: "request.headers[x-order]".to_owned(),
            values: vec!["stats".to_owned()],
            ..Default::default()
        };
        let deny = wire::Policy {
            origin: Some(origin("AuthorizationPolicy", "deny")),
            targets: targets(),
            action: Action::Deny.into(),
            rules: vec![wire::PolicyRule {
                when: vec![condition],
                ..Default::default()
            }],
            ..Default::default()
        };
        mesh.control.put(proto::POLICY_TYPE, "deny", &deny);
        mesh.until(&client, "/", |answer| answer.status == 403)
            .await;
        let before = backend.seen().len();
        assert_eq!(client.get(CART_80, "/").await.status, 403);
        assert_eq!(backend.seen().len(), before);
    });
}

#[test]
fn a_filter_answers_by_itself() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let backend = mesh.endpoint("v1").await;
        mesh.settled(&client).await;
        let configuration =
            r#"{"paths": [{"prefix": "/admin"}], "status": 418, "body": "not for you\n"}"#;
        put(&mesh, &plugin("deny", "deny-by-path", configuration));
        let answer = mesh
            .until(&client, "/admin/x", |answer| answer.status == 418)
            .await;
        assert_eq!(answer.text(), "not for you\n");
        let before = backend.seen().len();
        // By the normalised path, as policies.
        assert_eq!(client.get(CART_80, "/x/../admin").await.status, 418);
        assert_eq!(backend.seen().len(), before);
        assert_eq!(client.get(CART_80, "/administrator").await.status, 200);
    });
}

#[test]
fn a_plugin_that_cannot_run_follows_its_fail_strategy() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let _backend = mesh.endpoint("v1").await;
        mesh.settled(&client).await;
        let dir = folder();
        let broken = dir.join("broken.wasm");
        std::fs::write(&broken, b"this is no module").unwrap();
        for (url, sha256) in [
            ("file:///no/such/module.wasm".to_owned(), ""),
            (format!("file://{}", broken.display()), ""),
            (module("add-header"), &*"0".repeat(64)),
        ] {
            let mut bad = plugin("bad", "add-header", "{}");
            bad.url.clone_from(&url);
            sha256.clone_into(&mut bad.sha256);
            put(&mesh, &bad);
            mesh.until(&client, "/", |answer| answer.status == 503)
                .await;
            bad.fail_strategy = FailStrategy::FailOpen.into();
            put(&mesh, &bad);
            mesh.until(&client, "/", |answer| answer.status == 200)
                .await;
            bad.fail_strategy = FailStrategy::FailClose.into();
            put(&mesh, &bad);
            mesh.until(&client, "/", |answer| answer.status == 503)
                .await;
            mesh.control.remove(proto::PLUGIN_TYPE, "bad");
            mesh.until(&client, "/", |answer| answer.status == 200)
                .await;
        }
        std::fs::remove_dir_all(&dir).unwrap();
    });
}

fn folder() -> PathBuf {
    let dir = std::env::temp_dir().join(format!("waypoint-it-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&dir).unwrap();
    dir
}

/// What the waypoint refuses next, and not only because it takes its time.
async fn refusal(mesh: &Mesh) -> Rejection {
    loop {
        let told = mesh.control.rejection().await;
        if !told.reason.starts_with("it is still being ") {
            return told;
        }
    }
}

const CLOSED: &str = ", requests it is meant for are answered 503";
const OPEN: &str = ", requests pass it by";

#[test]
fn a_plugin_that_cannot_run_is_refused_with_what_is_wrong_and_what_that_does() {
    run(|| async {
        let mesh = Mesh::start().await;
        let dir = folder();
        let broken = dir.join("broken.wasm");
        std::fs::write(&broken, b"this is no module").unwrap();
        let of = |url: &str| wire::Plugin {
            url: url.to_owned(),
            ..plugin("bad", "add-header", "{}")
        };
        let unpinned = "0".repeat(64);
        let pinned = wire::Plugin {
            sha256: unpinned.clone(),
            ..plugin("bad", "add-header", "{}")
        };
        let network = wire::Plugin {
            r#type: Type::Network.into(),
            ..of("file:///nope.wasm")
        };
        for (mut bad, what) in [
            (
                of("file:///nope.wasm"),
                "file:///nope.wasm: No such file or directory",
            ),
            (of(&format!("file://{}", broken.display())), "module"),
            (pinned, &*format!("must be {unpinned}")),
            (
                plugin("bad", "deny-by-path", "not json"),
                "the filter refused its configuration",
            ),
            (
                of("http://x/y.wasm"),
                "http://x/y.wasm: http:// is not used for x",
            ),
            (of("oci://x.example/Y"), "oci://x.example/Y: `Y` is no name"),
            (network, "file:///nope.wasm: No such file or directory"),
        ] {
            put(&mesh, &bad);
            let told = refusal(&mesh).await;
            assert_eq!(&*told.name, "bad");
            assert!(told.reason.contains(what), "{told:?}");
            let is_http = bad.r#type != i32::from(Type::Network);
            let closed = if is_http { CLOSED } else { "answered 503" };
            assert!(told.reason.ends_with(closed), "{told:?}");
            bad.fail_strategy = FailStrategy::FailOpen.into();
            put(&mesh, &bad);
            let told = refusal(&mesh).await;
            assert!(told.reason.contains(what), "{told:?}");
            let open = if is_http { OPEN } else { "pass it by" };
            assert!(told.reason.ends_with(open), "{told:?}");
            assert_eq!(mesh.control.refused().len(), 1);
            mesh.control.remove(proto::PLUGIN_TYPE, "bad");
            mesh.eventually("nothing is refused", async || {
                mesh.control.refused().is_empty()
            })
            .await;
        }
        std::fs::remove_dir_all(&dir).unwrap();
    });
}

#[test]
fn a_missing_module_is_refused_until_its_file_is_there() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let _backend = mesh.endpoint("v1").await;
        mesh.settled(&client).await;
        let dir = folder();
        let path = dir.join("late.wasm");
        let configuration = r#"{"paths": [{"exact": "/x"}]}"#;
        let late = wire::Plugin {
            url: format!("file://{}", path.display()),
            ..plugin("late", "deny-by-path", configuration)
        };
        put(&mesh, &late);
        mesh.until(&client, "/", |answer| answer.status == 503)
            .await;
        let refused = format!("late: {}: No such file or directory{CLOSED}", late.url);
        mesh.eventually("it is refused", async || {
            mesh.control.refused() == [refused.clone()]
        })
        .await;
        // Begun, but not written to its end yet.
        std::fs::write(&path, b"\0asm").unwrap();
        mesh.eventually("another reason", async || {
            let refused = mesh.control.refused();
            assert_eq!(refused.len(), 1);
            !refused[0].contains("No such file")
        })
        .await;
        let good = plugin("late", "deny-by-path", "").url;
        std::fs::copy(good.trim_start_matches("file://"), &path).unwrap();
        mesh.until(&client, "/", |answer| answer.status == 200)
            .await;
        assert_eq!(client.get(CART_80, "/x").await.status, 403);
        mesh.eventually("it is refused no more", async || {
            mesh.control.refused().is_empty()
        })
        .await;
        std::fs::remove_dir_all(&dir).unwrap();
    });
}

#[test]
fn a_version_that_cannot_run_is_refused_and_leaves_the_one_that_does() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let _backend = mesh.endpoint("v1").await;
        mesh.settled(&client).await;
        let good = plugin("p", "deny-by-path", r#"{"paths": [{"exact": "/x"}]}"#);
        put(&mesh, &good);
        mesh.until(&client, "/x", |answer| answer.status == 403)
            .await;
        put(&mesh, &plugin("p", "deny-by-path", "not json"));
        let told = refusal(&mesh).await.reason;
        assert!(
            told.ends_with(", what was in effect before it stays in effect"),
            "{told}"
        );
        assert_eq!(client.get(CART_80, "/").await.status, 200);
        assert_eq!(client.get(CART_80, "/x").await.status, 403);
        put(&mesh, &good);
        mesh.eventually("it is refused no more", async || {
            mesh.control.refused().is_empty()
        })
        .await;
    });
}

#[test]
fn a_refused_configuration_fails_and_a_good_one_heals() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let _backend = mesh.endpoint("v1").await;
        mesh.settled(&client).await;
        put(&mesh, &plugin("p", "deny-by-path", "not json"));
        mesh.until(&client, "/", |answer| answer.status == 503)
            .await;
        // Until then it was 503 because it was still being compiled.
        mesh.eventually("the dump says why", async || {
            let admin = mesh.waypoint.addresses.admin;
            let dump = mesh.page(admin, "/config_dump").await;
            dump.contains("Failed: the filter refused its configuration")
        })
        .await;
        put(
            &mesh,
            &plugin("p", "deny-by-path", r#"{"paths": [{"exact": "/x"}]}"#),
        );
        mesh.until(&client, "/", |answer| answer.status == 200)
            .await;
        assert_eq!(client.get(CART_80, "/x").await.status, 403);
    });
}

#[test]
fn exchanging_a_plugin_drops_no_request() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let _backend = mesh.endpoint("v1").await;
        mesh.settled(&client).await;
        let version = |value: &str| {
            let edits =
                format!(r#"{{"response": {{"set": [{{"name": "x-v", "value": "{value}"}}]}}}}"#);
            plugin("p", "add-header", &edits)
        };
        put(&mesh, &version("0"));
        mesh.until(&client, "/", |answer| answer.header("x-v") == Some("0"))
            .await;
        for round in 1..=5 {
            let round = round.to_string();
            put(&mesh, &version(&round));
            mesh.until(&client, "/", |answer| {
                assert_eq!(answer.status, 200);
                assert!(
                    answer.header("x-v").is_some(),
                    "there is always one version"
                );
                answer.header("x-v") == Some(&round)
            })
            .await;
        }
    });
}
