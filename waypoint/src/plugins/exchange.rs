//! One request and its answer, as the plugins on it share them.
//!
//! An [`Exchange`] begins with the first plugin and lives until the last byte of the answer has
//! left. Guests are entered from several places: while heads pass, while bodies are polled, when a
//! callout comes back. What they may look at is in one cell, so each of these can lend it to
//! whichever guest is called. What a guest decides outside of its own callbacks (resume, answer,
//! reset) is kept here, and whoever waits is woken.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, StatusCode};
use smallvec::SmallVec;
use telemetry::span::{Span, Trace};
use wasm_host::{
    Body, CallId, Callback, CalloutEvent, Direction, HttpStream, LocalResponse, Outcome, Pending,
    StreamHost,
};

use super::away::Away;
use super::bridge::{Bridge, Lent, RequestMap, Writing};
use super::properties::{Known, Own};
use super::surroundings::{Addressee, Heard};
use super::turns::Usage;
use super::vms::Running;
use crate::http::context::Tunnel;
use crate::http::error::{Error, Kind};
use crate::http::head::Head;
use crate::state::Loaded;

/// How a plugin ended an exchange before its end.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// With an answer of its own.
    Reply(Box<LocalResponse>),
    /// With an error.
    Failed(Error),
}

/// What the plugins of one exchange share.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(super) tunnel: Rc<Tunnel>,
    inside: RefCell<Inside>,
    waiting: Waiting,
    /// The trace that wants to know of the plugins' work.
    trace: Option<Trace>,
}

#[derive(Debug, Default)]
struct Inside {
    seats: SmallVec<[Seat; 1]>,
    seen: Seen,
    verdict: Option<Verdict>,
    /// There is a verdict that nobody has taken.
    concluded: bool,
}

/// A plugin's place in an exchange.
#[derive(Debug)]
struct Seat {
    loaded: Arc<Loaded>,
    running: Rc<Running>,
    /// `None` once it is over or has trapped.
    stream: Option<HttpStream>,
    /// Told to go on: the request, the answer.
    resumed: [bool; 2],
    /// The VM's events for this stream find it.
    is_listed: bool,
    framed: bool,
    /// What it did, if somebody traces it.
    work: Option<Work>,
}

/// What a plugin did for a request, from its first callback to its last.
#[derive(Debug)]
struct Work {
    start: SystemTime,
    began: Instant,
    duration: Duration,
    /// Time inside the guest, and how often it was entered.
    busy: Duration,
    calls: u32,
}

impl Work {
    fn new() -> Self {
        Self {
            start: SystemTime::now(),
            began: Instant::now(),
            duration: Duration::ZERO,
            busy: Duration::ZERO,
            calls: 0,
        }
    }

    fn add(&mut self, since: Instant) {
        self.busy += since.elapsed();
        self.duration = self.began.elapsed();
        self.calls += 1;
    }
}

/// What guests can look at while nobody has it in his hands.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) request: RequestHead,
    pub(super) response: Option<ResponseHead>,
    pub(super) request_trailers: Option<HeaderMap>,
    pub(super) response_trailers: Option<HeaderMap>,
    /// A guest changed the request's head.
    pub(super) changed: bool,
    pub(super) facts: Known,
    pub(super) own: Own,
}

/// The head of the request.
#[derive(Debug, Default)]
pub(super) enum RequestHead {
    /// In somebody's hands.
    #[default]
    Away,
    /// Held back by a guest.
    Held(Box<Head>),
    /// On its way to the endpoint.
    Sent(Rc<Head>),
}

impl RequestHead {
    pub(super) fn head(&self) -> Option<&Head> {
        match self {
            Self::Away => None,
            Self::Held(head) => Some(head),
            Self::Sent(head) => Some(head),
        }
    }

    pub(super) fn map<'a>(&'a mut self, writing: Writing<'a>) -> Option<RequestMap<'a>> {
        match self {
            Self::Away => None,
            Self::Held(head) => Some(RequestMap::writable(head, writing)),
            Self::Sent(head) => Some(RequestMap::read_only(head)),
        }
    }
}

/// The head of the answer.
#[derive(Clone, Debug)]
pub(super) struct ResponseHead {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) sent: bool,
}

impl Exchange {
    /// * `trace` — the trace that wants to know of the plugins' work.
    pub(super) fn new(tunnel: Rc<Tunnel>, trace: Option<Trace>) -> Rc<Self> {
        Rc::new(Self {
            trace,
            tunnel,
            inside: RefCell::default(),
            waiting: Waiting::default(),
        })
    }

    /// Gives a plugin a place and returns its number.
    pub(super) fn sit(
        self: &Rc<Self>,
        loaded: &Arc<Loaded>,
        running: Rc<Running>,
        stream: HttpStream,
    ) -> usize {
        let framed = running.has(Callback::RequestBody) || running.has(Callback::ResponseBody);
        let mut inside = self.inside.borrow_mut();
        let seat = inside.seats.len();
        let is_listed = running.acts_by_itself();
        if is_listed {
            running.list(stream.id(), self.addressee(seat));
        }
        inside.seats.push(Seat {
            loaded: Arc::clone(loaded),
            running,
            stream: Some(stream),
            resumed: [false; 2],
            is_listed,
            framed,
            work: self.trace.map(|_| Work::new()),
        });
        seat
    }

    fn addressee(self: &Rc<Self>, seat: usize) -> Addressee {
        let heard: Rc<dyn Heard> = Rc::clone(self) as Rc<dyn Heard>;
        Addressee::new(Rc::downgrade(&heard), seat)
    }

    /// How many plugins there are.
    pub(super) fn seats(&self) -> usize {
        self.inside.borrow().seats.len()
    }

    /// The VM of a plugin.
    pub(super) fn running(&self, seat: usize) -> Option<Rc<Running>> {
        let inside = self.inside.borrow();
        inside.seats.get(seat).map(|seat| Rc::clone(&seat.running))
    }

    /// Waits until a plugin can be called, which is this moment.
    pub(super) async fn turn(&self, seat: usize) {
        if let Some(usage) = self.busy(seat) {
            usage.turn().await;
        }
    }

    /// What a plugin uses of the worker, if it has to wait for its turn.
    pub(super) fn busy(&self, seat: usize) -> Option<Rc<Usage>> {
        let inside = self.inside.borrow();
        let seat = inside.seats.get(seat).filter(|seat| seat.stream.is_some());
        seat.and_then(|seat| seat.running.busy())
    }

    /// Whether a plugin is still asked.
    pub(super) fn is_asked(&self, seat: usize) -> bool {
        let inside = self.inside.borrow();
        inside
            .seats
            .get(seat)
            .is_some_and(|seat| seat.stream.is_some())
    }

    /// Calls a guest; `None` if it is not asked any more.
    ///
    /// A trap is turned into what the plugin's `failStrategy` makes of it: [`Outcome::Continue`] if
    /// requests pass without it, or else an error.
    pub(super) fn call(
        self: &Rc<Self>,
        seat: usize,
        lent: Lent<'_>,
        guest: impl FnOnce(&mut HttpStream, &mut dyn StreamHost) -> Outcome,
    ) -> Option<Result<Outcome, Error>> {
        let mut inside = self.inside.borrow_mut();
        let Inside { seats, seen, .. } = &mut *inside;
        let place = seats.get_mut(seat)?;
        let stream = place.stream.as_mut()?;
        let mut bridge = Bridge::new(&self.tunnel, seen, lent, place.framed);
        let since = place.work.as_ref().map(|_| Instant::now());
        let outcome = guest(stream, &mut bridge);
        if let (Some(work), Some(since)) = (&mut place.work, since) {
            work.add(since);
        }
        if !place.is_listed && (place.running.has_called() || matches!(outcome, Outcome::Pause(_)))
        {
            place.is_listed = true;
            place.running.list(stream.id(), self.addressee(seat));
        }
        if let Outcome::Trapped(trap) = outcome {
            place.running.died(&trap);
            let loaded = place.leave();
            drop(inside);
            return Some(failed(&loaded, &trap.to_string()).map(|()| Outcome::Continue));
        }
        Some(Ok(outcome))
    }

    /// Hands a guest what became of a callout, and keeps what it makes of that.
    fn hear(self: &Rc<Self>, seat: usize, call: CallId, event: CalloutEvent) {
        let mut delivered = Ok(());
        let called = self.call(seat, Lent::default(), |stream, host| {
            delivered = stream.on_callout(host, call, event);
            match &delivered {
                Ok(()) => Outcome::Continue,
                Err(trap) => Outcome::Trapped(Arc::clone(trap)),
            }
        });
        if let Some(Err(error)) = called {
            self.conclude(Verdict::Failed(error));
        }
        self.settle(seat);
        self.waiting.wake();
    }

    /// Collects what a guest did outside of its callbacks.
    fn settle(&self, seat: usize) {
        let mut inside = self.inside.borrow_mut();
        let Some(place) = inside.seats.get_mut(seat) else {
            return;
        };
        let Some(stream) = &mut place.stream else {
            return;
        };
        if let Some(trap) = stream.vm().trap() {
            place.running.died(&trap);
            let loaded = place.leave();
            drop(inside);
            if let Err(error) = failed(&loaded, &trap.to_string()) {
                self.conclude(Verdict::Failed(error));
            }
            return;
        }
        let mut verdict = None;
        while let Some(pending) = stream.pending() {
            match pending {
                Pending::Resume(Direction::Request) => place.resumed[0] = true,
                Pending::Resume(Direction::Response) => place.resumed[1] = true,
                Pending::LocalResponse(reply) => verdict = Some(Verdict::Reply(reply)),
                Pending::Reset => verdict = Some(Verdict::Failed(reset())),
            }
        }
        drop(inside);
        if let Some(verdict) = verdict {
            self.conclude(verdict);
        }
    }

    /// Ends the exchange; the first word counts.
    pub(super) fn conclude(&self, verdict: Verdict) {
        let mut inside = self.inside.borrow_mut();
        if !inside.concluded {
            inside.concluded = true;
            inside.verdict = Some(verdict);
        }
        drop(inside);
        self.waiting.wake();
    }

    /// Whether a plugin has ended the exchange; otherwise the caller is woken when one may have.
    pub(super) fn poll_concluded(&self, cx: &Context<'_>) -> bool {
        let listed: SmallVec<[usize; 4]> = {
            let inside = self.inside.borrow();
            let seats = inside.seats.iter().enumerate();
            let listed = seats.filter(|(_, seat)| seat.is_listed && seat.stream.is_some());
            listed.map(|(number, _)| number).collect()
        };
        for seat in listed {
            self.settle(seat);
        }
        if self.inside.borrow().concluded {
            return true;
        }
        self.waiting.register(cx.waker());
        false
    }

    /// Resolves when a plugin ends the exchange.
    pub(crate) async fn concluded(&self) -> Verdict {
        std::future::poll_fn(|cx| {
            if !self.poll_concluded(cx) {
                return Poll::Pending;
            }
            let verdict = self.take_verdict();
            Poll::Ready(verdict.unwrap_or_else(|| Verdict::Failed(reset())))
        })
        .await
    }

    /// Takes the verdict, if there is one that nobody has taken. What is answered then passes the
    /// plugins like any answer.
    pub(super) fn take_verdict(&self) -> Option<Verdict> {
        let mut inside = self.inside.borrow_mut();
        inside.concluded = false;
        inside.verdict.take()
    }

    /// Takes a plugin's word to go on.
    pub(super) fn take_resumed(&self, seat: usize, body: Body) -> bool {
        let mut inside = self.inside.borrow_mut();
        let Some(place) = inside.seats.get_mut(seat) else {
            return false;
        };
        let side = usize::from(body == Body::Response);
        place.resumed.get_mut(side).is_some_and(std::mem::take)
    }

    /// Lets guests see what the exchange has come to.
    pub(super) fn show<R>(&self, change: impl FnOnce(&mut Seen) -> R) -> R {
        change(&mut self.inside.borrow_mut().seen)
    }

    /// Tells every guest that the exchange is over: at once, or when it is its turn.
    pub(super) fn finish(self: &Rc<Self>) {
        let mut later = SmallVec::<[usize; 1]>::new();
        for seat in 0..self.seats() {
            if self.busy(seat).is_some() {
                later.push(seat);
            } else {
                self.finish_seat(seat);
            }
        }
        if later.is_empty() {
            return;
        }
        let exchange = Rc::clone(self);
        let ending = async move {
            for seat in later {
                exchange.turn(seat).await;
                exchange.finish_seat(seat);
            }
        };
        self.tunnel.worker.tasks.spawn("plugin farewell", ending);
    }

    fn finish_seat(&self, seat: usize) {
        let mut inside = self.inside.borrow_mut();
        let Inside { seats, seen, .. } = &mut *inside;
        let Some(place) = seats.get_mut(seat) else {
            return;
        };
        let Some(stream) = place.stream.take() else {
            return;
        };
        if std::mem::take(&mut place.is_listed) {
            place.running.unlist(stream.id());
        }
        let mut bridge = Bridge::new(&self.tunnel, seen, Lent::default(), false);
        // A trap has been logged, and there is nothing left that it could spoil.
        let finished = stream.finish(&mut bridge);
        let running = Rc::clone(&place.running);
        let work = place.work.take().zip(self.trace);
        let traced = work.map(|work| (place.loaded.plugin.name(), work));
        drop(inside);
        if let Some((plugin, (work, trace))) = traced {
            self.tell(trace, &plugin, &work);
        }
        match finished {
            Ok(()) => running.came_through(),
            Err(trap) => running.died(&trap),
        }
    }
}

impl Exchange {
    /// Keeps a plugin's work for whoever collects traces.
    fn tell(&self, trace: Trace, plugin: &str, work: &Work) {
        let worker = &self.tunnel.worker;
        worker.reporting.spans.record(Span {
            trace,
            id: worker.draw.bits(),
            name: format!("wasm {plugin}"),
            start: work.start,
            duration: work.duration,
            attributes: vec![
                ("wasm.plugin", plugin.to_owned()),
                ("wasm.callbacks", work.calls.to_string()),
                ("wasm.busy_us", work.busy.as_micros().to_string()),
            ],
        });
    }
}

impl Heard for Exchange {
    fn deliver(self: Rc<Self>, seat: usize, call: CallId, event: CalloutEvent) {
        self.hear(seat, call, event);
    }

    fn stir(&self) {
        self.waiting.wake();
    }

    fn lend(self: Rc<Self>) -> Option<Box<dyn StreamHost>> {
        // Taken while nobody else looks: the guest that asks was entered for something else.
        let mut inside = self.inside.try_borrow_mut().ok()?;
        let request = std::mem::take(&mut inside.seen.request);
        let response = inside.seen.response.take();
        drop(inside);
        Some(Box::new(Away::new(self, request, response)))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        for seat in &mut self.inside.get_mut().seats {
            seat.leave();
        }
    }
}

impl Seat {
    /// Takes the plugin off the exchange.
    fn leave(&mut self) -> Arc<Loaded> {
        if let Some(stream) = self.stream.take() {
            if std::mem::take(&mut self.is_listed) {
                self.running.unlist(stream.id());
            }
            self.running.broken_off();
        }
        Arc::clone(&self.loaded)
    }
}

/// Applies a plugin's `failStrategy`.
///
/// # Errors
/// `Plugin` unless requests pass without it.
pub(super) fn failed(loaded: &Loaded, why: &str) -> Result<(), Error> {
    if loaded.fails_open() {
        tracing::debug!(plugin = %loaded, why, "plugin skipped");
        return Ok(());
    }
    tracing::debug!(plugin = %loaded, why, "plugin cannot run");
    Err(Error::caused(Kind::Plugin, format!("{loaded}: {why}")))
}

/// A guest closed the stream.
pub(super) fn reset() -> Error {
    Error::caused(Kind::PluginReset, "the plugin reset the request")
}

/// Tasks that wait for a guest: the request's, the endpoint connection's, the client's.
#[derive(Debug, Default)]
pub(super) struct Waiting(RefCell<SmallVec<[Waker; 2]>>);

/// More tasks than ever wait for one exchange; what is beyond is from polls that are over.
const WAITING: usize = 8;

impl Waiting {
    pub(super) fn register(&self, waker: &Waker) {
        let mut wakers = self.0.borrow_mut();
        if wakers.iter().any(|known| known.will_wake(waker)) {
            return;
        }
        if wakers.len() >= WAITING {
            wakers.drain(..).for_each(Waker::wake);
        }
        wakers.push(waker.clone());
    }

    pub(super) fn wake(&self) {
        let wakers = std::mem::take(&mut *self.0.borrow_mut());
        wakers.into_iter().for_each(Waker::wake);
    }
}
