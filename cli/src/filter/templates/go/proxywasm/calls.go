//go:build wasip1

package proxywasm

import "cairn.dev/proxywasm/types"

// DispatchHttpCall sends a request to another service. The callback gets its answer, in the context
// this is called from; a call that failed has :status 503 or 504.
func DispatchHttpCall(
	cluster string,
	headers [][2]string,
	body []byte,
	trailers [][2]string,
	timeoutMillisecond uint32,
	callBack func(numHeaders, bodySize, numTrailers int),
) (calloutID uint32, err error) {
	var id uint32
	status := proxyHTTPCall(cluster, encode(headers), text(body), encode(trailers), timeoutMillisecond, &id)
	if status != statusOK {
		return 0, failure(status)
	}
	calls[id] = httpCall{caller: current, callback: callBack}
	return id, nil
}

// GetHttpCallResponseHeaders reads the answer, in the callback.
func GetHttpCallResponseHeaders() ([][2]string, error) { return getMap(httpCallResponseHeaders) }

// GetHttpCallResponseTrailers reads the answer, in the callback.
func GetHttpCallResponseTrailers() ([][2]string, error) { return getMap(httpCallResponseTrailers) }

// GetHttpCallResponseBody reads the answer, in the callback.
func GetHttpCallResponseBody(start, maxSize int) ([]byte, error) {
	return getBuffer(httpCallResponseBody, start, maxSize)
}

// GetCallStatus returns the status of the last call and its message.
func GetCallStatus() (uint32, string, error) {
	var code, out, size uint32
	if status := proxyGetStatus(&code, &out, &size); status != statusOK {
		return 0, "", failure(status)
	}
	return code, string(take(out, size)), nil
}

// DispatchGrpcCall sends one gRPC message. The callback gets status 0 and the size of the answer,
// which GetGrpcMessage reads, or another status.
func DispatchGrpcCall(
	upstream, service, method string,
	initialMetadata [][2]string,
	message []byte,
	timeoutMillisecond uint32,
	callBack func(status uint32, messageSize int),
) (calloutID uint32, err error) {
	var id uint32
	status := proxyGrpcCall(upstream, service, method, encode(initialMetadata), text(message), timeoutMillisecond, &id)
	if status != statusOK {
		return 0, failure(status)
	}
	grpcs[id] = grpcCall{caller: current, unary: callBack}
	return id, nil
}

// OpenGrpcStream begins a gRPC stream.
func OpenGrpcStream(
	upstream, service, method string,
	initialMetadata [][2]string,
	handler types.GrpcStreamHandler,
) (calloutID uint32, err error) {
	var id uint32
	status := proxyGrpcStream(upstream, service, method, encode(initialMetadata), &id)
	if status != statusOK {
		return 0, failure(status)
	}
	grpcs[id] = grpcCall{caller: current, stream: handler}
	return id, nil
}

// SendGrpcMessage sends a message on a stream; endStream ends our side of it.
func SendGrpcMessage(calloutID uint32, message []byte, endStream bool) error {
	return failure(proxyGrpcSend(calloutID, text(message), truth(endStream)))
}

// CancelGrpc ends a call or stream without any further callback.
func CancelGrpc(calloutID uint32) error {
	delete(grpcs, calloutID)
	return failure(proxyGrpcCancel(calloutID))
}

// CloseGrpcStream ends our side of a stream.
func CloseGrpcStream(calloutID uint32) error { return failure(proxyGrpcClose(calloutID)) }

// GetGrpcMessage reads a message, in the callback.
func GetGrpcMessage(start, maxSize int) ([]byte, error) {
	return getBuffer(grpcMessage, start, maxSize)
}

// GetGrpcInitialMetadata reads it, in OnGrpcInitialMetadata.
func GetGrpcInitialMetadata() ([][2]string, error) { return getMap(grpcInitialMetadata) }

// GetGrpcTrailingMetadata reads it, in OnGrpcTrailingMetadata.
func GetGrpcTrailingMetadata() ([][2]string, error) { return getMap(grpcTrailingMetadata) }
