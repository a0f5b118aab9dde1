//! The host's functions, as they are: no SDK stands between.

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    pub fn proxy_log(level: u32, message: u32, len: u32) -> u32;
    #[cfg(not(any(feature = "abi-0-1-0", feature = "abi-0-2-0")))]
    pub fn proxy_get_log_level(out: u32) -> u32;
    pub fn proxy_get_current_time_nanoseconds(out: u32) -> u32;
    pub fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
    #[cfg(feature = "abi-0-1-0")]
    pub fn proxy_get_configuration(out: u32, out_len: u32) -> u32;
    pub fn proxy_get_status(code: u32, out: u32, out_len: u32) -> u32;
    pub fn proxy_get_property(path: u32, len: u32, out: u32, out_len: u32) -> u32;
    pub fn proxy_set_property(path: u32, len: u32, value: u32, value_len: u32) -> u32;
    pub fn proxy_get_buffer_bytes(id: u32, start: u32, max: u32, out: u32, out_len: u32) -> u32;
    #[cfg(not(feature = "abi-0-1-0"))]
    pub fn proxy_get_buffer_status(id: u32, len: u32, flags: u32) -> u32;
    #[cfg(not(feature = "abi-0-1-0"))]
    pub fn proxy_set_buffer_bytes(id: u32, start: u32, size: u32, data: u32, len: u32) -> u32;
    pub fn proxy_get_header_map_size(map: u32, out: u32) -> u32;
    pub fn proxy_get_header_map_pairs(map: u32, out: u32, out_len: u32) -> u32;
    pub fn proxy_set_header_map_pairs(map: u32, data: u32, len: u32) -> u32;
    pub fn proxy_get_header_map_value(map: u32, key: u32, len: u32, out: u32, out_len: u32) -> u32;
    pub fn proxy_add_header_map_value(map: u32, key: u32, len: u32, value: u32, n: u32) -> u32;
    pub fn proxy_replace_header_map_value(map: u32, key: u32, len: u32, value: u32, n: u32) -> u32;
    pub fn proxy_remove_header_map_value(map: u32, key: u32, len: u32) -> u32;
    #[cfg(not(feature = "abi-0-1-0"))]
    pub fn proxy_continue_stream(kind: u32) -> u32;
    #[cfg(not(feature = "abi-0-1-0"))]
    pub fn proxy_close_stream(kind: u32) -> u32;
    #[cfg(feature = "abi-0-1-0")]
    pub fn proxy_continue_request() -> u32;
    #[cfg(feature = "abi-0-1-0")]
    pub fn proxy_continue_response() -> u32;
    #[cfg(feature = "abi-0-1-0")]
    pub fn proxy_clear_route_cache() -> u32;
    pub fn proxy_send_local_response(
        status: u32,
        details: u32,
        details_len: u32,
        body: u32,
        body_len: u32,
        headers: u32,
        headers_len: u32,
        grpc_status: u32,
    ) -> u32;
    pub fn proxy_http_call(
        upstream: u32,
        upstream_len: u32,
        headers: u32,
        headers_len: u32,
        body: u32,
        body_len: u32,
        trailers: u32,
        trailers_len: u32,
        timeout: u32,
        out: u32,
    ) -> u32;
    pub fn proxy_grpc_call(
        upstream: u32,
        upstream_len: u32,
        service: u32,
        service_len: u32,
        method: u32,
        method_len: u32,
        metadata: u32,
        metadata_len: u32,
        message: u32,
        message_len: u32,
        timeout: u32,
        out: u32,
    ) -> u32;
    pub fn proxy_grpc_stream(
        upstream: u32,
        upstream_len: u32,
        service: u32,
        service_len: u32,
        method: u32,
        method_len: u32,
        metadata: u32,
        metadata_len: u32,
        out: u32,
    ) -> u32;
    pub fn proxy_grpc_send(id: u32, message: u32, len: u32, end: u32) -> u32;
    pub fn proxy_grpc_cancel(id: u32) -> u32;
    pub fn proxy_grpc_close(id: u32) -> u32;
    pub fn proxy_get_shared_data(key: u32, len: u32, out: u32, out_len: u32, cas: u32) -> u32;
    pub fn proxy_set_shared_data(key: u32, len: u32, value: u32, n: u32, cas: u32) -> u32;
    pub fn proxy_register_shared_queue(name: u32, len: u32, out: u32) -> u32;
    pub fn proxy_resolve_shared_queue(vm: u32, vm_len: u32, name: u32, len: u32, out: u32) -> u32;
    pub fn proxy_enqueue_shared_queue(id: u32, data: u32, len: u32) -> u32;
    pub fn proxy_dequeue_shared_queue(id: u32, out: u32, out_len: u32) -> u32;
    pub fn proxy_define_metric(kind: u32, name: u32, len: u32, out: u32) -> u32;
    pub fn proxy_record_metric(id: u32, value: u64) -> u32;
    pub fn proxy_increment_metric(id: u32, delta: i64) -> u32;
    pub fn proxy_get_metric(id: u32, out: u32) -> u32;
    pub fn proxy_set_effective_context(id: u32) -> u32;
    pub fn proxy_done() -> u32;
    #[cfg(not(feature = "abi-0-1-0"))]
    pub fn proxy_call_foreign_function(
        name: u32,
        name_len: u32,
        args: u32,
        args_len: u32,
        out: u32,
        out_len: u32,
    ) -> u32;
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    pub fn fd_write(fd: u32, iovs: u32, n: u32, written: u32) -> u32;
    pub fn fd_read(fd: u32, iovs: u32, n: u32, read: u32) -> u32;
    pub fn fd_seek(fd: u32, offset: i64, whence: u32, out: u32) -> u32;
    pub fn fd_close(fd: u32) -> u32;
    pub fn fd_fdstat_get(fd: u32, out: u32) -> u32;
    pub fn args_sizes_get(count: u32, bytes: u32) -> u32;
    pub fn environ_sizes_get(count: u32, bytes: u32) -> u32;
    pub fn clock_time_get(id: u32, precision: u64, out: u32) -> u32;
    pub fn random_get(out: u32, len: u32) -> u32;
    pub fn proc_exit(code: u32);
}
