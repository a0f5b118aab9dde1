//! A filter in front of a server, until Ctrl-C.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::lookup_host;
use tokio::signal::unix::{SignalKind, signal};
use tracing::Level;
use waypoint::local::{FailStrategy, Local, Service, Settings, Trace};

use super::build;
use super::project::{self, Project};
use super::proxy::{self, Subject};
use super::server::{self, Server};
use super::watch::Changes;
use crate::print;

/// How long requests under way may take at the end.
const GRACE: Duration = Duration::from_secs(5);

/// What runs and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen.
    pub listen: SocketAddr,
    /// What requests go to; an echo when there is none.
    pub upstream: Option<String>,
    /// What callouts reach: a name as the filter calls it, and where that is.
    pub services: Vec<(String, String)>,
    /// Another configuration than the project's.
    pub configuration: Option<Vec<u8>>,
    /// Another root id than the project's.
    pub root_id: Option<String>,
    /// Whether every crossing is printed.
    pub trace: bool,
    /// What is printed of what is logged.
    pub log_level: Level,
    /// Whether changes take effect.
    pub watch: bool,
    /// Threads.
    pub workers: usize,
    /// What happens when the filter cannot run.
    pub fail_strategy: FailStrategy,
}

/// What is run.
#[derive(Clone, Debug)]
pub enum What {
    /// The filter of a folder, built when need be.
    Project(PathBuf),
    /// A module.
    Module(PathBuf),
}

/// Runs a filter, or the waypoint without one, until the process is asked to end.
///
/// # Errors
/// When it cannot begin. What goes wrong later is told, and what ran before goes on.
pub async fn run(what: Option<&What>, options: &Options) -> anyhow::Result<()> {
    let least = options.log_level;
    super::log::install(move |line| {
        if line.level <= least {
            print::out(format_args!("log {line}"));
        }
    })?;
    let (mut interrupts, mut terminations) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let echo = match options.upstream {
        Some(_) => None,
        None => Some(Server::start(server::echo()).await?),
    };
    let settings = settings(options, echo.as_ref()).await?;
    // Watched from before the build, so that no change is missed.
    let watched = what.filter(|_| options.watch);
    let mut edits = watched.map(What::changes).transpose()?;
    let mut local = Local::start(&settings)?;
    if let Err(why) = load(what, options, &mut local).await {
        if !options.watch || why.downcast_ref::<super::toolchain::Missing>().is_some() {
            return Err(why);
        }
        print::fail(format_args!("{why:#}"));
        print::say("requests are refused until the filter can run; waiting for a change");
    }
    local.open();
    print::out(format_args!("listening on http://{}", local.address()));
    if echo.is_some() {
        print::say(
            "requests are answered with what reaches the service; --upstream URL names another",
        );
    }
    loop {
        let changed = async {
            match &mut edits {
                Some(edits) => edits.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            path = changed => {
                print::say(format_args!("{} has changed", path.display()));
                let loading = load(what, options, &mut local);
                tokio::select! {
                    loaded = loading => if let Err(why) = loaded {
                        print::fail(format_args!("{why:#}"));
                        print::say("the filter that ran before goes on");
                    },
                    _ = interrupts.recv() => break,
                    _ = terminations.recv() => break,
                }
            }
            _ = interrupts.recv() => break,
            _ = terminations.recv() => break,
        }
    }
    print::say("ending; once more ends at once");
    tokio::select! {
        () = local.stop(GRACE) => {}
        _ = interrupts.recv() => {}
    }
    drop(echo);
    Ok(())
}

/// The waypoint: before an upstream or the echo, with the services that callouts reach.
async fn settings(options: &Options, echo: Option<&Server>) -> anyhow::Result<Settings> {
    let upstream = match (&options.upstream, echo) {
        (Some(url), _) => resolve(url).await.context("--upstream")?,
        (None, Some(server)) => server.address,
        (None, None) => bail!("there is nothing to send requests to"),
    };
    let trace = options.trace.then(|| Trace::new(|line| print::out(line)));
    let mut settings = proxy::settings(upstream, trace);
    settings.listen = options.listen;
    settings.workers = options.workers;
    for (name, url) in &options.services {
        let (host, port) = super::case::upstream(name)
            .with_context(|| format!("--service: {name:?} is no name of an upstream"))?;
        let address = resolve(url).await.context("--service")?;
        settings.services.push(Service {
            host,
            port,
            address,
        });
    }
    Ok(settings)
}

/// Builds if there is something to build, and swaps the result in.
async fn load(what: Option<&What>, options: &Options, local: &mut Local) -> anyhow::Result<()> {
    let Some(what) = what else {
        return Ok(());
    };
    let mut subject = what.subject().await?;
    if let Some(configuration) = &options.configuration {
        subject.configuration.clone_from(configuration);
    }
    if let Some(root_id) = &options.root_id {
        subject.root_id.clone_from(root_id);
    }
    let loaded = local
        .swap(&subject.plugin(options.fail_strategy))
        .await
        .with_context(|| format!("{} is not used", subject.module.display()))?;
    let short = loaded.sha256.get(..12).unwrap_or(&loaded.sha256);
    print::say(format_args!("{} runs, sha256 {short}", subject.name));
    Ok(())
}

impl What {
    /// The module, built if need be.
    pub async fn subject(&self) -> anyhow::Result<Subject> {
        match self {
            Self::Module(path) => {
                let path = path
                    .canonicalize()
                    .with_context(|| format!("find {}", path.display()))?;
                Ok(Subject::file(path))
            }
            Self::Project(folder) => {
                let project = Project::read(folder)?;
                let building = project.clone();
                // On a thread of its own: requests are served meanwhile.
                tokio::task::spawn_blocking(move || build::build(&building)).await??;
                Ok(Subject::of(&project))
            }
        }
    }

    fn changes(&self) -> anyhow::Result<Changes> {
        match self {
            Self::Project(folder) => Changes::of_sources(folder),
            Self::Module(path) => {
                let path = path
                    .canonicalize()
                    .with_context(|| format!("find {}", path.display()))?;
                Changes::of_file(&path)
            }
        }
    }
}

/// The address of a URL, or of `host:port`.
async fn resolve(url: &str) -> anyhow::Result<SocketAddr> {
    if url.starts_with("https://") {
        bail!("{url}: only http is spoken; the mesh adds encryption by itself");
    }
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let authority = rest.split('/').next().unwrap_or(rest);
    let target = if authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok())
    {
        authority.to_owned()
    } else {
        format!("{authority}:80")
    };
    let mut found = lookup_host(&target)
        .await
        .with_context(|| format!("find {target}"))?;
    found
        .next()
        .with_context(|| format!("{target} has no address"))
}

/// A configuration from the command line: a file's content, or the text itself. YAML becomes JSON.
///
/// # Errors
/// When there is such a file and it cannot be read.
pub fn configuration(text: &str) -> anyhow::Result<Vec<u8>> {
    let path = std::path::Path::new(text);
    // A text with braces is no path that somebody means.
    if text.len() > 255 || !path.is_file() {
        return Ok(text.as_bytes().to_vec());
    }
    let content = std::fs::read_to_string(path).with_context(|| format!("read {text}"))?;
    let extension = path.extension().unwrap_or_default();
    if extension == "yaml" || extension == "yml" {
        let value: serde_json::Value =
            serde_saphyr::from_str(&content).map_err(|error| anyhow::anyhow!("{text}: {error}"))?;
        return project::configuration(&value);
    }
    Ok(content.into_bytes())
}
