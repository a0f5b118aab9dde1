//! Plugins of type NETWORK: they see the bytes of a connection, whatever is spoken on it.
//!
//! [`Watched`] is the client's stream behind them. What is read from it has passed the plugins in
//! order, what is written to it passes them in reverse. On a port of HTTP they stand before the
//! codec, on an opaque port before the endpoint.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use smallvec::SmallVec;
use wasm_host::{
    Buffer, CallId, CalloutEvent, HeaderMap, Map, Peer, Side, StreamHost, TcpOutcome, TcpPending,
    TcpStream, Trap, Value,
};

use super::bridge::Chunk;
use super::exchange::{Waiting, failed};
use super::held::{Allowance, Holding};
use super::properties::{self, Own};
use super::surroundings::{Addressee, Heard};
use super::turns::{Place, Rank, Usage};
use super::vms::Running;
use crate::http::context::Tunnel;
use crate::http::error::Error;
use crate::state::{Loaded, Rules};

mod watched;

pub(crate) use watched::Watched;

/// What the plugins of one connection share.
#[derive(Debug)]
struct Connection {
    tunnel: Rc<Tunnel>,
    inside: RefCell<Inside>,
    waiting: Waiting,
}

#[derive(Debug, Default)]
struct Inside {
    seats: SmallVec<[Seat; 1]>,
    own: Own,
    /// Among those who wait for a plugin: with bytes of the client, with bytes of the server.
    down: Option<Place>,
    up: Option<Place>,
    /// A plugin ended the connection, or failed and must not.
    is_over: bool,
}

#[derive(Debug)]
struct Seat {
    loaded: Arc<Loaded>,
    running: Rc<Running>,
    /// `None` once it has trapped and connections go on without it.
    stream: Option<TcpStream>,
    is_listed: bool,
    down: Lane,
    up: Lane,
}

/// One direction at one plugin.
#[derive(Debug)]
struct Lane {
    held: Chunk,
    /// What of that is counted.
    holding: Holding,
    /// The plugin wants to see more, or to think, before it lets this go.
    waits: bool,
    resumed: bool,
    /// No more comes.
    ended: bool,
}

impl Lane {
    fn new(allowance: &Allowance) -> Self {
        Self {
            held: Chunk::default(),
            holding: allowance.holding(),
            waits: false,
            resumed: false,
            ended: false,
        }
    }

    /// What was held, to be handed on.
    fn take(&mut self) -> Bytes {
        self.holding.release();
        self.held.take()
    }
}

impl Inside {
    fn place(&mut self, side: Side) -> &mut Option<Place> {
        match side {
            Side::Downstream => &mut self.down,
            Side::Upstream => &mut self.up,
        }
    }
}

impl Seat {
    fn lane(&mut self, side: Side) -> &mut Lane {
        match side {
            Side::Downstream => &mut self.down,
            Side::Upstream => &mut self.up,
        }
    }
}

/// What a plugin is told at the end of a connection; each is one call.
#[derive(Clone, Copy, Debug)]
enum Farewell {
    Downstream(Peer),
    Upstream(Peer),
    End,
}

/// A callback at the end of one side.
type Close = fn(&mut TcpStream, &mut dyn StreamHost, Peer) -> Result<(), Arc<Trap>>;

/// What came out behind the last plugin.
#[derive(Debug, Default)]
struct Passed {
    data: Bytes,
    ended: bool,
}

/// Puts the plugins that look at connections before a client's stream, and tells them of it.
///
/// # Errors
/// `Plugin` when one cannot run, and must; `PluginReset` when one does not want the connection.
pub(crate) async fn watch<Io>(
    tunnel: &Rc<Tunnel>,
    rules: &Rules,
    io: Io,
) -> Result<Watched<Io>, Error> {
    let connection = Rc::new(Connection {
        tunnel: Rc::clone(tunnel),
        inside: RefCell::default(),
        waiting: Waiting::default(),
    });
    for loaded in rules.watching() {
        let vms = &tunnel.worker.vms;
        match vms.turn(loaded).await {
            Ok(()) => connection.sit(loaded)?,
            Err(why) => {
                vms.without(loaded);
                failed(loaded, &why)?;
            }
        }
    }
    connection.begin().await?;
    Ok(Watched::new(io, connection))
}

impl Connection {
    fn sit(self: &Rc<Self>, loaded: &Arc<Loaded>) -> Result<(), Error> {
        let vms = &self.tunnel.worker.vms;
        let (running, stream) = match vms.connection(loaded) {
            Ok(begun) => begun,
            Err(why) => {
                vms.without(loaded);
                return failed(loaded, &why);
            }
        };
        self.inside.borrow_mut().seats.push(Seat {
            loaded: Arc::clone(loaded),
            running,
            stream: Some(stream),
            is_listed: false,
            down: Lane::new(&self.tunnel.worker.held),
            up: Lane::new(&self.tunnel.worker.held),
        });
        Ok(())
    }

    /// Tells the plugins of the connection, and waits until each wants it.
    async fn begin(self: &Rc<Self>) -> Result<(), Error> {
        let seats = self.inside.borrow().seats.len();
        for seat in 0..seats {
            self.turn(seat).await;
            let outcome = self.call(seat, None, TcpStream::on_new_connection)?;
            match outcome {
                Some(TcpOutcome::Wait) => self.until_wanted(seat).await?,
                Some(TcpOutcome::Close(_)) => return Err(super::exchange::reset()),
                _ => {}
            }
        }
        Ok(())
    }

    async fn until_wanted(self: &Rc<Self>, seat: usize) -> Result<(), Error> {
        std::future::poll_fn(|cx| {
            self.settle();
            let mut inside = self.inside.borrow_mut();
            if inside.is_over {
                return Poll::Ready(Err(super::exchange::reset()));
            }
            let place = inside.seats.get_mut(seat);
            if place.is_none_or(|place| {
                place.stream.is_none() || std::mem::take(&mut place.down.resumed)
            }) {
                return Poll::Ready(Ok(()));
            }
            self.waiting.register(cx.waker());
            Poll::Pending
        })
        .await
    }

    /// What a plugin uses of the worker, if it has to wait for its turn.
    fn busy(&self, seat: usize) -> Option<Rc<Usage>> {
        let inside = self.inside.borrow();
        let seat = inside.seats.get(seat).filter(|seat| seat.stream.is_some());
        seat.and_then(|seat| seat.running.busy())
    }

    /// Waits until a plugin can be called, which is this moment.
    async fn turn(&self, seat: usize) {
        if let Some(usage) = self.busy(seat) {
            usage.turn().await;
        }
    }

    /// Waits until bytes of one side can pass the plugins, which is this moment.
    fn poll_turn(&self, side: Side, cx: &Context<'_>) -> Poll<()> {
        let busy = || (0..self.inside.borrow().seats.len()).find_map(|seat| self.busy(seat));
        let waiting = self.inside.borrow_mut().place(side).take();
        let place = match waiting {
            Some(place) => place,
            None => match busy() {
                Some(usage) => Place::new(&usage, Rank::Begun),
                None => return Poll::Ready(()),
            },
        };
        let turn = place.poll(cx);
        if turn.is_pending() {
            self.inside.borrow_mut().place(side).replace(place);
        }
        turn
    }

    /// Calls a guest with the bytes of one side; `None` if it is not asked any more.
    fn call(
        self: &Rc<Self>,
        seat: usize,
        side: Option<Side>,
        guest: impl FnOnce(&mut TcpStream, &mut dyn StreamHost) -> TcpOutcome,
    ) -> Result<Option<TcpOutcome>, Error> {
        let mut inside = self.inside.borrow_mut();
        let Inside { seats, own, .. } = &mut *inside;
        let Some(place) = seats.get_mut(seat) else {
            return Ok(None);
        };
        let Seat {
            stream: Some(stream),
            running,
            down,
            up,
            is_listed,
            ..
        } = place
        else {
            return Ok(None);
        };
        let data = side.map(|side| match side {
            Side::Downstream => (side, &mut down.held),
            Side::Upstream => (side, &mut up.held),
        });
        let mut view = View {
            tunnel: &self.tunnel,
            data,
            own,
        };
        let outcome = guest(stream, &mut view);
        let waits = matches!(outcome, TcpOutcome::Wait);
        if !*is_listed && (running.has_called() || waits || running.acts_by_itself()) {
            *is_listed = true;
            let heard: Rc<dyn Heard> = Rc::clone(self) as Rc<dyn Heard>;
            running.list(stream.id(), Addressee::new(Rc::downgrade(&heard), seat));
        }
        if let TcpOutcome::Trapped(trap) = outcome {
            running.died(&trap);
            place.stream = None;
            return failed(&place.loaded, &trap.to_string()).map(|()| None);
        }
        Ok(Some(outcome))
    }

    /// Collects what guests did outside of their callbacks.
    fn settle(&self) {
        let mut inside = self.inside.borrow_mut();
        let mut over = false;
        for place in inside.seats.iter_mut().filter(|place| place.is_listed) {
            let Some(stream) = &mut place.stream else {
                continue;
            };
            if let Some(trap) = stream.vm().trap() {
                place.running.died(&trap);
                place.stream = None;
                over |= failed(&place.loaded, &trap.to_string()).is_err();
                continue;
            }
            while let Some(pending) = stream.pending() {
                match pending {
                    TcpPending::Resume(Side::Downstream) => place.down.resumed = true,
                    TcpPending::Resume(Side::Upstream) => place.up.resumed = true,
                    TcpPending::Close(_) => over = true,
                }
            }
        }
        inside.is_over |= over;
    }

    /// Has bytes pass the plugins from number `from` on, in the order of their direction.
    fn pass(
        self: &Rc<Self>,
        side: Side,
        from: usize,
        data: Bytes,
        end: bool,
    ) -> Result<Passed, Error> {
        let mut passed = Passed { data, ended: end };
        for seat in self.order(side).skip(from) {
            let asked = {
                let mut inside = self.inside.borrow_mut();
                let Some(place) = inside.seats.get_mut(seat) else {
                    continue;
                };
                let lane = place.lane(side);
                let news = !passed.data.is_empty() || passed.ended;
                lane.held.push(std::mem::take(&mut passed.data));
                lane.ended |= passed.ended;
                news
            };
            if !asked {
                return Ok(Passed::default());
            }
            let end = passed.ended;
            let outcome = self.call(seat, Some(side), |stream, view| match side {
                Side::Downstream => stream.on_downstream_data(view, end),
                Side::Upstream => stream.on_upstream_data(view, end),
            })?;
            let mut inside = self.inside.borrow_mut();
            let is_over = matches!(outcome, Some(TcpOutcome::Close(_)));
            inside.is_over |= is_over;
            if is_over {
                self.waiting.wake();
            }
            let Some(place) = inside.seats.get_mut(seat) else {
                continue;
            };
            let waits = matches!(outcome, Some(TcpOutcome::Wait));
            let running = waits.then(|| Rc::clone(&place.running));
            let lane = place.lane(side);
            lane.waits = waits;
            if waits {
                let bytes = lane.held.len();
                lane.holding.hold(bytes, || running)?;
                return Ok(Passed::default());
            }
            passed.data = lane.take();
            if is_over {
                passed.ended = true;
            }
        }
        Ok(passed)
    }

    /// Lets go what a plugin held and has resumed, through those behind it.
    fn resume(self: &Rc<Self>, side: Side) -> Result<Option<Passed>, Error> {
        self.settle();
        for (position, seat) in self.order(side).enumerate() {
            let let_go = {
                let mut inside = self.inside.borrow_mut();
                let Some(place) = inside.seats.get_mut(seat) else {
                    continue;
                };
                let gone = place.stream.is_none();
                let lane = place.lane(side);
                let resumed = std::mem::take(&mut lane.resumed) || gone;
                if !(lane.waits && resumed) {
                    continue;
                }
                lane.waits = false;
                (lane.take(), lane.ended)
            };
            return self.pass(side, position + 1, let_go.0, let_go.1).map(Some);
        }
        Ok(None)
    }

    /// Whether a plugin holds as much of a direction as it may.
    fn is_full(&self, side: Side) -> bool {
        let mut inside = self.inside.borrow_mut();
        let mut seats = inside.seats.iter_mut();
        seats.any(|place| {
            let limit = place.running.buffer_limit();
            let lane = place.lane(side);
            lane.waits && lane.held.len() >= limit
        })
    }

    /// Whether a plugin holds something of a direction.
    fn is_held(&self, side: Side) -> bool {
        let mut inside = self.inside.borrow_mut();
        inside.seats.iter_mut().any(|place| place.lane(side).waits)
    }

    /// A plugin that must not fail did: both directions end, whichever of them it was.
    fn fail(&self, error: &Error) -> io::Error {
        self.inside.borrow_mut().is_over = true;
        self.waiting.wake();
        io::Error::other(runtime::report(error))
    }

    fn is_over(&self) -> bool {
        self.inside.borrow().is_over
    }

    /// The numbers of the plugins, in the order bytes of a direction pass them.
    fn order(&self, side: Side) -> impl Iterator<Item = usize> + use<> {
        let seats = self.inside.borrow().seats.len();
        (0..seats).map(move |at| match side {
            Side::Downstream => at,
            Side::Upstream => seats - 1 - at,
        })
    }

    /// Tells the plugins that the connection is over: at once, or when it is their turn.
    fn finish(self: &Rc<Self>, client: Peer, server: Peer) {
        let seats = self.inside.borrow().seats.len();
        let words = [
            Farewell::Downstream(client),
            Farewell::Upstream(server),
            Farewell::End,
        ];
        let all = (0..seats).flat_map(|seat| words.map(|word| (seat, word)));
        let mut later = SmallVec::<[_; 3]>::new();
        for (seat, word) in all {
            if later.is_empty() && self.busy(seat).is_none() {
                self.say(seat, word);
            } else {
                later.push((seat, word));
            }
        }
        if later.is_empty() {
            return;
        }
        let connection = Rc::clone(self);
        let ending = async move {
            for (seat, word) in later {
                connection.turn(seat).await;
                connection.say(seat, word);
            }
        };
        self.tunnel.worker.tasks.spawn("plugin farewell", ending);
    }

    /// Enters a guest for the end of its connection. A trap has been logged, and there is nothing
    /// left that it could spoil.
    fn say(self: &Rc<Self>, seat: usize, word: Farewell) {
        let closed = |close: Close, by| {
            let _ = self.call(seat, None, |stream, view| match close(stream, view, by) {
                Ok(()) => TcpOutcome::Continue,
                Err(trap) => TcpOutcome::Trapped(trap),
            });
        };
        match word {
            Farewell::Downstream(by) => closed(TcpStream::on_downstream_close, by),
            Farewell::Upstream(by) => closed(TcpStream::on_upstream_close, by),
            Farewell::End => self.part(seat),
        }
    }

    fn part(&self, seat: usize) {
        let mut inside = self.inside.borrow_mut();
        let Inside { seats, own, .. } = &mut *inside;
        let Some(place) = seats.get_mut(seat) else {
            return;
        };
        let Some(stream) = place.stream.take() else {
            return;
        };
        if std::mem::take(&mut place.is_listed) {
            place.running.unlist(stream.id());
        }
        let mut view = View {
            tunnel: &self.tunnel,
            data: None,
            own,
        };
        match stream.finish(&mut view) {
            Ok(()) => place.running.came_through(),
            Err(trap) => place.running.died(&trap),
        }
    }
}

impl Heard for Connection {
    fn deliver(self: Rc<Self>, seat: usize, call: CallId, event: CalloutEvent) {
        let outcome = self.call(seat, None, |stream, view| {
            match stream.on_callout(view, call, event) {
                Ok(()) => TcpOutcome::Continue,
                Err(trap) => TcpOutcome::Trapped(trap),
            }
        });
        if outcome.is_err() {
            self.inside.borrow_mut().is_over = true;
        }
        self.waiting.wake();
    }

    fn stir(&self) {
        self.waiting.wake();
    }
}

/// A connection, lent to a guest for one callback.
struct View<'a> {
    tunnel: &'a Tunnel,
    data: Option<(Side, &'a mut Chunk)>,
    own: &'a mut Own,
}

impl StreamHost for View<'_> {
    fn headers(&mut self, _: Map) -> Option<&mut dyn HeaderMap> {
        None
    }

    fn data(&mut self, side: Side) -> Option<&mut dyn Buffer> {
        match &mut self.data {
            Some((lent, chunk)) if *lent == side => Some(*chunk),
            _ => None,
        }
    }

    fn property(&self, path: &[&str]) -> Option<Value<'_>> {
        properties::of_connection(self.tunnel, path).or_else(|| self.own.get(path))
    }

    fn set_property(&mut self, path: &[&str], value: &[u8]) -> bool {
        self.own.set(path, value)
    }
}
