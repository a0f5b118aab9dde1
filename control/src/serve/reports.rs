//! What waypoints say of plugins: `cairn.waypoint.v1.Reports`, on the port of discovery.
//!
//! Who speaks follows from the caller's token, as for discovery, so that a waypoint speaks for itself
//! alone; what it says counts only for plugins that it was told of, which is `translate`'s to judge.
//! Of each pod the newest stream counts. When that ends, its last word is kept for [`HOLD`], so that
//! a reconnect is seen by nobody; sooner gone when another pod of the waypoint is there.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use proto::cairn::waypoint::reports_server;
use proto::cairn::waypoint::{PluginReport, PluginReports, PluginReportsEnd, Stage};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use xds::server::Embedder;

use super::gate::{Audience, Gate};
use crate::translate::WaypointName;
use crate::translate::reports::{Reported, Said};

#[cfg(test)]
mod tests;

/// How long the last word of a pod counts whose stream has ended.
const HOLD: Duration = Duration::from_secs(30);
/// Plugins that one pod may speak of; more are not heard.
const MAX_PLUGINS: usize = 10_000;
/// Longest message, in characters.
const MAX_MESSAGE: usize = 1024;
/// Longest reason, in bytes.
const MAX_REASON: usize = 64;

/// Everything that is said.
pub(crate) struct Board {
    speakers: Mutex<BTreeMap<Speaker, Spoken>>,
    changed: watch::Sender<()>,
}

/// A pod of a waypoint.
type Speaker = (WaypointName, Arc<str>);

#[derive(Debug, Default)]
struct Spoken {
    /// The stream that counts.
    stream: u64,
    said: Arc<Said>,
    /// When that stream ended.
    ended: Option<Instant>,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            speakers: Mutex::default(),
            changed: watch::Sender::new(()),
        }
    }
}

impl Board {
    /// What counts now, and when that will be something else although nobody speaks.
    pub(crate) fn read(&self) -> (Reported, Option<Instant>) {
        let now = Instant::now();
        let mut speakers = self.speakers.lock();
        speakers.retain(|_, spoken| spoken.ended.is_none_or(|ended| now < ended + HOLD));
        let mut reported = Reported::new();
        let mut next = None;
        for ((waypoint, pod), spoken) in speakers.iter() {
            if let Some(ended) = spoken.ended {
                let of_waypoint = speakers.iter().filter(|((name, _), _)| name == waypoint);
                let is_replaced = of_waypoint.map(|(_, other)| other).any(|other| {
                    // One that has said nothing yet replaces nobody.
                    other.ended.is_none() && !other.said.is_empty()
                });
                if is_replaced {
                    continue;
                }
                let end = ended + HOLD;
                next = Some(next.map_or(end, |next: Instant| next.min(end)));
            }
            let pods = reported.entry(waypoint.clone()).or_default();
            pods.insert(Arc::clone(pod), Arc::clone(&spoken.said));
        }
        (reported, next)
    }

    /// Wakes when [`read`](Self::read) would say something else.
    pub(crate) fn changed(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn enter(self: &Arc<Self>, waypoint: WaypointName, pod: &str) -> Seat {
        let speaker = (waypoint, Arc::from(pod));
        let mut speakers = self.speakers.lock();
        let spoken = speakers.entry(speaker.clone()).or_default();
        spoken.stream += 1;
        spoken.ended = None;
        let stream = spoken.stream;
        drop(speakers);
        self.changed.send_replace(());
        Seat {
            board: Arc::clone(self),
            speaker,
            stream,
        }
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board")
            .field("speakers", &self.speakers.lock().len())
            .finish_non_exhaustive()
    }
}

/// A stream's place on the board; when it is dropped, the stream has ended.
#[derive(Debug)]
struct Seat {
    board: Arc<Board>,
    speaker: Speaker,
    stream: u64,
}

impl Seat {
    /// Takes a message; `false` if a newer stream of the pod speaks for it now.
    fn hear(&self, message: PluginReports) -> bool {
        let is_current = self.with(|spoken| {
            let mut said = if message.complete {
                Said::new()
            } else {
                Said::clone(&spoken.said)
            };
            for name in &message.gone {
                said.remove(name);
            }
            for report in message.plugins {
                if said.len() < MAX_PLUGINS || said.contains_key(&report.name) {
                    said.insert(report.name.clone(), Arc::new(tidy(report)));
                }
            }
            spoken.said = Arc::new(said);
        });
        if is_current {
            self.board.changed.send_replace(());
        }
        is_current
    }

    fn with(&self, change: impl FnOnce(&mut Spoken)) -> bool {
        let mut speakers = self.board.speakers.lock();
        let spoken = speakers
            .get_mut(&self.speaker)
            .filter(|spoken| spoken.stream == self.stream);
        spoken.map(change).is_some()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let ended = Some(Instant::now());
        if self.with(|spoken| spoken.ended = ended) {
            self.board.changed.send_replace(());
        }
    }
}

/// Makes a report fit to be shown to people: what a waypoint says may come from a module.
fn tidy(mut report: PluginReport) -> PluginReport {
    let is_digest =
        report.sha256.len() == 64 && report.sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_digest {
        report.sha256.clear();
    }
    report.url = shown(&report.url);
    let stages = [
        &mut report.fetched,
        &mut report.programmed,
        &mut report.healthy,
    ];
    for stage in stages.into_iter().flatten() {
        tidy_stage(stage);
    }
    report
}

fn tidy_stage(stage: &mut Stage) {
    let is_word = !stage.reason.is_empty()
        && stage.reason.len() <= MAX_REASON
        && stage.reason.starts_with(|c: char| c.is_ascii_uppercase())
        && stage
            .reason
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric());
    if !is_word {
        stage.reason.clear();
    }
    stage.message = shown(&stage.message);
}

fn shown(text: &str) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(visible).take(MAX_MESSAGE).collect()
}

/// Hears waypoints.
pub(super) struct Hearing {
    gate: Gate,
    board: Arc<Board>,
    closed: CancellationToken,
}

impl Hearing {
    /// Until `closed`, for callers that `gate` lets in.
    pub(super) fn new(gate: Gate, board: Arc<Board>, closed: CancellationToken) -> Self {
        Self {
            gate,
            board,
            closed,
        }
    }
}

#[tonic::async_trait]
impl reports_server::Reports for Hearing {
    async fn report_plugins(
        &self,
        request: Request<Streaming<PluginReports>>,
    ) -> Result<Response<PluginReportsEnd>, Status> {
        let (metadata, connection, mut messages) = request.into_parts();
        let grant = self.gate.authenticate(&metadata, &connection).await?;
        let Audience::Waypoint(waypoint) = &grant.peer.audience else {
            return Err(Status::permission_denied("waypoints alone report plugins"));
        };
        let seat = self.board.enter(waypoint.clone(), &grant.peer.pod.name);
        let mut recheck = grant.recheck_at;
        loop {
            tokio::select! {
                () = self.closed.cancelled() => break,
                message = messages.message() => match message? {
                    Some(message) => if !seat.hear(message) {
                        return Err(Status::aborted("a newer stream speaks for this pod"));
                    },
                    None => break,
                },
                () = at(recheck) => recheck = self.gate.recheck(&grant.peer).await?,
            }
        }
        Ok(Response::new(PluginReportsEnd {}))
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
