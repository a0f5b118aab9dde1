//! The functions a module may export for the host to call: the table, and sets of them.

use std::fmt;

/// Defines the table: variant, name, the types it may have, what it is for.
macro_rules! callbacks {
    ($($variant:ident $name:literal [$($ty:literal),+] $doc:literal;)*) => {
        /// A function a module may export for the host to call.
        ///
        /// Source: proxy-wasm specification v0.2.1 with 0.1.0 and 0.2.0.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum Callback {
            $(#[doc = $doc] $variant,)*
        }

        impl Callback {
            /// Every callback this host makes, in the order of the ABI.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Returns the name of the export.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The types it may have, such as `(i32, i32) -> i32`; the newest first.
            pub(crate) const fn types(self) -> &'static [&'static str] {
                match self {
                    $(Self::$variant => &[$($ty),+],)*
                }
            }
        }
    };
}

callbacks! {
    Initialize "_initialize" ["() -> ()"] "Starts a reactor.";
    Start "_start" ["() -> ()"] "Starts a command; only without `_initialize`.";
    Main "main" ["(i32, i32) -> i32"] "Follows `_initialize`.";
    MainVoid "__main_void" ["() -> i32"] "Stands in for `main`.";
    ContextCreate "proxy_on_context_create" ["(i32, i32) -> ()"] "A context begins: the root's, or a stream's.";
    VmStart "proxy_on_vm_start" ["(i32, i32) -> i32"] "The VM starts; false refuses.";
    Configure "proxy_on_configure" ["(i32, i32) -> i32"] "The plugin is configured; false refuses.";
    Tick "proxy_on_tick" ["(i32) -> ()"] "The timer.";
    QueueReady "proxy_on_queue_ready" ["(i32, i32) -> ()"] "An item waits in a queue.";
    ForeignFunction "proxy_on_foreign_function" ["(i32, i32, i32) -> ()"] "The proxy calls a function it agreed on with the filter.";
    NewConnection "proxy_on_new_connection" ["(i32) -> i32"] "A TCP connection.";
    DownstreamData "proxy_on_downstream_data" ["(i32, i32, i32) -> i32"] "Bytes from the client.";
    UpstreamData "proxy_on_upstream_data" ["(i32, i32, i32) -> i32"] "Bytes from the server.";
    DownstreamClose "proxy_on_downstream_connection_close" ["(i32, i32) -> ()"] "The client's connection is closed.";
    UpstreamClose "proxy_on_upstream_connection_close" ["(i32, i32) -> ()"] "The server's connection is closed.";
    // The third parameter, end of stream, came with 0.2.0.
    RequestHeaders "proxy_on_request_headers" ["(i32, i32, i32) -> i32", "(i32, i32) -> i32"] "Request headers.";
    RequestBody "proxy_on_request_body" ["(i32, i32, i32) -> i32"] "A part of the request body.";
    RequestTrailers "proxy_on_request_trailers" ["(i32, i32) -> i32"] "Request trailers.";
    ResponseHeaders "proxy_on_response_headers" ["(i32, i32, i32) -> i32", "(i32, i32) -> i32"] "Response headers.";
    ResponseBody "proxy_on_response_body" ["(i32, i32, i32) -> i32"] "A part of the response body.";
    ResponseTrailers "proxy_on_response_trailers" ["(i32, i32) -> i32"] "Response trailers.";
    HttpCallResponse "proxy_on_http_call_response" ["(i32, i32, i32, i32, i32) -> ()"] "The response of an HTTP callout.";
    GrpcInitialMetadata "proxy_on_grpc_receive_initial_metadata" ["(i32, i32, i32) -> ()"] "Initial metadata of a gRPC stream.";
    GrpcReceive "proxy_on_grpc_receive" ["(i32, i32, i32) -> ()"] "A gRPC message.";
    GrpcTrailingMetadata "proxy_on_grpc_receive_trailing_metadata" ["(i32, i32, i32) -> ()"] "Trailing metadata of a gRPC stream.";
    GrpcTrailingMetadataAlias "proxy_on_grpc_trailing_metadata" ["(i32, i32, i32) -> ()"] "The same, as the AssemblyScript SDK names it.";
    GrpcClose "proxy_on_grpc_close" ["(i32, i32, i32) -> ()"] "The end of a gRPC call.";
    Done "proxy_on_done" ["(i32) -> i32"] "A context is to end; the root may ask for more time.";
    Log "proxy_on_log" ["(i32) -> ()"] "A stream is logged.";
    Delete "proxy_on_delete" ["(i32) -> ()"] "A context has gone.";
}

impl fmt::Display for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of callbacks, such as those a module exports. As cheap as a number.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Callbacks(u64);

impl Callbacks {
    /// Returns whether this callback is in the set.
    pub const fn contains(self, callback: Callback) -> bool {
        self.0 & 1 << callback as u64 != 0
    }

    /// Returns whether no callback is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Yields the callbacks in the order of the ABI.
    pub fn iter(self) -> impl Iterator<Item = Callback> {
        Callback::ALL
            .iter()
            .copied()
            .filter(move |callback| self.contains(*callback))
    }

    /// Keeps those for which `keep` is true.
    pub(crate) fn filtered(self, keep: impl Fn(Callback) -> bool) -> Self {
        self.iter().filter(|callback| keep(*callback)).collect()
    }
}

impl FromIterator<Callback> for Callbacks {
    fn from_iter<I: IntoIterator<Item = Callback>>(callbacks: I) -> Self {
        Self(
            callbacks
                .into_iter()
                .fold(0, |set, callback| set | 1 << callback as u64),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in_and_yields_it_in_order() {
        let set: Callbacks = [Callback::Delete, Callback::Start].into_iter().collect();
        assert!(set.contains(Callback::Start) && !set.contains(Callback::Initialize));
        let names: Vec<_> = set.iter().map(Callback::name).collect();
        assert_eq!(names, ["_start", "proxy_on_delete"]);
        assert!(Callbacks::default().is_empty() && !set.is_empty());
        assert!(Callback::ALL.len() <= 64);
    }
}
