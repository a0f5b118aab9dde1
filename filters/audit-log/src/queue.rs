//! Lines that wait to be sent: never more than allowed, and never twice on the way.

use std::collections::VecDeque;

/// Bytes of lines that may wait, whatever their number.
const MOST_BYTES: usize = 4 << 20;
/// Bytes of one call.
const BATCH_BYTES: usize = 256 << 10;

/// Lines that wait, and the batch that is on its way.
#[derive(Debug, Default)]
pub struct Queue {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    sending: Option<Batch>,
    in_flight: bool,
    /// Lines dropped since the last one that was taken.
    dropped: u64,
}

/// Lines of one call.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Batch {
    /// The body: one line after the other.
    pub body: Vec<u8>,
    /// How many lines.
    pub lines: u64,
    /// How often it was sent.
    pub attempts: u32,
}

impl Queue {
    /// Adds a line, unless the queue is full; returns whether it was added. `told` is how many lost
    /// lines it tells of, which then are still to be told.
    pub fn push(&mut self, line: Vec<u8>, told: u64, most: usize) -> bool {
        if self.lines.len() >= most || self.bytes + line.len() > MOST_BYTES {
            self.dropped += told + 1;
            return false;
        }
        self.bytes += line.len();
        self.lines.push_back(line);
        true
    }

    /// Returns how many lines were dropped since this was last asked.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Returns the next batch to send: the one that failed, else new lines. `None` while one is on
    /// its way or nothing waits.
    pub fn next(&mut self, most: usize) -> Option<&Batch> {
        if self.in_flight {
            return None;
        }
        if self.sending.is_none() {
            self.sending = self.collect(most);
        }
        let batch = self.sending.as_mut()?;
        batch.attempts += 1;
        self.in_flight = true;
        Some(batch)
    }

    fn collect(&mut self, most: usize) -> Option<Batch> {
        let mut batch = Batch::default();
        while batch.lines < most as u64 {
            let fits =
                |line: &Vec<u8>| batch.lines == 0 || batch.body.len() + line.len() <= BATCH_BYTES;
            if !self.lines.front().is_some_and(fits) {
                break;
            }
            let line = self.lines.pop_front()?;
            self.bytes -= line.len();
            batch.body.extend_from_slice(&line);
            batch.body.push(b'\n');
            batch.lines += 1;
        }
        Some(batch).filter(|batch| batch.lines > 0)
    }

    /// The batch on its way did not arrive: it is sent again, or dropped after so many attempts.
    /// Returns how many lines were lost.
    pub fn failed(&mut self, attempts: u32) -> u64 {
        self.in_flight = false;
        let over = self
            .sending
            .as_ref()
            .is_some_and(|batch| batch.attempts >= attempts);
        if !over {
            return 0;
        }
        let lost = self.sending.take().map_or(0, |batch| batch.lines);
        self.dropped += lost;
        lost
    }

    /// The batch on its way arrived; returns its lines.
    pub fn arrived(&mut self) -> u64 {
        self.in_flight = false;
        self.sending.take().map_or(0, |batch| batch.lines)
    }

    /// Returns whether nothing waits and nothing is on its way.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.sending.is_none()
    }

    /// Returns how many lines wait, those on their way not counted.
    pub fn len(&self) -> usize {
        self.lines.len()
    }
}
