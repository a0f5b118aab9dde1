//! Log lines, in the shape people know from Istio's ztunnel, written by a thread of their own.
//!
//! Text: `<RFC 3339 time>\t<level>\t<target>[:span{fields}…]\t<message>\t<key>=<value> …`; text
//! values are quoted, numbers and addresses are not. JSON: an object with `level`, `time`,
//! `scope`, `message`, then the fields.
//!
//! Whoever logs hands a finished line to a bounded queue and goes on; when the queue is full the
//! line is dropped and counted, because a log nobody reads must not stop traffic. Access lines
//! ([`AccessLog`]) take the same queue but none of the machinery of events.

mod access;
mod filter;
mod format;
mod sink;

use std::io::Write;

use tracing::Subscriber;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::{Registry, fmt, reload};

pub use access::AccessLog;
pub use filter::{Error, Levels};
pub use format::{Format, Level};

use sink::Queue;

/// What is logged and how.
#[derive(Clone, Debug)]
pub struct Config {
    /// Shape of a line.
    pub format: Format,
    /// What is let through, as in `info,hbone=debug`: a level, and levels per target.
    pub filter: String,
}

/// The log of a process. Dropping it writes out what is queued.
#[derive(Debug)]
pub struct Log {
    levels: Levels,
    access: AccessLog,
    sink: sink::Thread,
}

impl Log {
    /// Sends all events of the process to standard output, from now on.
    ///
    /// # Errors
    /// When the filter makes no sense, or there is such a log already.
    pub fn install(config: &Config) -> Result<Self, Error> {
        let (log, subscriber) = Self::new(config, Box::new(std::io::stdout()))?;
        tracing::subscriber::set_global_default(subscriber).map_err(|_| Error::Installed)?;
        Ok(log)
    }

    /// Makes a log that writes to `output`, and the subscriber that feeds it.
    ///
    /// # Errors
    /// When the filter makes no sense, or there can be no thread.
    pub fn new(
        config: &Config,
        output: Box<dyn Write + Send>,
    ) -> Result<(Self, impl Subscriber + Send + Sync + use<>), Error> {
        let targets = filter::parse(&config.filter)?;
        let (queue, sink) = sink::start(output, config.format).map_err(Error::Thread)?;
        let (filter, handle) = reload::Layer::new(targets.clone());
        let levels = Levels::new(targets, handle);
        let access = AccessLog::new(queue.clone(), config.format, &levels);
        let lines = fmt::layer()
            .fmt_fields(config.format)
            .event_format(config.format)
            .with_writer(queue)
            .with_filter(filter);
        let subscriber = Registry::default().with(lines);
        let log = Self {
            levels,
            access,
            sink,
        };
        Ok((log, subscriber))
    }

    /// The switch for what is logged.
    pub fn levels(&self) -> &Levels {
        &self.levels
    }

    /// Where access lines go.
    pub fn access(&self) -> &AccessLog {
        &self.access
    }

    /// How many lines were dropped because output was too slow.
    pub fn dropped(&self) -> u64 {
        self.sink.dropped()
    }

    /// Waits until all lines logged so far are written.
    pub fn flush(&self) {
        self.sink.flush();
    }
}

/// A reload handle of our filter.
type Handle = reload::Handle<tracing_subscriber::filter::Targets, Registry>;

impl<'a> fmt::MakeWriter<'a> for Queue {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests;
