//! The load generator: it runs inside the client's pod and prints what one window came to.
//!
//! Traffic flows for a while before the window and until after it. At both ends of the window the
//! same thread reads how far traffic has come and what every watched process has used, so that
//! requests and CPU time are those of one and the same interval.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::cpu::{self, Threads};
use super::http::{Connection, response};
use super::schedule::Schedule;
use super::server::BULK;

/// Traffic before the window: connections open, buffers and caches are filled.
const WARM_UP: Duration = Duration::from_millis(300);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much of a bulk body is read at a time.
const CHUNK: usize = 256 << 10;
/// Latencies are told apart by this many digits.
const DIGITS: u8 = 3;

/// What to send where, and whom to watch.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Load {
    /// `HOST:PORT`.
    pub(super) address: String,
    /// Connections, each with one request at a time.
    #[arg(long, default_value_t = 1)]
    pub(super) connections: u32,
    /// Length of the window.
    #[arg(long)]
    pub(super) seconds: f64,
    /// Send this many requests a second whatever the answers do, and take their latencies.
    #[arg(long, conflicts_with = "bulk")]
    pub(super) rate: Option<u32>,
    /// Read one endless answer instead of many small ones.
    #[arg(long)]
    pub(super) bulk: bool,
    /// A header that every answer must have.
    #[arg(long)]
    pub(super) expect: Option<String>,
    /// Processes whose CPU time is taken.
    #[arg(long)]
    pub(super) watch: Vec<u32>,
    /// The only CPU to use.
    #[arg(long)]
    pub(super) cpu: Option<usize>,
}

/// What one window came to.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Window {
    /// How long it was.
    pub(super) seconds: f64,
    /// Answers that arrived in it.
    pub(super) requests: u64,
    /// Bytes of bodies that arrived in it.
    pub(super) bytes: u64,
    /// Nanoseconds on a CPU, by watched process.
    pub(super) cpu: BTreeMap<u32, u64>,
    /// Nanoseconds on a CPU of the generator itself.
    pub(super) own_cpu: u64,
    /// Latencies, where there was a rate.
    pub(super) latency: Option<Latency>,
}

/// Latencies in microseconds, from when each request was due.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct Latency {
    /// Half of the requests were faster.
    pub(super) p50: f64,
    /// One in a hundred was slower.
    pub(super) p99: f64,
}

/// How far traffic has come; written by all connections, read at the ends of the window.
#[derive(Debug, Default)]
struct Progress {
    requests: AtomicU64,
    bytes: AtomicU64,
    over: AtomicBool,
}

/// The window in time.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: Instant,
    begin: Instant,
    end: Instant,
}

/// One look at everything.
struct Look {
    at: Instant,
    requests: u64,
    bytes: u64,
    cpu: BTreeMap<u32, Threads>,
    own: Threads,
}

impl Load {
    /// Sends, and returns what the window came to.
    ///
    /// # Errors
    /// When any request fails: a window with failures measures something else.
    pub(super) fn run(&self) -> Result<Window> {
        cpu::pin(self.cpu)?;
        // Threads that wait for a request's time inherit it: they wake in time, not 50 µs later.
        nix::sys::prctl::set_timerslack(1).context("set the timer slack")?;
        let mut found = self
            .address
            .to_socket_addrs()
            .with_context(|| format!("find {}", self.address))?;
        let address = found.next().context("a name without an address")?;
        let start = Instant::now();
        let begin = start + WARM_UP;
        let span = Span {
            start,
            begin,
            end: begin + Duration::try_from_secs_f64(self.seconds)?,
        };
        let progress = Progress::default();
        thread::scope(|scope| {
            let connections: Vec<_> = (0..self.connections)
                .map(|number| {
                    let progress = &progress;
                    scope.spawn(move || {
                        let talked = self.talk(number, address, span, progress);
                        // The others need not go on for nothing.
                        if talked.is_err() {
                            progress.over.store(true, Ordering::Relaxed);
                        }
                        talked
                    })
                })
                .collect();
            let window = self.watch(span, &progress);
            progress.over.store(true, Ordering::Relaxed);
            let mut latencies = histogram()?;
            for connection in connections {
                let talked = connection.join();
                latencies.add(talked.map_err(|_| anyhow!("a connection panicked"))??)?;
            }
            let mut window = window?;
            window.latency = self.rate.map(|_| Latency::of(&latencies));
            Ok(window)
        })
    }

    /// Takes the looks at both ends of the window.
    fn watch(&self, span: Span, progress: &Progress) -> Result<Window> {
        wait_until(span.begin);
        let before = self.look(progress)?;
        wait_until(span.end);
        let after = self.look(progress)?;
        let cpu = after.cpu.iter().filter_map(|(pid, threads)| {
            let before = before.cpu.get(pid)?;
            Some((*pid, threads.since(before)))
        });
        Ok(Window {
            seconds: (after.at - before.at).as_secs_f64(),
            requests: after.requests - before.requests,
            bytes: after.bytes - before.bytes,
            cpu: cpu.collect(),
            own_cpu: after.own.since(&before.own),
            latency: None,
        })
    }

    fn look(&self, progress: &Progress) -> Result<Look> {
        let threads = |pid: &u32| Threads::of(*pid).map(|threads| (*pid, threads));
        Ok(Look {
            at: Instant::now(),
            requests: progress.requests.load(Ordering::Relaxed),
            bytes: progress.bytes.load(Ordering::Relaxed),
            cpu: self.watch.iter().map(threads).collect::<Result<_>>()?,
            own: Threads::of(std::process::id())?,
        })
    }

    /// One connection's part of the traffic.
    fn talk(
        &self,
        number: u32,
        address: SocketAddr,
        span: Span,
        progress: &Progress,
    ) -> Result<Histogram<u64>> {
        let stream = TcpStream::connect(address).with_context(|| format!("connect {address}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut connection = Connection::new(stream)?;
        let mut latencies = histogram()?;
        let path = if self.bulk { BULK } else { "/" };
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.address);
        let mut body = vec![0; if self.bulk { CHUNK } else { 4 << 10 }];
        let schedule = self.rate.map(|rate| Schedule::new(rate, self.connections));
        for turn in 0.. {
            let due = schedule.map(|schedule| span.start + schedule.due(number, turn));
            // Nobody ends before the last look: a thread that is gone takes its CPU time with it.
            // What is due in the window is sent, however late.
            let in_window = |due| due < span.end && !span.is_far_over();
            if progress.over.load(Ordering::Relaxed) && !due.is_some_and(in_window) {
                break;
            }
            due.inspect(|due| wait_until(*due));
            connection.send(request.as_bytes())?;
            self.receive(&mut connection, &mut body, progress)?;
            progress.requests.fetch_add(1, Ordering::Relaxed);
            if let Some(due) = due.filter(|due| (span.begin..span.end).contains(due)) {
                let nanoseconds = u64::try_from(due.elapsed().as_nanos())?;
                latencies.saturating_record(nanoseconds);
            }
        }
        Ok(latencies)
    }

    /// Reads one answer.
    fn receive(
        &self,
        connection: &mut Connection,
        body: &mut [u8],
        progress: &Progress,
    ) -> Result<()> {
        let head = connection
            .head(|head| response(head, self.expect.as_deref()))?
            .context("the connection was closed")?;
        ensure!(
            head.status == 200,
            "{}: status {}",
            self.address,
            head.status
        );
        connection.body(head.length, body, |read| {
            progress.bytes.fetch_add(read as u64, Ordering::Relaxed);
            !(self.bulk && progress.over.load(Ordering::Relaxed))
        })
    }
}

impl Span {
    /// Whether what is left is so late that it is not worth sending.
    fn is_far_over(self) -> bool {
        Instant::now() > self.end + PATIENCE
    }
}

impl Latency {
    fn of(latencies: &Histogram<u64>) -> Self {
        let at = |quantile| {
            Duration::from_nanos(latencies.value_at_quantile(quantile)).as_secs_f64() * 1e6
        };
        Self {
            p50: at(0.5),
            p99: at(0.99),
        }
    }
}

/// Nanoseconds from one microsecond to a minute.
fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1_000, 60_000_000_000, DIGITS)?)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a generator's threads have nothing else to do until a request is due"
)]
fn wait_until(then: Instant) {
    thread::sleep(then.saturating_duration_since(Instant::now()));
}
