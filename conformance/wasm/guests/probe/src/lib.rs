//! A module without an SDK that calls the host's functions with good and bad arguments, in the
//! phase it is told, and logs what each call answered.
//!
//! What to do stands in the plugin's configuration and, for one stream, in its request header
//! `x-probe`: words `phase:group` (run a group of calls in that phase) and `phase=N` (return N
//! from that phase). Phases are callbacks without `proxy_on_`; groups are in `groups.rs`. Results
//! are log lines `probe PHASE: call -> status value | call -> status value …`.

#![allow(clippy::missing_safety_doc, missing_docs)]

mod groups;
mod imports;
mod record;

use std::cell::RefCell;
use std::collections::BTreeMap;

use record::Record;

thread_local! {
    /// What each stream is to do; 0 is what holds for all.
    static PLANS: RefCell<BTreeMap<u32, String>> = const { RefCell::new(BTreeMap::new()) };
    /// The stream whose callout is under way, by the callout's id.
    static CALLS: RefCell<BTreeMap<u32, u32>> = const { RefCell::new(BTreeMap::new()) };
}

pub(crate) fn remember_call(call: u32, context: u32) {
    CALLS.with_borrow_mut(|calls| calls.insert(call, context));
}

/// Runs what is planned for a phase, and says what to return from it.
fn phase(context: u32, name: &str, otherwise: u32) -> u32 {
    let plan = PLANS.with_borrow(|plans| {
        let own = plans.get(&context).filter(|_| context != 0);
        let all = plans.get(&0);
        let texts = [all, own].into_iter().flatten();
        texts.map(|text| format!("{text} ")).collect::<String>()
    });
    let mut record = Record::new(name);
    let mut answer = otherwise;
    for word in plan.split_ascii_whitespace() {
        if let Some((at, group)) = word.split_once(':') {
            if at == name {
                groups::run(group, context, &mut record);
                record.flush();
            }
        } else if let Some((at, value)) = word.split_once('=') {
            if at == name {
                answer = value.parse().unwrap_or(otherwise);
            }
        }
    }
    record.flush();
    answer
}

/// Whether anything is planned for a phase.
fn planned(name: &str) -> bool {
    PLANS.with_borrow(|plans| {
        plans
            .values()
            .any(|plan| plan.contains(&format!("{name}:")))
    })
}

/// Who a callout was made for, chosen as the SDKs choose it.
fn call_context(call: u32, root: u32) -> u32 {
    let context = CALLS.with_borrow(|calls| calls.get(&call).copied());
    match context {
        Some(context) => {
            unsafe { imports::proxy_set_effective_context(context) };
            context
        }
        None => root,
    }
}

/// Goes on with a stream that waited for a callout.
fn resume(context: u32) {
    let plan = PLANS.with_borrow(|plans| plans.get(&context).cloned());
    if let Some(plan) = plan.filter(|plan| !plan.contains(":local_")) {
        groups::resume(plan.contains("response_headers=1"));
    }
}

#[cfg(feature = "abi-0-1-0")]
#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_1_0() {}
#[cfg(feature = "abi-0-2-0")]
#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_0() {}
#[cfg(not(any(feature = "abi-0-1-0", feature = "abi-0-2-0")))]
#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    let mut bytes = Vec::<u8>::with_capacity(size.max(1));
    let at = bytes.as_mut_ptr();
    std::mem::forget(bytes);
    at
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_context_create(context: u32, parent: u32) {
    if parent == 0 {
        return;
    }
    phase(context, "context_create", 0);
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_vm_start(root: u32, size: u32) -> u32 {
    if size > 0 {
        let plan = groups::buffer(6, size);
        PLANS.with_borrow_mut(|plans| plans.insert(0, plan));
    }
    phase(root, "vm_start", 1)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(root: u32, size: u32) -> u32 {
    if size > 0 {
        let plan = groups::buffer(7, size);
        PLANS.with_borrow_mut(|plans| plans.insert(0, plan));
    }
    let answer = phase(root, "configure", 1);
    if planned("tick") {
        unsafe { imports::proxy_set_tick_period_milliseconds(20) };
    }
    answer
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_tick(root: u32) {
    unsafe { imports::proxy_set_tick_period_milliseconds(0) };
    phase(root, "tick", 0);
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_queue_ready(root: u32, queue: u32) {
    let mut record = Record::new("queue_ready");
    groups::drain(queue, &mut record);
    record.flush();
    phase(root, "queue_ready", 0);
}

#[cfg(not(feature = "abi-0-1-0"))]
#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(context: u32, count: u32, end: u32) -> u32 {
    request_headers(context, &format!("some={} end={end}", count > 3))
}

#[cfg(feature = "abi-0-1-0")]
#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(context: u32, count: u32) -> u32 {
    request_headers(context, &format!("some={}", count > 3))
}

fn request_headers(context: u32, said: &str) -> u32 {
    if let Some(plan) = groups::header(0, "x-probe") {
        PLANS.with_borrow_mut(|plans| plans.insert(context, plan));
        log_arguments("request_headers", said);
    }
    phase(context, "request_headers", 0)
}

fn log_arguments(name: &str, said: &str) {
    let mut record = Record::new(name);
    record.note(&format!("called {said}"));
    record.flush();
}

#[cfg(not(feature = "abi-0-1-0"))]
#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_headers(context: u32, count: u32, end: u32) -> u32 {
    let _ = (count, end);
    phase(context, "response_headers", 0)
}

#[cfg(feature = "abi-0-1-0")]
#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_headers(context: u32, count: u32) -> u32 {
    let _ = count;
    phase(context, "response_headers", 0)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_body(context: u32, _size: u32, _end: u32) -> u32 {
    phase(context, "request_body", 0)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_body(context: u32, _size: u32, _end: u32) -> u32 {
    phase(context, "response_body", 0)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_trailers(context: u32, _count: u32) -> u32 {
    phase(context, "request_trailers", 0)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_trailers(context: u32, _count: u32) -> u32 {
    phase(context, "response_trailers", 0)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_new_connection(context: u32) -> u32 {
    phase(context, "new_connection", 0)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_downstream_data(context: u32, size: u32, end: u32) -> u32 {
    if planned("downstream_data") {
        log_arguments("downstream_data", &format!("size={size} end={end}"));
    }
    phase(context, "downstream_data", 0)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_upstream_data(context: u32, size: u32, end: u32) -> u32 {
    if planned("upstream_data") {
        log_arguments("upstream_data", &format!("size={size} end={end}"));
    }
    phase(context, "upstream_data", 0)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_downstream_connection_close(context: u32, _peer: u32) {
    phase(context, "downstream_connection_close", 0);
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_upstream_connection_close(context: u32, _peer: u32) {
    phase(context, "upstream_connection_close", 0);
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_http_call_response(
    root: u32,
    call: u32,
    headers: u32,
    body: u32,
    trailers: u32,
) {
    let context = call_context(call, root);
    log_arguments(
        "http_call_response",
        &format!("headers={} body={body} trailers={trailers}", headers > 0),
    );
    phase(context, "http_call_response", 0);
    resume(context);
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_grpc_receive_initial_metadata(root: u32, call: u32, count: u32) {
    let context = call_context(call, root);
    log_arguments("grpc_receive_initial_metadata", &format!("some={}", count > 0));
    phase(context, "grpc_receive_initial_metadata", 0);
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_grpc_receive(root: u32, call: u32, size: u32) {
    let context = call_context(call, root);
    log_arguments("grpc_receive", &format!("size={size}"));
    phase(context, "grpc_receive", 0);
    resume(context);
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_grpc_receive_trailing_metadata(root: u32, call: u32, count: u32) {
    let context = call_context(call, root);
    log_arguments("grpc_receive_trailing_metadata", &format!("some={}", count > 0));
    phase(context, "grpc_receive_trailing_metadata", 0);
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_grpc_close(root: u32, call: u32, status: u32) {
    let context = call_context(call, root);
    log_arguments("grpc_close", &format!("status={status}"));
    phase(context, "grpc_close", 0);
    resume(context);
}

#[cfg(not(feature = "abi-0-1-0"))]
#[unsafe(no_mangle)]
extern "C" fn proxy_on_foreign_function(context: u32, function: u32, size: u32) {
    log_arguments("foreign_function", &format!("{function} size={size}"));
    phase(context, "foreign_function", 0);
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_log(context: u32) {
    phase(context, "log", 0);
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_done(context: u32) -> u32 {
    phase(context, "done", 1)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_delete(context: u32) {
    phase(context, "delete", 0);
    PLANS.with_borrow_mut(|plans| {
        if context != 0 {
            plans.remove(&context);
        }
    });
    CALLS.with_borrow_mut(|calls| calls.retain(|_, owner| *owner != context));
}
