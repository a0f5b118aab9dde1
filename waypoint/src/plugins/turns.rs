//! Turns at a worker: a plugin that uses much of it does not keep it from others.
//!
//! The budget of a callback bounds how long everybody else waits for one call into a guest. Thirty
//! requests for the same slow guest would still wait in one line with everybody else's, and calls
//! that each stay within the budget would add up. So:
//!
//! * after a long call nobody enters a guest before every task that is ready has run and the
//!   network was looked at;
//! * a plugin in debt (see [`Share`]) rests again and again for as long as it worked, unless nobody
//!   else has anything to do on the worker.
//!
//! What is long is relative to the budget of a call: whoever grants a filter more means it.
//!
//! What waits are requests of that plugin: those it has begun go first, new ones for at most
//! [`PATIENCE`]; then its `failStrategy` decides. On a worker without such plugins a turn costs two
//! looks at a flag.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mesh::Str;
use runtime::LocalTasks;
use telemetry::wasm::Plugin;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};
use wasm_host::Share;

#[cfg(test)]
mod tests;

/// A call that takes this part of its budget is followed by everybody else's turn.
const LONG: u32 = 10;
/// A plugin is in debt after this part of the budget of a call, and rests each time it worked so long.
const BURST: u32 = 5;
/// Work is added up to this before the clock is read for it.
const WORTH_COUNTING: Duration = Duration::from_micros(200);
/// How long a request waits for its first turn.
const PATIENCE: Duration = Duration::from_secs(10);
/// A wait this long is told to the operator, and forgotten when there was none for a while.
const NOTEWORTHY: Duration = Duration::from_millis(100);
const FORGOTTEN: Duration = Duration::from_mins(1);
/// The longest rest: no call of a stream takes longer, and a start is not to be made up for.
const LONGEST_REST: Duration = Duration::from_millis(50);
/// How many are called at once after a rest: if the first works long the others wait again, and if
/// none does it is few passes until everybody has had his turn.
const CALLED: usize = 16;

/// The turns of one worker.
pub(crate) struct Turns {
    tasks: LocalTasks,
    /// Requests and connections in hand, whatever plugins they have.
    visits: Cell<usize>,
    /// A long call has just ended, and not everybody has had his turn since.
    passing: Cell<bool>,
    after_pass: RefCell<Vec<Waker>>,
    /// Plugins in debt are not entered.
    resting: Cell<bool>,
    /// Work of plugins in debt since they last rested.
    run: Cell<Duration>,
    queue: RefCell<BTreeMap<Ticket, Waker>>,
    tickets: Cell<u64>,
}

/// Who waits for a turn.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Rank {
    /// Somebody the plugin has already seen: that is finished before more is begun.
    Begun,
    /// Somebody new.
    New,
}

/// A place in the queue; the least is the next.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Ticket {
    rank: Rank,
    number: u64,
}

/// A request or connection in hand; dropped when it is over.
pub(crate) struct Visit(Rc<Turns>);

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turns")
            .field("visits", &self.visits)
            .field("resting", &self.resting)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Visit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Visit")
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.0.visits.set(self.0.visits.get() - 1);
    }
}

impl Turns {
    /// Nobody has run yet.
    pub(crate) fn new(tasks: LocalTasks) -> Rc<Self> {
        Rc::new(Self {
            tasks,
            visits: Cell::new(0),
            passing: Cell::new(false),
            after_pass: RefCell::default(),
            resting: Cell::new(false),
            run: Cell::new(Duration::ZERO),
            queue: RefCell::default(),
            tickets: Cell::new(0),
        })
    }

    /// One more request or connection.
    pub(crate) fn visit(self: &Rc<Self>) -> Visit {
        self.visits.set(self.visits.get() + 1);
        Visit(Rc::clone(self))
    }

    /// Whether any plugin can be entered at once.
    pub(super) fn is_quiet(&self) -> bool {
        !self.passing.get() && !self.resting.get()
    }

    /// Lets everybody who is ready run, and the network be looked at.
    fn pass(self: &Rc<Self>) {
        if self.passing.replace(true) {
            return;
        }
        let turns = Rc::clone(self);
        self.tasks.spawn("plugin pass", async move {
            yield_now().await;
            turns.passing.set(false);
            let waiting = std::mem::take(&mut *turns.after_pass.borrow_mut());
            waiting.into_iter().for_each(Waker::wake);
        });
    }

    /// Lets plugins in debt rest for as long as they have worked.
    fn rest(self: &Rc<Self>, last: &Rc<Usage>) {
        if self.resting.replace(true) {
            return;
        }
        let (turns, last) = (Rc::clone(self), Rc::clone(last));
        self.tasks.spawn("plugin rest", async move {
            yield_now().await;
            if turns.others(last.streams()) > 0 {
                sleep(turns.run.get().min(LONGEST_REST)).await;
            }
            drop(last);
            turns.run.set(Duration::ZERO);
            turns.resting.set(false);
            turns.call().await;
        });
    }

    /// Calls those who waited for the end of a rest, until the next one begins. Whoever does not
    /// come, because his client reads no further, say, has lost his place and holds up nobody.
    async fn call(&self) {
        while !self.resting.get() && self.call_some() {
            yield_now().await;
        }
    }

    /// Whether there are more.
    fn call_some(&self) -> bool {
        let mut queue = self.queue.borrow_mut();
        for _ in 0..CALLED {
            let Some((_, waiting)) = queue.pop_first() else {
                return false;
            };
            waiting.wake();
        }
        true
    }

    /// Requests and connections that are neither a plugin's nor wait for one.
    fn others(&self, own: usize) -> usize {
        let queue = self.queue.borrow();
        let new = queue.keys().filter(|ticket| ticket.rank == Rank::New);
        self.visits.get().saturating_sub(own + new.count())
    }
}

/// What a plugin uses of one worker, over all its VMs there.
pub(super) struct Usage {
    turns: Rc<Turns>,
    /// The budget of a call.
    budget: Duration,
    share: RefCell<Share>,
    /// Work that has not been counted yet.
    work: Cell<Duration>,
    metrics: Plugin,
    /// How many requests and connections it has.
    streams: RefCell<Box<dyn Fn() -> usize>>,
    /// Tells whether requests wait long for it.
    tell: Box<dyn Fn(bool)>,
    crowded: Cell<Option<Instant>>,
}

impl fmt::Debug for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Usage")
            .field("share", &self.share)
            .finish_non_exhaustive()
    }
}

impl Drop for Usage {
    fn drop(&mut self) {
        if self.crowded.get().is_some() {
            (self.tell)(false);
        }
    }
}

impl Usage {
    /// * `budget` — of a call.
    /// * `tell` — hears when requests begin to wait long for the plugin, and when that is over.
    pub(super) fn new(
        turns: Rc<Turns>,
        budget: Duration,
        metrics: Plugin,
        tell: Box<dyn Fn(bool)>,
    ) -> Rc<Self> {
        Rc::new(Self {
            turns,
            budget,
            share: RefCell::new(Share::new(now(), budget / BURST)),
            work: Cell::new(Duration::ZERO),
            metrics,
            streams: RefCell::new(Box::new(|| 0)),
            tell,
            crowded: Cell::new(None),
        })
    }

    /// The plugin runs on a new VM.
    ///
    /// * `streams` — how many requests and connections that has.
    pub(super) fn runs(&self, streams: impl Fn() -> usize + 'static) {
        *self.streams.borrow_mut() = Box::new(streams);
    }

    fn streams(&self) -> usize {
        (self.streams.borrow())()
    }

    /// The plugin ran for so long.
    pub(super) fn spent(self: &Rc<Self>, time: Duration) {
        let work = self.work.get() + time;
        if work < WORTH_COUNTING {
            return self.work.set(work);
        }
        self.work.set(Duration::ZERO);
        if time >= self.budget / LONG {
            self.turns.pass();
        }
        if !self.share.borrow_mut().spent(now(), work) {
            return;
        }
        let run = self.turns.run.get() + work;
        self.turns.run.set(run);
        if run >= self.budget / BURST {
            self.turns.rest(self);
        }
    }

    /// Whether the plugin can be entered at once.
    pub(super) fn is_free(&self) -> bool {
        !(self.turns.passing.get() || self.rests())
    }

    fn rests(&self) -> bool {
        self.turns.resting.get() && self.is_in_debt()
    }

    fn is_in_debt(&self) -> bool {
        self.share.borrow_mut().is_in_debt(now())
    }

    /// Waits for a turn, which is this moment: whoever enters the guest later may find it taken.
    pub(super) async fn turn(self: &Rc<Self>) {
        if !self.is_free() {
            let place = Place::new(self, Rank::Begun);
            poll_fn(|cx| place.poll(cx)).await;
        }
    }

    /// As [`turn`](Self::turn), for somebody the plugin has not seen yet.
    ///
    /// # Errors
    /// That it took too long, for people.
    pub(super) async fn first_turn(self: &Rc<Self>) -> Result<(), Str> {
        if self.is_free() {
            return Ok(());
        }
        let place = Place::new(self, Rank::New);
        let turn = poll_fn(|cx| place.poll(cx));
        timeout(PATIENCE, turn).await.map_err(|_| {
            let seconds = PATIENCE.as_secs();
            let told = format!(
                "it uses more than its share of a worker, and there was no turn in {seconds} s"
            );
            told.into()
        })
    }

    /// Somebody waited so long.
    fn waited(self: &Rc<Self>, time: Duration) {
        self.metrics.waited(time);
        if time < NOTEWORTHY || self.crowded.replace(Some(Instant::now())).is_some() {
            return;
        }
        (self.tell)(true);
        let usage = Rc::downgrade(self);
        self.turns
            .tasks
            .spawn("plugin crowded", Self::calm_down(usage));
    }

    /// Tells when nobody has waited long for a while.
    async fn calm_down(usage: Weak<Self>) {
        while let Some(usage) = usage.upgrade() {
            let quiet = usage.crowded.get().map(|since| since.elapsed());
            if quiet.is_none_or(|quiet| quiet >= FORGOTTEN) {
                usage.crowded.set(None);
                return (usage.tell)(false);
            }
            drop(usage);
            sleep(FORGOTTEN / 4).await;
        }
    }
}

/// Somebody's place among those who wait for a plugin. Dropped, it is free.
pub(super) struct Place {
    usage: Rc<Usage>,
    ticket: Ticket,
    since: Instant,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Place").field(&self.ticket).finish()
    }
}

impl Place {
    pub(super) fn new(usage: &Rc<Usage>, rank: Rank) -> Self {
        let tickets = &usage.turns.tickets;
        let number = tickets.replace(tickets.get() + 1);
        Self {
            usage: Rc::clone(usage),
            ticket: Ticket { rank, number },
            since: Instant::now(),
        }
    }

    /// Ready at its turn, which is this moment.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let turns = &self.usage.turns;
        if self.usage.rests() {
            let mut queue = turns.queue.borrow_mut();
            queue.insert(self.ticket, cx.waker().clone());
            return Poll::Pending;
        }
        if turns.passing.get() {
            turns.after_pass.borrow_mut().push(cx.waker().clone());
            return Poll::Pending;
        }
        self.usage.waited(self.since.elapsed());
        Poll::Ready(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.usage.turns.queue.borrow_mut().remove(&self.ticket);
    }
}

/// The time, as a [`Share`] reads it.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}
