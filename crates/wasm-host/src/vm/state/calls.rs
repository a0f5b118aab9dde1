//! Callouts, from their beginning to the last that is told of them.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::embed::Headers;

/// Callouts on their way, and the one being delivered.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    in_flight: HashMap<u32, Call, FixedState>,
    /// Calls made so far; ids grow by 4 and carry the kind in their low bits.
    pub(super) made: u32,
    pub(crate) received: Received,
    /// Code and text of the last callout, for `proxy_get_status`.
    pub(crate) status: (u32, String),
}

/// A callout on its way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Call {
    pub(crate) kind: CallKind,
    /// The context it was made in.
    pub(crate) context: u32,
}

/// The kind of a callout; the value is the low bits of its id.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum CallKind {
    Http = 0,
    GrpcUnary = 1,
    GrpcStream = 2,
}

/// What a callout brought, readable during its callback.
#[derive(Debug, Default)]
pub(crate) struct Received {
    pub(crate) headers: Option<Headers>,
    pub(crate) trailers: Option<Headers>,
    pub(crate) body: Option<Vec<u8>>,
}

impl Calls {
    /// Chooses the id of the next call of this kind, passing over those in flight.
    pub(crate) fn next_id(&mut self, kind: CallKind) -> u32 {
        loop {
            self.made = self
                .made
                .checked_add(1)
                .filter(|n| *n <= u32::MAX >> 2)
                .unwrap_or(1);
            let id = self.made << 2 | kind as u32;
            if !self.in_flight.contains_key(&id) {
                return id;
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.in_flight.len()
    }

    pub(crate) fn get(&self, id: u32) -> Option<Call> {
        self.in_flight.get(&id).copied()
    }

    pub(crate) fn begin(&mut self, id: u32, call: Call) {
        self.in_flight.insert(id, call);
    }

    pub(crate) fn end(&mut self, id: u32) -> Option<Call> {
        self.in_flight.remove(&id)
    }

    /// Removes and returns all calls.
    pub(crate) fn drain(&mut self) -> Vec<u32> {
        self.in_flight.drain().map(|(id, _)| id).collect()
    }

    /// Gives the calls of a context to another one.
    pub(crate) fn adopt(&mut self, from: u32, to: u32) {
        let calls = self.in_flight.values_mut();
        for call in calls.filter(|call| call.context == from) {
            call.context = to;
        }
    }
}
