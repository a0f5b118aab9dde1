//! The part of WASI preview 1 that the SDKs' runtimes need to start, under both of its names.
//!
//! There are no files, no sockets, no arguments, and no environment but the configured one.
//! Source: `wasi_snapshot_preview1`; answers as proxy-wasm-cpp-host gives them, because the
//! runtimes of Go, `TinyGo`, Rust and emscripten were tested against those.

mod calls;

use wasmtime::{Caller, FuncType, Linker, Val, ValType};

use crate::abi::Status;
use crate::hostcalls::memory::{Call, Span};
use crate::hostcalls::{HostFunctions, define, param, param_name};
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
        let exit = |caller: Caller<'_, State>, code: u32| {
            Call::admit(caller, "proc_exit")?;
            Err::<(), _>(wasmtime::Error::from(Reason::Exit {
                code: code.cast_signed(),
            }))
        };
        functions.add_typed((module, "proc_exit"), "(i32) -> ()".to_owned(), exit)?;
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
    linker.func_new(module, name, ty.clone(), move |_, params, results| {
        // Standard output and error can do everything, as far as callers mind.
        let works = on_file && matches!(params.first(), Some(Val::I32(1 | 2)));
        let errno = if works {
            0
        } else {
            (otherwise as u32).cast_signed()
        };
        results.fill(Val::I32(errno));
        Ok(())
    })?;
    Ok(())
}

/// Admits one call, carries it out, and turns its end into an error number.
fn enter(
    caller: Caller<'_, State>,
    name: &'static str,
    function: impl FnOnce(&mut Call<'_>) -> Answer,
) -> wasmtime::Result<u32> {
    let mut call = Call::admit(caller, name)?;
    Ok(function(&mut call).map_or_else(|errno| errno as u32, |()| 0))
}
