//! What a filter that never returns does to other requests of the same worker.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::super::cpu::{self, Cpus};
use super::super::http::{Connection, response};
use super::proxies::{Parts, Proxy};

/// How long other requests are watched.
const WINDOW: Duration = Duration::from_secs(12);
/// How many of them at once.
const OTHERS: u32 = 4;
/// The budget of a callback, in milliseconds.
const BUDGET: f64 = 10.0;

/// The slowest requests of one connection, slowest first.
struct Slowest(Vec<Duration>);

/// Sends requests that loop, all the time, beside others; tells how long the others waited.
pub(super) fn measure(parts: &Parts, cpus: Cpus) -> Result<String> {
    let quiet = window(parts, cpus, false)?;
    let looping = window(parts, cpus, true)?;
    let worst = |slowest: &Slowest| {
        let first = slowest.0.first().copied().unwrap_or_default();
        first.as_secs_f64() * 1e3
    };
    let over = |slowest: &Slowest| {
        let limit = Duration::from_secs_f64(BUDGET / 1e3 / 2.0);
        slowest.0.iter().filter(|took| **took > limit).count()
    };
    Ok(format!(
        "A filter that loops: {OTHERS} connections send other requests for {} s, one sends requests \
         on which the filter never returns, each as soon as the one before is answered \
         (`--fail-strategy open`).\n\n\
         | | without loops | with loops |\n|---|---|---|\n\
         | longest wait of another request, ms | {:.1} | {:.1} |\n\
         | waits of more than half a callback budget ({:.0} ms) | {} | {} |\n",
        WINDOW.as_secs(),
        worst(&quiet),
        worst(&looping),
        BUDGET / 2.0,
        over(&quiet),
        over(&looping),
    ))
}

fn window(parts: &Parts, cpus: Cpus, looping: bool) -> Result<Slowest> {
    let running = parts.start(Proxy::Cairn, Some("loop"), &["--fail-strategy=open"])?;
    let address = running.address;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let others: Vec<_> = (0..OTHERS)
            .map(|_| scope.spawn(|| talk(address, cpus, &over)))
            .collect();
        let looper = looping.then(|| scope.spawn(|| repeat(address, cpus, &over)));
        wait();
        over.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for other in others {
            let slowest = other
                .join()
                .map_err(|_| anyhow!("a connection panicked"))??;
            all.extend(slowest);
        }
        if let Some(looper) = looper {
            looper
                .join()
                .map_err(|_| anyhow!("a connection panicked"))?;
        }
        all.sort_unstable();
        all.reverse();
        Ok(Slowest(all))
    })
}

#[expect(clippy::disallowed_methods, reason = "the window is a time")]
fn wait() {
    thread::sleep(WINDOW);
}

/// One connection's requests, and how long each took.
fn talk(address: SocketAddr, cpus: Cpus, over: &AtomicBool) -> Result<Vec<Duration>> {
    cpu::pin(cpus.traffic)?;
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut connection = Connection::new(stream)?;
    let mut body = vec![0; 4096];
    let mut took = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let sent = Instant::now();
        connection.send(b"GET / HTTP/1.1\r\nhost: bench\r\n\r\n")?;
        let head = connection
            .head(|head| response(head, None))?
            .context("the connection was closed")?;
        connection.body(head.length, &mut body, |_| true)?;
        took.push(sent.elapsed());
    }
    Ok(took)
}

/// Requests that loop, one after the other, on new connections: what becomes of them is not
/// what is measured.
fn repeat(address: SocketAddr, cpus: Cpus, over: &AtomicBool) {
    if cpu::pin(cpus.traffic).is_err() {
        return;
    }
    while !over.load(Ordering::Relaxed) {
        let Ok(stream) = TcpStream::connect(address) else {
            continue;
        };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        let Ok(mut connection) = Connection::new(stream) else {
            continue;
        };
        let request = b"GET / HTTP/1.1\r\nhost: bench\r\nx-loop: 1\r\nconnection: close\r\n\r\n";
        if connection.send(request).is_ok() {
            let _ = connection.head(|_| Ok(()));
        }
    }
}
