//! The queue of lines and the thread that writes them.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::format::{Format, Level, Line};

/// Lines that wait to be written; the next one is dropped. At 600 bytes each this is 5 MB.
const CAPACITY: usize = 8192;

/// Bytes written in one go.
const BATCH: usize = 64 << 10;

/// How long the writer looks away while lines come in quick succession, so that they wake it once
/// and not one by one.
const GATHER: Duration = Duration::from_millis(5);

/// How long the end of the process waits for a reader of the log.
const FAREWELL: Duration = Duration::from_secs(2);

enum Message {
    Line(Vec<u8>),
    /// Answered when everything before it is written.
    Flush(SyncSender<()>),
}

/// The way into the log. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    lines: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

impl Queue {
    /// Hands a line over, its newline included. Never waits.
    pub(super) fn push(&self, line: Vec<u8>) {
        // A log whose thread is gone is that of a process at its end.
        if let Err(TrySendError::Full(_)) = self.lines.try_send(Message::Line(line)) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// For the layer of events, which writes one whole line at a time.
impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The thread at the other end of a [`Queue`]. Dropping it writes out what is queued.
#[derive(Debug)]
pub(super) struct Thread {
    queue: Queue,
    /// Ends with the last queue, which may outlive us in a subscriber; so it is never joined.
    _thread: JoinHandle<()>,
}

/// Starts a thread that writes to `output`.
pub(super) fn start(output: Box<dyn Write + Send>, format: Format) -> io::Result<(Queue, Thread)> {
    let (lines, inbox) = sync_channel(CAPACITY);
    let dropped = Arc::default();
    let queue = Queue { lines, dropped };
    let writer = Writer {
        output,
        format,
        batch: Vec::with_capacity(BATCH),
        dropped: Arc::clone(&queue.dropped),
        reported: 0,
    };
    let thread = std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || writer.run(&inbox))?;
    let thread = Thread {
        queue: queue.clone(),
        _thread: thread,
    };
    Ok((queue, thread))
}

impl Thread {
    pub(super) fn dropped(&self) -> u64 {
        self.queue.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn flush(&self) {
        let (done, written) = sync_channel(1);
        // Unlike a line, this may wait for a place in the queue.
        if self.queue.lines.send(Message::Flush(done)).is_ok() {
            let _ = written.recv();
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        let (done, written) = sync_channel(1);
        if self.queue.lines.try_send(Message::Flush(done)).is_ok() {
            // Whoever does not read the log for this long loses its end.
            let _ = written.recv_timeout(FAREWELL);
        }
    }
}

struct Writer {
    output: Box<dyn Write + Send>,
    format: Format,
    batch: Vec<u8>,
    dropped: Arc<AtomicU64>,
    /// Dropped lines that the log has told of.
    reported: u64,
}

impl Writer {
    fn run(mut self, inbox: &Receiver<Message>) {
        while let Ok(message) = inbox.recv() {
            self.take(message);
            let mut gathered = 0;
            while let Ok(message) = inbox.try_recv() {
                self.take(message);
                gathered += 1;
            }
            self.report_dropped();
            self.write();
            if gathered > 0 {
                std::thread::park_timeout(GATHER);
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Line(line) => {
                if self.batch.len() + line.len() > BATCH {
                    self.write();
                }
                self.batch.extend(line);
            }
            Message::Flush(done) => {
                self.report_dropped();
                self.write();
                // Who asked may have stopped waiting.
                let _ = done.try_send(());
            }
        }
    }

    /// Writes the batch. There is nowhere to report that output fails.
    fn write(&mut self) {
        if !self.batch.is_empty() {
            let _ = self.output.write_all(&self.batch);
            let _ = self.output.flush();
            self.batch.clear();
        }
    }

    /// Puts a gap in the log on record, where it is.
    fn report_dropped(&mut self) {
        let dropped = self.dropped.load(Ordering::Relaxed);
        if dropped > self.reported {
            let mut line = Line::new(self.format, Level::Warn, "log", "lines dropped");
            line.number("count", dropped - self.reported);
            self.reported = dropped;
            self.batch.extend(line.finish());
        }
    }
}
