//! A body on its way through one plugin.
//!
//! A plugin sees a body piece by piece, or, as long as it says so, everything that has come so
//! far. It may change what it sees, hold it back, end the exchange. [`Filtered`] is the body behind
//! the plugin: the next plugin, or whoever sends the body, polls it, and so what is not asked for
//! is not read: back-pressure passes through.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use wasm_host::{Body, Buffer as _, Outcome, Pause};

use super::bridge::{Chunk, Lent};
use super::exchange::{Exchange, Verdict, reset};
use super::held::Holding;
use super::turns::{Place, Rank};
use crate::http::body::Cut;
use crate::http::error::{Error, Kind};

/// A body behind a plugin.
#[derive(Debug)]
pub(crate) struct Filtered<B> {
    body: B,
    exchange: Rc<Exchange>,
    seat: usize,
    side: Body,
    /// Most bytes that are held for the plugin.
    limit: usize,
    /// What the plugin has not let go.
    held: Chunk,
    /// What of that is counted.
    holding: Holding,
    /// Some of it has not been shown to the plugin.
    is_news: bool,
    paused: Option<Pause>,
    /// Trailers that came, and those a plugin made.
    trailers: Option<HeaderMap>,
    progress: Progress,
    ready: Ready,
    /// Bytes the head promised and that have not been handed on; `None`: it promised nothing.
    promised: Option<u64>,
    /// Among those who wait for the plugin.
    place: Option<Place>,
}

/// How far the body has come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Progress {
    /// Nothing more comes.
    ended: bool,
    /// The plugin has been told of the end.
    told: bool,
    /// The last frame has been handed on.
    finished: bool,
}

/// What can be handed on.
#[derive(Debug, Default)]
struct Ready {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
    /// Nothing follows these.
    last: bool,
}

impl<B> Filtered<B>
where
    B: HttpBody<Data = Bytes, Error = Cut> + Unpin,
{
    pub(super) fn new(body: B, exchange: &Rc<Exchange>, seat: usize, side: Body) -> Self {
        let limit = exchange
            .running(seat)
            .map_or(usize::MAX, |running| running.buffer_limit());
        Self {
            body,
            exchange: Rc::clone(exchange),
            seat,
            side,
            limit,
            held: Chunk::default(),
            holding: exchange.tunnel.worker.held.holding(),
            is_news: false,
            paused: None,
            trailers: None,
            progress: Progress::default(),
            ready: Ready::default(),
            promised: None,
            place: None,
        }
    }

    /// Holds what is handed on against what the head says of its length.
    pub(crate) fn promise(&mut self, length: Option<u64>) {
        self.promised = length;
    }

    /// Whether a plugin has changed what it saw.
    pub(super) fn is_changed(&self) -> bool {
        self.held.changed
    }

    /// Whether the plugin has said that a head it stopped may go, or is not asked any more.
    pub(super) fn is_let_go(&self) -> bool {
        self.exchange.take_resumed(self.seat, self.side) || !self.exchange.is_asked(self.seat)
    }

    /// Goes on after a pause at the head: what has come meanwhile is shown to the plugin.
    pub(super) fn resume(&mut self) {
        self.paused = None;
    }

    /// Reads into the buffer without asking the plugin.
    pub(super) fn poll_gather(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cut>> {
        while !self.progress.ended {
            ready!(self.poll_read(cx))?;
            self.keep()?;
        }
        Poll::Pending
    }

    /// Goes on until something can be handed on, or the body is over.
    pub(super) fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cut>> {
        loop {
            if self.ready.is_some() || self.progress.finished {
                return Poll::Ready(Ok(()));
            }
            if self.exchange.poll_concluded(cx) {
                return Poll::Ready(Err(Cut::Plugin));
            }
            if self.paused.is_some() && self.exchange.take_resumed(self.seat, self.side) {
                self.paused = None;
                self.release();
                continue;
            }
            if !self.exchange.is_asked(self.seat) {
                self.paused = None;
                self.is_news = false;
                self.progress.told = self.progress.ended;
                if !self.held.is_empty() || self.progress.ended {
                    self.release();
                    continue;
                }
            }
            match self.paused {
                Some(Pause::Stop | Pause::HoldHeaders) => return Poll::Pending,
                Some(Pause::Buffer | Pause::Discard) if self.progress.told => return Poll::Pending,
                _ => {}
            }
            if self.is_news || (self.progress.ended && !self.progress.told) {
                ready!(self.poll_turn(cx));
                self.ask()?;
                continue;
            }
            ready!(self.poll_read(cx))?;
        }
    }

    /// Waits until the plugin can be called, which is this moment.
    fn poll_turn(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.place.is_none() {
            let usage = self.exchange.busy(self.seat);
            self.place = usage.map(|usage| Place::new(&usage, Rank::Begun));
        }
        if let Some(place) = &self.place {
            ready!(place.poll(cx));
            self.place = None;
        }
        Poll::Ready(())
    }

    /// Reads the next piece.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cut>> {
        match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            None => self.progress.ended = true,
            Some(Err(cut)) => return Poll::Ready(Err(cut)),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    self.is_news |= !data.is_empty();
                    self.held.push(data);
                    self.progress.ended = self.body.is_end_stream();
                }
                Err(frame) => {
                    self.trailers = frame.into_trailers().ok();
                    self.progress.ended = true;
                }
            },
        }
        if self.held.len() > self.limit {
            let kind = match self.side {
                Body::Request => Kind::BodyTooLarge,
                Body::Response => Kind::ResponseTooLarge,
            };
            self.exchange.conclude(Verdict::Failed(Error::new(kind)));
            return Poll::Ready(Err(Cut::Plugin));
        }
        Poll::Ready(Ok(()))
    }

    /// Shows the plugin what there is: bytes first, then trailers.
    fn ask(&mut self) -> Result<(), Cut> {
        let has_trailers = self.trailers.is_some();
        let bytes_first = self.is_news || !has_trailers;
        if bytes_first {
            self.is_news = false;
            let end = self.progress.ended && !has_trailers;
            let mut made = HeaderMap::new();
            let side = self.side;
            let lent = Lent {
                body: Some((side, &mut self.held)),
                trailers: end.then_some((side, &mut made)),
                ..Lent::default()
            };
            let answer = self
                .exchange
                .call(self.seat, lent, |stream, host| match side {
                    Body::Request => stream.on_request_body(host, end),
                    Body::Response => stream.on_response_body(host, end),
                });
            self.progress.told |= end;
            if end && !made.is_empty() {
                self.trailers = Some(made);
            }
            return self.follow(answer);
        }
        let mut trailers = self.trailers.take().unwrap_or_default();
        let side = self.side;
        let lent = Lent {
            // What was held so far can still be read and changed.
            body: Some((side, &mut self.held)),
            trailers: Some((side, &mut trailers)),
            ..Lent::default()
        };
        let answer = self
            .exchange
            .call(self.seat, lent, |stream, host| match side {
                Body::Request => stream.on_request_trailers(host),
                Body::Response => stream.on_response_trailers(host),
            });
        self.trailers = Some(trailers);
        self.progress.told = true;
        self.follow(answer)
    }

    /// Does what the plugin said.
    fn follow(&mut self, answer: Option<Result<Outcome, Error>>) -> Result<(), Cut> {
        let verdict = match answer {
            None | Some(Ok(Outcome::Continue)) => {
                self.paused = None;
                self.release();
                return Ok(());
            }
            Some(Ok(Outcome::Pause(how))) => {
                if how == Pause::Discard {
                    self.held.clear();
                }
                self.paused = Some(how);
                return self.keep();
            }
            Some(Ok(Outcome::LocalResponse(reply))) => Verdict::Reply(reply),
            Some(Ok(Outcome::Reset | Outcome::Trapped(_))) => Verdict::Failed(reset()),
            Some(Err(error)) => Verdict::Failed(error),
        };
        self.exchange.conclude(verdict);
        Err(Cut::Plugin)
    }

    /// Counts what the plugin holds back.
    fn keep(&mut self) -> Result<(), Cut> {
        let running = || self.exchange.running(self.seat);
        let kept = self.holding.hold(self.held.len(), running);
        kept.map_err(|error| {
            self.exchange.conclude(Verdict::Failed(error));
            Cut::Plugin
        })
    }

    /// Hands on what the plugin held; all of it, if it has seen the end.
    fn release(&mut self) {
        if !self.held.is_empty() && !self.is_news {
            self.ready.data = Some(self.held.take());
            self.holding.release();
        }
        if self.progress.told {
            self.ready.trailers = self.trailers.take();
            self.ready.last = true;
        }
    }

    /// Holds a piece against what the head promised.
    fn keep_promise(&mut self, data: &Bytes) -> Result<(), Cut> {
        let Some(left) = &mut self.promised else {
            return Ok(());
        };
        match left.checked_sub(data.len() as u64) {
            Some(less) => {
                *left = less;
                Ok(())
            }
            None => Err(self.broken("longer")),
        }
    }

    fn broken(&self, how: &str) -> Cut {
        let why = format!("a plugin made the body {how} than content-length says");
        let error = Error::caused(Kind::Plugin, why);
        self.exchange.conclude(Verdict::Failed(error));
        Cut::Plugin
    }
}

impl Ready {
    fn is_some(&self) -> bool {
        self.data.is_some() || self.last
    }
}

impl<B> HttpBody for Filtered<B>
where
    B: HttpBody<Data = Bytes, Error = Cut> + Unpin,
{
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = self.get_mut();
        if let Err(cut) = ready!(this.poll_progress(cx)) {
            this.progress.finished = true;
            return Poll::Ready(Some(Err(cut)));
        }
        if let Some(data) = this.ready.data.take() {
            let kept = this.keep_promise(&data);
            return Poll::Ready(Some(kept.map(|()| Frame::data(data))));
        }
        if this.progress.finished {
            return Poll::Ready(None);
        }
        this.progress.finished = true;
        if this.promised.is_some_and(|left| left > 0) {
            return Poll::Ready(Some(Err(this.broken("shorter"))));
        }
        let trailers = this.ready.trailers.take();
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.progress.finished
            || (self.ready.last && self.ready.data.is_none() && self.ready.trailers.is_none())
                && self.promised.is_none_or(|left| left == 0)
    }

    fn size_hint(&self) -> SizeHint {
        self.promised
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
