//! `cairn up`: build the mesh, say when it is ready, keep it running.

use std::{
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use control::finding::{Finding, Severity};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, sleep},
};

use super::{
    block_on,
    detach::{Listener, Word, close_inherited, leave_session, start_runner},
    duration, privileges,
};
use crate::{
    local_api::{LocalApi, ObjectQuery, Readiness},
    runner::{Claim, Options, Runner, sweep, system},
    sample::shop,
    state::{MeshName, StateDir},
    world::addresses::{NODES_MAX, node_name},
};

/// How often control is asked while the mesh is not ready.
const READINESS_POLL: Duration = Duration::from_millis(50);
/// How often control is asked what is wrong while the mesh runs.
const FINDINGS_POLL: Duration = Duration::from_millis(500);
/// How often we say what is missing.
const REMIND: Duration = Duration::from_secs(5);
/// How many of the last lines of a pod that does not become ready are shown.
const LAST_WORDS: usize = 5;
/// This program, also when its file has been replaced.
const OWN_PROGRAM: &str = "/proc/self/exe";
/// A PATH for processes when there is none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What `up` is told.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Manifests: files and folders, followed while the mesh is up. Without any, the sample runs.
    path: Vec<PathBuf>,
    /// Return when the mesh is ready and leave it running.
    #[arg(long, short)]
    detach: bool,
    /// How many nodes to have.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=i64::from(NODES_MAX)))]
    nodes: u8,
    /// How long the mesh may take to become ready.
    #[arg(long, default_value = "60s", value_parser = duration)]
    timeout: Duration,
    /// What `cairn` in a manifest means, instead of this program: so that a benchmark can run the
    /// proxies' own binaries where the mesh would run them out of this one.
    #[arg(long, hide = true)]
    program: Option<PathBuf>,
    /// Be the runner that `--detach` leaves behind.
    #[arg(long, hide = true, conflicts_with = "detach")]
    runner: bool,
}

/// Starts the mesh.
pub(super) fn run(mesh: &MeshName, args: &Args) -> anyhow::Result<ExitCode> {
    privileges::require("up")?;
    close_inherited();
    let manifests: Result<Vec<PathBuf>, _> = args
        .path
        .iter()
        .map(|path| fs::canonicalize(path).with_context(|| path.display().to_string()))
        .collect();
    let manifests = manifests?;
    let program = args.program.as_deref().map_or_else(
        || Ok(PathBuf::from(OWN_PROGRAM)),
        |path| fs::canonicalize(path).with_context(|| path.display().to_string()),
    )?;
    if args.detach {
        let again = again(args, &program, &manifests);
        let is_ready = block_on(start_runner(mesh, &again))?;
        return Ok(if is_ready {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        });
    }
    let mut listener = Listener::Terminal;
    if args.runner {
        leave_session().context("leave the session")?;
        listener = Listener::Pipe;
    }
    block_on(async {
        let mut up = Up {
            mesh,
            listener,
            log: StateDir::new(mesh).runner_log(),
            timeout: args.timeout,
            program,
        };
        // Boxed: it holds the whole runner, and is moved before it begins.
        let outcome = Box::pin(up.run(args.nodes, manifests)).await;
        if let Err(e) = &outcome {
            up.say(&Word::Failed(runtime::report(&**e)));
        }
        // Said already, where it is heard.
        Ok(outcome.unwrap_or(ExitCode::FAILURE))
    })
}

/// The arguments of the runner that stays.
fn again(args: &Args, program: &Path, manifests: &[PathBuf]) -> Vec<OsString> {
    let timeout = format!("{}ms", args.timeout.as_millis());
    let words = [
        "up",
        "--runner",
        "--nodes",
        &args.nodes.to_string(),
        "--timeout",
        &timeout,
    ]
    .map(OsString::from);
    // Ours need not be said: the runner is this program too.
    let other = (program != Path::new(OWN_PROGRAM))
        .then_some([OsStr::new("--program"), program.as_os_str()]);
    let other = other.into_iter().flatten().map(OsStr::to_owned);
    let paths = manifests.iter().map(|path| path.clone().into_os_string());
    words.into_iter().chain(other).chain(paths).collect()
}

struct Up<'m> {
    mesh: &'m MeshName,
    listener: Listener,
    log: PathBuf,
    timeout: Duration,
    /// What `cairn` in a manifest means.
    program: PathBuf,
}

/// What ended the wait.
enum End {
    Asked,
    NotReady(Vec<String>),
}

impl Up<'_> {
    fn say(&mut self, word: &Word) {
        self.listener.hear(word, &self.log);
    }

    fn step(&mut self, text: impl Into<String>) {
        self.say(&Word::Step(text.into()));
    }

    async fn run(&mut self, nodes: u8, manifests: Vec<PathBuf>) -> anyhow::Result<ExitCode> {
        let mut signals = Signals::new()?;
        let began = Instant::now();
        let claim = Claim::take(self.mesh).await?;
        if claim.swept > 0 {
            self.step(format!(
                "removed {} namespaces that a killed run had left",
                claim.swept
            ));
        }
        shop::write_filter(claim.state()).context("write the sample's filter")?;
        let is_sample = manifests.is_empty();
        let manifests = if is_sample {
            vec![shop::write(claim.state()).context("write the sample")?]
        } else {
            manifests
        };
        let names: Vec<String> = (1..=nodes).map(node_name).collect();
        let options = Options {
            nodes,
            system: system::pods(claim.state(), &names, &manifests),
            manifests,
            path: std::env::var_os("PATH").unwrap_or_else(|| OsStr::new(DEFAULT_PATH).to_owned()),
            program: self.program.clone(),
        };
        let mut runner = Runner::start(claim, options).await?;
        self.step(format!(
            "network of {nodes} nodes built after {}",
            seconds(began)
        ));
        let end = self
            .serve(&mut runner, &mut signals, began, is_sample)
            .await;
        match end {
            End::Asked => {
                self.end(runner, &mut signals).await?;
                Ok(ExitCode::SUCCESS)
            }
            End::NotReady(missing) => {
                self.tell_missing(&runner, &missing).await;
                if matches!(self.listener, Listener::Terminal) {
                    self.end(runner, &mut signals).await?;
                } else {
                    // Left as it is, to be looked at; `down` removes it.
                    self.keep(&mut runner, &mut signals, Vec::new()).await;
                    self.end(runner, &mut signals).await?;
                }
                Ok(ExitCode::FAILURE)
            }
        }
    }

    /// Brings the mesh to readiness and keeps it running until asked to end.
    async fn serve(
        &mut self,
        runner: &mut Runner,
        signals: &mut Signals,
        began: Instant,
        is_sample: bool,
    ) -> End {
        let api = LocalApi::new(&runner.state().control_socket());
        let deadline = began + self.timeout;
        let mut remind = began + REMIND;
        let mut last = (0, 0);
        loop {
            runner.reconcile().await;
            if runner.progress() != last {
                last = runner.progress();
                self.step(format!(
                    "{} of {} pods ready after {}",
                    last.0,
                    last.1,
                    seconds(began)
                ));
            }
            let missing = missing(runner, &api).await;
            if missing.is_empty() {
                break;
            }
            if Instant::now() >= deadline {
                return End::NotReady(missing);
            }
            if Instant::now() >= remind {
                remind += REMIND;
                self.step(format!("still waiting: {}", missing.join("; ")));
            }
            tokio::select! {
                () = runner.changed() => {}
                () = sleep(READINESS_POLL) => {}
                () = signals.recv() => return End::Asked,
            }
        }
        let told = findings(runner, &api).await.unwrap_or_default();
        self.tell_findings(&told);
        let next = if is_sample {
            format!("\n{}", shop::next(&own_name(), self.mesh))
        } else {
            String::new()
        };
        self.say(&Word::Ready(format!(
            "mesh {} is ready after {}{next}",
            self.mesh,
            seconds(began)
        )));
        self.keep(runner, signals, told).await;
        End::Asked
    }

    /// Keeps the mesh running until asked to end, and tells what comes to be wrong with it.
    async fn keep(&mut self, runner: &mut Runner, signals: &mut Signals, mut told: Vec<Finding>) {
        let api = LocalApi::new(&runner.state().control_socket());
        loop {
            tokio::select! {
                () = runner.changed() => runner.reconcile().await,
                () = sleep(FINDINGS_POLL) => {
                    let Some(now) = findings(runner, &api).await else { continue };
                    let new: Vec<_> = now.iter().filter(|now| !told.contains(now)).cloned().collect();
                    self.tell_findings(&new);
                    if now.is_empty() && !told.is_empty() {
                        self.step("nothing is wrong any more");
                    }
                    told = now;
                }
                () = signals.recv() => return,
            }
        }
    }

    /// Ends the mesh; asked a second time, at once.
    async fn end(&mut self, runner: Runner, signals: &mut Signals) -> anyhow::Result<()> {
        self.step(format!("ending mesh {}", self.mesh));
        tokio::select! {
            outcome = runner.stop() => outcome?,
            () = signals.recv() => drop(sweep(self.mesh).await?),
        }
        self.step(format!("mesh {} is down", self.mesh));
        Ok(())
    }

    fn tell_findings(&mut self, findings: &[Finding]) {
        for finding in findings {
            let refused = if finding.severity == Severity::Error {
                "refused: "
            } else {
                ""
            };
            self.say(&Word::Warning(format!("{refused}{finding}")));
        }
    }

    async fn tell_missing(&mut self, runner: &Runner, missing: &[String]) {
        let api = LocalApi::new(&runner.state().control_socket());
        for (pod, lines) in runner.last_words(LAST_WORDS) {
            self.step(format!("last lines of {pod}:\n  {}", lines.join("\n  ")));
        }
        let all = findings(runner, &api).await;
        self.tell_findings(&all.unwrap_or_else(|| runner.findings()));
        let list = missing.join("\n  ");
        let waited = self.timeout.as_secs();
        let next = match self.listener {
            Listener::Terminal => "",
            _ => "\nit is left as it is: cairn status and cairn logs tell more, cairn down ends it",
        };
        self.say(&Word::Failed(format!(
            "mesh {} is not ready after {waited} s, missing:\n  {list}{next}",
            self.mesh
        )));
    }
}

/// How people call this program: by its name where that leads here, else by its whole path.
fn own_name() -> String {
    let Ok(own) = std::env::current_exe() else {
        return "cairn".to_owned();
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join("cairn"))
        .find(|program| program.exists());
    let is_own = found.is_some_and(|found| fs::canonicalize(found).is_ok_and(|it| it == own));
    if is_own {
        "cairn".to_owned()
    } else {
        own.display().to_string()
    }
}

/// All that is wrong, as the runner and control see it; `None` while control does not answer, which
/// is told elsewhere.
async fn findings(runner: &Runner, api: &LocalApi) -> Option<Vec<Finding>> {
    let mut findings = api.findings().await.ok()?;
    findings.extend(runner.findings());
    findings.sort();
    findings.dedup();
    Some(findings)
}

/// What the first request would miss.
async fn missing(runner: &Runner, api: &LocalApi) -> Vec<String> {
    let unready = runner.unready();
    if !unready.is_empty() {
        return unready;
    }
    match api
        .objects(&ObjectQuery::default())
        .await
        .map(|known| runner.unseen(&known))
    {
        Ok(unseen) if unseen.is_empty() => {}
        Ok(unseen) => return unseen,
        Err(e) => return vec![runtime::report(&e)],
    }
    match api.readiness().await {
        Ok(Readiness { ready: true, .. }) => runner.uncertified().await,
        Ok(Readiness { waiting, .. }) if waiting.is_empty() => {
            vec!["control is not ready".to_owned()]
        }
        Ok(Readiness { waiting, .. }) => waiting,
        Err(e) => vec![runtime::report(&e)],
    }
}

fn seconds(since: Instant) -> String {
    format!("{:.1} s", since.elapsed().as_secs_f32())
}

/// The signals that ask the runner to end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// The terminal was closed.
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn recv(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
