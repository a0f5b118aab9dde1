//! What filters do to bodies, to requests they hold, to routes and to connections: guests written
//! as text, so that each does one thing.

use std::path::PathBuf;

use proto::cairn::waypoint as wire;
use proto::cairn::waypoint::plugin::{FailStrategy, Type};
use proto::workload::TunnelProtocol;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::backend::{Act, Backend, Speaks, address};
use crate::client::{Client, request};
use crate::mesh::{
    CART_80, Mesh, origin, put_service, put_workload, route, rule, run, service, targets, workload,
};

/// A folder that goes with the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("waypoint-it-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    /// A plugin that runs a guest: `code` beside memory, an allocator and the imports.
    pub(crate) fn plugin(&self, name: &str, code: &str) -> wire::Plugin {
        let path = self.0.join(format!("{name}.wasm"));
        std::fs::write(&path, wat::parse_str(module(code)).unwrap()).unwrap();
        wire::Plugin {
            origin: Some(origin("WasmPlugin", name)),
            targets: targets(),
            url: format!("file://{}", path.display()),
            ..Default::default()
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn module(code: &str) -> String {
    format!(
        r#"(module
        (import "env" "proxy_set_buffer_bytes" (func $splice (param i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_remove_header_map_value" (func $remove (param i32 i32 i32) (result i32)))
        (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_send_local_response"
            (func $reply (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_http_call"
            (func $call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_set_effective_context" (func $switch (param i32) (result i32)))
        (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
        (import "env" "proxy_close_stream" (func $close (param i32) (result i32)))
        (import "env" "proxy_set_tick_period_milliseconds" (func $tick (param i32) (result i32)))
        (memory (export "memory") 1)
        (global $top (mut i32) (i32.const 4096))
        (global $held (mut i32) (i32.const 0))
        (func (export "proxy_abi_version_0_2_1"))
        (func (export "proxy_on_memory_allocate") (param i32) (result i32)
            (global.get $top)
            (global.set $top (i32.add (global.get $top) (local.get 0))))
        (data (i32.const 16) "content-length")
        (data (i32.const 48) "x-held")
        (data (i32.const 64) "no")
        {code})"#
    )
}

/// Forgets `content-length` of requests.
const FREE_LENGTH: &str = r#"
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $remove (i32.const 0) (i32.const 16) (i32.const 14)))
        (i32.const 0))"#;

/// Collects the whole request body and puts brackets around it.
const WRAP: &str = r#"
    (data (i32.const 32) "[]")
    (func (export "proxy_on_request_body") (param $id i32) (param $size i32) (param $end i32) (result i32)
        (if (i32.eqz (local.get $end)) (then (return (i32.const 1))))
        (drop (call $splice (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 32) (i32.const 1)))
        (drop (call $splice (i32.const 0) (i32.const -1) (i32.const 0) (i32.const 33) (i32.const 1)))
        (i32.const 0))"#;

/// A header map as guests hand it over, as a string of the text format.
fn pairs(pairs: &[(&str, &str)]) -> (String, usize) {
    let number = |n: usize| u32::try_from(n).unwrap().to_le_bytes();
    let mut bytes = number(pairs.len()).to_vec();
    for (name, value) in pairs {
        bytes.extend(number(name.len()));
        bytes.extend(number(value.len()));
    }
    for (name, value) in pairs {
        bytes.extend(name.bytes().chain([0]).chain(value.bytes()).chain([0]));
    }
    let text: Vec<_> = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
    let text = text.concat();
    (text, bytes.len())
}

/// Holds each request until `auth` has answered; `done` is what follows then.
fn asks_auth(done: &str) -> String {
    let (map, length) = pairs(&[
        (":method", "GET"),
        (":path", "/check"),
        (":authority", "auth"),
    ]);
    format!(
        r#"(data (i32.const 256) "outbound|80||auth.shop")
        (data (i32.const 512) "{map}")
        (func (export "proxy_on_request_headers") (param $id i32) (param i32 i32) (result i32)
            (global.set $held (local.get $id))
            (if (call $call (i32.const 256) (i32.const 22) (i32.const 512) (i32.const {length})
                    (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 2000) (i32.const 8))
                (then (unreachable)))
            (i32.const 1))
        (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
            (drop (call $switch (global.get $held)))
            {done})"#
    )
}

pub(crate) fn put(mesh: &Mesh, plugin: &wire::Plugin) {
    let name = &plugin.origin.as_ref().unwrap().name;
    mesh.control.put(proto::PLUGIN_TYPE, name, plugin);
}

async fn post(client: &Client, body: &'static str) -> crate::client::Answer {
    client.send(CART_80, request("POST", "/", &[], body)).await
}

/// A mesh with one endpoint that answers a client, and a folder for modules.
pub(crate) async fn stage() -> (Mesh, Client, Backend, Folder) {
    let mesh = Mesh::start().await;
    let client = mesh.client().await;
    let backend = mesh.endpoint("v1").await;
    mesh.settled(&client).await;
    (mesh, client, backend, Folder::new())
}

/// The service that [`asks_auth`] asks.
async fn auth(mesh: &Mesh) -> Backend {
    put_service(&mesh.control, &service("auth"));
    let backend = Backend::plain("auth", Speaks::Http1).await;
    mesh.attach(&backend, "auth", "auth", TunnelProtocol::None);
    backend
}

/// Posts until the answer is as wanted.
async fn until_posted(
    mesh: &Mesh,
    client: &Client,
    wanted: impl Fn(&crate::client::Answer) -> bool,
) -> crate::client::Answer {
    let mut found = None;
    mesh.eventually("the plugin runs", async || {
        let answer = post(client, "body").await;
        let is_it = wanted(&answer);
        found = Some(answer);
        is_it
    })
    .await;
    found.unwrap()
}

#[test]
fn a_plugin_collects_a_body_and_changes_its_length() {
    run(|| async {
        let (mesh, client, backend, folder) = stage().await;
        put(
            &mesh,
            &folder.plugin("wrap", &format!("{FREE_LENGTH}{WRAP}")),
        );
        mesh.eventually("the body is wrapped", async || {
            post(&client, "body").await;
            backend
                .seen()
                .last()
                .is_some_and(|seen| seen.body == "[body]")
        })
        .await;
        // In pieces, the end of which nobody knows beforehand.
        let mut tunnel = client.tunnel(CART_80).await.unwrap();
        let head = "POST / HTTP/1.1\r\nhost: cart.shop\r\ntransfer-encoding: chunked\r\n\r\n";
        for piece in [
            head,
            "4\r\none \r\n",
            "4\r\ntwo \r\n",
            "5\r\nthree\r\n0\r\n\r\n",
        ] {
            tunnel.write_all(piece.as_bytes()).await.unwrap();
            tunnel.flush().await.unwrap();
        }
        assert_eq!(answered(&mut tunnel).await, 200);
        assert_eq!(backend.seen().last().unwrap().body, "[one two three]");
    });
}

/// Reads the status of an answer over HTTP/1.1.
async fn answered(tunnel: &mut hbone::Tunnel) -> u16 {
    let mut read = vec![0; 12];
    tunnel.read_exact(&mut read).await.unwrap();
    let line = String::from_utf8(read).unwrap();
    line.strip_prefix("HTTP/1.1 ").unwrap().parse().unwrap()
}

#[test]
fn a_body_longer_than_its_head_says_reaches_nobody_as_another_request() {
    run(|| async {
        let (mesh, client, backend, folder) = stage().await;
        put(&mesh, &folder.plugin("wrap", WRAP));
        let refused = until_posted(&mesh, &client, |answer| answer.status == 503).await;
        assert_eq!(refused.status, 503);
        let lines = |backend: &Backend| {
            let seen = backend.seen();
            seen.iter()
                .map(|seen| seen.line.clone())
                .collect::<Vec<_>>()
        };
        mesh.control.remove(proto::PLUGIN_TYPE, "wrap");
        until_posted(&mesh, &client, |answer| answer.status == 200).await;
        assert!(
            lines(&backend)
                .iter()
                .all(|line| line.starts_with("POST / ") || line.starts_with("GET ")),
            "{:?}",
            lines(&backend)
        );
    });
}

#[test]
fn a_body_larger_than_the_buffer_is_413() {
    run(|| async {
        let (mesh, client, _backend, folder) = stage().await;
        let mut small = folder.plugin("wrap", &format!("{FREE_LENGTH}{WRAP}"));
        small.limits = Some(wire::PluginLimits {
            buffer_bytes: 1024,
            ..Default::default()
        });
        put(&mesh, &small);
        mesh.eventually("the body is too large", async || {
            let large = vec![b'x'; 5000];
            let answer = client.send(CART_80, request("POST", "/", &[], large)).await;
            answer.status == 413
        })
        .await;
        assert_eq!(post(&client, "small").await.status, 200);
    });
}

#[test]
fn a_plugin_holds_a_request_until_its_callout_is_answered() {
    run(|| async {
        let (mesh, client, backend, folder) = stage().await;
        let auth = auth(&mesh).await;
        let go_on = r"(drop (call $add (i32.const 0) (i32.const 48) (i32.const 6) (i32.const 64) (i32.const 2)))
            (drop (call $continue (i32.const 0)))";
        put(&mesh, &folder.plugin("asks", &asks_auth(go_on)));
        mesh.eventually("the callout is made", async || {
            post(&client, "body").await;
            backend
                .seen()
                .last()
                .is_some_and(|seen| seen.headers.contains_key("x-held"))
        })
        .await;
        assert!(auth.seen().last().unwrap().line.contains("/check"));
        // Whoever has no answer is answered for.
        auth.script([Act::Close]);
        assert_eq!(post(&client, "body").await.status, 200);
    });
}

#[test]
fn a_plugin_answers_when_its_callout_is_answered() {
    run(|| async {
        let (mesh, client, backend, folder) = stage().await;
        let _auth = auth(&mesh).await;
        let deny = r"(drop (call $reply (i32.const 403) (i32.const 0) (i32.const 0) (i32.const 64)
            (i32.const 2) (i32.const 0) (i32.const 0) (i32.const -1)))";
        put(&mesh, &folder.plugin("asks", &asks_auth(deny)));
        let answer = until_posted(&mesh, &client, |answer| answer.status == 403).await;
        assert_eq!(answer.text(), "no");
        assert_eq!(answer.header("content-length"), Some("2"));
        let before = backend.seen().len();
        assert_eq!(post(&client, "body").await.status, 403);
        assert_eq!(backend.seen().len(), before);
    });
}

#[test]
fn a_callout_may_go_only_where_the_plugin_may() {
    run(|| async {
        let (mesh, client, _backend, folder) = stage().await;
        let auth = auth(&mesh).await;
        let go_on = "(drop (call $continue (i32.const 0)))";
        let mut bound = folder.plugin("asks", &asks_auth(go_on));
        let only = wire::Upstream {
            host: "cart.shop".to_owned(),
            port: 0,
        };
        bound.allowed_upstreams = Some(wire::Upstreams { list: vec![only] });
        put(&mesh, &bound);
        // The guest gives up when its call is refused.
        until_posted(&mesh, &client, |answer| answer.status == 503).await;
        assert!(auth.seen().is_empty());
    });
}

#[test]
fn a_plugin_answers_from_inside_a_body() {
    run(|| async {
        let (mesh, client, _backend, folder) = stage().await;
        let code = r#"(func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
            (drop (call $reply (i32.const 422) (i32.const 0) (i32.const 0) (i32.const 64)
                (i32.const 2) (i32.const 0) (i32.const 0) (i32.const -1)))
            (i32.const 0))"#;
        put(&mesh, &folder.plugin("reads", code));
        let answer = until_posted(&mesh, &client, |answer| answer.status == 422).await;
        assert_eq!(answer.text(), "no");
        assert_eq!(client.get(CART_80, "/").await.status, 200);
    });
}

#[test]
fn a_trap_in_a_body_follows_the_fail_strategy() {
    run(|| async {
        let (mesh, client, _backend, folder) = stage().await;
        let code = r#"(func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
            (unreachable))"#;
        let mut broken = folder.plugin("broken", code);
        put(&mesh, &broken);
        until_posted(&mesh, &client, |answer| answer.status == 503).await;
        // A request without a body does not come so far.
        mesh.until(&client, "/", |answer| answer.status == 200)
            .await;
        broken.fail_strategy = FailStrategy::FailOpen.into();
        put(&mesh, &broken);
        let passed = until_posted(&mesh, &client, |answer| answer.status == 200).await;
        assert_eq!(passed.status, 200);
        let labels = [
            "plugin=\"shop.broken\"",
            "callback=\"proxy_on_request_body\"",
        ];
        assert!(mesh.metric("cairn_wasm_traps_total", &labels).await >= 1.0);
    });
}

#[test]
fn a_plugin_resumes_what_it_holds_from_its_timer() {
    run(|| async {
        let (mesh, client, _backend, folder) = stage().await;
        let code = r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
                (drop (call $tick (i32.const 20))) (i32.const 1))
            (func (export "proxy_on_request_headers") (param $id i32) (param i32 i32) (result i32)
                (global.set $held (local.get $id)) (i32.const 1))
            (func (export "proxy_on_tick") (param i32)
                (if (i32.eqz (global.get $held)) (then (return)))
                (if (i32.eqz (call $switch (global.get $held))) (then
                    (drop (call $add (i32.const 0) (i32.const 48) (i32.const 6) (i32.const 64) (i32.const 2)))
                    (drop (call $continue (i32.const 0))))))"#;
        put(&mesh, &folder.plugin("ticks", code));
        let held = |answer: &crate::client::Answer| answer.seen("x-held").is_some();
        let answer = until_posted(&mesh, &client, held).await;
        assert_eq!(answer.status, 200);
    });
}

#[test]
fn a_callout_that_nobody_waits_for_is_made_all_the_same() {
    run(|| async {
        let (mesh, client, _backend, folder) = stage().await;
        let auth = auth(&mesh).await;
        // As it would report: from the log callback, after which the stream is gone.
        let code = asks_auth("").replace(
            r#"(func (export "proxy_on_request_headers") (param $id i32) (param i32 i32) (result i32)"#,
            r#"(func (export "proxy_on_log") (param $id i32)"#,
        );
        let code = code.replacen("(i32.const 1))\n", ")\n", 1);
        put(&mesh, &folder.plugin("reports", &code));
        mesh.eventually("the report arrives", async || {
            client.get(CART_80, "/").await;
            !auth.seen().is_empty()
        })
        .await;
    });
}

#[test]
fn a_rule_has_plugins_of_its_own() {
    run(|| async {
        let (mesh, client, _backend, folder) = stage().await;
        let code = r#"(func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
            (drop (call $add (i32.const 2) (i32.const 48) (i32.const 6) (i32.const 64) (i32.const 2)))
            (i32.const 0))"#;
        let mut of_rule = folder.plugin("mine", code);
        of_rule.targets.clear();
        of_rule.by_routes = true;
        let mut with = rule("/with", &[("cart", 1)]);
        with.filters = vec![wire::RouteFilter {
            kind: Some(wire::route_filter::Kind::Plugin("mine".to_owned())),
        }];
        let rules = vec![with, rule("/", &[("cart", 1)])];
        mesh.control.put(proto::ROUTE_TYPE, "r", &route("r", rules));
        // A plugin that is not there must not be passed by.
        mesh.until(&client, "/with", |answer| answer.status == 500)
            .await;
        put(&mesh, &of_rule);
        mesh.until(&client, "/with", |answer| answer.header("x-held").is_some())
            .await;
        assert_eq!(client.get(CART_80, "/without").await.header("x-held"), None);
    });
}

/// An endpoint that echoes.
async fn echo(mesh: &Mesh) {
    let listener = TcpListener::bind((address(), 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    let tasks = mesh.tasks.clone();
    mesh.tasks.spawn("echo", async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tasks.spawn("echo connection", async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
        }
    });
    let workload = workload("echo", at, "cart", TunnelProtocol::None);
    put_workload(&mesh.control, &workload);
}

#[test]
fn a_plugin_sees_and_changes_the_bytes_of_connections() {
    run(|| async {
        let (mesh, folder) = (Mesh::start().await, Folder::new());
        let client = mesh.client().await;
        echo(&mesh).await;
        // Waits for the end of what the client sends, and marks both ways.
        let code = r#"(data (i32.const 32) "<>")
            (func (export "proxy_on_new_connection") (param i32) (result i32) (i32.const 0))
            (func (export "proxy_on_downstream_data") (param $id i32) (param $size i32) (param $end i32) (result i32)
                (if (i32.eqz (local.get $end)) (then (return (i32.const 1))))
                (drop (call $splice (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 32) (i32.const 1)))
                (i32.const 0))
            (func (export "proxy_on_upstream_data") (param $id i32) (param $size i32) (param $end i32) (result i32)
                (if (local.get $end)
                    (then (drop (call $splice (i32.const 3) (i32.const -1) (i32.const 0) (i32.const 33) (i32.const 1)))))
                (i32.const 0))"#;
        let mut marks = folder.plugin("marks", code);
        marks.r#type = Type::Network.into();
        put(&mesh, &marks);
        mesh.eventually("bytes are marked", async || {
            let Ok(mut tunnel) = client.tunnel("10.96.0.1:82").await else {
                return false;
            };
            let mut read = vec![];
            let _ = tunnel.write_all(b"any ").await;
            let _ = tunnel.write_all(b"bytes").await;
            let _ = tunnel.shutdown().await;
            let _ = tunnel.read_to_end(&mut read).await;
            read == b"<any bytes>"
        })
        .await;
        assert!(
            mesh.metric(
                "cairn_wasm_invocations_total",
                &["callback=\"proxy_on_upstream_data\""]
            )
            .await
                >= 1.0
        );
    });
}

#[test]
fn a_plugin_closes_connections_it_does_not_want() {
    run(|| async {
        let (mesh, client, _backend, folder) = stage().await;
        let code = r#"(func (export "proxy_on_downstream_data") (param i32 i32 i32) (result i32)
            (drop (call $close (i32.const 2))) (i32.const 1))"#;
        let mut closes = folder.plugin("closes", code);
        closes.r#type = Type::Network.into();
        put(&mesh, &closes);
        mesh.eventually("a connection is closed", async || {
            let Ok(mut tunnel) = client.tunnel(CART_80).await else {
                return true;
            };
            let _ = tunnel
                .write_all(b"GET / HTTP/1.1\r\nhost: cart.shop\r\nconnection: close\r\n\r\n")
                .await;
            let mut read = vec![];
            let _ = tunnel.read_to_end(&mut read).await;
            read.is_empty()
        })
        .await;
    });
}

#[test]
fn a_trap_on_the_way_back_ends_the_connection() {
    run(|| async {
        let (mesh, folder) = (Mesh::start().await, Folder::new());
        let client = mesh.client().await;
        echo(&mesh).await;
        let code = r#"(func (export "proxy_on_upstream_data") (param i32 i32 i32) (result i32)
            (unreachable))"#;
        let mut broken = folder.plugin("broken", code);
        broken.r#type = Type::Network.into();
        put(&mesh, &broken);
        mesh.eventually("the connection is cut", async || {
            let Ok(mut tunnel) = client.tunnel("10.96.0.1:82").await else {
                return false;
            };
            let _ = tunnel.write_all(b"bytes").await;
            let mut read = [0; 5];
            // The client keeps its side open: it has to be told.
            tunnel.read_exact(&mut read).await.is_err()
        })
        .await;
    });
}
