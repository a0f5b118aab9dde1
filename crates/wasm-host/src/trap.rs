//! The end of a VM, as a value.

use std::fmt;
use std::time::Duration;

use wasmtime::{WasmBacktrace, format_err};

/// Why a VM is dead: what it was doing, what happened, and where in the guest.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Trap {
    /// The plugin's name.
    pub plugin: String,
    /// The first bytes of the module's SHA-256, in hexadecimal.
    pub module: String,
    /// The callback that did not return, or the start function.
    pub callback: &'static str,
    /// What happened.
    pub reason: Reason,
    /// The last line the guest logged as an error during this callback: for Rust the panic.
    pub said: Option<String>,
    /// The guest's stack, innermost function first, one per line; empty if nothing is known.
    pub backtrace: String,
}

/// What ended a VM.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// It used more processor time than its budget, or blocked the worker for much longer.
    Deadline {
        /// The budget of this callback.
        budget: Duration,
    },
    /// It made too many host calls in one callback.
    HostCalls {
        /// The limit.
        limit: u32,
    },
    /// It needed more memory than it is allowed: it trapped after it was refused some, or could not
    /// even begin.
    Memory,
    /// It called too deeply.
    Stack,
    /// It asked to exit (`proc_exit`, usually after an assertion of its own).
    Exit {
        /// The exit code it gave.
        code: i32,
    },
    /// It called a host function where that is not allowed: while starting or allocating.
    Forbidden {
        /// The host function.
        function: &'static str,
    },
    /// It executed what cannot be executed, in the engine's words.
    Guest(String),
    /// The proxy called into the VM while the guest was running: a fault of the proxy. The VM
    /// itself stays usable.
    Reentered,
    /// The proxy panicked while it served the guest, whose state is unknown since.
    HostPanicked,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadline { budget } => write!(f, "ran longer than its budget of {budget:?}"),
            Self::HostCalls { limit } => write!(f, "made more than {limit} host calls"),
            Self::Memory => f.write_str("was refused more memory"),
            Self::Stack => f.write_str("call stack exhausted"),
            Self::Exit { code } => write!(f, "exited with code {code}"),
            Self::Forbidden { function } => {
                write!(f, "called {function}, which is not allowed there")
            }
            Self::Guest(what) => f.write_str(what),
            Self::Reentered => f.write_str("called while the guest was running"),
            Self::HostPanicked => f.write_str("the proxy panicked while serving the guest"),
        }
    }
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            plugin,
            module,
            callback,
            reason,
            said,
            ..
        } = self;
        write!(
            f,
            "plugin {plugin} (module {module}) stopped in {callback}: {reason}"
        )?;
        match said {
            Some(said) => write!(f, "; it said: {said}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Trap {}

/// A stop ordered by a host function; travels through the engine as an error.
#[derive(Debug)]
pub(crate) struct Stop(pub(crate) Reason);

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Stop {}

impl From<Reason> for wasmtime::Error {
    fn from(reason: Reason) -> Self {
        Self::new(Stop(reason))
    }
}

/// What the VM knows when the engine reports an error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances {
    pub(crate) budget: Duration,
    pub(crate) memory_refused: bool,
}

impl Reason {
    /// Finds out what an error of the engine means.
    pub(crate) fn of(error: &wasmtime::Error, at: Circumstances) -> Self {
        if let Some(Stop(reason)) = error.downcast_ref::<Stop>() {
            return reason.clone();
        }
        match error.downcast_ref::<wasmtime::Trap>() {
            Some(wasmtime::Trap::Interrupt) => Self::Deadline { budget: at.budget },
            Some(wasmtime::Trap::StackOverflow) => Self::Stack,
            _ if at.memory_refused => Self::Memory,
            Some(trap) => Self::Guest(
                trap.to_string()
                    .trim_start_matches("wasm trap: ")
                    .to_owned(),
            ),
            None => Self::Guest(error.root_cause().to_string()),
        }
    }
}

/// The guest's stack out of an engine error.
pub(crate) fn backtrace(error: &wasmtime::Error) -> String {
    use fmt::Write as _;

    let mut text = String::new();
    let frames = error
        .downcast_ref::<WasmBacktrace>()
        .map_or(&[][..], WasmBacktrace::frames);
    for frame in frames {
        let name = frame
            .symbols()
            .first()
            .and_then(|symbol| symbol.name())
            .or(frame.func_name());
        // Writing to a String cannot fail.
        let _ = match name {
            Some(name) => writeln!(text, "{name}"),
            None => writeln!(text, "function {}", frame.func_index()),
        };
    }
    text
}

/// The engine's error for a guest that has no memory where one is needed.
pub(crate) fn no_memory() -> wasmtime::Error {
    format_err!("the module has no memory yet")
}
