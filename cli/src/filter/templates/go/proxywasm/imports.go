//go:build wasip1

package proxywasm

// The functions of the proxy. Text and bytes are a pointer and a length; "out" is where an answer
// goes. All of them return a status.

//go:wasmimport env proxy_log
func proxyLog(level uint32, message string) uint32

//go:wasmimport env proxy_get_log_level
func proxyGetLogLevel(level *uint32) uint32

//go:wasmimport env proxy_get_current_time_nanoseconds
func proxyGetCurrentTime(nanoseconds *uint64) uint32

//go:wasmimport env proxy_set_tick_period_milliseconds
func proxySetTickPeriod(milliseconds uint32) uint32

//go:wasmimport env proxy_get_status
func proxyGetStatus(code *uint32, out *uint32, outLen *uint32) uint32

//go:wasmimport env proxy_get_property
func proxyGetProperty(path string, out *uint32, outLen *uint32) uint32

//go:wasmimport env proxy_set_property
func proxySetProperty(path string, value string) uint32

//go:wasmimport env proxy_get_buffer_bytes
func proxyGetBufferBytes(buffer uint32, start uint32, maxSize uint32, out *uint32, outLen *uint32) uint32

//go:wasmimport env proxy_get_buffer_status
func proxyGetBufferStatus(buffer uint32, size *uint32, flags *uint32) uint32

//go:wasmimport env proxy_set_buffer_bytes
func proxySetBufferBytes(buffer uint32, start uint32, size uint32, bytes string) uint32

//go:wasmimport env proxy_get_header_map_size
func proxyGetHeaderMapSize(kind uint32, size *uint32) uint32

//go:wasmimport env proxy_get_header_map_pairs
func proxyGetHeaderMapPairs(kind uint32, out *uint32, outLen *uint32) uint32

//go:wasmimport env proxy_set_header_map_pairs
func proxySetHeaderMapPairs(kind uint32, pairs string) uint32

//go:wasmimport env proxy_get_header_map_value
func proxyGetHeaderMapValue(kind uint32, key string, out *uint32, outLen *uint32) uint32

//go:wasmimport env proxy_add_header_map_value
func proxyAddHeaderMapValue(kind uint32, key string, value string) uint32

//go:wasmimport env proxy_replace_header_map_value
func proxyReplaceHeaderMapValue(kind uint32, key string, value string) uint32

//go:wasmimport env proxy_remove_header_map_value
func proxyRemoveHeaderMapValue(kind uint32, key string) uint32

//go:wasmimport env proxy_continue_stream
func proxyContinueStream(stream uint32) uint32

//go:wasmimport env proxy_close_stream
func proxyCloseStream(stream uint32) uint32

//go:wasmimport env proxy_send_local_response
func proxySendLocalResponse(status uint32, details string, body string, headers string, grpcStatus int32) uint32

//go:wasmimport env proxy_http_call
func proxyHTTPCall(upstream string, headers string, body string, trailers string, timeout uint32, id *uint32) uint32

//go:wasmimport env proxy_grpc_call
func proxyGrpcCall(upstream string, service string, method string, metadata string, message string, timeout uint32, id *uint32) uint32

//go:wasmimport env proxy_grpc_stream
func proxyGrpcStream(upstream string, service string, method string, metadata string, id *uint32) uint32

//go:wasmimport env proxy_grpc_send
func proxyGrpcSend(id uint32, message string, endStream uint32) uint32

//go:wasmimport env proxy_grpc_cancel
func proxyGrpcCancel(id uint32) uint32

//go:wasmimport env proxy_grpc_close
func proxyGrpcClose(id uint32) uint32

//go:wasmimport env proxy_get_shared_data
func proxyGetSharedData(key string, out *uint32, outLen *uint32, cas *uint32) uint32

//go:wasmimport env proxy_set_shared_data
func proxySetSharedData(key string, value string, cas uint32) uint32

//go:wasmimport env proxy_register_shared_queue
func proxyRegisterSharedQueue(name string, id *uint32) uint32

//go:wasmimport env proxy_resolve_shared_queue
func proxyResolveSharedQueue(vmID string, name string, id *uint32) uint32

//go:wasmimport env proxy_enqueue_shared_queue
func proxyEnqueueSharedQueue(id uint32, item string) uint32

//go:wasmimport env proxy_dequeue_shared_queue
func proxyDequeueSharedQueue(id uint32, out *uint32, outLen *uint32) uint32

//go:wasmimport env proxy_define_metric
func proxyDefineMetric(kind uint32, name string, id *uint32) uint32

//go:wasmimport env proxy_record_metric
func proxyRecordMetric(id uint32, value uint64) uint32

//go:wasmimport env proxy_increment_metric
func proxyIncrementMetric(id uint32, delta int64) uint32

//go:wasmimport env proxy_get_metric
func proxyGetMetric(id uint32, value *uint64) uint32

//go:wasmimport env proxy_set_effective_context
func proxySetEffectiveContext(id uint32) uint32

//go:wasmimport env proxy_done
func proxyDone() uint32

//go:wasmimport env proxy_call_foreign_function
func proxyCallForeignFunction(name string, arguments string, out *uint32, outLen *uint32) uint32
