//! One module in front of one upstream, through both proxies.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use conformance::wasm::lines;
use parking_lot::{Condvar, Mutex};

use crate::cairn::Cairn;
use crate::client::Ask;
use crate::envoy::Envoy;
use crate::server::Server;

/// How guests name the service for callouts: the form of Istio, which both proxies know.
pub(crate) const CALLOUT: &str = "outbound|80||callout.test";
/// The same as an authority, which the name of a gRPC service becomes.
pub(crate) const CALLOUT_GRPC: &str = "callout.test:80";
/// A service where nobody listens.
pub(crate) const REFUSED: &str = "outbound|80||refused.test";

/// How long what follows a response may take.
const SETTLE: Duration = Duration::from_secs(2);

/// What both proxies are given.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) plugin: String,
    pub(crate) module: PathBuf,
    pub(crate) configuration: String,
    /// Which filter of the module.
    pub(crate) root_id: String,
    /// What else a waypoint knows the service for callouts as.
    pub(crate) callout_names: &'static [&'static str],
    pub(crate) upstream: SocketAddr,
    pub(crate) callout: SocketAddr,
    pub(crate) refused: SocketAddr,
}

/// What a proxy did, as it comes.
#[derive(Debug, Default)]
pub(crate) struct Run {
    lines: Mutex<Vec<String>>,
    more: Condvar,
    /// What is no part of the comparison, for whoever looks for a cause.
    notes: Mutex<Vec<String>>,
}

impl Run {
    pub(crate) fn crossing(&self, line: &str) {
        self.push(line.to_owned());
    }

    pub(crate) fn log(&self, text: &str) {
        self.push(format!("log: {text}"));
    }

    pub(crate) fn note(&self, text: &str) {
        self.notes.lock().push(text.to_owned());
    }

    pub(crate) fn notes(&self) -> Vec<String> {
        std::mem::take(&mut self.notes.lock())
    }

    fn push(&self, line: String) {
        self.lines.lock().push(line);
        self.more.notify_all();
    }

    /// Waits until `done` holds of what came since the last time, and takes it.
    pub(crate) fn take_when(&self, done: impl Fn(&[String]) -> bool) -> Vec<String> {
        let until = Instant::now() + SETTLE;
        let mut lines = self.lines.lock();
        while !done(&lines) {
            if self.more.wait_until(&mut lines, until).timed_out() {
                break;
            }
        }
        std::mem::take(&mut lines)
    }
}

/// Whether every stream that began has ended.
pub(crate) fn all_ended(lines: &[String]) -> bool {
    let count = |start: &str, end: &str| {
        let of = |line: &&String| line.starts_with(start) && line.ends_with(end);
        lines.iter().filter(of).count()
    };
    let begun = count("[host->vm] proxy_on_context_create(", ", 1)");
    let ended = count("[host<-vm] proxy_on_delete return", "void");
    begun > 0 && ended >= begun
}

/// What one proxy came to in one case.
pub(crate) type Lines = Vec<String>;

/// A proxy that is ready for requests.
pub(crate) enum Proxy {
    Envoy(Envoy),
    Cairn(Cairn),
}

/// A module in one of the proxies.
pub(crate) struct Bench {
    proxy: Proxy,
    run: Arc<Run>,
    upstream: Server,
    callout: Server,
}

/// Which of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Which {
    Envoy,
    Cairn,
}

impl Bench {
    /// Starts a proxy with a guest. The second value is what its start came to.
    pub(crate) async fn start(which: Which, guest: &str, configuration: &str) -> (Self, Lines) {
        let module = conformance::wasm::guest(guest)
            .unwrap_or_else(|| panic!("{guest}: run conformance/wasm/build.sh"));
        let upstream = Server::start("upstream");
        let callout = Server::start("callout");
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let setup = Setup {
            plugin: format!("plugin-{guest}-{}", upstream.address.port()),
            module,
            configuration: configuration.to_owned(),
            root_id: String::new(),
            callout_names: &[],
            upstream: upstream.address,
            callout: callout.address,
            refused: nobody.local_addr().unwrap(),
        };
        drop(nobody);
        let run = Arc::<Run>::default();
        let proxy = match which {
            Which::Envoy => {
                let program = conformance::wasm::envoy().unwrap();
                Proxy::Envoy(Envoy::start(&program, &setup, &run))
            }
            Which::Cairn => Proxy::Cairn(Cairn::start(&setup, &run).await),
        };
        let mut bench = Self {
            proxy,
            run,
            upstream,
            callout,
        };
        // The first request is nobody's: a worker may start its VM for it.
        let first = bench.ask(&Ask::get("/warm-up"), None).await;
        (bench, of_start(&first))
    }

    fn address(&self) -> SocketAddr {
        match &self.proxy {
            Proxy::Envoy(envoy) => envoy.address,
            Proxy::Cairn(cairn) => cairn.address,
        }
    }

    /// Sends a request and tells all that came of it. `until` is a text that comes later than the
    /// end of the stream.
    pub(crate) async fn ask(&mut self, ask: &Ask, until: Option<&str>) -> Lines {
        let response = ask.send(self.address()).await;
        if let Proxy::Envoy(envoy) = &mut self.proxy {
            assert!(
                envoy.is_alive(),
                "Envoy has ended at {ask:?}: ask something else"
            );
        }
        let run = Arc::clone(&self.run);
        let until = until.map(str::to_owned);
        let wait = move || {
            run.take_when(|lines| {
                let told = |text: &String| lines.iter().any(|line| line.contains(text.as_str()));
                all_ended(lines) && until.as_ref().is_none_or(told)
            })
        };
        let crossings = tokio::task::spawn_blocking(wait).await.unwrap();
        let mut all = response;
        all.extend(self.upstream.take());
        all.extend(self.callout.take());
        all.extend(crossings);
        all
    }

    /// What else the proxy said.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.run.notes()
    }
}

/// The start of the VM that serves: the last one, up to its first stream. Before it a waypoint has
/// tried the module, with a stream too.
fn of_start(lines: &[String]) -> Lines {
    let is_stream = |line: &String| {
        line.starts_with("[host->vm] proxy_on_context_create(") && line.ends_with(", 1)")
    };
    let end = lines.iter().rposition(is_stream).unwrap_or(lines.len());
    let head = &lines[..end];
    let root = head
        .iter()
        .rposition(|line| line == "[host->vm] proxy_on_context_create(1, 0)");
    let of_vm = |line: &&String| line.starts_with('[') || line.starts_with("log: ");
    head[root.unwrap_or(0)..]
        .iter()
        .filter(of_vm)
        .cloned()
        .collect()
}

/// Brings what a proxy did into the form that is compared. Of the probe only its callbacks are
/// told, since it logs what each of its calls answered.
pub(crate) fn comparable(lines: &[String], is_probe: bool) -> Lines {
    let mut shown = vec![];
    for line in lines {
        if line.contains(" so far): ") {
            // What the host says about the guest is for people; it is tested where it is said.
            continue;
        }
        if let Some(text) = line.strip_prefix("log: ") {
            shown.extend(
                lines::of_log(text)
                    .into_iter()
                    .map(|line| format!("log: {line}")),
            );
        } else if line.starts_with('[') {
            let is_call = line.starts_with("[vm->") || line.starts_with("[vm<-");
            if !(is_probe && is_call) {
                shown.extend(lines::crossing(line));
            }
        } else {
            shown.push(line.clone());
        }
    }
    lines::with_whole_bodies(shown)
}
