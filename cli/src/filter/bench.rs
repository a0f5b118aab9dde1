//! What a filter costs.
//!
//! The same requests go through two waypoints in this process, one with the filter and one without,
//! in turns; what differs is the filter. Time in the guest is what the waypoint itself counts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::Instant;
use waypoint::local::{FailStrategy, Local, Trace};

use super::client::{Client, Sent};
use super::proxy::{self, Subject};
use super::server::{Message, Reaction, Server};

/// Rounds that are measured; the first is not.
const ROUNDS: usize = 10;
/// Requests whose crossings are counted.
const TRACED: usize = 20;

/// What was measured.
#[derive(Clone, Debug)]
pub struct Measured {
    requests: usize,
    /// Microseconds per request, a number for each round.
    with: Vec<f64>,
    without: Vec<f64>,
    /// Microseconds in the guest per request.
    guest: f64,
    /// Per request.
    host_calls: f64,
    guest_calls: f64,
    allocations: f64,
    /// Bytes of the guest's memory after the first round, and at the end.
    memory: (f64, f64),
    /// Requests that were not answered with success.
    failed: usize,
}

/// Measures a filter.
///
/// # Errors
/// When the filter cannot run.
pub async fn measure(subject: &Subject, sent: &Sent, requests: usize) -> anyhow::Result<Measured> {
    let server = Server::start(Rc::new(|_: Message| {
        Reaction::Answer(Box::new(Message {
            pieces: vec![Bytes::from_static(b"hello\n")],
            ..Message::default()
        }))
    }))
    .await?;
    let plugin = subject.plugin(FailStrategy::Close);
    let without = start(&server, None)?;
    let mut with = start(&server, None)?;
    with.swap(&plugin).await?;
    with.open();
    without.open();

    let mut clients = (
        Client::connect(with.address(), sent.http2).await?,
        Client::connect(without.address(), sent.http2).await?,
    );
    let round = (requests / ROUNDS).max(1);
    let mut measured = Measured {
        requests: round * ROUNDS,
        with: vec![],
        without: vec![],
        guest: 0.0,
        host_calls: 0.0,
        guest_calls: 0.0,
        allocations: 0.0,
        memory: (0.0, 0.0),
        failed: 0,
    };
    // The first round connects and starts things.
    turn(&mut clients.0, sent, round, &mut measured.failed).await?;
    turn(&mut clients.1, sent, round, &mut 0).await?;
    measured.failed = 0;
    let before = Counted::read(&with);
    for index in 0..ROUNDS {
        // Whoever is first has it harder: they take turns.
        for second in [false, true] {
            if (index % 2 == 0) == second {
                let took = turn(&mut clients.1, sent, round, &mut 0).await?;
                measured.without.push(took);
            } else {
                let took = turn(&mut clients.0, sent, round, &mut measured.failed).await?;
                measured.with.push(took);
            }
        }
    }
    let after = Counted::read(&with);
    measured.guest = (after.guest - before.guest) / number(measured.requests);
    measured.memory = (before.memory, after.memory);
    with.stop(Duration::from_secs(1)).await;
    without.stop(Duration::from_secs(1)).await;
    count_crossings(subject, sent, &server, &mut measured).await?;
    Ok(measured)
}

fn start(server: &Server, trace: Option<Trace>) -> anyhow::Result<Local> {
    Local::start(&proxy::settings(server.address, trace))
}

/// Sends a round's requests, one after the other; microseconds per request.
async fn turn(
    client: &mut Client,
    sent: &Sent,
    requests: usize,
    failed: &mut usize,
) -> anyhow::Result<f64> {
    let began = Instant::now();
    for _ in 0..requests {
        let answer = client.send(sent).await?;
        *failed += usize::from(!answer.status.is_success());
    }
    Ok(began.elapsed().as_secs_f64() * 1e6 / number(requests))
}

/// Counts what crosses between proxy and guest, in a waypoint of its own: writing it down takes
/// time.
async fn count_crossings(
    subject: &Subject,
    sent: &Sent,
    server: &Server,
    measured: &mut Measured,
) -> anyhow::Result<()> {
    let counts: Arc<Mutex<BTreeMap<&str, usize>>> = Arc::default();
    let sink = Arc::clone(&counts);
    let trace = Trace::new(move |line| {
        let kind = if line.starts_with("[vm->host]") {
            "host"
        } else if line.starts_with("[host->vm] malloc")
            || line.starts_with("[host->vm] proxy_on_memory_allocate")
        {
            "allocation"
        } else if line.starts_with("[host->vm]") {
            "guest"
        } else {
            return;
        };
        *sink.lock().entry(kind).or_default() += 1;
    });
    let mut local = start(server, Some(trace))?;
    local.swap(&subject.plugin(FailStrategy::Close)).await?;
    local.open();
    let mut client = Client::connect(local.address(), sent.http2).await?;
    // The first request starts the filter on the worker.
    turn(&mut client, sent, 1, &mut 0).await?;
    counts.lock().clear();
    turn(&mut client, sent, TRACED, &mut 0).await?;
    let counts = counts.lock().clone();
    let per_request = |kind: &str| {
        let count = counts.get(kind).copied().unwrap_or_default();
        number(count) / number(TRACED)
    };
    measured.host_calls = per_request("host");
    measured.guest_calls = per_request("guest");
    measured.allocations = per_request("allocation");
    drop(client);
    local.stop(Duration::from_secs(1)).await;
    Ok(())
}

/// What the waypoint counts about its filter.
struct Counted {
    guest: f64,
    memory: f64,
}

impl Counted {
    fn read(local: &Local) -> Self {
        let all = proxy::metrics(&local.metrics(), |_| true);
        let of = |name: &str| all.get(name).copied().unwrap_or_default();
        Self {
            guest: of("cairn_wasm_callback_duration_microseconds_sum"),
            memory: of("cairn_wasm_memory_bytes"),
        }
    }
}

impl Measured {
    /// For people.
    pub fn text(&self) -> String {
        let (with, without) = (spread(&self.with), spread(&self.without));
        let mut text = format!(
            "{} requests each, in {ROUNDS} rounds, one at a time over one connection\n\
             \x20 without the filter   {without} µs per request\n\
             \x20 with the filter      {with} µs per request\n\
             \x20 the difference       {:+.1} µs (medians)\n\
             \x20 in the filter        {:.2} µs per request, as the proxy counts it\n\
             \x20 calls                {:.1} to the filter, {:.1} of the filter to the proxy\n\
             \x20 allocations          {:.1} asked of the filter per request\n\
             \x20 memory               {} after the first round, {} at the end",
            self.requests,
            self.difference(),
            self.guest,
            self.guest_calls,
            self.host_calls,
            self.allocations,
            bytes(self.memory.0),
            bytes(self.memory.1),
        );
        if self.difference() < spread(&self.without).noise() {
            text.push_str(
                "\nnote: the difference is smaller than the rounds differ among themselves; \
                 the time in the filter is what counts",
            );
        }
        if cfg!(debug_assertions) {
            text.push_str("\nnote: this cairn was built without optimisation; a released one is several times faster");
        }
        if self.failed > 0 {
            let (failed, all) = (self.failed, self.requests);
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "\nnote: {failed} of {all} requests were not answered with 2xx"
            );
        }
        text
    }

    fn difference(&self) -> f64 {
        spread(&self.with).median - spread(&self.without).median
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "requests": self.requests,
            "rounds": ROUNDS,
            "withMicroseconds": self.with,
            "withoutMicroseconds": self.without,
            "medianWithMicroseconds": spread(&self.with).median,
            "medianWithoutMicroseconds": spread(&self.without).median,
            "addedMicroseconds": self.difference(),
            "guestMicroseconds": self.guest,
            "guestCalls": self.guest_calls,
            "hostCalls": self.host_calls,
            "allocations": self.allocations,
            "memoryBytes": {"first": self.memory.0, "last": self.memory.1},
            "failed": self.failed,
        })
    }
}

/// The middle of some rounds, and how far they reach.
struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn noise(&self) -> f64 {
        self.most - self.least
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.1} ({:.1} to {:.1})",
            self.median, self.least, self.most
        )
    }
}

fn spread(rounds: &[f64]) -> Spread {
    let mut sorted = rounds.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
    Spread {
        least: at(0),
        median: f64::midpoint(at(sorted.len() / 2), at(sorted.len().saturating_sub(1) / 2)),
        most: at(sorted.len().saturating_sub(1)),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests are small")]
fn number(count: usize) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a gauge of bytes"
)]
fn bytes(count: f64) -> String {
    super::inspect::size(count as u64)
}

/// The request that is sent when nobody says another.
pub fn request(path: String) -> Sent {
    Sent {
        method: Method::GET,
        path,
        host: "demo.example".to_owned(),
        headers: HeaderMap::new(),
        pieces: vec![],
        trailers: HeaderMap::new(),
        http2: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let odd = spread(&[3.0, 1.0, 2.0]);
        assert_eq!((odd.least, odd.median, odd.most), (1.0, 2.0, 3.0));
        assert!((spread(&[4.0, 1.0, 2.0, 3.0]).median - 2.5).abs() < 1e-9);
    }
}
