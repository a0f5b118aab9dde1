//go:build wasip1

package proxywasm

// GetHttpRequestHeaders reads all request headers.
func GetHttpRequestHeaders() ([][2]string, error) {
	return getMap(requestHeaders)
}

// ReplaceHttpRequestHeaders replaces all request headers.
func ReplaceHttpRequestHeaders(headers [][2]string) error {
	return setMap(requestHeaders, headers)
}

// GetHttpRequestHeader reads the first value of a name.
func GetHttpRequestHeader(key string) (string, error) {
	return getValue(requestHeaders, key)
}

// RemoveHttpRequestHeader removes every value of a name.
func RemoveHttpRequestHeader(key string) error {
	return removeValue(requestHeaders, key)
}

// ReplaceHttpRequestHeader sets the only value of a name.
func ReplaceHttpRequestHeader(key, value string) error {
	return replaceValue(requestHeaders, key, value)
}

// AddHttpRequestHeader adds one more value of a name.
func AddHttpRequestHeader(key, value string) error {
	return addValue(requestHeaders, key, value)
}

// GetHttpRequestTrailers reads all request trailers.
func GetHttpRequestTrailers() ([][2]string, error) {
	return getMap(requestTrailers)
}

// ReplaceHttpRequestTrailers replaces all request trailers.
func ReplaceHttpRequestTrailers(trailers [][2]string) error {
	return setMap(requestTrailers, trailers)
}

// GetHttpRequestTrailer reads the first value of a name.
func GetHttpRequestTrailer(key string) (string, error) {
	return getValue(requestTrailers, key)
}

// RemoveHttpRequestTrailer removes every value of a name.
func RemoveHttpRequestTrailer(key string) error {
	return removeValue(requestTrailers, key)
}

// ReplaceHttpRequestTrailer sets the only value of a name.
func ReplaceHttpRequestTrailer(key, value string) error {
	return replaceValue(requestTrailers, key, value)
}

// AddHttpRequestTrailer adds one more value of a name.
func AddHttpRequestTrailer(key, value string) error {
	return addValue(requestTrailers, key, value)
}

// GetHttpRequestBody reads bytes of the request body the current callback is about.
func GetHttpRequestBody(start, maxSize int) ([]byte, error) {
	return getBuffer(requestBody, start, maxSize)
}

// AppendHttpRequestBody adds bytes behind them.
func AppendHttpRequestBody(data []byte) error {
	return appendBuffer(requestBody, data)
}

// PrependHttpRequestBody adds bytes before them.
func PrependHttpRequestBody(data []byte) error {
	return prependBuffer(requestBody, data)
}

// ReplaceHttpRequestBody replaces them.
func ReplaceHttpRequestBody(data []byte) error {
	return replaceBuffer(requestBody, data)
}

// ResumeHttpRequest lets a held request go on.
func ResumeHttpRequest() error {
	return failure(proxyContinueStream(requestStream))
}

// CloseHttpRequest ends the stream without an answer.
func CloseHttpRequest() error {
	return failure(proxyCloseStream(requestStream))
}

// GetHttpResponseHeaders reads all response headers.
func GetHttpResponseHeaders() ([][2]string, error) {
	return getMap(responseHeaders)
}

// ReplaceHttpResponseHeaders replaces all response headers.
func ReplaceHttpResponseHeaders(headers [][2]string) error {
	return setMap(responseHeaders, headers)
}

// GetHttpResponseHeader reads the first value of a name.
func GetHttpResponseHeader(key string) (string, error) {
	return getValue(responseHeaders, key)
}

// RemoveHttpResponseHeader removes every value of a name.
func RemoveHttpResponseHeader(key string) error {
	return removeValue(responseHeaders, key)
}

// ReplaceHttpResponseHeader sets the only value of a name.
func ReplaceHttpResponseHeader(key, value string) error {
	return replaceValue(responseHeaders, key, value)
}

// AddHttpResponseHeader adds one more value of a name.
func AddHttpResponseHeader(key, value string) error {
	return addValue(responseHeaders, key, value)
}

// GetHttpResponseTrailers reads all response trailers.
func GetHttpResponseTrailers() ([][2]string, error) {
	return getMap(responseTrailers)
}

// ReplaceHttpResponseTrailers replaces all response trailers.
func ReplaceHttpResponseTrailers(trailers [][2]string) error {
	return setMap(responseTrailers, trailers)
}

// GetHttpResponseTrailer reads the first value of a name.
func GetHttpResponseTrailer(key string) (string, error) {
	return getValue(responseTrailers, key)
}

// RemoveHttpResponseTrailer removes every value of a name.
func RemoveHttpResponseTrailer(key string) error {
	return removeValue(responseTrailers, key)
}

// ReplaceHttpResponseTrailer sets the only value of a name.
func ReplaceHttpResponseTrailer(key, value string) error {
	return replaceValue(responseTrailers, key, value)
}

// AddHttpResponseTrailer adds one more value of a name.
func AddHttpResponseTrailer(key, value string) error {
	return addValue(responseTrailers, key, value)
}

// GetHttpResponseBody reads bytes of the response body the current callback is about.
func GetHttpResponseBody(start, maxSize int) ([]byte, error) {
	return getBuffer(responseBody, start, maxSize)
}

// AppendHttpResponseBody adds bytes behind them.
func AppendHttpResponseBody(data []byte) error {
	return appendBuffer(responseBody, data)
}

// PrependHttpResponseBody adds bytes before them.
func PrependHttpResponseBody(data []byte) error {
	return prependBuffer(responseBody, data)
}

// ReplaceHttpResponseBody replaces them.
func ReplaceHttpResponseBody(data []byte) error {
	return replaceBuffer(responseBody, data)
}

// ResumeHttpResponse lets a held response go on.
func ResumeHttpResponse() error {
	return failure(proxyContinueStream(responseStream))
}

// CloseHttpResponse ends the stream without an answer.
func CloseHttpResponse() error {
	return failure(proxyCloseStream(responseStream))
}

// GetDownstreamData reads bytes the current callback is about.
func GetDownstreamData(start, maxSize int) ([]byte, error) {
	return getBuffer(downstreamData, start, maxSize)
}

// AppendDownstreamData adds bytes behind them.
func AppendDownstreamData(data []byte) error {
	return appendBuffer(downstreamData, data)
}

// PrependDownstreamData adds bytes before them.
func PrependDownstreamData(data []byte) error {
	return prependBuffer(downstreamData, data)
}

// ReplaceDownstreamData replaces them.
func ReplaceDownstreamData(data []byte) error {
	return replaceBuffer(downstreamData, data)
}

// CloseDownstream closes that connection.
func CloseDownstream() error {
	return failure(proxyCloseStream(downstream))
}

// GetUpstreamData reads bytes the current callback is about.
func GetUpstreamData(start, maxSize int) ([]byte, error) {
	return getBuffer(upstreamData, start, maxSize)
}

// AppendUpstreamData adds bytes behind them.
func AppendUpstreamData(data []byte) error {
	return appendBuffer(upstreamData, data)
}

// PrependUpstreamData adds bytes before them.
func PrependUpstreamData(data []byte) error {
	return prependBuffer(upstreamData, data)
}

// ReplaceUpstreamData replaces them.
func ReplaceUpstreamData(data []byte) error {
	return replaceBuffer(upstreamData, data)
}

// CloseUpstream closes that connection.
func CloseUpstream() error {
	return failure(proxyCloseStream(upstream))
}

// ContinueTcpStream lets held data of the client go on.
func ContinueTcpStream() error {
	return failure(proxyContinueStream(downstream))
}

// ContinueUpstream lets held data of the server go on.
func ContinueUpstream() error {
	return failure(proxyContinueStream(upstream))
}
