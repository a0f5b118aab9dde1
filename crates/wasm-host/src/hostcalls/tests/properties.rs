use super::said;
use crate::reference::covers;
use crate::testing::{Exchange, Guest, OUT, limited};
use crate::{Limits, Notice, PluginConfig};

fn get(guest: &mut Guest, path: &str) -> String {
    let path = guest.text(&path.replace('.', "\0"));
    format!("(call $say_and_show (call $proxy_get_property {path} {OUT}))")
}

fn set(guest: &mut Guest, path: &str, value: &str) -> String {
    let (path, value) = (guest.text(&path.replace('.', "\0")), guest.text(value));
    format!("(call $say (call $proxy_set_property {path} {value}))")
}

fn exchange() -> Exchange {
    let mut exchange = Exchange::get("/a/b?c=d?e").answered("200");
    exchange.request.push("x-many", "1");
    exchange.request.push("x-many", "2");
    exchange.request.push("user-agent", "curl");
    exchange
}

/// Reads properties in the response headers callback.
fn properties(paths: &[&str]) -> String {
    let mut guest = Guest::new();
    let body: String = paths.iter().map(|path| get(&mut guest, path)).collect();
    let (vm, recorder) = guest
        .on("proxy_on_response_headers", &body, 0)
        .start_with(PluginConfig {
            root_id: "root".to_owned(),
            vm_id: "vm".to_owned(),
            ..PluginConfig::default()
        });
    let _ = vm.new_stream().on_response_headers(&mut exchange(), true);
    said(&recorder.lines())
}

#[test]
fn what_headers_tell_is_answered_without_the_proxy() {
    assert_eq!(
        properties(&[
            "request.path",
            "request.url_path",
            "request.query",
            "request.method",
            "request.host"
        ]),
        "0 /a/b?c=d?e 0 /a/b 0 c=d?e 0 GET 0 shop"
    );
    assert_eq!(
        properties(&[
            "request.headers.X-Many",
            "request.useragent",
            "request.id",
            "response.headers.:status"
        ]),
        "0 1,2 0 curl 0 id-1 0 200"
    );
    assert_eq!(
        properties(&[
            "request.headers.absent",
            "request.referer",
            "request.scheme",
            "response.trailers.a"
        ]),
        "1 1 1 1"
    );
}

#[test]
fn numbers_are_eight_bytes() {
    // 200, little-endian, as the log shows bytes that are no text.
    assert!(properties(&["response.code"]).starts_with("0 \u{fffd}\\u{0}"));
    assert_eq!(properties(&["response.grpc_status"]), "1");
}

#[test]
fn the_plugin_the_stream_and_the_proxy_are_asked_in_turn() {
    assert_eq!(
        properties(&[
            "plugin_name",
            "plugin_root_id",
            "plugin_vm_id",
            "source.address",
            "node.id"
        ]),
        "0 test 0 root 0 vm 0 10.0.0.1:7 0 node-1"
    );
    assert_eq!(properties(&["connection.mtls"]), "0 \\u{1}");
    assert_eq!(properties(&["nothing.of.the.kind", ""]), "1 1");
}

#[test]
fn a_path_may_end_with_its_separator() {
    assert_eq!(
        properties(&["request.path.", "node.id."]),
        "0 /a/b?c=d?e 0 node-1"
    );
}

#[test]
fn the_plugins_names_are_known_when_sdks_choose_a_class_by_them() {
    covers!("proxy_on_context_create");
    let mut guest = Guest::new();
    let body = get(&mut guest, "plugin_root_id");
    let guest = guest.on("proxy_on_context_create", &body, 0);
    let config = PluginConfig {
        root_id: "class".to_owned(),
        ..PluginConfig::default()
    };
    assert_eq!(said(&guest.start_with(config).1.lines()), "0 class");
}

#[test]
fn what_a_guest_sets_it_reads_back_on_the_same_stream_only() {
    covers!("proxy_on_request_headers", "proxy_on_response_headers");
    let mut guest = Guest::new();
    let request = set(&mut guest, "my.state", "one") + &set(&mut guest, "request.path", "/forged");
    let response = get(&mut guest, "my.state") + &get(&mut guest, "request.path");
    let guest = guest.on("proxy_on_request_headers", &request, 0).on(
        "proxy_on_response_headers",
        &response,
        0,
    );
    let (vm, recorder) = guest.start();
    let (mut first, mut second) = (vm.new_stream(), vm.new_stream());
    let mut exchange = exchange();
    let _ = first.on_request_headers(&mut exchange, true);
    let _ = first.on_response_headers(&mut exchange, true);
    let _ = second.on_response_headers(&mut exchange, true);
    // The stream's own path cannot be overridden.
    assert_eq!(
        said(&recorder.lines()),
        "0 0 0 one 0 /a/b?c=d?e 1 0 /a/b?c=d?e"
    );
}

#[test]
fn the_root_context_keeps_properties_for_the_plugin() {
    covers!("proxy_on_configure", "proxy_on_request_headers");
    let mut guest = Guest::new();
    let (write, read) = (
        set(&mut guest, "shared.thing", "kept"),
        get(&mut guest, "shared.thing"),
    );
    let guest = guest
        .on("proxy_on_configure", &write, 1)
        .on("proxy_on_request_headers", &read, 0);
    let (vm, recorder) = guest.start();
    let _ = vm.new_stream().on_request_headers(&mut exchange(), true);
    assert_eq!(said(&recorder.lines()), "0 0 kept");
}

#[test]
fn properties_of_a_guest_are_bounded() {
    covers!("proxy_on_request_headers");
    let mut guest = Guest::new();
    let body = set(&mut guest, "big", "0123456789") + &get(&mut guest, "big");
    let guest = guest.on("proxy_on_request_headers", &body, 0);
    let (vm, recorder) = guest.start_with(limited(Limits {
        property_bytes: 12,
        ..Limits::default()
    }));
    let _ = vm.new_stream().on_request_headers(&mut exchange(), true);
    assert_eq!(said(&recorder.lines()), "0 1");
    assert_eq!(*recorder.notices.borrow(), [Notice::StorageFull]);
}
