//! Modules from a network: a waypoint waits for none of them, and lets nobody past meanwhile.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use proto::cairn::waypoint as wire;
use proto::cairn::waypoint::plugin::{FailStrategy, PullPolicy};

use crate::mesh::{Mesh, origin, run, targets};

/// What a server does with a request.
#[derive(Clone, Copy)]
enum Does {
    /// Keeps it, and never answers.
    Nothing = 0,
    /// Answers with the module.
    Gives = 1,
    /// Says that there is none.
    Denies = 2,
}

/// A server of one module. Its threads end with the process.
struct Server {
    address: SocketAddr,
    does: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
}

impl Server {
    fn start(does: Does) -> Self {
        let filters = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../filters/prebuilt");
        let module: Arc<[u8]> = std::fs::read(filters.join("add-header.wasm"))
            .unwrap()
            .into();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            does: Arc::new(AtomicUsize::new(does as usize)),
            asked: Arc::default(),
        };
        let (does, asked) = (Arc::clone(&server.does), Arc::clone(&server.asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (does, asked) = (Arc::clone(&does), Arc::clone(&asked));
                let module = Arc::clone(&module);
                std::thread::spawn(move || {
                    asked.fetch_add(1, Ordering::SeqCst);
                    serve(stream, &module, does.load(Ordering::SeqCst));
                });
            }
        });
        server
    }

    fn does(&self, what: Does) {
        self.does.store(what as usize, Ordering::SeqCst);
    }

    fn plugin(&self, generation: i64) -> wire::Plugin {
        wire::Plugin {
            origin: Some(wire::Origin {
                generation,
                ..origin("WasmPlugin", "far")
            }),
            targets: targets(),
            url: format!("http://{}/module.wasm", self.address),
            configuration: r#"{"response": {"add": [{"name": "x-far", "value": "1"}]}}"#.into(),
            pull_policy: PullPolicy::Always.into(),
            revision: generation.to_string(),
            ..Default::default()
        }
    }
}

fn serve(mut stream: TcpStream, module: &[u8], does: usize) {
    let mut head = [0; 4096];
    let _ = stream.read(&mut head);
    if does == Does::Nothing as usize {
        // Until the client gives up.
        let _ = stream.read(&mut head);
        return;
    }
    let (status, body) = if does == Does::Gives as usize {
        ("200 OK", module)
    } else {
        ("404 Not Found", &b""[..])
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    // Whether the client still wants it is the test's matter.
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(body);
}

fn put(control: &crate::control::Control, plugin: &wire::Plugin) {
    control.put(proto::PLUGIN_TYPE, "far", plugin);
}

#[test]
fn a_module_of_a_url_runs_and_one_that_cannot_be_had_leaves_it_running() {
    run(|| async {
        let server = Server::start(Does::Gives);
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let _backend = mesh.endpoint("v1").await;
        mesh.settled(&client).await;
        put(&mesh.control, &server.plugin(1));
        mesh.until(&client, "/", |answer| answer.header("x-far") == Some("1"))
            .await;
        server.does(Does::Denies);
        put(&mesh.control, &server.plugin(2));
        mesh.eventually("it is refused", async || {
            let refused = mesh.control.refused();
            refused.iter().any(|why| {
                why.contains("answers 404 Not Found") && why.ends_with("stays in effect")
            })
        })
        .await;
        assert_eq!(
            client.get(crate::mesh::CART_80, "/").await.header("x-far"),
            Some("1")
        );
        // It is looked for until it is there.
        server.does(Does::Gives);
        mesh.eventually("nothing is refused", async || {
            mesh.control.refused().is_empty()
        })
        .await;
        let name = "cairn_wasm_module_fetches_total";
        assert!(mesh.metric(name, &["result=\"success\""]).await >= 2.0);
        assert!(mesh.metric(name, &["result=\"download_failure\""]).await >= 1.0);
    });
}

#[test]
fn a_server_that_never_answers_delays_no_start_and_opens_no_way_past() {
    run(|| async {
        for (strategy, status) in [
            (FailStrategy::FailClose, 503),
            (FailStrategy::FailOpen, 200),
        ] {
            let server = Server::start(Does::Nothing);
            let plugin = wire::Plugin {
                fail_strategy: strategy.into(),
                ..server.plugin(1)
            };
            let begun = Instant::now();
            let mesh = Mesh::with(|control| put(control, &plugin)).await;
            assert!(
                begun.elapsed() < Duration::from_secs(8),
                "{:?}",
                begun.elapsed()
            );
            assert!(server.asked.load(Ordering::SeqCst) > 0);
            let client = mesh.client().await;
            let _backend = mesh.endpoint("v1").await;
            mesh.until(&client, "/", |answer| answer.status == status)
                .await;
            let admin = mesh.waypoint.addresses.admin;
            let dump = mesh.page(admin, "/config_dump").await;
            assert!(dump.contains("still being fetched"), "{dump}");
            // What is on its way is not refused.
            assert!(mesh.control.refused().is_empty());
        }
    });
}
