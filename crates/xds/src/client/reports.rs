//! What a client says of its plugins, beside the stream of resources.
//!
//! [`Reports`] is where anyone in the process leaves the latest word on a plugin; [`Reporter`] is the
//! one future that carries it to the server. Only the latest word counts: what is said faster than
//! the server listens is said once, and after a reconnect everything is said again.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    fmt, mem,
    sync::Arc,
};

use futures_util::{Stream, stream};
use parking_lot::Mutex;
use proto::cairn::waypoint::{
    PluginReport as Message, PluginReports, Stage as StageMessage, reports_client::ReportsClient,
    stage::State,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tonic::{Request, Status};
use tracing::{debug, info};

use super::{Backoff, BoxError, Jitter, Transport, backoff::CAP};

#[cfg(test)]
mod tests;

/// Longest text of a stage; what is longer is cut, so that one plugin cannot crowd out the others.
const MESSAGE: usize = 1024;

/// Plugins in one message.
const TOGETHER: usize = 256;

/// What became of a plugin here.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PluginReport {
    /// Generation of the object that this is about (`Origin::generation` of the resource).
    pub generation: i64,
    /// Where the module came from, as it was resolved; empty before it was. Without credentials.
    pub url: String,
    /// Hex digest of the module that serves traffic; empty without one.
    pub sha256: String,
    /// Generation of the object whose version serves traffic; 0 without one.
    pub serving: i64,
    /// How often a machine of it has stopped or not started, since it is known here.
    pub stops: u64,
    /// Whether the module is here and is the one asked for.
    pub fetched: Stage,
    /// Whether this version serves traffic.
    pub programmed: Stage,
    /// How what serves traffic is doing.
    pub healthy: Stage,
}

/// One part of a [`PluginReport`]; not known by default.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Stage {
    /// Whether it is so; `None` while it is not known.
    pub is: Option<bool>,
    /// One word in camel case, such as `Fetched` or `ImagePullFailed`; shown as the reason of a
    /// condition.
    pub reason: String,
    /// For people: what happened, what it does to traffic, what to do. Without secrets.
    pub message: String,
}

impl Stage {
    /// It is so.
    pub fn yes(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self::said(Some(true), reason, message)
    }

    /// It is not so.
    pub fn no(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self::said(Some(false), reason, message)
    }

    /// It is not known yet.
    pub fn pending(message: impl Into<String>) -> Self {
        Self::said(None, "Pending", message)
    }

    fn said(is: Option<bool>, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            is,
            reason: reason.into(),
            message: message.into(),
        }
    }

    fn to_message(&self) -> StageMessage {
        let state = match self.is {
            None => State::Unknown,
            Some(true) => State::Yes,
            Some(false) => State::No,
        };
        StageMessage {
            state: state.into(),
            reason: self.reason.clone(),
            message: cut(&self.message, MESSAGE).to_owned(),
        }
    }
}

/// The longest beginning of a text that has so many bytes at most.
fn cut(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or(text)
}

/// Where the latest word on each plugin is left. Clones are the same place; nothing here waits, so
/// it may be called from any thread.
#[derive(Clone, Debug)]
pub struct Reports(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    said: Mutex<Said>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Said {
    latest: BTreeMap<String, PluginReport>,
    /// Names about which there is something that the open stream has not carried.
    news: BTreeSet<String>,
}

impl Default for Reports {
    fn default() -> Self {
        Self(Arc::new(Shared {
            said: Mutex::default(),
            changed: watch::Sender::new(()),
        }))
    }
}

impl Reports {
    /// Replaces the word on a plugin, by the name of its resource. Saying the same again is nothing.
    pub fn set(&self, name: &str, report: PluginReport) {
        let mut said = self.0.said.lock();
        if said.latest.get(name) == Some(&report) {
            return;
        }
        said.latest.insert(name.to_owned(), report);
        said.news.insert(name.to_owned());
        drop(said);
        self.0.changed.send_replace(());
    }

    /// Changes the word on a plugin, from nothing said if there is none.
    pub fn update(&self, name: &str, change: impl FnOnce(&mut PluginReport)) {
        let mut report = self.get(name).unwrap_or_default();
        change(&mut report);
        self.set(name, report);
    }

    /// Forgets a plugin that is not there any more.
    pub fn forget(&self, name: &str) {
        let mut said = self.0.said.lock();
        if said.latest.remove(name).is_none() {
            return;
        }
        said.news.insert(name.to_owned());
        drop(said);
        self.0.changed.send_replace(());
    }

    /// The latest word on a plugin.
    pub fn get(&self, name: &str) -> Option<PluginReport> {
        self.0.said.lock().latest.get(name).cloned()
    }

    /// Everything, as the first message of a stream; the rest is no news then.
    fn everything(&self) -> Vec<PluginReports> {
        let mut said = self.0.said.lock();
        said.news.clear();
        let plugins: Vec<_> = said.latest.iter().map(to_message).collect();
        drop(said);
        let mut chunks = plugins.chunks(TOGETHER);
        let first = PluginReports {
            plugins: chunks.next().unwrap_or_default().to_vec(),
            gone: vec![],
            complete: true,
        };
        let rest = chunks.map(|plugins| PluginReports {
            plugins: plugins.to_vec(),
            ..PluginReports::default()
        });
        std::iter::once(first).chain(rest).collect()
    }

    /// What is new, `None` if nothing is.
    fn news(&self) -> Option<PluginReports> {
        let mut said = self.0.said.lock();
        let mut names = mem::take(&mut said.news);
        if let Some(later) = names.iter().nth(TOGETHER).cloned() {
            said.news = names.split_off(&later);
        }
        let mut reports = PluginReports::default();
        for name in names {
            match said.latest.get_key_value(&name) {
                Some(report) => reports.plugins.push(to_message(report)),
                None => reports.gone.push(name),
            }
        }
        (reports != PluginReports::default()).then_some(reports)
    }
}

fn to_message((name, report): (&String, &PluginReport)) -> Message {
    Message {
        name: name.clone(),
        generation: report.generation,
        fetched: Some(report.fetched.to_message()),
        programmed: Some(report.programmed.to_message()),
        healthy: Some(report.healthy.to_message()),
        url: cut(&report.url, MESSAGE).to_owned(),
        sha256: report.sha256.clone(),
        serving: report.serving,
        stops: report.stops,
    }
}

/// Carries [`Reports`] to the server, for ever.
pub struct Reporter<T> {
    transport: T,
    reports: Reports,
    backoff: Backoff,
}

impl<T: Transport> Reporter<T> {
    /// Prepares a reporter; [`Self::run`] starts it.
    pub fn new(transport: T, reports: Reports, jitter: Jitter) -> Self {
        Self {
            transport,
            reports,
            backoff: Backoff::new(jitter),
        }
    }

    /// Keeps a stream open until dropped.
    pub async fn run(&mut self) -> Infallible {
        loop {
            let started = Instant::now();
            let ending = self.stream().await;
            if started.elapsed() >= CAP {
                self.backoff.reset();
            }
            let wait = self.backoff.next();
            match ending {
                Ok(()) => info!(?wait, "stream of reports ended, opening another"),
                Err(error) => debug!(%error, ?wait, "no stream of reports, trying again"),
            }
            sleep(wait).await;
        }
    }

    /// One stream from connection to end.
    async fn stream(&mut self) -> Result<(), BoxError> {
        let channel = self.transport.connect().await?;
        let metadata = self.transport.metadata().await?;
        // Subscribed first: what is said from here on wakes the stream.
        let changes = self.reports.0.changed.subscribe();
        let spoken = spoken(self.reports.clone(), changes);
        let request = Request::from_parts(metadata, tonic::Extensions::default(), spoken);
        let answer = ReportsClient::new(channel).report_plugins(request).await;
        answer.map(drop).map_err(Status::into)
    }
}

/// The messages of one stream: everything, then what is new. It never ends.
fn spoken(
    reports: Reports,
    changes: watch::Receiver<()>,
) -> impl Stream<Item = PluginReports> + Send + 'static {
    let first = reports.everything();
    let later = stream::unfold((reports, changes), |(reports, mut changes)| async move {
        loop {
            changes.borrow_and_update();
            if let Some(news) = reports.news() {
                return Some((news, (reports, changes)));
            }
            // The sender is in `reports`.
            changes.changed().await.ok()?;
        }
    });
    futures_util::StreamExt::chain(stream::iter(first), later)
}

impl<T> fmt::Debug for Reporter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter")
            .field("reports", &self.reports)
            .finish_non_exhaustive()
    }
}
