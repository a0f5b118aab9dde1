//! The part of WASI preview 1 that the SDKs' runtimes need to start, under both of its names.
//!
//! There are no files, no sockets, no arguments, and no environment but the configured one.
//! Source: `wasi_snapshot_preview1`; answers as proxy-wasm-cpp-host gives them, because the
//! runtimes of Go, `TinyGo`, Rust and emscripten were tested against those.

mod calls;

use wasmtime::{Caller, FuncType, Linker, Val, ValType};

use crate::abi::Status;
use crate::hostcalls::memory::{Call, Span};
use crate::hostcalls::{HostFunctions, Shown, define, param, param_name, run};
use crate::trace::Name;
use crate::trap::Reason;
use crate::vm::State;

/// Preview 1, and the name it had before.
const MODULES: [&str; 2] = ["wasi_snapshot_preview1", "wasi_unstable"];

/// Error numbers of WASI.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
enum Errno {
    BadF = 8,
    Fault = 21,
    Inval = 28,
    NoEnt = 44,
    NoSys = 52,
    NotSup = 58,
    SPipe = 70,
    NotCapable = 76,
}

/// Bad pointers are the only thing that helpers shared with proxy-wasm report.
impl From<Status> for Errno {
    fn from(_: Status) -> Self {
        Self::Fault
    }
}

type Answer = Result<(), Errno>;

/// Whether this is one of the names of WASI.
pub(crate) fn is_module(module: &str) -> bool {
    MODULES.contains(&module)
}

/// Defines the functions that do something.
pub(super) fn add(functions: &mut HostFunctions) -> wasmtime::Result<()> {
    define! { functions, MODULES, enter;
        fd_write(fd, parts, n, out) => calls::fd_write(fd, Span(parts, n), out);
        fd_read(_fd, _parts, _n, _out) => calls::refuse(Errno::NoSys);
        fd_seek(_fd, _offset: u64, _whence, _out) => calls::refuse(Errno::SPipe);
        fd_close(_fd) => calls::succeed();
        fd_fdstat_get(fd, out) => calls::fd_fdstat_get(fd, out);
        fd_fdstat_set_flags(_fd, _flags) => calls::refuse(Errno::NoSys);
        fd_prestat_get(_fd, _out) => calls::refuse(Errno::BadF);
        fd_prestat_dir_name(_fd, _path, _len) => calls::refuse(Errno::NoSys);
        fd_filestat_get(_fd, _out) => calls::refuse(Errno::BadF);
        path_open(_fd, _dirflags, _path, _len, _oflags, _base: u64, _inheriting: u64, _fdflags, _out) =>
            calls::refuse(Errno::NoEnt);
        args_sizes_get(count, size) => calls::args_sizes_get(count, size);
        args_get(_list, _texts) => calls::succeed();
        environ_sizes_get(count, size) => calls::environ_sizes_get(count, size);
        environ_get(list, texts) => calls::environ_get(list, texts);
        clock_time_get(id, _precision: u64, out) => calls::clock_time_get(id, out);
        clock_res_get(id, out) => calls::clock_res_get(id, out);
        random_get(ptr, len) => calls::random_get(ptr, len);
        sched_yield() => calls::succeed();
        poll_oneoff(_subscriptions, _events, _n, out) => calls::poll_oneoff(out);
    }
    for module in MODULES {
        // Whether it is allowed or not: a guest that exits does not go on.
        let function = "proc_exit";
        let exit = move |caller: Caller<'_, State>, code: u32| {
            let (name, code_as) = (Name { module, function }, code.cast_signed());
            run(caller, name, &[code.into()], Shown::Nothing, |_| {
                Err(Reason::Exit { code: code_as }.into())
            })
            .map(|_| ())
        };
        functions.add_typed((module, function), "(i32) -> ()".to_owned(), exit)?;
    }
    Ok(())
}

/// Defines any other function of WASI so that a module loads which imports but hardly calls it.
pub(crate) fn define_stub(
    linker: &mut Linker<State>,
    module: &str,
    name: &str,
    ty: &FuncType,
) -> wasmtime::Result<()> {
    let results: Vec<ValType> = ty.results().collect();
    if !matches!(*results, [] | [ValType::I32]) {
        wasmtime::bail!("{module}.{name} is no function of WASI preview 1");
    }
    let on_file = name.starts_with("fd_");
    let otherwise = match name {
        _ if on_file => Errno::BadF,
        _ if name.starts_with("path_") || name.starts_with("sock_") => Errno::NotSup,
        _ => Errno::NoSys,
    };
    let (module_name, function) = (module.to_owned(), name.to_owned());
    linker.func_new(
        module,
        name,
        ty.clone(),
        move |mut caller, params, results| {
            let name = Name {
                module: &module_name,
                function: &function,
            };
            let state: &mut State = caller.data_mut();
            state.count_host_call()?;
            let denied = state.denies(&function);
            // Standard output and error can do everything, as far as callers mind.
            let works = on_file && matches!(params.first(), Some(Val::I32(1 | 2)));
            let errno = match () {
                () if denied => Errno::NotCapable as u32,
                () if works => 0,
                () => otherwise as u32,
            };
            if let Some(trace) = &caller.data().trace {
                let args: Vec<u64> = params.iter().map(number).collect();
                trace.call_host(name, &args);
                trace.host_returned(name, (!results.is_empty()).then_some(errno.into()));
            }
            results.fill(Val::I32(errno.cast_signed()));
            Ok(())
        },
    )?;
    Ok(())
}

/// A parameter as the trace prints it.
fn number(value: &Val) -> u64 {
    match value {
        Val::I32(number) => number.cast_unsigned().into(),
        Val::I64(number) => number.cast_unsigned(),
        // No function of WASI has any other.
        _ => 0,
    }
}

/// Admits one call, carries it out, and turns its end into an error number.
fn enter(
    caller: Caller<'_, State>,
    name: Name<'static>,
    args: &[u64],
    function: impl FnOnce(&mut Call<'_>) -> Answer,
) -> wasmtime::Result<u32> {
    run(caller, name, args, Shown::Result, |call| {
        if call.denied {
            return Ok(Errno::NotCapable as u32);
        }
        Ok(function(call).map_or_else(|errno| errno as u32, |()| 0))
    })
}
