//! What host functions know about the VM that calls them.

mod calls;
mod expressions;
mod metrics;
mod properties;

use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;
use wasmtime::Memory;

pub(crate) use calls::{Call, CallKind, Calls, Received};
pub(crate) use expressions::Expressions;
pub(crate) use metrics::{Metric, Metrics};
pub(crate) use properties::{Declared, NotDeclared, Properties};

use crate::abi::StreamId;
use crate::embed::{LogRecord, LogSource, Notice, PluginHost};
use crate::limits::{Limits, Meter};
use crate::outcome::LocalResponse;
use crate::plugin::Configured;
use crate::trace::Trace;
use crate::trap::Reason;
use crate::vm::clock::Clock;
use crate::vm::exports::Export;
use crate::vm::lend::Lent;
use crate::{LogLevel, Map};

/// The context id of the plugin's root; streams follow.
pub(crate) const ROOT: u32 = 1;

/// The data of a store.
pub(crate) struct State {
    pub(crate) plugin: Arc<Configured>,
    pub(crate) host: Rc<dyn PluginHost>,
    pub(crate) lent: Lent,
    /// A stream the guest chose although it was not lent; borrowed for the rest of the call.
    pub(crate) borrowed: Option<(u32, Box<dyn crate::StreamHost>)>,
    pub(crate) frame: Frame,
    pub(crate) clock: Clock,
    pub(crate) meter: Meter,
    pub(crate) memory: Option<Memory>,
    pub(crate) allocator: Option<Export<u32, u32>>,
    pub(crate) trace: Option<Trace>,
    /// Whether the proxy wants to know how long callbacks take.
    pub(crate) timing: bool,
    /// Whether some host functions are not for this plugin.
    pub(crate) restricted: bool,
    /// Arguments of a foreign call the proxy makes, while it is made.
    pub(crate) call_data: Option<Vec<u8>>,
    /// Contexts of streams the guest knows. Ids are ours, so a fast hash without a seed will do.
    pub(crate) streams: HashMap<u32, Stream, FixedState>,
    pub(crate) root: Root,
    pub(crate) metrics: Metrics,
    pub(crate) calls: Calls,
    /// Bytes on their way into the guest; kept so that its memory is reused.
    pub(crate) scratch: Vec<u8>,
    /// What was written to standard output and error since the last line feed.
    unended: [Vec<u8>; 2],
    log_rate: Rate,
    notices: [u64; Notice::ALL.len()],
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("frame", &self.frame)
            .field("streams", &self.streams.len())
            .finish_non_exhaustive()
    }
}

/// One call into the guest.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) callback: &'static str,
    pub(crate) phase: Phase,
    /// The context the callback is for.
    pub(crate) context: u32,
    /// The stream the proxy lent, if it lent one. Callouts are delivered to the root, with the
    /// stream lent that waits for them.
    pub(crate) lent_for: Option<u32>,
    /// The context host functions act on: the same until the guest chooses another.
    pub(crate) effective: u32,
    /// Whether the guest is allocating memory for us right now.
    pub(crate) allocating: bool,
    pub(crate) host_calls: u32,
    log_lines: u32,
    pub(crate) header_bytes: usize,
    /// The last line the guest logged as a warning or worse.
    pub(crate) said: Option<String>,
}

/// Where a guest writes lines by the functions of WASI.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Output {
    Standard,
    Error,
}

impl Output {
    pub(crate) fn of(descriptor: u32) -> Option<Self> {
        match descriptor {
            1 => Some(Self::Standard),
            2 => Some(Self::Error),
            _ => None,
        }
    }
}

/// What kind of call it is, where host functions care.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Phase {
    /// Before there is a context: instantiation and start functions.
    Starting,
    /// `proxy_on_configure`.
    Configuring,
    /// Any other.
    Running,
    /// A stream has ended; nothing can be changed any more.
    Ended,
}

/// What kind of stream it is, and with that what can be asked for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Http,
    Tcp,
}

/// What the VM keeps per stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) kind: Kind,
    /// Whether the guest was told of it.
    pub(crate) known: bool,
    pub(crate) effects: Effects,
    pub(crate) properties: Properties,
    pub(crate) calls: usize,
}

impl Stream {
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            kind,
            known: false,
            effects: Effects::default(),
            properties: Properties::default(),
            calls: 0,
        }
    }
}

/// What a guest asked for and what is done after its callback has returned.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) local_response: Option<Box<LocalResponse>>,
    asked: u8,
}

/// Something to ask for; a bit of [`Effects`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum Ask {
    ResumeRequest = 1,
    ResumeResponse = 2,
    Reset = 4,
    ResumeDownstream = 8,
    ResumeUpstream = 16,
    CloseDownstream = 32,
    CloseUpstream = 64,
}

impl Ask {
    /// The kind of stream it can be asked for.
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::ResumeRequest | Self::ResumeResponse | Self::Reset => Kind::Http,
            _ => Kind::Tcp,
        }
    }
}

impl Effects {
    pub(crate) fn ask(&mut self, what: Ask) {
        self.asked |= what as u8;
    }

    /// Returns whether it was asked for, and forgets it.
    pub(crate) fn take(&mut self, what: Ask) -> bool {
        let asked = self.asked & what as u8 != 0;
        self.asked &= !(what as u8);
        asked
    }
}

/// The plugin's own context.
#[derive(Debug, Default)]
pub(crate) struct Root {
    pub(crate) tick_period: Option<Duration>,
    pub(crate) properties: Properties,
    pub(crate) declared: Declared,
    pub(crate) expressions: Expressions,
    pub(crate) done: Done,
}

/// How far the end of the root context has come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Done {
    #[default]
    NotAsked,
    /// The guest is being asked, or wants more time and will call `proxy_done`.
    Pending,
    Yes,
    Deleted,
}

/// A token bucket.
#[derive(Debug)]
struct Rate {
    tokens: u32,
    refilled: Instant,
}

impl Rate {
    fn take(&mut self, per_second: u32, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.refilled).as_millis();
        let fresh = elapsed.saturating_mul(u128::from(per_second)) / 1000;
        if fresh > 0 {
            let fresh = u32::try_from(fresh).unwrap_or(u32::MAX);
            self.tokens = self.tokens.saturating_add(fresh).min(per_second);
            self.refilled = now;
        }
        let taken = self.tokens.checked_sub(1);
        self.tokens = taken.unwrap_or(0);
        taken.is_some()
    }
}

impl State {
    pub(crate) fn new(plugin: Arc<Configured>, host: Rc<dyn PluginHost>, tick: Duration) -> Self {
        let limits = &plugin.config.limits;
        Self {
            lent: Lent::default(),
            borrowed: None,
            frame: Frame::new("instantiation", Phase::Starting, 0, limits),
            clock: Clock::new(tick),
            meter: Meter::new(limits),
            memory: None,
            allocator: None,
            trace: plugin.config.trace.clone(),
            timing: host.wants_timing(),
            restricted: plugin.config.allowed.is_some(),
            call_data: None,
            streams: HashMap::default(),
            root: Root::default(),
            metrics: Metrics::default(),
            calls: Calls::default(),
            scratch: Vec::new(),
            unended: [vec![], vec![]],
            log_rate: Rate {
                tokens: limits.log_lines_per_second,
                refilled: Instant::now(),
            },
            notices: [0; Notice::ALL.len()],
            host,
            plugin,
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.plugin.config.limits
    }

    /// Begins a call into the guest.
    pub(crate) fn enter(
        &mut self,
        callback: &'static str,
        phase: Phase,
        context: u32,
        lent_for: Option<u32>,
    ) {
        self.frame = Frame::new(callback, phase, context, &self.plugin.config.limits);
        self.frame.lent_for = lent_for;
        self.meter.refused = false;
    }

    /// Counts one more host call of this callback.
    pub(crate) fn count_host_call(&mut self) -> Result<(), Reason> {
        match self.frame.host_calls.checked_sub(1) {
            Some(left) => {
                self.frame.host_calls = left;
                Ok(())
            }
            None => Err(Reason::HostCalls {
                limit: self.limits().host_calls,
            }),
        }
    }

    /// Returns whether the plugin may not call this function, and tells of it.
    pub(crate) fn denies(&mut self, function: &str) -> bool {
        let denied = self.restricted && !self.plugin.config.allows(function);
        if denied {
            self.notice(Notice::CapabilityDenied, function);
        }
        denied
    }

    /// Returns the stream host functions act on, unless they act on the root.
    pub(crate) fn effective_stream(&mut self) -> Option<(StreamId, &mut Stream)> {
        let id = self.frame.effective;
        self.streams
            .get_mut(&id)
            .map(|stream| (StreamId(id), stream))
    }

    /// Returns the proxy's stream that host functions act on, if it is lent or can be borrowed.
    pub(crate) fn stream_host(&mut self) -> Option<&mut (dyn crate::StreamHost + '_)> {
        let id = self.frame.effective;
        if self.frame.lent_for == Some(id) {
            return self.lent.get();
        }
        if self.borrowed.as_ref().is_none_or(|(known, _)| *known != id) {
            // Given back first: the proxy may have only one of them to give.
            self.borrowed = None;
            let is_ours = self.streams.get(&id).is_some_and(|stream| stream.known);
            let lent = is_ours.then(|| self.host.lend(StreamId(id))).flatten();
            self.borrowed = lent.map(|stream| (id, stream));
        }
        let (_, stream) = self.borrowed.as_mut()?;
        Some(&mut **stream)
    }

    /// Logs a line of the guest, within the limits.
    pub(crate) fn log(&mut self, level: LogLevel, text: &[u8]) {
        let limit = self.limits().log_line;
        let message = printable(text, limit);
        // Go tells its whole stack after the panic; what matters comes first.
        let has_panicked = self.frame.said.as_deref().is_some_and(is_panic);
        if level >= LogLevel::Warn && !has_panicked {
            self.frame.said = Some(message.clone());
        }
        if level < self.host.log_level() {
            return;
        }
        let lines = self.frame.log_lines.checked_sub(1);
        self.frame.log_lines = lines.unwrap_or(0);
        if lines.is_none() || !self.take_log_token() {
            self.notice(Notice::LogDropped, "log lines over the limit");
            return;
        }
        self.emit(level, LogSource::Guest, &message);
    }

    /// Logs what a guest writes to an output, a line at a time: Go and Rust write a line in pieces.
    pub(crate) fn write(&mut self, output: Output, text: &[u8]) {
        let most = self.limits().log_line;
        for piece in text.split_inclusive(|byte| *byte == b'\n') {
            let line = self.unended_of(output);
            // What is cut off anyway is not kept.
            let room = most.saturating_add(1).saturating_sub(line.len());
            line.extend(piece.iter().take(room).filter(|byte| **byte != b'\n'));
            if piece.ends_with(b"\n") {
                self.end_line(output);
            }
        }
    }

    /// Logs what was written without a line feed, when the guest has returned.
    pub(crate) fn end_lines(&mut self) {
        for output in [Output::Standard, Output::Error] {
            self.end_line(output);
        }
    }

    fn end_line(&mut self, output: Output) {
        let line = std::mem::take(self.unended_of(output));
        if line.is_empty() {
            return;
        }
        // TinyGo panics on the standard output.
        let level = match output {
            Output::Standard if !line.starts_with(b"panic: ") => LogLevel::Info,
            Output::Standard | Output::Error => LogLevel::Error,
        };
        self.log(level, &line);
    }

    fn unended_of(&mut self, output: Output) -> &mut Vec<u8> {
        let [standard, error] = &mut self.unended;
        match output {
            Output::Standard => standard,
            Output::Error => error,
        }
    }

    fn take_log_token(&mut self) -> bool {
        let per_second = self.limits().log_lines_per_second;
        self.log_rate.take(per_second, Instant::now())
    }

    /// Tells the proxy that something was done otherwise than asked. The log hears of the first,
    /// the tenth, the hundredth time.
    pub(crate) fn notice(&mut self, notice: Notice, detail: &str) {
        self.host.notice(notice);
        let Some(count) = Notice::ALL
            .iter()
            .position(|n| *n == notice)
            .and_then(|i| self.notices.get_mut(i))
        else {
            return;
        };
        *count += 1;
        let count = *count;
        if !is_power_of_ten(count) {
            return;
        }
        let callback = self.frame.callback;
        let detail = printable(detail.as_bytes(), 256);
        let name = notice.name();
        self.emit(
            LogLevel::Warn,
            LogSource::Host,
            &format!("{name} in {callback} ({count} so far): {detail}"),
        );
    }

    /// Hands a line to the proxy, with what is known about the stream.
    pub(crate) fn emit(&mut self, level: LogLevel, source: LogSource, message: &str) {
        let (host, plugin) = (Rc::clone(&self.host), Arc::clone(&self.plugin));
        let stream = Some(self.frame.effective)
            .filter(|id| self.streams.contains_key(id))
            .map(StreamId);
        let headers = self
            .stream_host()
            .and_then(|s| s.headers(Map::RequestHeaders));
        let request_id = headers.and_then(|h| h.get("x-request-id").map(|id| printable(&id, 128)));
        host.log(&LogRecord {
            level,
            source,
            plugin: &plugin.config.name,
            stream,
            request_id: request_id.as_deref(),
            message,
        });
    }
}

impl Frame {
    fn new(callback: &'static str, phase: Phase, context: u32, limits: &Limits) -> Self {
        Self {
            callback,
            phase,
            context,
            lent_for: None,
            effective: context,
            allocating: false,
            host_calls: limits.host_calls,
            log_lines: limits.log_lines,
            header_bytes: limits.header_bytes,
            said: None,
        }
    }

    /// Gives another callback of the same entry what callbacks may use.
    pub(crate) fn renew(&mut self, limits: &Limits) {
        self.host_calls = limits.host_calls;
        self.log_lines = limits.log_lines;
        self.header_bytes = limits.header_bytes;
    }
}

fn is_power_of_ten(mut n: u64) -> bool {
    while n.is_multiple_of(10) && n > 0 {
        n /= 10;
    }
    n == 1
}

/// Whether a line is the first of what a runtime tells about its end.
fn is_panic(line: &str) -> bool {
    line.starts_with("panic: ") || line.starts_with("panicked at ")
}

/// Turns bytes of a guest into text for one line of a log: valid, bounded, without control
/// characters, so that no line can pass for another.
pub(crate) fn printable(bytes: &[u8], limit: usize) -> String {
    let cut = bytes.get(..limit).unwrap_or(bytes);
    let text = String::from_utf8_lossy(cut);
    let mut clean = if text.contains(char::is_control) {
        let mut clean = String::with_capacity(text.len());
        for c in text.trim_end_matches('\n').chars() {
            match c {
                '\t' => clean.push(' '),
                c if c.is_control() => clean.extend(c.escape_default()),
                c => clean.push(c),
            }
        }
        clean
    } else {
        text.into_owned()
    };
    // What stands for a byte may be longer than it.
    clean.truncate(clean.floor_char_boundary(limit));
    clean
}

#[cfg(test)]
mod tests;
