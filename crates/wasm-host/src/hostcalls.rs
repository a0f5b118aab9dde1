//! The functions guests import: the table, and what is common to all of them.
//!
//! Every function answers with a status. Where the ABI leaves a choice, the answer is one that the
//! Rust SDK accepts, because any other is a panic there and with it the end of the VM. What was
//! then left out is told to the proxy ([`PluginHost::notice`](crate::PluginHost::notice)).
//!
//! Guest pointers are checked before anything happens: a call with a bad pointer has no effect.
//! Source: proxy-wasm specification v0.2.1 (with 0.1.0 and 0.2.0), and what Envoy 1.40 does where
//! the specification is silent.

mod buffer;
mod callout;
mod context;
pub(crate) mod foreign;
mod header;
mod log;
mod memory;
mod metric;
mod property;
mod shared;
mod stream;
pub(crate) mod wasi;

use std::collections::HashMap;
use std::fmt;

use wasmtime::{Caller, Engine, IntoFunc, Linker};

use crate::abi::Status;
use crate::hostcalls::memory::{Call, Out, Span};
use crate::trace::Name;
use crate::vm::State;

/// What a host function ends with other than OK.
#[derive(Debug)]
pub(crate) enum Fault {
    /// A status for the guest.
    Status(Status),
    /// The end of the VM.
    Stop(wasmtime::Error),
}

impl From<Status> for Fault {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

impl From<wasmtime::Error> for Fault {
    fn from(error: wasmtime::Error) -> Self {
        Self::Stop(error)
    }
}

pub(crate) type Answer = Result<(), Fault>;

/// All functions there are to import.
pub(crate) struct HostFunctions {
    linker: Linker<State>,
    /// By module, then by name.
    signatures: HashMap<&'static str, HashMap<&'static str, String>>,
}

impl fmt::Debug for HostFunctions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostFunctions")
            .field("modules", &self.signatures.len())
            .finish_non_exhaustive()
    }
}

/// The type of a parameter: `u32` unless said otherwise.
macro_rules! param {
    () => {
        u32
    };
    ($ty:ty) => {
        $ty
    };
}

/// The same as text.
macro_rules! param_name {
    () => {
        "i32"
    };
    (u64) => {
        "i64"
    };
}

/// Defines functions of one module. Left: the ABI, one name per parameter. Right: what carries it
/// out, with the parameters grouped.
macro_rules! define {
    ($functions:ident, $modules:expr, $enter:ident;
     $($name:ident ( $($arg:ident $(: $ty:tt)?),* ) => $room:ident :: $function:ident ( $($value:expr),* );)*) => {
        $(for module in $modules {
            $functions.add(
                (module, stringify!($name)),
                &[$(param_name!($($ty)?)),*],
                move |caller: Caller<'_, State>, $($arg: param!($($ty)?)),*| {
                    let name = Name { module, function: stringify!($name) };
                    $enter(caller, name, &[$(u64::from($arg)),*], |call| $room::$function(call $(, $value)*))
                },
            )?;
        })*
    };
}
use {define, param, param_name};

impl HostFunctions {
    pub(crate) fn new(engine: &Engine) -> wasmtime::Result<Self> {
        let mut functions = Self {
            linker: Linker::new(engine),
            signatures: HashMap::new(),
        };
        functions.add_plugin_functions()?;
        functions.add_stream_functions()?;
        functions.add_shared_functions()?;
        functions.add_callouts()?;
        functions.add_emscripten()?;
        wasi::add(&mut functions)?;
        Ok(functions)
    }

    pub(crate) fn linker(&self) -> &Linker<State> {
        &self.linker
    }

    /// Returns the type of a function, such as `(i32, i32) -> i32`.
    pub(crate) fn signature(&self, module: &str, name: &str) -> Option<&str> {
        self.signatures.get(module)?.get(name).map(String::as_str)
    }

    /// Returns the functions of one module with their types, by name.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn of(&self, module: &str) -> Vec<(&'static str, &str)> {
        let mut functions: Vec<_> = self
            .signatures
            .get(module)
            .into_iter()
            .flatten()
            .map(|(name, ty)| (*name, ty.as_str()))
            .collect();
        functions.sort_unstable();
        functions
    }

    fn add<P, R>(
        &mut self,
        (module, name): (&'static str, &'static str),
        params: &[&str],
        function: impl IntoFunc<State, P, R>,
    ) -> wasmtime::Result<()> {
        self.add_typed(
            (module, name),
            format!("({}) -> i32", params.join(", ")),
            function,
        )
    }

    fn add_typed<P, R>(
        &mut self,
        (module, name): (&'static str, &'static str),
        signature: String,
        function: impl IntoFunc<State, P, R>,
    ) -> wasmtime::Result<()> {
        self.linker.func_wrap(module, name, function)?;
        self.signatures
            .entry(module)
            .or_default()
            .insert(name, signature);
        Ok(())
    }

    /// Logging, time, configuration, contexts.
    fn add_plugin_functions(&mut self) -> wasmtime::Result<()> {
        define! { self, ["env"], enter;
            proxy_log(level, ptr, len) => log::log(level, Span(ptr, len));
            proxy_get_log_level(out) => log::log_level(out);
            proxy_get_current_time_nanoseconds(out) => context::current_time(out);
            proxy_set_tick_period_milliseconds(period) => context::set_tick_period(period);
            proxy_get_configuration(out, out_len) => buffer::configuration(Out(out, out_len));
            proxy_get_status(code, out, out_len) => context::status(code, Out(out, out_len));
            proxy_set_effective_context(id) => context::set_effective(id);
            proxy_done() => context::done();
            proxy_get_property(path, path_len, out, out_len) =>
                property::get(Span(path, path_len), Out(out, out_len));
            proxy_set_property(path, path_len, value, value_len) =>
                property::set(Span(path, path_len), Span(value, value_len));
            proxy_call_foreign_function(name, name_len, args, args_len, out, out_len) =>
                foreign::call(Span(name, name_len), Span(args, args_len), Out(out, out_len));
        }
        Ok(())
    }

    /// Headers, bodies, and what becomes of a stream.
    fn add_stream_functions(&mut self) -> wasmtime::Result<()> {
        define! { self, ["env"], enter;
            proxy_get_header_map_size(map, out) => header::size(map, out);
            proxy_get_header_map_pairs(map, out, out_len) => header::pairs(map, Out(out, out_len));
            proxy_set_header_map_pairs(map, ptr, len) => header::set_pairs(map, Span(ptr, len));
            proxy_get_header_map_value(map, key, key_len, out, out_len) =>
                header::value(map, Span(key, key_len), Out(out, out_len));
            proxy_add_header_map_value(map, key, key_len, value, value_len) =>
                header::add(map, Span(key, key_len), Span(value, value_len));
            proxy_replace_header_map_value(map, key, key_len, value, value_len) =>
                header::replace(map, Span(key, key_len), Span(value, value_len));
            proxy_remove_header_map_value(map, key, key_len) => header::remove(map, Span(key, key_len));
            proxy_get_buffer_bytes(buffer, start, max, out, out_len) =>
                buffer::bytes(buffer, Span(start, max), Out(out, out_len));
            proxy_get_buffer_status(buffer, out_len, out_flags) => buffer::status(buffer, out_len, out_flags);
            proxy_set_buffer_bytes(buffer, start, size, ptr, len) =>
                buffer::set_bytes(buffer, Span(start, size), Span(ptr, len));
            proxy_continue_stream(kind) => stream::resume(kind);
            proxy_close_stream(kind) => stream::close(kind);
            proxy_continue_request() => stream::resume(0);
            proxy_continue_response() => stream::resume(1);
            proxy_clear_route_cache() => stream::clear_route_cache();
            proxy_send_local_response(status, details, details_len, body, body_len, headers, headers_len, grpc) =>
                stream::send_local_response(
                    status,
                    grpc,
                    stream::Parts {
                        details: Span(details, details_len),
                        body: Span(body, body_len),
                        headers: Span(headers, headers_len),
                    }
                );
        }
        Ok(())
    }

    /// Shared data, queues, metrics.
    fn add_shared_functions(&mut self) -> wasmtime::Result<()> {
        define! { self, ["env"], enter;
            proxy_get_shared_data(key, key_len, out, out_len, cas) =>
                shared::get(Span(key, key_len), Out(out, out_len), cas);
            proxy_set_shared_data(key, key_len, value, value_len, cas) =>
                shared::set(Span(key, key_len), Span(value, value_len), cas);
            proxy_register_shared_queue(name, name_len, out) => shared::register_queue(Span(name, name_len), out);
            proxy_resolve_shared_queue(vm, vm_len, name, name_len, out) =>
                shared::resolve_queue(Span(vm, vm_len), Span(name, name_len), out);
            proxy_enqueue_shared_queue(id, ptr, len) => shared::enqueue(id, Span(ptr, len));
            proxy_dequeue_shared_queue(id, out, out_len) => shared::dequeue(id, Out(out, out_len));
            proxy_define_metric(kind, name, name_len, out) => metric::define(kind, Span(name, name_len), out);
            proxy_record_metric(id, value: u64) => metric::record(id, value);
            proxy_increment_metric(id, delta: u64) => metric::increment(id, delta);
            proxy_get_metric(id, out) => metric::get(id, out);
        }
        Ok(())
    }

    /// Calls to other services.
    fn add_callouts(&mut self) -> wasmtime::Result<()> {
        define! { self, ["env"], enter;
            proxy_http_call(up, up_len, head, head_len, body, body_len, trail, trail_len, timeout, out) =>
                callout::http(
                    [Span(up, up_len), Span(head, head_len), Span(body, body_len), Span(trail, trail_len)],
                    timeout,
                    out
                );
            proxy_grpc_call(up, up_len, service, service_len, method, method_len, md, md_len, msg, msg_len, timeout, out) =>
                callout::grpc(
                    [Span(up, up_len), Span(service, service_len), Span(method, method_len), Span(md, md_len)],
                    Some((Span(msg, msg_len), timeout)),
                    out
                );
            proxy_grpc_stream(up, up_len, service, service_len, method, method_len, md, md_len, out) =>
                callout::grpc(
                    [Span(up, up_len), Span(service, service_len), Span(method, method_len), Span(md, md_len)],
                    None,
                    out
                );
            proxy_grpc_send(id, ptr, len, end) => callout::grpc_send(id, Span(ptr, len), end);
            proxy_grpc_cancel(id) => callout::grpc_cancel(id);
            proxy_grpc_close(id) => callout::grpc_close(id);
        }
        Ok(())
    }

    /// What C++ modules of 2020 import besides.
    fn add_emscripten(&mut self) -> wasmtime::Result<()> {
        let (module, function) = ("env", "emscripten_notify_memory_growth");
        let name = Name { module, function };
        self.add_typed(
            (module, function),
            "(i32) -> ()".to_owned(),
            move |caller: Caller<'_, State>, index: u32| {
                traced(&caller, name, &[index.into()], None);
            },
        )?;
        let function = "pthread_equal";
        let name = Name { module, function };
        self.add(
            (module, function),
            &["i32", "i32"],
            move |caller: Caller<'_, State>, a: u32, b: u32| {
                let equal = u32::from(a == b);
                traced(&caller, name, &[a.into(), b.into()], Some(equal.into()));
                equal
            },
        )
    }

    /// Defines a function without parameters once more, for modules that expect no result.
    pub(crate) fn define_without_result(
        linker: &mut Linker<State>,
        name: &str,
    ) -> wasmtime::Result<()> {
        type Function = fn(&mut Call<'_>) -> Answer;
        let known: [(&'static str, Function); 4] = [
            ("proxy_done", context::done),
            ("proxy_continue_request", |call| stream::resume(call, 0)),
            ("proxy_continue_response", |call| stream::resume(call, 1)),
            ("proxy_clear_route_cache", stream::clear_route_cache),
        ];
        if let Some((function, carry_out)) = known.into_iter().find(|(known, _)| *known == name) {
            let module = "env";
            let name = Name { module, function };
            linker.func_wrap(module, function, move |caller: Caller<'_, State>| {
                run(caller, name, &[], Shown::Nothing, |call| {
                    status_of(carry_out, call)
                })
                .map(|_: u32| ())
            })?;
        }
        Ok(())
    }
}

/// Admits one call of a proxy-wasm function, carries it out, and turns its end into a status.
fn enter(
    caller: Caller<'_, State>,
    name: Name<'static>,
    args: &[u64],
    function: impl FnOnce(&mut Call<'_>) -> Answer,
) -> wasmtime::Result<u32> {
    run(caller, name, args, Shown::Result, |call| {
        status_of(function, call)
    })
}

fn status_of(
    function: impl FnOnce(&mut Call<'_>) -> Answer,
    call: &mut Call<'_>,
) -> wasmtime::Result<u32> {
    if call.denied {
        return Ok(Status::InternalFailure as u32);
    }
    match function(call) {
        Ok(()) => Ok(Status::Ok as u32),
        Err(Fault::Status(status)) => Ok(status as u32),
        Err(Fault::Stop(error)) => Err(error),
    }
}

/// What the trace says that a function returned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Shown {
    Result,
    /// The guest expects none.
    Nothing,
}

/// Admits one call and carries it out, with what the trace says before and after.
fn run(
    caller: Caller<'_, State>,
    name: Name<'static>,
    args: &[u64],
    shown: Shown,
    function: impl FnOnce(&mut Call<'_>) -> wasmtime::Result<u32>,
) -> wasmtime::Result<u32> {
    if let Some(trace) = &caller.data().trace {
        trace.call_host(name, args);
    }
    let mut call = Call::admit(caller, name.function)?;
    let result = function(&mut call)?;
    if let Some(trace) = &call.state().trace {
        trace.host_returned(name, (shown == Shown::Result).then_some(result.into()));
    }
    Ok(result)
}

/// Tells the trace of a call that does nothing.
fn traced(caller: &Caller<'_, State>, name: Name<'_>, args: &[u64], result: Option<u64>) {
    if let Some(trace) = &caller.data().trace {
        trace.call_host(name, args);
        trace.host_returned(name, result);
    }
}

#[cfg(test)]
mod tests;
