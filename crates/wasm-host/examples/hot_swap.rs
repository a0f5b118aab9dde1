//! Replaces a filter under way: `hot_swap [OLD NEW]`, each a module or its text.
//!
//! A request begins on the old version and ends on it, while the next one already gets the new
//! version. A version that does not start is not taken, and one that traps is started anew.

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;
use std::rc::Rc;
use std::time::Instant;

use wasm_host::{
    Admission, FailStrategy, HeaderMap, Headers, Health, HealthSettings, Host, HostSettings,
    HttpStream, Life, Map, Outcome, Plugin, PluginConfig, PluginHost, StartError, StreamHost, Vm,
};

/// A filter that greets with a word of its own, and traps at the path `/trap`.
const GREETER: &str = r#"(module
  (import "env" "proxy_replace_header_map_value" (func $set (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "x-greetingWORD.:path")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 1024))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (drop (call $get (i32.const 0) (i32.const 31) (i32.const 5) (i32.const 0) (i32.const 4)))
    (if (i32.eq (i32.load (i32.const 4)) (i32.const 5)) (then unreachable))
    (i32.const 0))
  (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
    (call $set (i32.const 2) (i32.const 16) (i32.const 10) (i32.const 26) (i32.const 4))))"#;

/// The proxy outside any stream; the defaults write to the log.
struct Quiet;

impl PluginHost for Quiet {}

struct Exchange {
    request: Headers,
    response: Headers,
}

impl Exchange {
    fn to(path: &str) -> Self {
        Self {
            request: [(":method", "GET"), (":path", path), (":authority", "a")]
                .into_iter()
                .collect(),
            response: [(":status", "200")].into_iter().collect(),
        }
    }
}

impl StreamHost for Exchange {
    fn headers(&mut self, map: Map) -> Option<&mut dyn HeaderMap> {
        match map {
            Map::RequestHeaders => Some(&mut self.request),
            Map::ResponseHeaders => Some(&mut self.response),
            Map::RequestTrailers | Map::ResponseTrailers => None,
        }
    }
}

/// What one worker keeps of a plugin.
struct Slot {
    plugin: Plugin,
    strategy: FailStrategy,
    health: Health,
    running: Option<(Vm, Life)>,
}

impl Slot {
    /// Takes a plugin that has passed its trial, so that a bad version never gets here.
    fn new(plugin: Plugin) -> Result<Self, StartError> {
        plugin.validate(Rc::new(Quiet))?;
        Ok(Self {
            plugin,
            strategy: FailStrategy::Close,
            health: Health::new(HealthSettings::default()),
            running: None,
        })
    }

    /// Begins a stream, or says why it goes without the filter.
    fn stream(&mut self) -> Result<HttpStream, String> {
        let now = Instant::now();
        if let Admission::Skip(why) = self.health.admit(now) {
            return Err(why);
        }
        if let Some((vm, _)) = &self.running {
            return Ok(vm.new_stream());
        }
        match self.plugin.instantiate(Rc::new(Quiet)) {
            Ok(vm) => {
                let stream = vm.new_stream();
                self.running = Some((vm, self.health.started(now)));
                Ok(stream)
            }
            Err(error) => {
                self.health.start_failed(now, &error.to_string(), 0.5);
                Err(error.to_string())
            }
        }
    }

    /// Lets go of a VM that died.
    fn bury(&mut self) {
        let Some((vm, life)) = self.running.take_if(|(vm, _)| vm.trap().is_some()) else {
            return;
        };
        if let Some(trap) = vm.trap() {
            // Chance would do better for the last argument: workers should not start all at once.
            let state = self.health.trapped(Instant::now(), life, &trap.reason, 0.5);
            println!(
                "{trap}; now {}",
                state.map_or("unchanged", |state| state.name())
            );
        }
    }
}

fn named() -> PluginConfig {
    PluginConfig {
        name: "greeter".to_owned(),
        ..PluginConfig::default()
    }
}

fn answer(stream: &mut HttpStream, exchange: &mut Exchange) -> String {
    if let Outcome::Trapped(_) = stream.on_response_headers(exchange, true) {
        return "failed".to_owned();
    }
    let greeting = exchange.response.get("x-greeting");
    String::from_utf8_lossy(&greeting.unwrap_or_default()).into_owned()
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut files = std::env::args_os().skip(1);
    let mut version = |word: &str| -> Result<Vec<u8>, Box<dyn Error>> {
        Ok(match files.next() {
            Some(file) => wat::parse_file(file)?,
            None => wat::parse_str(GREETER.replace("WORD", word))?,
        })
    };
    let host = Host::new(HostSettings::default())?;
    let (old, new) = (
        host.compile(&version("old.")?)?,
        host.compile(&version("new.")?)?,
    );

    let mut slot = Slot::new(Plugin::new(old, named()))?;
    let mut exchange = Exchange::to("/");
    let mut early = slot.stream()?;
    let _ = early.on_request_headers(&mut exchange, true);

    // The swap: whatever begins from now on begins on the new version.
    slot = Slot::new(Plugin::new(new, named()))?;
    let mut late_exchange = Exchange::to("/");
    let mut late = slot.stream()?;
    let _ = late.on_request_headers(&mut late_exchange, true);

    println!(
        "begun before the swap: {}",
        answer(&mut early, &mut exchange)
    );
    println!(
        "begun after the swap: {}",
        answer(&mut late, &mut late_exchange)
    );
    // With its last stream the old version goes.
    early.finish(&mut exchange)?;
    late.finish(&mut late_exchange)?;

    let mut exchange = Exchange::to("/trap");
    let outcome = slot.stream()?.on_request_headers(&mut exchange, true);
    println!("at /trap: {}", matches!(outcome, Outcome::Trapped(_)));
    slot.bury();
    let next = slot.stream().map(drop);
    println!(
        "the next stream: {next:?}; without the filter: {}",
        slot.strategy.bypasses()
    );
    Ok(())
}
