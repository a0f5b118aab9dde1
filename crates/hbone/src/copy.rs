//! Joins two byte streams until both have ended: the inner loop of the L4 proxy.
//!
//! Hot path. One task moves both directions, so no stream is split and nothing is locked. Bytes
//! read from a socket become DATA frames, and DATA frames are written to a socket, without being
//! copied in user space. An idle pair holds no buffers.
//!
//! A half-close passes through in its direction only. When a direction fails, whichever side has
//! not been told a clean end is torn down ([`Side::abort`]), so that no peer takes a truncated
//! stream for a whole one; dropping the future does the same.

mod buffer;
mod side;

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

pub use buffer::Buffer;
pub use side::{Io, Side};

/// Chunks one direction moves before other tasks of the worker get their turn.
const CHUNKS_PER_TURN: u32 = 32;

/// Told of bytes as they are delivered, for live metrics.
///
/// Calls are frequent and on the data path: a `Cell` or an atomic, nothing more.
pub trait Counters {
    /// `bytes` more went from the first to the second side.
    fn a_to_b(&self, bytes: u64);
    /// `bytes` more went from the second to the first side.
    fn b_to_a(&self, bytes: u64);
}

impl Counters for () {
    fn a_to_b(&self, _: u64) {}
    fn b_to_a(&self, _: u64) {}
}

impl<C: Counters> Counters for &C {
    fn a_to_b(&self, bytes: u64) {
        C::a_to_b(self, bytes);
    }

    fn b_to_a(&self, bytes: u64) {
        C::b_to_a(self, bytes);
    }
}

/// What was moved, and why it ended if not in good order.
#[derive(Debug)]
pub struct Copied {
    /// Bytes delivered from the first to the second side.
    pub a_to_b: u64,
    /// Bytes delivered from the second to the first side.
    pub b_to_a: u64,
    /// What cut the copy short.
    pub failure: Option<Failure>,
}

/// The operation that cut a copy short.
#[derive(Debug)]
pub struct Failure {
    /// The side it happened on.
    pub side: Which,
    /// What it was about.
    pub operation: Operation,
    /// What the side said.
    pub error: io::Error,
}

/// One of the two sides of a copy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Which {
    /// The first argument.
    A,
    /// The second argument.
    B,
}

/// What a failing side was asked to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Operation {
    /// Give bytes.
    Read,
    /// Take bytes, or the end of them.
    Write,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

/// Moves bytes between `a` and `b` until both directions have ended or one has failed.
///
/// Bytes are counted when the receiving side has taken them.
pub fn bidirectional<A, B, C>(a: A, b: B, counters: C) -> Bidirectional<A, B, C>
where
    A: Side + Unpin,
    B: Side + Unpin,
    C: Counters + Unpin,
{
    Bidirectional {
        a,
        b,
        counters,
        a_to_b: Direction::default(),
        b_to_a: Direction::default(),
    }
}

/// The future of [`bidirectional`].
#[must_use = "nothing moves unless it is polled"]
#[derive(Debug)]
pub struct Bidirectional<A: Side, B: Side, C> {
    a: A,
    b: B,
    counters: C,
    a_to_b: Direction,
    b_to_a: Direction,
}

impl<A, B, C> Future for Bidirectional<A, B, C>
where
    A: Side + Unpin,
    B: Side + Unpin,
    C: Counters + Unpin,
{
    type Output = Copied;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Copied> {
        let this = &mut *self;
        let counters = &this.counters;
        let there = this
            .a_to_b
            .poll(cx, &mut this.a, &mut this.b, &|n| counters.a_to_b(n));
        let back = this
            .b_to_a
            .poll(cx, &mut this.b, &mut this.a, &|n| counters.b_to_a(n));
        let torn = this.a_to_b.is_torn() || this.b_to_a.is_torn();
        if !torn && (there.is_pending() || back.is_pending()) {
            return Poll::Pending;
        }
        let there = this.a_to_b.failure.take().map(|f| f.on(Which::A, Which::B));
        let back = this.b_to_a.failure.take().map(|f| f.on(Which::B, Which::A));
        // A torn side explains the failed write to it, not the other way round.
        let failure = match (there, back) {
            (Some(there), Some(back)) if back.operation == Operation::Read => {
                drop(there);
                Some(back)
            }
            (there, back) => there.or(back),
        };
        Poll::Ready(Copied {
            a_to_b: this.a_to_b.moved,
            b_to_a: this.b_to_a.moved,
            failure,
        })
    }
}

impl<A: Side, B: Side, C> Drop for Bidirectional<A, B, C> {
    fn drop(&mut self) {
        if self.a_to_b.state != State::Finished {
            self.b.abort();
        }
        if self.b_to_a.state != State::Finished {
            self.a.abort();
        }
    }
}

/// A failure before it is known which side is which.
#[derive(Debug)]
struct Broken {
    operation: Operation,
    error: io::Error,
}

impl Broken {
    fn read(error: io::Error) -> Self {
        let operation = Operation::Read;
        Self { operation, error }
    }

    fn write(error: io::Error) -> Self {
        let operation = Operation::Write;
        Self { operation, error }
    }

    fn on(self, from: Which, to: Which) -> Failure {
        let side = match self.operation {
            Operation::Read => from,
            Operation::Write => to,
        };
        Failure {
            side,
            operation: self.operation,
            error: self.error,
        }
    }
}

/// One direction of a copy.
#[derive(Debug, Default)]
struct Direction {
    state: State,
    buffer: Buffer,
    /// Read and not yet taken by the receiving side.
    chunk: Bytes,
    moved: u64,
    /// Something was written since the last flush.
    unflushed: bool,
    failure: Option<Broken>,
}

#[derive(Debug, Default, Eq, PartialEq)]
enum State {
    #[default]
    Moving,
    /// The source has ended; its end is being passed on.
    Ending,
    /// The receiving side knows of the end.
    Finished,
    /// Nothing moves any more in this direction.
    Broken,
}

impl Direction {
    /// Ready when this direction is over, in whatever way.
    fn poll<F: Side, T: Side>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut F,
        to: &mut T,
        count: &impl Fn(u64),
    ) -> Poll<()> {
        if let Err(failure) = ready!(self.poll_through(cx, from, to, count)) {
            self.state = State::Broken;
            self.failure = Some(failure);
        }
        Poll::Ready(())
    }

    /// Returns whether the source is lost, and with it the other direction.
    ///
    /// A lost receiver is different: it may have said all it had to say before it stopped
    /// listening, so what it sent still has to be delivered, up to the end or the reset behind it.
    fn is_torn(&self) -> bool {
        matches!(&self.failure, Some(failure) if failure.operation == Operation::Read)
    }

    fn poll_through<F: Side, T: Side>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut F,
        to: &mut T,
        count: &impl Fn(u64),
    ) -> Poll<Result<(), Broken>> {
        if self.state == State::Moving {
            ready!(self.poll_move(cx, from, to, count))?;
            self.state = State::Ending;
        }
        if self.state == State::Ending {
            ready!(to.poll_finish(cx)).map_err(Broken::write)?;
            self.state = State::Finished;
        }
        Poll::Ready(Ok(()))
    }

    /// Ready at the end of the source.
    fn poll_move<F: Side, T: Side>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut F,
        to: &mut T,
        count: &impl Fn(u64),
    ) -> Poll<Result<(), Broken>> {
        for _ in 0..CHUNKS_PER_TURN {
            while !self.chunk.is_empty() {
                let sent = ready!(to.poll_send(cx, &mut self.chunk)).map_err(Broken::write)?;
                self.record(sent);
                count(sent as u64);
            }
            match from.poll_chunk(cx, &mut self.buffer) {
                Poll::Ready(Ok(Some(chunk))) => self.chunk = chunk,
                Poll::Ready(Ok(None)) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::read(error))),
                Poll::Pending => return self.poll_starved(cx, to),
            }
        }
        // More to do, but not now.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// While the source has nothing: push out what was written, and notice a receiver that is gone.
    fn poll_starved<T: Side>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut T,
    ) -> Poll<Result<(), Broken>> {
        if self.unflushed {
            ready!(to.poll_flush(cx)).map_err(Broken::write)?;
            self.unflushed = false;
        }
        to.poll_gone(cx).map(|error| Err(Broken::write(error)))
    }

    fn record(&mut self, sent: usize) {
        self.moved += sent as u64;
        self.unflushed = true;
        self.buffer.record(sent);
    }
}

#[cfg(test)]
mod tests;
