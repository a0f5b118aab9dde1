//! Tells a guest what happened to its callouts.

use std::sync::Arc;

use wasmtime::Store;

use crate::abi::CallId;
use crate::embed::{CalloutEvent, HeaderMap as _, Headers, StreamHost};
use crate::trap::Trap;
use crate::vm::exports::Exports;
use crate::vm::{CallKind, Entry, Phase, ROOT, Received, State, Vm};

impl Vm {
    /// Delivers an event, if the callout is in flight and belongs to this stream (or to none).
    ///
    /// SDKs are called with the root's id; they know which of their contexts made the call and
    /// choose it with `proxy_set_effective_context`.
    pub(super) fn deliver(
        &self,
        call: CallId,
        event: CalloutEvent,
        stream: Option<(u32, &mut dyn StreamHost)>,
    ) -> Result<(), Arc<Trap>> {
        let (owner, host) = match stream {
            Some((id, host)) => (Some(id), Some(host)),
            None => (None, None),
        };
        let limits = &self.0.plugin.config.limits;
        let entry = Entry {
            callback: callback_for(&event),
            phase: Phase::Running,
            context: ROOT,
            lent_for: owner,
            budget: if owner.is_some() {
                limits.callback
            } else {
                limits.tick
            },
        };
        self.enter(entry, host, |exports, store| {
            let state = store.data_mut();
            let expected = state
                .calls
                .get(call.0)
                .filter(|c| c.context == owner.unwrap_or(ROOT));
            let Some(expected) = expected.filter(|c| fits(c.kind, &event)) else {
                return Ok(());
            };
            if ends(expected.kind, &event) {
                state.calls.end(call.0);
                if let Some(stream) = state.streams.get_mut(&expected.context) {
                    stream.calls = stream.calls.saturating_sub(1);
                }
            }
            let result = hand_over(exports, store, call.0, event);
            store.data_mut().calls.received = Received::default();
            result
        })
    }
}

fn callback_for(event: &CalloutEvent) -> &'static str {
    match event {
        CalloutEvent::HttpResponse { .. } => "proxy_on_http_call_response",
        CalloutEvent::GrpcInitialMetadata(_) => "proxy_on_grpc_receive_initial_metadata",
        CalloutEvent::GrpcMessage(_) => "proxy_on_grpc_receive",
        CalloutEvent::GrpcTrailingMetadata(_) => "proxy_on_grpc_receive_trailing_metadata",
        CalloutEvent::GrpcClosed { .. } => "proxy_on_grpc_close",
    }
}

fn fits(kind: CallKind, event: &CalloutEvent) -> bool {
    match (kind, event) {
        (CallKind::Http, CalloutEvent::HttpResponse { .. })
        | (CallKind::GrpcUnary, CalloutEvent::GrpcMessage(_) | CalloutEvent::GrpcClosed { .. }) => {
            true
        }
        (CallKind::GrpcStream, event) => !matches!(event, CalloutEvent::HttpResponse { .. }),
        _ => false,
    }
}

/// Whether nothing follows. A unary call ends with its response; the Rust SDK counts on it.
fn ends(kind: CallKind, event: &CalloutEvent) -> bool {
    kind != CallKind::GrpcStream || matches!(event, CalloutEvent::GrpcClosed { .. })
}

/// Calls the guest with what came, readable for the length of the call.
fn hand_over(
    exports: &Exports,
    store: &mut Store<State>,
    id: u32,
    event: CalloutEvent,
) -> wasmtime::Result<()> {
    let calls = &mut store.data_mut().calls;
    let three = match event {
        CalloutEvent::HttpResponse {
            headers,
            body,
            trailers,
        } => {
            let sizes = (
                number(headers.len()),
                number(body.len()),
                number(trailers.len()),
            );
            // No header at all stands for a response that broke off; Envoy's BROKEN_CONNECTION.
            calls.status = if sizes.0 == 0 {
                (11, "reset".to_owned())
            } else {
                (0, String::new())
            };
            calls.received = Received {
                headers: Some(headers),
                trailers: Some(trailers),
                body: Some(body),
            };
            return match &exports.http_call_response {
                Some(call) => call.call(store, (ROOT, id, sizes.0, sizes.1, sizes.2)),
                None => Ok(()),
            };
        }
        CalloutEvent::GrpcInitialMetadata(metadata) => {
            let n = keep(&mut calls.received.headers, metadata);
            (&exports.grpc_initial_metadata, n)
        }
        CalloutEvent::GrpcMessage(message) => {
            let n = number(message.len());
            calls.status = (0, String::new());
            calls.received.body = Some(message);
            (&exports.grpc_receive, n)
        }
        CalloutEvent::GrpcTrailingMetadata(metadata) => {
            let n = keep(&mut calls.received.trailers, metadata);
            (&exports.grpc_trailing_metadata, n)
        }
        CalloutEvent::GrpcClosed { status, message } => {
            calls.status = (status, message);
            (&exports.grpc_close, status)
        }
    };
    match three {
        (Some(call), n) => call.call(store, (ROOT, id, n)),
        (None, _) => Ok(()),
    }
}

fn keep(place: &mut Option<Headers>, metadata: Headers) -> u32 {
    let n = number(metadata.len());
    *place = Some(metadata);
    n
}

fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
