//! The process-wide part: engine, ticker, host functions, shared stores.

mod ticker;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::{Config, Engine, OptLevel, WasmBacktraceDetails, WasmFeatures};

use crate::code_cache::CodeCache;
use crate::error::Error;
use crate::hostcalls::HostFunctions;
use crate::module::{Compiled, Module};
use crate::shared::Registry;

pub(crate) use ticker::Ticker;

/// What all plugins of a process have in common.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostSettings {
    /// The grain of deadlines; a guest runs at most two of these longer than its budget.
    pub tick: Duration,
    /// The largest module that is compiled, in bytes.
    pub module_bytes: usize,
    /// The most functions of a module that is compiled; time to compile grows with them.
    pub module_functions: usize,
    /// The guest's stack, in bytes.
    pub stack: usize,
    /// A directory for compiled code, made if need be; `None`: every module is compiled.
    ///
    /// It must be ours alone: what lies there runs in this process. One that others own or may
    /// write to is not used, which the log tells.
    pub cache: Option<PathBuf>,
    /// The most that directory may hold, in bytes; what was used longest ago goes first.
    pub cache_bytes: u64,
    /// Whether one module is compiled on all processors. Off, a module takes the one thread that
    /// compiles it, which can be given a low priority; small modules take no longer.
    pub parallel_compilation: bool,
}

impl Default for HostSettings {
    fn default() -> Self {
        Self {
            tick: Duration::from_millis(1),
            module_bytes: 16 << 20,
            module_functions: 50_000,
            stack: 512 << 10,
            cache: None,
            cache_bytes: 256 << 20,
            parallel_compilation: false,
        }
    }
}

/// The engine and what belongs to it. One per process; clones are the same host.
///
/// Its ticker thread stops when the last clone and the last [`Module`] have gone.
#[derive(Clone, Debug)]
pub struct Host(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) engine: Engine,
    pub(crate) functions: HostFunctions,
    pub(crate) settings: HostSettings,
    pub(crate) shared: Registry,
    pub(crate) ticker: Ticker,
    pub(crate) cache: Option<CodeCache>,
    /// Where the monotonic clock of guests begins.
    pub(crate) started: Instant,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Host {
    /// Prepares the engine and starts its ticker.
    ///
    /// # Errors
    /// [`Error::Engine`] when the engine does not run on this machine.
    pub fn new(settings: HostSettings) -> Result<Self, Error> {
        let engine = Engine::new(&config(&settings)).map_err(|e| Error::Engine(e.into()))?;
        let functions = HostFunctions::new(&engine).map_err(|e| Error::Engine(e.into()))?;
        let ticker = Ticker::start(
            engine.clone(),
            settings.tick.max(Duration::from_micros(100)),
        )
        .map_err(|e| Error::Engine(e.into()))?;
        let cache = settings.cache.as_deref().and_then(|directory| {
            CodeCache::open(directory, settings.cache_bytes, &engine)
                .inspect_err(|why| {
                    tracing::warn!(target: "wasm", "compiled code is not kept, so that modules take longer to load: {why}");
                })
                .ok()
        });
        let shared = Registry::default();
        let started = Instant::now();
        Ok(Self(Arc::new(Inner {
            engine,
            functions,
            settings,
            shared,
            ticker,
            cache,
            started,
        })))
    }

    /// Checks and compiles a module. Takes from milliseconds to seconds of a processor, so call it
    /// on a thread of low priority, never on a worker.
    ///
    /// # Errors
    /// What is wrong with the module, in terms its author understands; see [`Error`].
    pub fn compile(&self, bytes: &[u8]) -> Result<Module, Error> {
        Compiled::new(Arc::clone(&self.0), bytes).map(Module::from)
    }

    /// Returns the type of a function that guests may import, such as `(i32, i32) -> i32`, or
    /// `None` when there is none of that name.
    pub fn function(&self, module: &str, name: &str) -> Option<&str> {
        self.0.functions.signature(module, name)
    }

    /// Returns the functions of one module, by name, with their types.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn functions(&self, module: &str) -> Vec<(&'static str, &str)> {
        self.0.functions.of(module)
    }
}

/// The engine's settings.
///
/// Deadlines come from epochs, which cost a fraction of what fuel costs. Proposals that filters do
/// not need are off, because each is attack surface.
fn config(settings: &HostSettings) -> Config {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        .epoch_interruption(true)
        .max_wasm_stack(settings.stack)
        .parallel_compilation(settings.parallel_compilation)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .wasm_features(
            WasmFeatures::SIMD | WasmFeatures::BULK_MEMORY | WasmFeatures::REFERENCE_TYPES,
            true,
        );
    let off = WasmFeatures::MEMORY64
        | WasmFeatures::MULTI_MEMORY
        | WasmFeatures::TAIL_CALL
        | WasmFeatures::THREADS
        | WasmFeatures::GC
        | WasmFeatures::FUNCTION_REFERENCES
        | WasmFeatures::EXCEPTIONS
        | WasmFeatures::CUSTOM_PAGE_SIZES
        | WasmFeatures::WIDE_ARITHMETIC
        | WasmFeatures::RELAXED_SIMD;
    config.wasm_features(off, false);
    config
}
