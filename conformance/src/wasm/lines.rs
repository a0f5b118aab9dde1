//! Lines of a run without what differs from run to run.

/// Brings one crossing, in the form of Envoy's `wasm:trace`, into a form that is the same for all
/// hosts. `None`: it is nobody's business how a host gets memory from its guest.
pub fn crossing(line: &str) -> Option<String> {
    let (arrow, call) = line.split_once(' ')?;
    let is_return = call.contains(" return: ");
    let name = call.split(['(', ' ']).next()?;
    let bare = name.rsplit('.').next()?;
    if matches!(
        bare,
        "malloc" | "proxy_on_memory_allocate" | "allocate" | "free" | "_initialize" | "_start"
    ) {
        return None;
    }
    if is_return {
        let result = call.rsplit(' ').next()?;
        return Some(format!("{arrow} {bare} = {result}"));
    }
    let inner = call.split_once('(')?.1.trim_end_matches(')');
    let args: Vec<&str> = inner.split(", ").filter(|arg| !arg.is_empty()).collect();
    let shown = match shape(bare) {
        Some(shape) => arguments(shape, &args),
        None => "…".to_owned(),
    };
    Some(format!("{arrow} {bare}({shown})"))
}

/// Which arguments of a function tell something: `k` is kept, `_` is not, `c` names a context.
fn shape(function: &str) -> Option<&'static str> {
    Some(match function {
        "proxy_on_context_create" => "cc",
        "proxy_on_vm_start"
        | "proxy_on_configure"
        | "proxy_on_request_trailers"
        | "proxy_on_response_trailers"
        | "proxy_on_downstream_connection_close"
        | "proxy_on_upstream_connection_close" => "ck",
        // Every proxy adds headers of its own, so that their number says nothing.
        "proxy_on_request_headers"
        | "proxy_on_response_headers"
        | "proxy_on_grpc_receive"
        | "proxy_on_grpc_close" => "c_k",
        "proxy_on_request_body"
        | "proxy_on_response_body"
        | "proxy_on_downstream_data"
        | "proxy_on_upstream_data" => "ckk",
        "proxy_on_http_call_response" => "c__kk",
        "proxy_on_grpc_receive_initial_metadata" | "proxy_on_grpc_receive_trailing_metadata" => {
            "c__"
        }
        "proxy_on_queue_ready" => "c_",
        "proxy_on_tick"
        | "proxy_on_log"
        | "proxy_on_done"
        | "proxy_on_delete"
        | "proxy_on_new_connection"
        | "proxy_set_effective_context" => "c",
        "proxy_log" | "proxy_get_header_map_pairs" | "proxy_set_header_map_pairs" => "k__",
        "proxy_get_buffer_bytes" => "kkk__",
        "proxy_set_buffer_bytes" => "kkk_k",
        "proxy_get_header_map_value"
        | "proxy_add_header_map_value"
        | "proxy_replace_header_map_value" => "k_k__",
        "proxy_remove_header_map_value" => "k_k",
        "proxy_continue_stream" | "proxy_close_stream" | "proxy_set_tick_period_milliseconds" => {
            "k"
        }
        "proxy_send_local_response" => "k_k_k__k",
        "proxy_http_call" => "_k_k_k__k_",
        "proxy_get_property" => "_k__",
        "proxy_set_property" => "_k_k",
        "proxy_define_metric" => "k_k_",
        "proxy_increment_metric" | "proxy_record_metric" => "_k",
        _ => return None,
    })
}

fn arguments(shape: &str, args: &[&str]) -> String {
    let shown = shape.chars().zip(args).map(|(kind, arg)| match kind {
        'k' => (*arg).to_owned(),
        'c' => match *arg {
            "0" => "none".to_owned(),
            "1" => "root".to_owned(),
            _ => "stream".to_owned(),
        },
        _ => "_".to_owned(),
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// Joins callbacks of one body that differ only in how many pieces it came in, which is nobody's
/// promise: an end that came on its own, and bytes that waited for the end.
pub fn with_whole_bodies(lines: Vec<String>) -> Vec<String> {
    let mut joined: Vec<String> = vec![];
    for line in lines {
        if let Some((kind, size)) = piece(&line, 1)
            && let [.., call, answer] = joined.as_slice()
            && let Some((before, waiting)) = piece(call, 0)
            && before == kind
        {
            let passed = answer.ends_with(" = 0") && size == 0;
            let kept = answer.ends_with(" = 1") && size == waiting;
            if answer.starts_with("[host<-vm]") && (passed || kept) {
                joined.truncate(joined.len() - 2);
                joined.push(format!("[host->vm] {kind}(stream, {waiting}, 1)"));
                continue;
            }
        }
        joined.push(line);
    }
    joined
}

/// Which body callback a line is, and its bytes, if `end` is its end of stream.
fn piece(line: &str, end: u8) -> Option<(String, u64)> {
    let call = line.strip_prefix("[host->vm] ")?;
    let (kind, rest) = call.split_once("(stream, ")?;
    if !matches!(kind, "proxy_on_request_body" | "proxy_on_response_body") {
        return None;
    }
    let size = rest.strip_suffix(&format!(", {end})"))?;
    Some((kind.to_owned(), size.parse().ok()?))
}

/// Headers that every proxy has its own mind about.
const OWN: [&str; 15] = [
    "date",
    "server",
    "via",
    "x-request-id",
    "x-forwarded-proto",
    "x-forwarded-for",
    "x-forwarded-client-cert",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-upstream-service-time",
    "x-envoy-attempt-count",
    "x-envoy-internal",
    "connection",
    "keep-alive",
    "te",
    "traceparent",
];

/// Whether a header says something about what the guest did.
pub fn tells(name: &str) -> bool {
    !OWN.contains(&name)
}

/// Splits a line of the probe into one line per call, without headers proxies add themselves.
pub fn of_log(text: &str) -> Vec<String> {
    let Some((head, results)) = text
        .strip_prefix("probe ")
        .and_then(|rest| rest.split_once(": "))
    else {
        return vec![text.to_owned()];
    };
    if head.contains(' ') {
        return vec![text.to_owned()];
    }
    let results = results.split(" | ");
    let shown = results.map(|result| format!("{head}: {}", without_own(result)));
    shown.collect()
}

/// `pairs(0) -> 0 a=b & date=…` without what is not told.
fn without_own(result: &str) -> String {
    let Some((call, pairs)) = result
        .strip_prefix("pairs(")
        .and_then(|rest| rest.split_once("-> 0 "))
    else {
        return result.to_owned();
    };
    let mut told: Vec<&str> = pairs
        .split(" & ")
        .filter(|pair| pair.split('=').next().is_some_and(tells))
        .collect();
    // Pseudo-headers come first in every host; the order of the others is nobody's promise.
    told.sort_unstable();
    format!("pairs({call}-> 0 {}", told.join(" & "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_contexts_do_not_matter() {
        let shown = |line| crossing(line).unwrap();
        assert_eq!(
            shown("[host->vm] proxy_on_request_headers(7, 10, 0)"),
            "[host->vm] proxy_on_request_headers(stream, _, 0)"
        );
        assert_eq!(
            shown("[vm->host] env.proxy_log(2, 1114568, 46)"),
            "[vm->host] proxy_log(2, _, _)"
        );
        assert_eq!(
            shown("[vm<-host] env.proxy_log return: 0"),
            "[vm<-host] proxy_log = 0"
        );
        assert_eq!(crossing("[host->vm] malloc(49)"), None);
    }

    #[test]
    fn pieces_of_a_body_do_not_matter() {
        let whole = |lines: &[&str]| {
            with_whole_bodies(lines.iter().map(|line| (*line).to_owned()).collect())
        };
        let body = |size: u32, end: u32| {
            format!("[host->vm] proxy_on_request_body(stream, {size}, {end})")
        };
        let answer = |action: u32| format!("[host<-vm] proxy_on_request_body = {action}");
        let passed = whole(&[&body(5, 0), &answer(0), &body(0, 1), &answer(0)]);
        assert_eq!(passed, [body(5, 1), answer(0)]);
        let kept = whole(&[&body(5, 0), &answer(1), &body(5, 1), &answer(0)]);
        assert_eq!(kept, [body(5, 1), answer(0)]);
        let other = [body(5, 0), answer(0), body(3, 1), answer(0)];
        assert_eq!(whole(&other.each_ref().map(String::as_str)), other);
    }

    #[test]
    fn the_probes_results_are_told_one_by_one() {
        let line = "probe log: pairs(0) -> 0 date=x & b=1 & a=2 | value(0,) -> 1";
        assert_eq!(
            of_log(line),
            ["log: pairs(0) -> 0 a=2 & b=1", "log: value(0,) -> 1"]
        );
        assert_eq!(of_log("hello"), ["hello"]);
    }
}
