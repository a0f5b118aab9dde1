//! What a callback leads to, as values the proxy acts on.

use std::sync::Arc;

use crate::abi::{Direction, Pause, Side};
use crate::embed::Headers;
use crate::trap::Trap;

/// What the proxy does after a callback of a stream.
#[derive(Debug)]
#[must_use = "the guest's decision takes effect only if the proxy acts on it"]
pub enum Outcome {
    /// Go on, with whatever the guest changed.
    Continue,
    /// Wait until the guest resumes the stream; see [`HttpStream::pending`](crate::HttpStream::pending).
    Pause(Pause),
    /// Answer the request with this instead. Once response headers have been sent, all that is
    /// left is to reset the stream.
    LocalResponse(Box<LocalResponse>),
    /// Reset the stream.
    Reset,
    /// The VM is dead, and with it every stream on it; what follows is the proxy's policy.
    Trapped(Arc<Trap>),
}

/// A response a guest made up.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct LocalResponse {
    /// The status, from 200 to 599.
    pub status: u16,
    /// Headers in the order given, checked; no pseudo-headers and none about framing. With a body
    /// there is a `content-type`.
    pub headers: Headers,
    /// The body, possibly empty.
    pub body: Vec<u8>,
    /// A gRPC status from 0 to 16, for requests that are gRPC.
    pub grpc_status: Option<u32>,
    /// A word for the access log (`response_code_details`), without spaces; possibly empty.
    pub details: String,
}

/// Something a guest did to a stream from outside its callbacks.
#[derive(Debug)]
#[must_use = "the guest's decision takes effect only if the proxy acts on it"]
pub enum Pending {
    /// Go on with a paused request or response; nothing happens if it is not paused.
    Resume(Direction),
    /// As [`Outcome::LocalResponse`].
    LocalResponse(Box<LocalResponse>),
    /// As [`Outcome::Reset`].
    Reset,
}

/// What the proxy does after a callback of a TCP stream.
#[derive(Debug)]
#[must_use = "the guest's decision takes effect only if the proxy acts on it"]
pub enum TcpOutcome {
    /// Go on; pass on what the guest left in the buffer.
    Continue,
    /// Pass nothing on. After a data callback keep what there is, and show it together with what
    /// comes next; after a new connection, begin nothing until resumed.
    Wait,
    /// Close this connection once everything passed on has been written.
    Close(Side),
    /// The VM is dead, and with it every stream on it; what follows is the proxy's policy.
    Trapped(Arc<Trap>),
}

/// Something a guest did to a TCP stream besides what its callback returned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use = "the guest's decision takes effect only if the proxy acts on it"]
pub enum TcpPending {
    /// Pass on what waits from this side; nothing happens if nothing waits.
    Resume(Side),
    /// As [`TcpOutcome::Close`].
    Close(Side),
}
