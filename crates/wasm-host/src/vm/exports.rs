//! What a module may export for the host to call, looked up once per VM.

use wasmtime::{AsContextMut, Instance, Store, TypedFunc, WasmParams, WasmResults};

use crate::vm::State;

/// A callback and the types it may have.
#[derive(Debug)]
pub(crate) struct Callback {
    pub(crate) name: &'static str,
    pub(crate) types: &'static [&'static str],
}

/// Exports that allocate guest memory, preferred first. One of them must be there.
pub(crate) const ALLOCATORS: [&str; 2] = ["proxy_on_memory_allocate", "malloc"];

const NOTHING: &[&str] = &["() -> ()"];
const ONE: &[&str] = &["(i32) -> ()"];
const TWO: &[&str] = &["(i32, i32) -> ()"];
const THREE: &[&str] = &["(i32, i32, i32) -> ()"];
const ONE_ASKED: &[&str] = &["(i32) -> i32"];
const TWO_ASKED: &[&str] = &["(i32, i32) -> i32"];
const THREE_ASKED: &[&str] = &["(i32, i32, i32) -> i32"];
/// The third parameter, end of stream, came with 0.2.0.
const HEADERS: &[&str] = &["(i32, i32, i32) -> i32", "(i32, i32) -> i32"];

/// Every callback this host makes.
///
/// Source: proxy-wasm specification v0.2.1 and, for the alias of the AssemblyScript SDK, its
/// `proxy_on_grpc_trailing_metadata`.
pub(crate) const CALLBACKS: &[Callback] = &[
    Callback {
        name: "_initialize",
        types: NOTHING,
    },
    Callback {
        name: "_start",
        types: NOTHING,
    },
    Callback {
        name: "main",
        types: TWO_ASKED,
    },
    Callback {
        name: "__main_void",
        types: &["() -> i32"],
    },
    Callback {
        name: "proxy_on_context_create",
        types: TWO,
    },
    Callback {
        name: "proxy_on_vm_start",
        types: TWO_ASKED,
    },
    Callback {
        name: "proxy_on_configure",
        types: TWO_ASKED,
    },
    Callback {
        name: "proxy_on_tick",
        types: ONE,
    },
    Callback {
        name: "proxy_on_queue_ready",
        types: TWO,
    },
    Callback {
        name: "proxy_on_request_headers",
        types: HEADERS,
    },
    Callback {
        name: "proxy_on_request_body",
        types: THREE_ASKED,
    },
    Callback {
        name: "proxy_on_request_trailers",
        types: TWO_ASKED,
    },
    Callback {
        name: "proxy_on_response_headers",
        types: HEADERS,
    },
    Callback {
        name: "proxy_on_response_body",
        types: THREE_ASKED,
    },
    Callback {
        name: "proxy_on_response_trailers",
        types: TWO_ASKED,
    },
    Callback {
        name: "proxy_on_http_call_response",
        types: &["(i32, i32, i32, i32, i32) -> ()"],
    },
    Callback {
        name: "proxy_on_grpc_receive_initial_metadata",
        types: THREE,
    },
    Callback {
        name: "proxy_on_grpc_receive",
        types: THREE,
    },
    Callback {
        name: "proxy_on_grpc_receive_trailing_metadata",
        types: THREE,
    },
    Callback {
        name: "proxy_on_grpc_trailing_metadata",
        types: THREE,
    },
    Callback {
        name: "proxy_on_grpc_close",
        types: THREE,
    },
    Callback {
        name: "proxy_on_done",
        types: ONE_ASKED,
    },
    Callback {
        name: "proxy_on_log",
        types: ONE,
    },
    Callback {
        name: "proxy_on_delete",
        types: ONE,
    },
];

type One<R> = Option<TypedFunc<u32, R>>;
type Two<R> = Option<TypedFunc<(u32, u32), R>>;
type Three<R> = Option<TypedFunc<(u32, u32, u32), R>>;
type Five<R> = Option<TypedFunc<(u32, u32, u32, u32, u32), R>>;

/// The callbacks of one instance; `None` where the module has none.
pub(crate) struct Exports {
    pub(crate) context_create: Two<()>,
    pub(crate) vm_start: Two<u32>,
    pub(crate) configure: Two<u32>,
    pub(crate) tick: One<()>,
    pub(crate) queue_ready: Two<()>,
    pub(crate) request_headers: Option<Headers>,
    pub(crate) request_body: Three<u32>,
    pub(crate) request_trailers: Two<u32>,
    pub(crate) response_headers: Option<Headers>,
    pub(crate) response_body: Three<u32>,
    pub(crate) response_trailers: Two<u32>,
    pub(crate) http_call_response: Five<()>,
    pub(crate) grpc_initial_metadata: Three<()>,
    pub(crate) grpc_receive: Three<()>,
    pub(crate) grpc_trailing_metadata: Three<()>,
    pub(crate) grpc_close: Three<()>,
    pub(crate) done: One<u32>,
    pub(crate) log: One<()>,
    pub(crate) delete: One<()>,
}

/// A headers callback in either of its forms; what counts is the type, not the declared version.
pub(crate) enum Headers {
    WithoutEnd(TypedFunc<(u32, u32), u32>),
    WithEnd(TypedFunc<(u32, u32, u32), u32>),
}

impl Headers {
    pub(crate) fn call(
        &self,
        store: &mut Store<State>,
        context: u32,
        n: u32,
        end: bool,
    ) -> wasmtime::Result<u32> {
        match self {
            Self::WithoutEnd(call) => call.call(store, (context, n)),
            Self::WithEnd(call) => call.call(store, (context, n, u32::from(end))),
        }
    }
}

impl Exports {
    /// Looks everything up; the types were checked when the module was compiled.
    pub(crate) fn of(instance: Instance, store: &mut Store<State>) -> Self {
        let mut find = Find { instance, store };
        Self {
            context_create: find.func("proxy_on_context_create"),
            vm_start: find.func("proxy_on_vm_start"),
            configure: find.func("proxy_on_configure"),
            tick: find.func("proxy_on_tick"),
            queue_ready: find.func("proxy_on_queue_ready"),
            request_headers: find.headers("proxy_on_request_headers"),
            request_body: find.func("proxy_on_request_body"),
            request_trailers: find.func("proxy_on_request_trailers"),
            response_headers: find.headers("proxy_on_response_headers"),
            response_body: find.func("proxy_on_response_body"),
            response_trailers: find.func("proxy_on_response_trailers"),
            http_call_response: find.func("proxy_on_http_call_response"),
            grpc_initial_metadata: find.func("proxy_on_grpc_receive_initial_metadata"),
            grpc_receive: find.func("proxy_on_grpc_receive"),
            grpc_trailing_metadata: find
                .func("proxy_on_grpc_receive_trailing_metadata")
                .or_else(|| find.func("proxy_on_grpc_trailing_metadata")),
            grpc_close: find.func("proxy_on_grpc_close"),
            done: find.func("proxy_on_done"),
            log: find.func("proxy_on_log"),
            delete: find.func("proxy_on_delete"),
        }
    }
}

struct Find<'a> {
    instance: Instance,
    store: &'a mut Store<State>,
}

impl Find<'_> {
    fn func<P: WasmParams, R: WasmResults>(&mut self, name: &str) -> Option<TypedFunc<P, R>> {
        find(self.instance, &mut *self.store, name)
    }

    fn headers(&mut self, name: &str) -> Option<Headers> {
        match self.func(name) {
            Some(call) => Some(Headers::WithEnd(call)),
            None => self.func(name).map(Headers::WithoutEnd),
        }
    }
}

/// Finds an exported function of this type.
pub(crate) fn find<P: WasmParams, R: WasmResults>(
    instance: Instance,
    store: impl AsContextMut,
    name: &str,
) -> Option<TypedFunc<P, R>> {
    instance.get_typed_func(store, name).ok()
}
