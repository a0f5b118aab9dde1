//! Spans of work the proxy did for a request that is traced.
//!
//! A request is traced when its client says so: by a `traceparent` whose sampled flag is set (W3C
//! Trace Context). Spans are kept in a ring of bounded size, from where an exporter takes them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

/// Spans that are kept; the oldest go first.
const KEPT: usize = 1024;

/// The trace a request belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Trace {
    /// The trace.
    pub id: u128,
    /// The span that caused the request.
    pub parent: u64,
}

impl Trace {
    /// Reads a `traceparent`; `None` if it is malformed or asks for no spans.
    pub fn sampled(traceparent: &str) -> Option<Self> {
        let mut parts = traceparent.split('-');
        let version = parts.next()?;
        let (id, parent, flags) = (parts.next()?, parts.next()?, parts.next()?);
        let is_whole = version.len() == 2 && id.len() == 32 && parent.len() == 16;
        let flags = u8::from_str_radix(flags.get(..2)?, 16).ok()?;
        if !is_whole || flags & 1 == 0 {
            return None;
        }
        Some(Self {
            id: u128::from_str_radix(id, 16).ok()?,
            parent: u64::from_str_radix(parent, 16).ok()?,
        })
    }
}

/// A piece of work.
#[derive(Clone, Debug)]
pub struct Span {
    /// The trace it belongs to, and its parent in it.
    pub trace: Trace,
    /// Its own id.
    pub id: u64,
    /// What was done.
    pub name: String,
    /// When it began.
    pub start: SystemTime,
    /// How long it took.
    pub duration: Duration,
    /// More about it.
    pub attributes: Vec<(&'static str, String)>,
}

/// Where spans are kept. Clones are the same place.
#[derive(Clone, Debug, Default)]
pub struct Spans(Arc<Mutex<VecDeque<Span>>>);

impl Spans {
    /// Keeps a span.
    pub fn record(&self, span: Span) {
        let mut kept = self.0.lock();
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(span);
    }

    /// Takes all spans, the oldest first.
    pub fn take(&self) -> Vec<Span> {
        std::mem::take(&mut *self.0.lock()).into()
    }

    /// Returns all spans, and keeps them.
    pub fn all(&self) -> Vec<Span> {
        self.0.lock().iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{KEPT, Span, Spans, Trace};
    use std::time::{Duration, UNIX_EPOCH};

    const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn span(name: &str) -> Span {
        Span {
            trace: Trace::sampled(SAMPLED).unwrap(),
            id: 7,
            name: name.to_owned(),
            start: UNIX_EPOCH + Duration::from_nanos(5),
            duration: Duration::from_nanos(3),
            attributes: vec![("plugin", "a.b".to_owned())],
        }
    }

    #[test]
    fn a_request_is_traced_only_if_its_client_says_so() {
        assert!(Trace::sampled(SAMPLED).is_some());
        for not in [
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
            "00-0af7-b7ad6b7169203331-01",
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-zzf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(Trace::sampled(not), None, "{not}");
        }
    }

    #[test]
    fn spans_are_shown_and_taken() {
        let spans = Spans::default();
        spans.record(span("wasm"));
        assert_eq!(spans.all().len(), 1);
        assert_eq!(spans.take().len(), 1);
        assert!(spans.take().is_empty());
    }

    #[test]
    fn the_oldest_spans_go_first() {
        let spans = Spans::default();
        for n in 0..=KEPT {
            spans.record(span(&n.to_string()));
        }
        let kept = spans.take();
        assert_eq!((kept.len(), &*kept[0].name), (KEPT, "1"));
    }
}
