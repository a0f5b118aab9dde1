//! PINGs that find out that a peer is gone, where TCP would wait for many minutes.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep};

use crate::settings::Settings;

/// Asks the peer for a sign of life now and then; polled by whoever drives the connection.
pub(crate) struct KeepAlive {
    ping: Option<PingPong>,
    interval: Duration,
    timeout: Duration,
    timer: Pin<Box<Sleep>>,
    awaiting_pong: bool,
}

impl KeepAlive {
    /// Starts with the first interval, so a short connection costs no PING.
    pub(crate) fn new(ping: Option<PingPong>, settings: &Settings) -> Self {
        Self {
            ping,
            interval: settings.ping_interval,
            timeout: settings.ping_timeout,
            timer: Box::pin(sleep(settings.ping_interval)),
            awaiting_pong: false,
        }
    }

    /// Ready once a PING stayed unanswered for too long. Must be polled before the connection, so
    /// that a PING due now leaves with this turn.
    pub(crate) fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(ping) = &mut self.ping else {
            return Poll::Pending;
        };
        loop {
            if self.awaiting_pong {
                match ping.poll_pong(cx) {
                    Poll::Ready(Ok(_)) => {
                        self.awaiting_pong = false;
                        self.timer.as_mut().reset(Instant::now() + self.interval);
                    }
                    // The connection is closing and says so itself.
                    Poll::Ready(Err(_)) => return Poll::Pending,
                    Poll::Pending => {}
                }
            }
            ready!(self.timer.as_mut().poll(cx));
            if self.awaiting_pong {
                return Poll::Ready(());
            }
            if ping.send_ping(Ping::opaque()).is_err() {
                return Poll::Pending;
            }
            self.awaiting_pong = true;
            self.timer.as_mut().reset(Instant::now() + self.timeout);
        }
    }
}
