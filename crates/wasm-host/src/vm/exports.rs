//! What a module exports for the host to call, looked up once per VM.

use std::time::Instant;

use wasmtime::{AsContextMut, Instance, Store, TypedFunc, WasmParams, WasmResults};

use crate::callback::{Callback, Callbacks};
use crate::vm::State;

/// Exports that allocate guest memory, preferred first. One of them must be there.
pub(crate) const ALLOCATORS: [&str; 2] = ["proxy_on_memory_allocate", "malloc"];

/// An exported function with its name. Calling it is the only way into a guest.
pub(crate) struct Export<P, R> {
    name: &'static str,
    func: TypedFunc<P, R>,
}

impl<P: WasmParams + Numbers, R: WasmResults + Number> Export<P, R> {
    /// Calls it as a callback: what follows is told to be in this callback, and timed if somebody
    /// wants to know.
    pub(crate) fn call(&self, store: &mut Store<State>, params: P) -> wasmtime::Result<R> {
        let state = store.data_mut();
        state.frame.callback = self.name;
        if !state.timing {
            return self.call_within(store, params);
        }
        let begun = Instant::now();
        let result = self.call_within(&mut *store, params);
        store.data().host.called(self.name, begun.elapsed());
        result
    }

    /// Calls it as a part of whatever runs now.
    pub(crate) fn call_within(
        &self,
        mut store: impl AsContextMut<Data = State>,
        params: P,
    ) -> wasmtime::Result<R> {
        let mut store = store.as_context_mut();
        let Some(trace) = store.data().trace.clone() else {
            return self.func.call(store, params);
        };
        params.list(|args| trace.call_guest(self.name, args));
        let result = self.func.call(&mut store, params)?;
        trace.guest_returned(self.name, result.number());
        Ok(result)
    }
}

/// Parameters as the trace prints them.
pub(crate) trait Numbers: Copy {
    fn list(self, print: impl FnOnce(&[u64]));
}

impl Numbers for () {
    fn list(self, print: impl FnOnce(&[u64])) {
        print(&[]);
    }
}

impl Numbers for u32 {
    fn list(self, print: impl FnOnce(&[u64])) {
        print(&[self.into()]);
    }
}

impl Numbers for (u32, u32) {
    fn list(self, print: impl FnOnce(&[u64])) {
        print(&[self.0.into(), self.1.into()]);
    }
}

impl Numbers for (u32, u32, u32) {
    fn list(self, print: impl FnOnce(&[u64])) {
        print(&[self.0.into(), self.1.into(), self.2.into()]);
    }
}

impl Numbers for (u32, u32, u32, u32, u32) {
    fn list(self, print: impl FnOnce(&[u64])) {
        print(&<[u32; 5]>::from(self).map(u64::from));
    }
}

/// A result as the trace prints it.
pub(crate) trait Number {
    fn number(&self) -> Option<u64>;
}

impl Number for () {
    fn number(&self) -> Option<u64> {
        None
    }
}

impl Number for u32 {
    fn number(&self) -> Option<u64> {
        Some((*self).into())
    }
}

type One<R> = Option<Export<u32, R>>;
type Two<R> = Option<Export<(u32, u32), R>>;
type Three<R> = Option<Export<(u32, u32, u32), R>>;
type Five<R> = Option<Export<(u32, u32, u32, u32, u32), R>>;

/// The callbacks of one instance; `None` where the module has none, or may not have it.
pub(crate) struct Exports {
    pub(crate) context_create: Two<()>,
    pub(crate) vm_start: Two<u32>,
    pub(crate) configure: Two<u32>,
    pub(crate) tick: One<()>,
    pub(crate) queue_ready: Two<()>,
    pub(crate) foreign_function: Three<()>,
    pub(crate) new_connection: One<u32>,
    pub(crate) downstream_data: Three<u32>,
    pub(crate) upstream_data: Three<u32>,
    pub(crate) downstream_close: Two<()>,
    pub(crate) upstream_close: Two<()>,
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
    WithoutEnd(Export<(u32, u32), u32>),
    WithEnd(Export<(u32, u32, u32), u32>),
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
    /// Looks up what may be called; the types were checked when the module was compiled.
    pub(crate) fn of(instance: Instance, store: &mut Store<State>, allowed: Callbacks) -> Self {
        let mut find = Find {
            instance,
            store,
            allowed,
        };
        Self {
            context_create: find.func(Callback::ContextCreate),
            vm_start: find.func(Callback::VmStart),
            configure: find.func(Callback::Configure),
            tick: find.func(Callback::Tick),
            queue_ready: find.func(Callback::QueueReady),
            foreign_function: find.func(Callback::ForeignFunction),
            new_connection: find.func(Callback::NewConnection),
            downstream_data: find.func(Callback::DownstreamData),
            upstream_data: find.func(Callback::UpstreamData),
            downstream_close: find.func(Callback::DownstreamClose),
            upstream_close: find.func(Callback::UpstreamClose),
            request_headers: find.headers(Callback::RequestHeaders),
            request_body: find.func(Callback::RequestBody),
            request_trailers: find.func(Callback::RequestTrailers),
            response_headers: find.headers(Callback::ResponseHeaders),
            response_body: find.func(Callback::ResponseBody),
            response_trailers: find.func(Callback::ResponseTrailers),
            http_call_response: find.func(Callback::HttpCallResponse),
            grpc_initial_metadata: find.func(Callback::GrpcInitialMetadata),
            grpc_receive: find.func(Callback::GrpcReceive),
            grpc_trailing_metadata: find
                .func(Callback::GrpcTrailingMetadata)
                .or_else(|| find.func(Callback::GrpcTrailingMetadataAlias)),
            grpc_close: find.func(Callback::GrpcClose),
            done: find.func(Callback::Done),
            log: find.func(Callback::Log),
            delete: find.func(Callback::Delete),
        }
    }
}

struct Find<'a> {
    instance: Instance,
    store: &'a mut Store<State>,
    allowed: Callbacks,
}

impl Find<'_> {
    fn func<P: WasmParams, R: WasmResults>(&mut self, callback: Callback) -> Option<Export<P, R>> {
        if self.allowed.contains(callback) {
            find(self.instance, &mut *self.store, callback.name())
        } else {
            None
        }
    }

    fn headers(&mut self, callback: Callback) -> Option<Headers> {
        match self.func(callback) {
            Some(call) => Some(Headers::WithEnd(call)),
            None => self.func(callback).map(Headers::WithoutEnd),
        }
    }
}

/// Finds an exported function of this type.
pub(crate) fn find<P: WasmParams, R: WasmResults>(
    instance: Instance,
    store: impl AsContextMut,
    name: &'static str,
) -> Option<Export<P, R>> {
    let func = instance.get_typed_func(store, name).ok()?;
    Some(Export { name, func })
}
