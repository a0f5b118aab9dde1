//go:build wasip1

// Package proxywasm is the proxy-wasm ABI for filters in Go; see README.md.
package proxywasm

import "cairn.dev/proxywasm/types"

// httpCall is an HTTP call under way.
type httpCall struct {
	caller   uint32
	callback func(numHeaders, bodySize, numTrailers int)
}

// grpcCall is a gRPC call or stream under way; one of the two takes what comes.
type grpcCall struct {
	caller uint32
	unary  func(status uint32, messageSize int)
	stream types.GrpcStreamHandler
}

// The state of this instance. The proxy calls one function at a time, so nothing is locked.
var (
	vm        types.VMContext = &types.DefaultVMContext{}
	newPlugin func(contextID uint32) types.PluginContext
	newHTTP   func(contextID uint32) types.HttpContext
	newTCP    func(contextID uint32) types.TcpContext

	plugins = map[uint32]types.PluginContext{}
	https   = map[uint32]types.HttpContext{}
	tcps    = map[uint32]types.TcpContext{}
	calls   = map[uint32]httpCall{}
	grpcs   = map[uint32]grpcCall{}
	// current is the context the proxy called last.
	current uint32
)

// SetVMContext is called in init, never later.
func SetVMContext(context types.VMContext) { vm = context }

// SetPluginContext is called in init instead of SetVMContext when there is nothing to do for a VM.
func SetPluginContext(make func(contextID uint32) types.PluginContext) { newPlugin = make }

// SetHttpContext is called in init when there is nothing to do for a VM and for a plugin.
func SetHttpContext(make func(contextID uint32) types.HttpContext) { newHTTP = make }

// SetTcpContext is SetHttpContext for connections.
func SetTcpContext(make func(contextID uint32) types.TcpContext) { newTCP = make }

//go:wasmexport proxy_abi_version_0_2_1
func proxyABIVersion() {}

//go:wasmexport proxy_on_context_create
func proxyOnContextCreate(id, parent uint32) {
	clear(held)
	current = id
	if parent == 0 {
		if newPlugin != nil {
			plugins[id] = newPlugin(id)
		} else {
			plugins[id] = vm.NewPluginContext(id)
		}
		return
	}
	if context := makeHTTP(plugins[parent], id); context != nil {
		https[id] = context
		return
	}
	if context := makeTCP(plugins[parent], id); context != nil {
		tcps[id] = context
	}
}

func makeHTTP(plugin types.PluginContext, id uint32) types.HttpContext {
	if newHTTP != nil {
		return newHTTP(id)
	}
	if plugin == nil {
		return nil
	}
	return plugin.NewHttpContext(id)
}

func makeTCP(plugin types.PluginContext, id uint32) types.TcpContext {
	if newTCP != nil {
		return newTCP(id)
	}
	if plugin == nil {
		return nil
	}
	return plugin.NewTcpContext(id)
}

func truth(value bool) uint32 {
	if value {
		return 1
	}
	return 0
}

//go:wasmexport proxy_on_vm_start
func proxyOnVMStart(id, size uint32) uint32 {
	current = id
	return truth(bool(vm.OnVMStart(int(size))))
}

//go:wasmexport proxy_on_configure
func proxyOnConfigure(id, size uint32) uint32 {
	current = id
	plugin, ok := plugins[id]
	return truth(ok && bool(plugin.OnPluginStart(int(size))))
}

//go:wasmexport proxy_on_tick
func proxyOnTick(id uint32) {
	current = id
	if plugin, ok := plugins[id]; ok {
		plugin.OnTick()
	}
}

//go:wasmexport proxy_on_queue_ready
func proxyOnQueueReady(id, queue uint32) {
	current = id
	if plugin, ok := plugins[id]; ok {
		plugin.OnQueueReady(queue)
	}
}

//go:wasmexport proxy_on_foreign_function
func proxyOnForeignFunction(id, function, size uint32) {
	current = id
	for _, context := range []any{plugins[id], https[id], tcps[id]} {
		if handler, ok := context.(types.ForeignFunctionHandler); ok {
			handler.OnForeignFunction(function, int(size))
		}
	}
}

//go:wasmexport proxy_on_new_connection
func proxyOnNewConnection(id uint32) uint32 {
	current = id
	if context, ok := tcps[id]; ok {
		return uint32(context.OnNewConnection())
	}
	return 0
}

//go:wasmexport proxy_on_downstream_data
func proxyOnDownstreamData(id, size, end uint32) uint32 {
	current = id
	if context, ok := tcps[id]; ok {
		return uint32(context.OnDownstreamData(int(size), end != 0))
	}
	return 0
}

//go:wasmexport proxy_on_downstream_connection_close
func proxyOnDownstreamConnectionClose(id, peer uint32) {
	current = id
	if context, ok := tcps[id]; ok {
		context.OnDownstreamClose(types.PeerType(peer))
	}
}

//go:wasmexport proxy_on_upstream_data
func proxyOnUpstreamData(id, size, end uint32) uint32 {
	current = id
	if context, ok := tcps[id]; ok {
		return uint32(context.OnUpstreamData(int(size), end != 0))
	}
	return 0
}

//go:wasmexport proxy_on_upstream_connection_close
func proxyOnUpstreamConnectionClose(id, peer uint32) {
	current = id
	if context, ok := tcps[id]; ok {
		context.OnUpstreamClose(types.PeerType(peer))
	}
}

//go:wasmexport proxy_on_request_headers
func proxyOnRequestHeaders(id, count, end uint32) uint32 {
	current = id
	if context, ok := https[id]; ok {
		return uint32(context.OnHttpRequestHeaders(int(count), end != 0))
	}
	return 0
}

//go:wasmexport proxy_on_request_body
func proxyOnRequestBody(id, size, end uint32) uint32 {
	current = id
	if context, ok := https[id]; ok {
		return uint32(context.OnHttpRequestBody(int(size), end != 0))
	}
	return 0
}

//go:wasmexport proxy_on_request_trailers
func proxyOnRequestTrailers(id, count uint32) uint32 {
	current = id
	if context, ok := https[id]; ok {
		return uint32(context.OnHttpRequestTrailers(int(count)))
	}
	return 0
}

//go:wasmexport proxy_on_response_headers
func proxyOnResponseHeaders(id, count, end uint32) uint32 {
	current = id
	if context, ok := https[id]; ok {
		return uint32(context.OnHttpResponseHeaders(int(count), end != 0))
	}
	return 0
}

//go:wasmexport proxy_on_response_body
func proxyOnResponseBody(id, size, end uint32) uint32 {
	current = id
	if context, ok := https[id]; ok {
		return uint32(context.OnHttpResponseBody(int(size), end != 0))
	}
	return 0
}

//go:wasmexport proxy_on_response_trailers
func proxyOnResponseTrailers(id, count uint32) uint32 {
	current = id
	if context, ok := https[id]; ok {
		return uint32(context.OnHttpResponseTrailers(int(count)))
	}
	return 0
}

//go:wasmexport proxy_on_http_call_response
func proxyOnHTTPCallResponse(id, call, headers, body, trailers uint32) {
	pending, ok := calls[call]
	if !ok {
		return
	}
	delete(calls, call)
	if !enter(pending.caller) {
		return
	}
	pending.callback(int(headers), int(body), int(trailers))
}

//go:wasmexport proxy_on_grpc_receive_initial_metadata
func proxyOnGrpcReceiveInitialMetadata(id, call, count uint32) {
	if pending, ok := grpcs[call]; ok && pending.stream != nil && enter(pending.caller) {
		pending.stream.OnGrpcInitialMetadata(int(count))
	}
}

//go:wasmexport proxy_on_grpc_receive
func proxyOnGrpcReceive(id, call, size uint32) {
	pending, ok := grpcs[call]
	if !ok || !enter(pending.caller) {
		return
	}
	if pending.stream != nil {
		pending.stream.OnGrpcMessage(int(size))
		return
	}
	delete(grpcs, call)
	pending.unary(0, int(size))
}

//go:wasmexport proxy_on_grpc_receive_trailing_metadata
func proxyOnGrpcReceiveTrailingMetadata(id, call, count uint32) {
	if pending, ok := grpcs[call]; ok && pending.stream != nil && enter(pending.caller) {
		pending.stream.OnGrpcTrailingMetadata(int(count))
	}
}

//go:wasmexport proxy_on_grpc_close
func proxyOnGrpcClose(id, call, status uint32) {
	pending, ok := grpcs[call]
	if !ok {
		return
	}
	delete(grpcs, call)
	if !enter(pending.caller) {
		return
	}
	if pending.stream != nil {
		pending.stream.OnGrpcClose(status)
	} else {
		pending.unary(status, 0)
	}
}

// enter makes host calls act for the context that started a call; false when it has gone.
func enter(caller uint32) bool {
	_, isPlugin := plugins[caller]
	_, isHTTP := https[caller]
	_, isTCP := tcps[caller]
	if !isPlugin && !isHTTP && !isTCP {
		return false
	}
	current = caller
	return proxySetEffectiveContext(caller) == statusOK
}

//go:wasmexport proxy_on_done
func proxyOnDone(id uint32) uint32 {
	current = id
	if plugin, ok := plugins[id]; ok {
		return truth(plugin.OnPluginDone())
	}
	return 1
}

//go:wasmexport proxy_on_log
func proxyOnLog(id uint32) {
	current = id
	if context, ok := https[id]; ok {
		context.OnHttpStreamDone()
	}
	if context, ok := tcps[id]; ok {
		context.OnStreamDone()
	}
}

//go:wasmexport proxy_on_delete
func proxyOnDelete(id uint32) {
	current = id
	delete(plugins, id)
	delete(https, id)
	delete(tcps, id)
}
