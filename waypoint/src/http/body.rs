//! Bodies on their way through.
//!
//! A request's body is read once and may be sent several times: while an attempt may be repeated,
//! what was read is kept, up to [`REPLAY_LIMIT`]. A response's body gives its connection back
//! when it ends.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

use super::error::BoxError;
use super::upstream::Lease;
use crate::endpoint::InFlight;
use crate::plugins::Filtered;

#[cfg(test)]
mod tests;

/// Bytes of a request's body that are kept for another attempt.
pub(crate) const REPLAY_LIMIT: usize = 64 << 10;

/// Why a body did not end well.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Cut {
    /// The time for the whole response ran out.
    #[error("the response took too long")]
    Timeout,
    /// The endpoint closed its connection inside the response.
    #[error("the endpoint closed the connection inside the response")]
    Upstream,
    /// The client closed its connection inside the request.
    #[error("the client closed the connection inside the request")]
    Downstream,
    /// Another attempt has begun; this one must not read the body any more.
    #[error("another attempt has begun")]
    Superseded,
    /// A plugin ended the exchange.
    #[error("a plugin ended the exchange")]
    Plugin,
}

/// Where a request's body comes from.
#[derive(Debug)]
pub(crate) enum Inbound {
    /// The client.
    Client(Incoming),
    /// The client, through a plugin.
    Filtered(Box<Filtered<Self>>),
    /// Made here.
    Made(Option<Bytes>),
    /// Made here, piece by piece.
    Queue(mpsc::Receiver<Bytes>),
}

impl Inbound {
    /// Holds what is handed on against what the head says of its length. The client's own bytes
    /// are held against it by the codec.
    pub(crate) fn promise(&mut self, length: Option<u64>) {
        if let Self::Filtered(filtered) = self {
            filtered.promise(length);
        }
    }
}

impl hyper::body::Body for Inbound {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self.get_mut() {
            Self::Client(body) => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(|_| Cut::Downstream)))
            }
            Self::Filtered(body) => Pin::new(&mut **body).poll_frame(cx),
            Self::Made(bytes) => Poll::Ready(bytes.take().map(Frame::data).map(Ok)),
            Self::Queue(queue) => queue
                .poll_recv(cx)
                .map(|bytes| bytes.map(Frame::data).map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Client(body) => body.is_end_stream(),
            Self::Filtered(body) => body.is_end_stream(),
            Self::Made(bytes) => bytes.is_none(),
            Self::Queue(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Client(body) => body.size_hint(),
            Self::Filtered(body) => body.size_hint(),
            Self::Made(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Queue(_) => SizeHint::default(),
        }
    }
}

/// A request's body, as the retry loop holds it.
#[derive(Debug)]
pub(crate) struct RequestBody<B = Inbound>(Rc<RefCell<Source<B>>>);

impl<B> Clone for RequestBody<B> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

#[derive(Debug)]
struct Source<B> {
    body: B,
    /// What was read so far, while it can all be sent again.
    kept: Option<Kept>,
    size: SizeHint,
    /// The attempt that may read; each new one takes over.
    attempt: u32,
    received: u64,
    ended: bool,
    failed: bool,
}

#[derive(Debug, Default)]
struct Kept {
    chunks: Vec<Bytes>,
    bytes: usize,
    trailers: Option<HeaderMap>,
}

impl<B> RequestBody<B>
where
    B: hyper::body::Body<Data = Bytes, Error: Into<BoxError>> + Unpin + 'static,
{
    /// A body; `keep` if it may have to be sent again.
    pub(crate) fn new(body: B, keep: bool) -> Self {
        let (ended, size) = (body.is_end_stream(), body.size_hint());
        let kept = (keep || ended).then(Kept::default);
        let source = Source {
            body,
            kept,
            size,
            attempt: 0,
            received: 0,
            ended,
            failed: false,
        };
        Self(Rc::new(RefCell::new(source)))
    }

    /// The body for one more attempt; earlier attempts can read no further.
    pub(crate) fn attempt(&self) -> AttemptBody<B> {
        let mut source = self.0.borrow_mut();
        source.attempt += 1;
        AttemptBody {
            source: Rc::clone(&self.0),
            attempt: source.attempt,
            next: 0,
            done: false,
        }
    }

    /// Whether another attempt would send the same body.
    pub(crate) fn can_replay(&self) -> bool {
        let source = self.0.borrow();
        source.kept.is_some() && !source.failed
    }

    /// Whether all of it has been read.
    pub(crate) fn ended(&self) -> bool {
        self.0.borrow().ended
    }

    /// Whether reading it failed: the client is gone.
    pub(crate) fn failed(&self) -> bool {
        self.0.borrow().failed
    }

    /// Bytes read so far.
    pub(crate) fn received(&self) -> u64 {
        self.0.borrow().received
    }
}

/// The body of one attempt.
#[derive(Debug)]
pub(crate) struct AttemptBody<B = Inbound> {
    source: Rc<RefCell<Source<B>>>,
    attempt: u32,
    /// Next of the kept chunks.
    next: usize,
    done: bool,
}

impl<B> hyper::body::Body for AttemptBody<B>
where
    B: hyper::body::Body<Data = Bytes, Error: Into<BoxError>> + Unpin + 'static,
{
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = self.get_mut();
        let mut source = this.source.borrow_mut();
        if source.attempt != this.attempt {
            return Poll::Ready(Some(Err(Cut::Superseded)));
        }
        if this.done {
            return Poll::Ready(None);
        }
        if let Some(kept) = &source.kept
            && let Some(chunk) = kept.chunks.get(this.next)
        {
            this.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(chunk.clone()))));
        }
        if source.ended {
            this.done = true;
            let trailers = source.kept.as_ref().and_then(|kept| kept.trailers.clone());
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        match ready!(Pin::new(&mut source.body).poll_frame(cx)) {
            None => {
                source.ended = true;
                this.done = true;
                Poll::Ready(None)
            }
            Some(Err(_)) => {
                source.failed = true;
                this.done = true;
                Poll::Ready(Some(Err(Cut::Downstream)))
            }
            Some(Ok(frame)) => {
                source.keep(&frame);
                this.next = source.kept.as_ref().map_or(0, |kept| kept.chunks.len());
                this.done = frame.is_trailers();
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let source = self.source.borrow();
        let kept = source.kept.as_ref();
        let left =
            kept.is_some_and(|kept| self.next < kept.chunks.len() || kept.trailers.is_some());
        self.done || (source.ended && !left)
    }

    fn size_hint(&self) -> SizeHint {
        if self.next == 0 {
            self.source.borrow().size
        } else {
            SizeHint::default()
        }
    }
}

impl<B: hyper::body::Body> Source<B> {
    /// Counts a frame, and keeps it while that is wanted and possible.
    fn keep(&mut self, frame: &Frame<Bytes>) {
        if let Some(data) = frame.data_ref() {
            self.received += data.len() as u64;
            if let Some(kept) = &mut self.kept {
                kept.bytes += data.len();
                kept.chunks.push(data.clone());
                if kept.bytes > REPLAY_LIMIT {
                    self.kept = None;
                }
            }
        } else if let Some(trailers) = frame.trailers_ref()
            && let Some(kept) = &mut self.kept
        {
            kept.trailers = Some(trailers.clone());
        }
        self.ended = frame.is_trailers() || self.body.is_end_stream();
    }
}

/// The body of a response.
#[derive(Debug)]
pub(crate) enum Body {
    /// Made here.
    Full(Option<Bytes>),
    /// An endpoint's.
    Upstream(Box<UpstreamBody>),
    /// One of these, through a plugin.
    Filtered(Box<Filtered<Self>>),
}

impl Body {
    /// Nothing.
    pub(crate) fn empty() -> Self {
        Self::Full(None)
    }

    /// These bytes.
    pub(crate) fn full(bytes: Bytes) -> Self {
        Self::Full(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }
}

/// An endpoint's response body.
#[derive(Debug)]
pub(crate) struct UpstreamBody {
    body: Incoming,
    /// Goes back to the pool at the end of the body.
    lease: Option<Lease>,
    request: RequestBody,
    /// The request counts until its answer is complete.
    _in_flight: InFlight,
    deadline: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl UpstreamBody {
    pub(crate) fn new(
        body: Incoming,
        lease: Lease,
        request: RequestBody,
        in_flight: InFlight,
        deadline: Option<Instant>,
    ) -> Self {
        let lease = Some(lease);
        Self {
            body,
            lease,
            request,
            _in_flight: in_flight,
            deadline,
            timer: None,
        }
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline else {
            return Poll::Pending;
        };
        // Made only when the endpoint lets us wait: most bodies are there at once.
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        timer.as_mut().poll(cx)
    }

    fn release(&mut self) {
        // A connection that is still being sent to cannot take another request: it is closed.
        if let Some(lease) = self.lease.take()
            && self.request.ended()
        {
            lease.give_back();
        }
    }
}

impl Drop for UpstreamBody {
    fn drop(&mut self) {
        // A body that was empty from the start is never polled.
        if self.body.is_end_stream() {
            self.release();
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let upstream = match self.get_mut() {
            Self::Full(bytes) => return Poll::Ready(bytes.take().map(Frame::data).map(Ok)),
            Self::Upstream(upstream) => upstream,
            Self::Filtered(body) => return Pin::new(&mut **body).poll_frame(cx),
        };
        match Pin::new(&mut upstream.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if upstream.body.is_end_stream() {
                    upstream.release();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(_))) => {
                upstream.lease = None;
                Poll::Ready(Some(Err(Cut::Upstream)))
            }
            Poll::Ready(None) => {
                upstream.release();
                Poll::Ready(None)
            }
            Poll::Pending => {
                ready!(upstream.poll_deadline(cx));
                upstream.lease = None;
                Poll::Ready(Some(Err(Cut::Timeout)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_none(),
            Self::Upstream(upstream) => upstream.body.is_end_stream(),
            Self::Filtered(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Upstream(upstream) => upstream.body.size_hint(),
            Self::Filtered(body) => body.size_hint(),
        }
    }
}
