//go:build wasip1

package proxywasm

// Buffers, maps and streams of the ABI.
const (
	requestBody = iota
	responseBody
	downstreamData
	upstreamData
	httpCallResponseBody
	grpcMessage
	vmConfiguration
	pluginConfiguration
	foreignFunctionArguments
)

const (
	requestHeaders = iota
	requestTrailers
	responseHeaders
	responseTrailers
	grpcInitialMetadata
	grpcTrailingMetadata
	httpCallResponseHeaders
	httpCallResponseTrailers
)

const (
	requestStream = iota
	responseStream
	downstream
	upstream
)

func getBuffer(buffer uint32, start, maxSize int) ([]byte, error) {
	var out, size uint32
	if status := proxyGetBufferBytes(buffer, uint32(start), uint32(maxSize), &out, &size); status != statusOK {
		return nil, failure(status)
	}
	return take(out, size), nil
}

func setBuffer(buffer, start, size uint32, bytes []byte) error {
	return failure(proxySetBufferBytes(buffer, start, size, text(bytes)))
}

func appendBuffer(buffer uint32, bytes []byte) error { return setBuffer(buffer, maxUint32, 0, bytes) }

func prependBuffer(buffer uint32, bytes []byte) error { return setBuffer(buffer, 0, 0, bytes) }

func replaceBuffer(buffer uint32, bytes []byte) error { return setBuffer(buffer, 0, maxUint32, bytes) }

func getMap(kind uint32) ([][2]string, error) {
	var out, size uint32
	if status := proxyGetHeaderMapPairs(kind, &out, &size); status != statusOK {
		return nil, failure(status)
	}
	return decode(take(out, size)), nil
}

func setMap(kind uint32, pairs [][2]string) error {
	return failure(proxySetHeaderMapPairs(kind, encode(pairs)))
}

func getValue(kind uint32, key string) (string, error) {
	var out, size uint32
	if status := proxyGetHeaderMapValue(kind, key, &out, &size); status != statusOK {
		return "", failure(status)
	}
	return string(take(out, size)), nil
}

func addValue(kind uint32, key, value string) error {
	return failure(proxyAddHeaderMapValue(kind, key, value))
}

func replaceValue(kind uint32, key, value string) error {
	return failure(proxyReplaceHeaderMapValue(kind, key, value))
}

func removeValue(kind uint32, key string) error {
	return failure(proxyRemoveHeaderMapValue(kind, key))
}
