//! Every crossing between proxy and guest, as lines in the form of Envoy's `wasm:trace`.
//!
//! The form is kept so that traces of both can be compared line by line:
//! `[host->vm] proxy_on_log(2)`, `[host<-vm] proxy_on_log return: void`,
//! `[vm->host] env.proxy_log(2, 1024, 5)`, `[vm<-host] env.proxy_log return: 0`.
//! Numbers are decimal and unsigned. What does not return leaves no second line.

use std::fmt::{self, Write as _};
use std::sync::Arc;

/// Where crossings are written, one line each, without a line end.
#[derive(Clone)]
pub struct Trace(Arc<dyn Fn(&str) + Send + Sync>);

impl Trace {
    /// Writes through this function. It is called while the guest waits, so it should be quick.
    pub fn new(write: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(write))
    }

    /// The host calls the guest.
    #[cold]
    pub(crate) fn call_guest(&self, function: &str, args: &[u64]) {
        self.write(format_args!("[host->vm] {function}({})", List(args)));
    }

    /// The guest returned; `None` stands for a function without a result.
    #[cold]
    pub(crate) fn guest_returned(&self, function: &str, result: Option<u64>) {
        self.write(format_args!(
            "[host<-vm] {function} return: {}",
            Returned(result)
        ));
    }

    /// The guest calls the host.
    #[cold]
    pub(crate) fn call_host(&self, name: Name<'_>, args: &[u64]) {
        self.write(format_args!("[vm->host] {name}({})", List(args)));
    }

    /// The host returned.
    #[cold]
    pub(crate) fn host_returned(&self, name: Name<'_>, result: Option<u64>) {
        self.write(format_args!(
            "[vm<-host] {name} return: {}",
            Returned(result)
        ));
    }

    fn write(&self, line: fmt::Arguments<'_>) {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = text.write_fmt(line);
        (self.0)(&text);
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trace(..)")
    }
}

/// A function guests import.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name<'a> {
    pub(crate) module: &'a str,
    pub(crate) function: &'a str,
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.module, self.function)
    }
}

struct List<'a>(&'a [u64]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, arg) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{arg}")?;
        }
        Ok(())
    }
}

struct Returned(Option<u64>);

impl fmt::Display for Returned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("void"),
        }
    }
}
