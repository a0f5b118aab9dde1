//! The body of one message, as it arrives.

use kit::Stream;
use kit::json::{Keys, parse};

use crate::{LARGEST, Policy, Refusal, Transform};

/// How far the work on a body has come.
#[derive(Debug, Default)]
pub struct Work {
    /// Bytes of the buffer that are final, while streaming.
    done: usize,
    /// Bytes the proxy was asked to hold.
    held: usize,
    /// Nothing more is to be done.
    over: bool,
}

/// What is to be done now.
#[derive(Debug, Eq, PartialEq)]
pub enum Step {
    /// Go on.
    Continue,
    /// Wait for more.
    Wait,
    /// Put these bytes in the place of those that are there, and go on or wait.
    Replace {
        /// The bytes.
        bytes: Vec<u8>,
        /// Whether to wait for more.
        wait: bool,
    },
    /// Answer with this instead.
    Refuse(Refusal),
}

impl Transform {
    /// Works on a body of which `size` bytes are there, which `read` returns. `last` says that no
    /// more follow.
    pub fn step(
        &self,
        work: &mut Work,
        (size, last): (usize, bool),
        stream: &dyn Stream,
        read: impl FnOnce() -> Vec<u8>,
    ) -> Step {
        if work.over {
            return Step::Continue;
        }
        let too_large = size > self.max_bytes;
        if self.streamed && !too_large {
            return self.stream(work, last, &read());
        }
        if too_large {
            work.over = true;
            return match self.too_large {
                Policy::Pass => Step::Continue,
                Policy::Reject => Step::Refuse(self.refusal(413, "the body is too large")),
            };
        }
        if !last {
            work.held = size;
            return Step::Wait;
        }
        work.over = true;
        if size == 0 {
            return Step::Continue;
        }
        let bytes = read();
        if bytes.len() != size {
            // The proxy counted bytes it does not show; going on would let them through.
            return Step::Refuse(self.refusal(500, "the body cannot be read"));
        }
        self.whole(bytes, stream)
    }

    /// The body ended with trailers; `bytes` is what is held of it.
    pub fn trailers(&self, work: &mut Work, stream: &dyn Stream, bytes: Vec<u8>) -> Step {
        let size = bytes.len();
        if size < work.held && !work.over {
            work.over = true;
            // What is held goes on as it is once this returns.
            return Step::Refuse(self.refusal(500, "the body cannot be read"));
        }
        self.step(work, (size, true), stream, || bytes)
    }

    /// Works on a whole body.
    fn whole(&self, bytes: Vec<u8>, stream: &dyn Stream) -> Step {
        let (mut bytes, mut changed) = (bytes, false);
        if !self.json.is_empty() {
            let Ok(mut json) = parse(&bytes, Keys::Any) else {
                return match self.unreadable {
                    Policy::Pass => Step::Continue,
                    Policy::Reject => Step::Refuse(self.refusal(400, "the body is not JSON")),
                };
            };
            for operation in &self.json {
                changed |= operation.apply(&mut json, stream);
            }
            if changed {
                bytes.clear();
                json.write(&mut bytes);
            }
        }
        if !self.text.is_empty() {
            let replaced = self.text.apply(&bytes, 0, true);
            if replaced.changed {
                (bytes, changed) = (replaced.bytes, true);
            }
        }
        if changed {
            self.replace(bytes, false)
        } else {
            Step::Continue
        }
    }

    /// Works on what is there of a body that passes. The buffer holds what was kept back and what
    /// is new; nothing is ever kept in the guest, so that trailers can end the body at any time.
    fn stream(&self, work: &mut Work, last: bool, bytes: &[u8]) -> Step {
        let replaced = self.text.apply(bytes, work.done, last);
        let wait = replaced.done < replaced.bytes.len();
        work.done = if wait { replaced.done } else { 0 };
        match (replaced.changed, wait) {
            (true, wait) => self.replace(replaced.bytes, wait),
            (false, true) => Step::Wait,
            (false, false) => Step::Continue,
        }
    }

    fn replace(&self, bytes: Vec<u8>, wait: bool) -> Step {
        if bytes.len() > LARGEST as usize {
            return Step::Refuse(self.refusal(413, "the changed body is too large"));
        }
        Step::Replace { bytes, wait }
    }
}
