//! Foreign functions, as guests call them.

use crate::reference::covers;
use std::rc::Rc;
use std::sync::Arc;

use super::said;
use crate::embed::{Expression, Expressions, ForeignError, Properties};
use crate::testing::{Exchange, Guest, Recorder, plugin};
use crate::{Limits, Notice, PluginConfig, PluginHost, Value};

/// Where results are told; address 0 would mean that they are not wanted.
const AT: &str = "(i32.const 200) (i32.const 204)";

/// Calls a function and logs its status and, if it is 0, the size of its result.
fn call(guest: &mut Guest, name: &str, args: &[u8]) -> String {
    let (name, args) = (guest.text(name), guest.bytes(args));
    format!(
        "(call $say (call $proxy_call_foreign_function {name} {args} {AT}))
         (i32.store (i32.const 0) (i32.load (i32.const 200)))
         (i32.store (i32.const 4) (i32.load (i32.const 204)))"
    )
}

/// Logs the last result.
const SHOW: &str = "(call $show)";

fn run(guest: Guest, body: &str, config: PluginConfig) -> (String, Exchange, Rc<Recorder>) {
    let (vm, recorder) = guest
        .on("proxy_on_request_headers", body, 0)
        .start_with(config);
    let mut exchange = Exchange::get("/path");
    let outcome = vm.new_stream().on_request_headers(&mut exchange, true);
    assert!(matches!(outcome, crate::Outcome::Continue), "{outcome:?}");
    (said(&recorder.lines()), exchange, recorder)
}

#[test]
fn a_name_nobody_knows_is_not_found() {
    let mut guest = Guest::new();
    let body = call(&mut guest, "nothing", b"") + &call(&mut guest, "\u{e4}", b"");
    assert_eq!(run(guest, &body, PluginConfig::default()).0, "1 1");
}

#[test]
fn the_proxys_own_functions_come_first() {
    covers!("proxy_on_tick", "compress");
    let mut guest = Guest::new();
    let body = [
        call(&mut guest, "reverse", b"abc"),
        SHOW.to_owned(),
        call(&mut guest, "compress", b"mine"),
        SHOW.to_owned(),
        call(&mut guest, "fail", &[1]),
        call(&mut guest, "fail", &[2]),
        call(&mut guest, "fail", &[3]),
        call(&mut guest, "fail", &[10]),
    ]
    .concat();
    let own = PluginHostWithFunctions::default();
    let recorder = Rc::new(own);
    let vm = plugin(
        &guest.on("proxy_on_tick", &body, 0).wat(),
        PluginConfig::default(),
    )
    .instantiate(Rc::clone(&recorder) as Rc<dyn PluginHost>)
    .unwrap();
    vm.on_tick().unwrap();
    assert_eq!(recorder.0.lines().join(" "), "0 cba 0 mine 1 2 3 :");
}

/// A proxy with functions of its own.
#[derive(Default)]
struct PluginHostWithFunctions(Recorder);

impl PluginHost for PluginHostWithFunctions {
    fn log(&self, record: &crate::LogRecord<'_>) {
        self.0.log(record);
    }

    fn foreign_function(&self, name: &str, args: &[u8]) -> Option<Result<Vec<u8>, ForeignError>> {
        match name {
            "reverse" => Some(Ok(args.iter().rev().copied().collect())),
            "compress" => Some(Ok(args.to_vec())),
            "fail" => Some(Err(match args {
                [1] => ForeignError::NotFound,
                [2] => ForeignError::BadArgument,
                [3] => ForeignError::Serialization,
                _ => ForeignError::Internal,
            })),
            _ => None,
        }
    }
}

#[test]
fn results_that_are_not_wanted_are_not_given() {
    covers!("proxy_call_foreign_function", "compress");
    let mut guest = Guest::new();
    let (name, args) = (guest.text("compress"), guest.text("a"));
    let body = format!(
        "(i32.store (i32.const 0) (i32.const 7))
         (call $say (call $proxy_call_foreign_function {name} {args} (i32.const 0) (i32.const 0)))
         (call $say (i32.load (i32.const 0)))
         (call $say (call $proxy_call_foreign_function {name} {args} (i32.const 0) (i32.const 204)))
         (call $say (i32.load (i32.const 204)))
         (call $say (call $proxy_call_foreign_function {name} {args} (i32.const -1) (i32.const 0)))"
    );
    assert_eq!(run(guest, &body, PluginConfig::default()).0, "0 7 0 9 6");
}

#[test]
fn what_was_compressed_is_uncompressed_to_the_same() {
    covers!("proxy_call_foreign_function", "compress", "uncompress");
    let mut guest = Guest::new();
    let (compress, uncompress) = (guest.text("compress"), guest.text("uncompress"));
    let text = guest.text("hello hello hello hello");
    let body = format!(
        "(call $say (call $proxy_call_foreign_function {compress} {text} {AT}))
         (call $say (call $proxy_call_foreign_function {uncompress}
           (i32.load (i32.const 200)) (i32.load (i32.const 204)) (i32.const 208) (i32.const 212)))
         (i32.store (i32.const 0) (i32.load (i32.const 208)))
         (i32.store (i32.const 4) (i32.load (i32.const 212)))
         (call $show)"
    );
    assert_eq!(
        run(guest, &body, PluginConfig::default()).0,
        "0 0 hello hello hello hello"
    );
}

#[test]
fn what_is_not_compressed_or_expands_too_much_is_refused() {
    covers!("proxy_call_foreign_function", "compress", "uncompress");
    let mut guest = Guest::new();
    let (compress, uncompress) = (guest.text("compress"), guest.text("uncompress"));
    let nothing = call(&mut guest, "uncompress", b"not zlib");
    // 60000 zeros become about 80 bytes.
    let body = format!(
        "{nothing}
         (call $say (call $proxy_call_foreign_function {compress}
           (i32.const 60000) (i32.const 60000) {AT}))
         (call $say (call $proxy_call_foreign_function {uncompress}
           (i32.load (i32.const 200)) (i32.load (i32.const 204)) {AT}))"
    );
    assert_eq!(run(guest, &body, PluginConfig::default()).0, "3 0 3");
}

#[test]
fn arguments_and_results_are_bounded() {
    covers!("compress");
    let limits = Limits {
        foreign_bytes: 4,
        ..Limits::default()
    };
    let mut guest = Guest::new();
    let body = call(&mut guest, "compress", b"12345") + &call(&mut guest, "compress", b"1");
    let config = PluginConfig {
        limits,
        ..PluginConfig::default()
    };
    assert_eq!(run(guest, &body, config).0, "2 0");
}

#[test]
fn the_route_is_chosen_anew_by_name_too() {
    covers!("clear_route_cache");
    let mut guest = Guest::new();
    let body = call(&mut guest, "clear_route_cache", b"");
    let (lines, exchange, _) = run(guest, &body, PluginConfig::default());
    assert_eq!((&*lines, exchange.routes_cleared), ("0", 1));
}

#[test]
fn state_of_the_proxy_is_set_by_name() {
    covers!("set_envoy_filter_state");
    let mut guest = Guest::new();
    let known = b"\x0a\x17envoy.tcp_proxy.cluster\x12\x01c\x18\x01";
    let body = call(&mut guest, "set_envoy_filter_state", known)
        + &call(&mut guest, "set_envoy_filter_state", b"\x0a\x01a\x12\x01b")
        + &call(&mut guest, "set_envoy_filter_state", b"\x0a\x09a");
    let (lines, exchange, _) = run(guest, &body, PluginConfig::default());
    assert_eq!(lines, "0 1 2");
    assert_eq!(
        exchange.filter_state,
        [("envoy.tcp_proxy.cluster".to_owned(), b"c".to_vec())]
    );
}

#[test]
fn a_property_declared_read_only_is_set_once() {
    covers!(
        "proxy_get_property",
        "proxy_set_property",
        "declare_property"
    );
    let mut guest = Guest::new();
    let declare = call(&mut guest, "declare_property", b"\x0a\x04once\x10\x01");
    let again = call(&mut guest, "declare_property", b"\x0a\x04once");
    let bad = call(&mut guest, "declare_property", b"\x0a\x04onc");
    let (path, one, two) = (guest.text("once"), guest.text("one"), guest.text("two"));
    let body = format!(
        "{declare} {again} {bad}
         (call $say (call $proxy_set_property {path} {one}))
         (call $say (call $proxy_set_property {path} {two}))
         (call $say_and_show (call $proxy_get_property {path} (i32.const 0) (i32.const 4)))"
    );
    let (lines, _, recorder) = run(guest, &body, PluginConfig::default());
    assert_eq!(lines, "0 2 2 0 0 0 one");
    assert_eq!(*recorder.notices.borrow(), [Notice::WriteIgnored]);
}

#[test]
fn declarations_are_bounded() {
    covers!("declare_property");
    let limits = Limits {
        property_bytes: 60,
        ..Limits::default()
    };
    let mut guest = Guest::new();
    let body: String = ["a", "b", "c"]
        .iter()
        .map(|name| {
            let args = [b"\x0a\x01", name.as_bytes()].concat();
            call(&mut guest, "declare_property", &args)
        })
        .collect();
    let config = PluginConfig {
        limits,
        ..PluginConfig::default()
    };
    assert_eq!(run(guest, &body, config).0, "0 0 :");
}

/// A language whose expressions are names of properties.
#[derive(Debug)]
struct Names;

struct Name(Vec<String>);

impl Expressions for Names {
    fn parse(&self, text: &str) -> Result<Box<dyn Expression>, ForeignError> {
        if text.contains(' ') {
            return Err(ForeignError::BadArgument);
        }
        Ok(Box::new(Name(text.split('.').map(str::to_owned).collect())))
    }
}

impl Expression for Name {
    fn evaluate(&self, properties: &mut Properties<'_>) -> Result<Value<'static>, ForeignError> {
        let path: Vec<&str> = self.0.iter().map(String::as_str).collect();
        properties(&path).ok_or(ForeignError::Internal)
    }
}

fn with_expressions() -> PluginConfig {
    PluginConfig {
        expressions: Some(Arc::new(Names)),
        limits: Limits {
            expressions: 2,
            ..Limits::default()
        },
        ..PluginConfig::default()
    }
}

#[test]
fn expressions_are_made_evaluated_and_given_back() {
    covers!("expr_create", "expr_delete", "expr_evaluate");
    let mut guest = Guest::new();
    let token = |n: u32| n.to_le_bytes();
    let body = [
        call(&mut guest, "expr_create", b"request.path"),
        call(&mut guest, "expr_create", b"not so"),
        call(&mut guest, "expr_create", b"no.such"),
        // No room for a third.
        call(&mut guest, "expr_create", b"plugin_name"),
        call(&mut guest, "expr_evaluate", &token(0)),
        SHOW.to_owned(),
        call(&mut guest, "expr_evaluate", &token(1)),
        call(&mut guest, "expr_evaluate", &token(9)),
        call(&mut guest, "expr_evaluate", b"xyz"),
        call(&mut guest, "expr_delete", &token(0)),
        call(&mut guest, "expr_delete", &token(0)),
        call(&mut guest, "expr_delete", b"xyz"),
        call(&mut guest, "expr_evaluate", &token(0)),
        call(&mut guest, "expr_create", b"plugin_name"),
    ]
    .concat();
    assert_eq!(
        run(guest, &body, with_expressions()).0,
        "0 2 0 : 0 /path : 1 2 0 0 2 1 0"
    );
}

#[test]
fn without_an_evaluator_there_are_no_expressions() {
    covers!("expr_create", "expr_delete", "expr_evaluate");
    let mut guest = Guest::new();
    let body = call(&mut guest, "expr_create", b"a")
        + &call(&mut guest, "expr_evaluate", &[0; 4])
        + &call(&mut guest, "expr_delete", &[0; 4]);
    assert_eq!(run(guest, &body, PluginConfig::default()).0, "1 1 1");
}

#[test]
fn expressions_see_properties_with_their_types() {
    covers!(
        "proxy_on_response_headers",
        "proxy_set_property",
        "expr_create",
        "expr_evaluate"
    );
    use std::cell::RefCell;

    #[derive(Debug)]
    struct Collect(std::sync::mpsc::Sender<Vec<Option<Value<'static>>>>);

    struct All(RefCell<std::sync::mpsc::Sender<Vec<Option<Value<'static>>>>>);

    impl Expressions for Collect {
        fn parse(&self, _: &str) -> Result<Box<dyn Expression>, ForeignError> {
            Ok(Box::new(All(RefCell::new(self.0.clone()))))
        }
    }

    impl Expression for All {
        fn evaluate(
            &self,
            properties: &mut Properties<'_>,
        ) -> Result<Value<'static>, ForeignError> {
            let paths: [&[&str]; 7] = [
                &["request", "method"],
                &["response", "code"],
                &["connection", "mtls"],
                &["response", "headers"],
                &["node", "id"],
                &["plugin_root_id"],
                &["mine", "own"],
            ];
            let found = paths.map(properties).to_vec();
            self.0.borrow().send(found).unwrap();
            Ok(true.into())
        }
    }

    let (sender, receiver) = std::sync::mpsc::channel();
    let mut guest = Guest::new();
    let (path, value) = (guest.bytes(b"mine\0own"), guest.text("kept"));
    let body = format!(
        "(call $say (call $proxy_set_property {path} {value})) {}{}",
        call(&mut guest, "expr_create", b"all"),
        call(&mut guest, "expr_evaluate", &[0; 4])
    );
    let config = PluginConfig {
        expressions: Some(Arc::new(Collect(sender))),
        root_id: "root".to_owned(),
        ..PluginConfig::default()
    };
    let (vm, recorder) = guest
        .on("proxy_on_response_headers", &body, 0)
        .start_with(config);
    let mut exchange = Exchange::get("/").answered("404");
    let _ = vm.new_stream().on_response_headers(&mut exchange, true);
    assert_eq!(said(&recorder.lines()), "0 0 0");
    let found = receiver.recv().unwrap();
    let map = vec![((&b":status"[..]).into(), (&b"404"[..]).into())];
    assert_eq!(
        found,
        [
            Some("GET".into()),
            Some(404_i64.into()),
            Some(true.into()),
            Some(Value::Map(map)),
            Some("node-1".into()),
            Some("root".into()),
            Some("kept".into()),
        ]
    );
}

#[cfg(feature = "crypto")]
#[test]
fn signatures_are_verified_and_made_by_name() {
    covers!("sign", "verify_signature");
    let mut guest = Guest::new();
    let body = call(&mut guest, "verify_signature", b"\x12\x01k")
        + SHOW
        + &call(&mut guest, "verify_signature", b"")
        + &call(&mut guest, "sign", b"\x0a\x06sha256\x12\x01k")
        + &call(&mut guest, "sign", b"\xff");
    let lines = run(guest, &body, PluginConfig::default()).0;
    assert!(
        lines.starts_with("0 ") && lines.contains("the hash function is not known"),
        "{lines}"
    );
    assert!(lines.ends_with(" 2 0 2"), "{lines}");
}
