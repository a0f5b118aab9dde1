//! Foreign functions, as guests call them: the first byte names one, the rest are its arguments.
#![no_main]

use std::rc::Rc;
use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use wasm_host::{
    Host, HostSettings, Limits, LogRecord, LogSource, Module, Notice, Plugin, PluginConfig,
    PluginHost, Vm,
};

const NAMES: [&str; 9] = [
    "compress",
    "uncompress",
    "clear_route_cache",
    "set_envoy_filter_state",
    "declare_property",
    "verify_signature",
    "sign",
    "expr_create",
    "expr_evaluate",
];
const LIMIT: usize = 16 << 10;

/// Its configuration is the length of a name, the name, and arguments. It logs the status, and
/// reads what it was given from end to end.
const GUEST: &str = r#"(module
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (import "env" "proxy_get_buffer_bytes" (func $buffer (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_call_foreign_function" (func $call (param i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 8)
  (global $heap (mut i32) (i32.const 65536))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (global.get $heap)
    (global.set $heap (i32.add (global.get $heap) (local.get $size))))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (local $at i32) (local $name i32) (local $end i32)
    (drop (call $buffer (i32.const 7) (i32.const 0) (i32.const -1) (i32.const 8) (i32.const 12)))
    (local.set $at (i32.load (i32.const 8)))
    (local.set $name (i32.load8_u (local.get $at)))
    (i32.store8 (i32.const 16) (i32.add (i32.const 48) (call $call
      (i32.add (local.get $at) (i32.const 1)) (local.get $name)
      (i32.add (i32.add (local.get $at) (i32.const 1)) (local.get $name))
      (i32.sub (i32.sub (i32.load (i32.const 12)) (i32.const 1)) (local.get $name))
      (i32.const 24) (i32.const 28))))
    (drop (call $log (i32.const 2) (i32.const 16) (i32.const 1)))
    (local.set $end (i32.add (i32.load (i32.const 24)) (i32.load (i32.const 28))))
    (local.set $at (i32.load (i32.const 24)))
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
      (drop (i32.load8_u (local.get $at)))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $next)))
    (i32.const 1)))"#;

static PLUGIN: LazyLock<(Host, Module)> = LazyLock::new(|| {
    let host = Host::new(HostSettings::default()).expect("an engine");
    let bytes = wat::parse_str(GUEST).expect("a module");
    let module = host.compile(&bytes).expect("a module that compiles");
    (host, module)
});

/// A proxy that believes nothing.
struct Proxy;

impl PluginHost for Proxy {
    fn log(&self, record: &LogRecord<'_>) {
        if record.source == LogSource::Guest {
            // OK, or one of the statuses SDKs pass on: 1, 2, 3, and 10 as a colon.
            assert!(
                ["0", "1", "2", "3", ":"].contains(&record.message),
                "{}",
                record.message
            );
        }
    }

    fn notice(&self, notice: Notice) {
        assert_ne!(notice, Notice::LogDropped);
    }
}

fn run(name: &str, args: &[u8]) -> Vm {
    let size = u8::try_from(name.len()).expect("a short name");
    let limits = Limits {
        foreign_bytes: LIMIT,
        start: Duration::from_secs(5),
        configure: Duration::from_secs(5),
        ..Limits::default()
    };
    let config = PluginConfig {
        configuration: [&[size], name.as_bytes(), args].concat(),
        limits,
        ..PluginConfig::default()
    };
    let plugin = Plugin::new(PLUGIN.1.clone(), config);
    plugin
        .instantiate(Rc::new(Proxy))
        .expect("a guest that starts")
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, args)) = input.split_first() else {
        return;
    };
    if args.len() > LIMIT {
        return;
    }
    let name = NAMES[usize::from(*choice) % NAMES.len()];
    let vm = run(name, args);
    assert!(vm.trap().is_none() && vm.memory() <= Limits::default().memory);

    if let Some(inflated) = wasm_host::fuzz::uncompress(args, LIMIT) {
        assert!(inflated.len() <= LIMIT && inflated.len() <= args.len() * 100);
    }
    let deflated = wasm_host::fuzz::compress(args).expect("everything can be compressed");
    if args.len() <= deflated.len() * 100 {
        let back = wasm_host::fuzz::uncompress(&deflated, LIMIT);
        assert_eq!(back.as_deref(), Some(args));
    }
    if let Some((fields, bytes)) = wasm_host::fuzz::read_message(args) {
        assert!(
            bytes + 2 * fields <= args.len() + fields,
            "{fields} {bytes}"
        );
    }
});
