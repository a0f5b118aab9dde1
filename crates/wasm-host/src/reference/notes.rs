//! What the page says about each function: since which version it exists, and how it behaves.

/// Name, versions of the ABI, behaviour.
pub(super) type Note = (&'static str, &'static str, &'static str);

pub(super) const CALLBACKS: &[Note] = &[
    (
        "_initialize",
        "all",
        "First, if the module is a reactor. Only logging, clocks, randomness and WASI may be called.",
    ),
    (
        "_start",
        "all",
        "In place of `_initialize`, if there is none. Exiting with code 0 is success.",
    ),
    ("main", "all", "After `_initialize`."),
    (
        "__main_void",
        "all",
        "After `_initialize`, if there is no `main`.",
    ),
    (
        "proxy_on_context_create",
        "all",
        "Once for the root context; for a stream just before its first callback.",
    ),
    (
        "proxy_on_vm_start",
        "all",
        "Once per VM. False: the plugin does not start, and its last warning is quoted.",
    ),
    (
        "proxy_on_configure",
        "all",
        "After the start. False: as above. Callouts may be made.",
    ),
    (
        "proxy_on_tick",
        "all",
        "Every period, counted from the end of the last one.",
    ),
    (
        "proxy_on_queue_ready",
        "all",
        "Once per item, on the worker that registered the queue last.",
    ),
    (
        "proxy_on_foreign_function",
        "0.2.0",
        "When the proxy calls; arguments are in buffer 8.",
    ),
    (
        "proxy_on_new_connection",
        "all",
        "First callback of a TCP stream.",
    ),
    (
        "proxy_on_downstream_data",
        "all",
        "What waits from the client, together with what came. Not 0: it waits on.",
    ),
    ("proxy_on_upstream_data", "all", "The same from the server."),
    (
        "proxy_on_downstream_connection_close",
        "all",
        "1: the proxy closed, 2: the peer did.",
    ),
    (
        "proxy_on_upstream_connection_close",
        "all",
        "The same for the server's connection.",
    ),
    (
        "proxy_on_request_headers",
        "all",
        "With two parameters (0.1.0) or three; the type counts, not the version. Actions 0 to 4.",
    ),
    (
        "proxy_on_request_body",
        "all",
        "A chunk, or after a pause with buffering everything so far. Actions 0 to 3.",
    ),
    (
        "proxy_on_request_trailers",
        "all",
        "Any action but 0 waits.",
    ),
    (
        "proxy_on_response_headers",
        "all",
        "As for requests; not for informational responses.",
    ),
    ("proxy_on_response_body", "all", "As for requests."),
    ("proxy_on_response_trailers", "all", "As for requests."),
    (
        "proxy_on_http_call_response",
        "all",
        "To the root context. Timeouts are 504 and refused connections 503; no headers at all after a reset.",
    ),
    (
        "proxy_on_grpc_receive_initial_metadata",
        "all",
        "Of a gRPC stream.",
    ),
    (
        "proxy_on_grpc_receive",
        "all",
        "Of a unary call it is the last event.",
    ),
    (
        "proxy_on_grpc_receive_trailing_metadata",
        "all",
        "Of a gRPC stream.",
    ),
    (
        "proxy_on_grpc_trailing_metadata",
        "none",
        "The name the AssemblyScript SDK exports in place of the one above.",
    ),
    (
        "proxy_on_grpc_close",
        "all",
        "End of a stream, or failure of a unary call.",
    ),
    (
        "proxy_on_done",
        "all",
        "For streams the result is ignored; a root that returns false ends when it calls `proxy_done`.",
    ),
    (
        "proxy_on_log",
        "all",
        "For HTTP before `proxy_on_done`, for TCP after it, as in Envoy. Everything is readable, nothing can be changed.",
    ),
    (
        "proxy_on_delete",
        "all",
        "Last. Streams only if the guest ever heard of them.",
    ),
];

pub(super) const FUNCTIONS: &[Note] = &[
    (
        "emscripten_notify_memory_growth",
        "none",
        "Nothing to do; C++ modules of 2020 import it.",
    ),
    (
        "proxy_add_header_map_value",
        "all",
        "OK though the map is not there or the header cannot be sent; that is counted and logged.",
    ),
    (
        "proxy_call_foreign_function",
        "all",
        "First the proxy's own, then the functions below. Unknown names: NOT_FOUND.",
    ),
    (
        "proxy_clear_route_cache",
        "0.1.0",
        "The route is chosen anew. Nothing after the end of a stream.",
    ),
    (
        "proxy_close_stream",
        "0.2.0",
        "0 and 1 reset an HTTP stream, 2 and 3 close one side of a TCP stream.",
    ),
    (
        "proxy_continue_request",
        "0.1.0",
        "As `proxy_continue_stream(0)`. May be imported without a result.",
    ),
    (
        "proxy_continue_response",
        "0.1.0",
        "As `proxy_continue_stream(1)`.",
    ),
    (
        "proxy_continue_stream",
        "0.2.0",
        "Takes effect after the callback. OK when nothing waits. Envoy's UNIMPLEMENTED for 3 is not copied.",
    ),
    (
        "proxy_define_metric",
        "all",
        "The same name and kind give the same id. Over the limit: an id whose values go nowhere.",
    ),
    ("proxy_dequeue_shared_queue", "all", "EMPTY, or NOT_FOUND."),
    (
        "proxy_done",
        "all",
        "Ends a root that asked for time. OK when none did; the specification's NOT_FOUND ends Rust filters.",
    ),
    (
        "proxy_enqueue_shared_queue",
        "all",
        "NOT_FOUND also when the queue is full.",
    ),
    (
        "proxy_get_buffer_bytes",
        "all",
        "Windows are clamped. A body that is not there has no bytes; other buffers are NOT_FOUND.",
    ),
    (
        "proxy_get_buffer_status",
        "0.2.0",
        "Size, and flags that are always 0.",
    ),
    (
        "proxy_get_configuration",
        "0.1.0",
        "The plugin's while it is configured, otherwise the VM's.",
    ),
    (
        "proxy_get_current_time_nanoseconds",
        "all",
        "Since the Unix epoch.",
    ),
    (
        "proxy_get_header_map_pairs",
        "all",
        "A map that is not there is empty.",
    ),
    (
        "proxy_get_header_map_size",
        "all",
        "Bytes of names and values, as in Envoy.",
    ),
    (
        "proxy_get_header_map_value",
        "all",
        "The first value. NOT_FOUND when there is none, in 0.1.0 OK and empty; never Envoy's BAD_ARGUMENT, at which Rust filters stop.",
    ),
    (
        "proxy_get_log_level",
        "0.2.1",
        "Lines below it are not even counted.",
    ),
    ("proxy_get_metric", "all", "Histograms: BAD_ARGUMENT."),
    (
        "proxy_get_property",
        "all",
        "The plugin, the stream, what headers tell, the proxy, what guests have set. A NUL at the end is allowed.",
    ),
    (
        "proxy_get_shared_data",
        "all",
        "With the number of the last write.",
    ),
    (
        "proxy_get_status",
        "all",
        "Of the last callout: 0, a gRPC status with its text, or 11 and `reset`.",
    ),
    (
        "proxy_grpc_call",
        "all",
        "PARSE_FAILURE or INTERNAL_FAILURE; Envoy's BAD_ARGUMENT ends Rust filters.",
    ),
    ("proxy_grpc_cancel", "all", "No more is heard of the call."),
    (
        "proxy_grpc_close",
        "all",
        "Ends our side of a stream; a unary call is cancelled.",
    ),
    (
        "proxy_grpc_send",
        "all",
        "On a stream; on a unary call BAD_ARGUMENT.",
    ),
    ("proxy_grpc_stream", "all", "As `proxy_grpc_call`."),
    (
        "proxy_http_call",
        "all",
        "Without `:method`, `:path` or `:authority`: BAD_ARGUMENT. Timeout 0 is the longest allowed.",
    ),
    (
        "proxy_increment_metric",
        "all",
        "A counter only rises; a histogram cannot be incremented.",
    ),
    (
        "proxy_log",
        "all",
        "A level beyond 5: BAD_ARGUMENT. Lines are cut, counted, and cleaned of control characters.",
    ),
    (
        "proxy_record_metric",
        "all",
        "For a counter the value is added, as in Envoy.",
    ),
    (
        "proxy_register_shared_queue",
        "all",
        "Who registers last is notified. Over the limit: an id with which nothing can be done.",
    ),
    (
        "proxy_remove_header_map_value",
        "all",
        "OK when there is none.",
    ),
    (
        "proxy_replace_header_map_value",
        "all",
        "Adds the header when there is none.",
    ),
    (
        "proxy_resolve_shared_queue",
        "all",
        "Within the tenant; an empty VM id means the own one.",
    ),
    (
        "proxy_send_local_response",
        "all",
        "After the callback; the first one counts. A status or body no response can have becomes a 500.",
    ),
    (
        "proxy_set_buffer_bytes",
        "all",
        "Any splice, also in the middle, which Envoy refuses. Too many bytes: BAD_ARGUMENT.",
    ),
    (
        "proxy_set_effective_context",
        "all",
        "Until the callback ends. Streams that are gone or not known: BAD_ARGUMENT.",
    ),
    (
        "proxy_set_header_map_pairs",
        "all",
        "A malformed map changes nothing and is BAD_ARGUMENT.",
    ),
    (
        "proxy_set_property",
        "all",
        "For this stream, in the root context for the plugin; Envoy answers NOT_FOUND there.",
    ),
    (
        "proxy_set_shared_data",
        "all",
        "CAS_MISMATCH also when there is no room. A key that is not there ignores the number.",
    ),
    (
        "proxy_set_tick_period_milliseconds",
        "all",
        "0 stops the timer; another call replaces it.",
    ),
    ("pthread_equal", "none", "For C++ modules of 2020."),
];

pub(super) const WASI: &[Note] = &[
    ("args_get", "all", "There are none."),
    ("args_sizes_get", "all", "0 and 0."),
    ("clock_res_get", "all", "1 for clocks 0 and 1."),
    (
        "clock_time_get",
        "all",
        "0 is the Unix epoch, 1 a monotonic clock; others 58.",
    ),
    (
        "environ_get",
        "all",
        "The configured variables, never the proxy's.",
    ),
    ("environ_sizes_get", "all", "The configured variables."),
    ("fd_close", "all", "0."),
    (
        "fd_fdstat_get",
        "all",
        "1 and 2 can be written to; others 8.",
    ),
    ("fd_fdstat_set_flags", "all", "52."),
    ("fd_filestat_get", "all", "8."),
    ("fd_prestat_dir_name", "all", "52."),
    ("fd_prestat_get", "all", "8: there are no directories."),
    ("fd_read", "all", "52."),
    ("fd_seek", "all", "70."),
    (
        "fd_write",
        "all",
        "1 is logged as information, 2 as an error; others 8.",
    ),
    ("path_open", "all", "44."),
    (
        "poll_oneoff",
        "all",
        "No events, at once: Go's runtime gives up at anything else.",
    ),
    (
        "proc_exit",
        "all",
        "The end of the VM, except code 0 in `_start`.",
    ),
    ("random_get", "all", "At most 64 KiB at a time."),
    ("sched_yield", "all", "0."),
];

pub(super) const FOREIGN: &[Note] = &[
    ("clear_route_cache", "Envoy", "As the function of 0.1.0."),
    ("compress", "Envoy", "zlib."),
    (
        "declare_property",
        "Envoy",
        "A read-only property is set once; later writes are OK, ignored and counted. Declaring again: BAD_ARGUMENT.",
    ),
    (
        "expr_create",
        "Envoy",
        "If the proxy brings an evaluator; otherwise NOT_FOUND.",
    ),
    (
        "expr_delete",
        "Envoy",
        "OK also for a token that is not known.",
    ),
    (
        "expr_evaluate",
        "Envoy",
        "The value in the form of a property.",
    ),
    (
        "set_envoy_filter_state",
        "Envoy",
        "State the proxy knows; otherwise NOT_FOUND.",
    ),
    (
        "sign",
        "Envoy",
        "RSA (PKCS #1 v1.5) with SHA-256, 384, 512; ECDSA with the hash of its curve, P-521 also with smaller ones.",
    ),
    (
        "uncompress",
        "Envoy",
        "At most 100 times its input, and within the limit; otherwise SERIALIZATION_FAILURE.",
    ),
    (
        "verify_signature",
        "Envoy",
        "RSA and ECDSA, DER or PEM; SHA-224 with P-521 only.",
    ),
];
