use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::{Kind, PluginMetrics, exported};

fn text(registry: &Registry) -> String {
    let mut text = String::new();
    encode(&mut text, registry).unwrap();
    text
}

#[test]
fn what_a_plugin_costs_is_told_by_callback() {
    let mut registry = Registry::default();
    let metrics = PluginMetrics::register(&mut registry);
    let plugin = metrics.of("shop.auth");
    plugin
        .callback("proxy_on_request_headers")
        .took(Duration::from_micros(7));
    plugin.trapped("proxy_on_tick", "deadline");
    plugin.budget("log_dropped");
    plugin.callout("http", "answered");
    plugin.without("failed");
    plugin.restarted();
    let text = text(&registry);
    for line in [
        r#"cairn_wasm_invocations_total{plugin="shop.auth",callback="proxy_on_request_headers"} 1"#,
        r#"cairn_wasm_callback_duration_microseconds_bucket{le="10.0",plugin="shop.auth",callback="proxy_on_request_headers"} 1"#,
        r#"cairn_wasm_traps_total{plugin="shop.auth",callback="proxy_on_tick",reason="deadline"} 1"#,
        r#"cairn_wasm_budget_hits_total{plugin="shop.auth",budget="log_dropped"} 1"#,
        r#"cairn_wasm_callouts_total{plugin="shop.auth",kind="http",outcome="answered"} 1"#,
        r#"cairn_wasm_streams_without_plugin_total{plugin="shop.auth",what="failed"} 1"#,
        r#"cairn_wasm_restarts_total{plugin="shop.auth"} 1"#,
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn memory_is_summed_over_vms_and_given_back() {
    let mut registry = Registry::default();
    let metrics = PluginMetrics::register(&mut registry);
    let (one, other) = (metrics.of("a.b"), metrics.of("a.b"));
    one.memory(100);
    one.memory(150);
    other.memory(50);
    one.vms(1);
    other.vms(1);
    assert!(text(&registry).contains("cairn_wasm_memory_bytes{plugin=\"a.b\"} 200"));
    drop(one);
    let text = text(&registry);
    assert!(text.contains("cairn_wasm_memory_bytes{plugin=\"a.b\"} 50"));
    assert!(text.contains("cairn_wasm_vms{plugin=\"a.b\"} 1"));
}

#[test]
fn metrics_of_plugins_have_a_prefix_and_say_whose_they_are() {
    let mut registry = Registry::default();
    let metrics = PluginMetrics::register(&mut registry);
    let (one, other) = (metrics.of("a.one"), metrics.of("a.other"));
    let hits = one.define(Kind::Counter, "istio_requests_total").unwrap();
    assert_eq!(
        one.define(Kind::Counter, "istio_requests_total"),
        Some(hits)
    );
    assert_ne!(
        other.define(Kind::Counter, "istio_requests_total"),
        Some(hits)
    );
    assert_eq!(other.define(Kind::Gauge, "istio_requests_total"), None);
    one.add(hits, 3);
    one.add(hits, -3);
    one.record(hits, 2);
    assert_eq!(one.read(hits), 5);
    let level = one.define(Kind::Gauge, "level").unwrap();
    one.record(level, 9);
    one.add(level, -4);
    assert_eq!(one.read(level), 5);
    let times = one.define(Kind::Histogram, "times").unwrap();
    one.record(times, 3);
    let text = text(&registry);
    for line in [
        r#"wasmcustom_istio_requests_total_total{plugin="a.one"} 5"#,
        r#"wasmcustom_level{plugin="a.one"} 5"#,
        r#"wasmcustom_times_count{plugin="a.one"} 1"#,
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn tags_in_names_become_labels() {
    let (name, tags) = exported("shop_source=.=cart;.;version=.=v1;.;_calls").unwrap();
    assert_eq!(name, "wasmcustom_shop_calls");
    let tags: Vec<_> = tags
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    assert_eq!(tags, [("source", "cart"), ("version", "v1")]);
    assert_eq!(exported("a.b-c").unwrap().0, "wasmcustom_a_b_c");
    assert_eq!(exported("..."), None);
    // Nobody speaks for another plugin.
    assert!(exported("a_plugin=.=x;.;_n").unwrap().1.is_empty());
}
