//go:build wasip1

package proxywasm

import (
	"fmt"
	"strings"
	"time"
)

// LogLevel is how urgent a line is.
type LogLevel uint32

// Levels, the least urgent first.
const (
	LogLevelTrace LogLevel = iota
	LogLevelDebug
	LogLevelInfo
	LogLevelWarn
	LogLevelError
	LogLevelCritical
)

func log(level LogLevel, message string) { proxyLog(uint32(level), message) }

// LogTrace writes a line to the proxy's log.
func LogTrace(message string) { log(LogLevelTrace, message) }

// LogTracef is LogTrace with a format.
func LogTracef(format string, args ...any) { log(LogLevelTrace, fmt.Sprintf(format, args...)) }

// LogDebug writes a line to the proxy's log.
func LogDebug(message string) { log(LogLevelDebug, message) }

// LogDebugf is LogDebug with a format.
func LogDebugf(format string, args ...any) { log(LogLevelDebug, fmt.Sprintf(format, args...)) }

// LogInfo writes a line to the proxy's log.
func LogInfo(message string) { log(LogLevelInfo, message) }

// LogInfof is LogInfo with a format.
func LogInfof(format string, args ...any) { log(LogLevelInfo, fmt.Sprintf(format, args...)) }

// LogWarn writes a line to the proxy's log.
func LogWarn(message string) { log(LogLevelWarn, message) }

// LogWarnf is LogWarn with a format.
func LogWarnf(format string, args ...any) { log(LogLevelWarn, fmt.Sprintf(format, args...)) }

// LogError writes a line to the proxy's log.
func LogError(message string) { log(LogLevelError, message) }

// LogErrorf is LogError with a format.
func LogErrorf(format string, args ...any) { log(LogLevelError, fmt.Sprintf(format, args...)) }

// LogCritical writes a line to the proxy's log.
func LogCritical(message string) { log(LogLevelCritical, message) }

// LogCriticalf is LogCritical with a format.
func LogCriticalf(format string, args ...any) { log(LogLevelCritical, fmt.Sprintf(format, args...)) }

// GetLogLevel returns the level below which lines are not wanted.
func GetLogLevel() (LogLevel, error) {
	var level uint32
	status := proxyGetLogLevel(&level)
	return LogLevel(level), failure(status)
}

// GetCurrentTime returns the proxy's clock.
func GetCurrentTime() (time.Time, error) {
	var nanoseconds uint64
	status := proxyGetCurrentTime(&nanoseconds)
	return time.Unix(0, int64(nanoseconds)), failure(status)
}

// GetVMConfiguration reads what the VM is configured with.
func GetVMConfiguration() ([]byte, error) { return getBuffer(vmConfiguration, 0, int(maxUint32)) }

// GetPluginConfiguration reads the configuration; call it in OnPluginStart.
func GetPluginConfiguration() ([]byte, error) {
	return getBuffer(pluginConfiguration, 0, int(maxUint32))
}

// GetForeignFunctionArguments reads the arguments in OnForeignFunction.
func GetForeignFunctionArguments() ([]byte, error) {
	return getBuffer(foreignFunctionArguments, 0, int(maxUint32))
}

// SetTickPeriodMilliSeconds sets how often OnTick is called; 0 ends it.
func SetTickPeriodMilliSeconds(milliseconds uint32) error {
	return failure(proxySetTickPeriod(milliseconds))
}

// PluginDone ends a plugin whose OnPluginDone asked for time.
func PluginDone() { proxyDone() }

// GetProperty reads a property, such as ["source", "address"].
func GetProperty(path []string) ([]byte, error) {
	var out, size uint32
	if status := proxyGetProperty(strings.Join(path, "\x00"), &out, &size); status != statusOK {
		return nil, failure(status)
	}
	return take(out, size), nil
}

// GetPropertyMap reads a property that is a map.
func GetPropertyMap(path []string) ([][2]string, error) {
	bytes, err := GetProperty(path)
	if err != nil {
		return nil, err
	}
	return decode(bytes), nil
}

// SetProperty keeps a value for later callbacks, and for other filters of the same stream.
func SetProperty(path []string, data []byte) error {
	return failure(proxySetProperty(strings.Join(path, "\x00"), text(data)))
}

// CallForeignFunction calls a function the proxy has beyond the ABI.
func CallForeignFunction(name string, param []byte) ([]byte, error) {
	var out, size uint32
	if status := proxyCallForeignFunction(name, text(param), &out, &size); status != statusOK {
		return nil, failure(status)
	}
	return take(out, size), nil
}

// SendHttpResponse answers the request here. A gRPCStatus of -1 is none.
func SendHttpResponse(statusCode uint32, headers [][2]string, body []byte, gRPCStatus int32) error {
	return SendHttpResponseWithDetails(statusCode, "", headers, body, gRPCStatus)
}

// SendHttpResponseWithDetails is SendHttpResponse with a reason for the proxy's access log.
func SendHttpResponseWithDetails(statusCode uint32, details string, headers [][2]string, body []byte, gRPCStatus int32) error {
	return failure(proxySendLocalResponse(statusCode, details, text(body), encode(headers), gRPCStatus))
}

// GetBufferSize returns the size of a body of the current callback without reading it.
func GetBufferSize(request bool) (int, error) {
	buffer := uint32(responseBody)
	if request {
		buffer = requestBody
	}
	var size, flags uint32
	status := proxyGetBufferStatus(buffer, &size, &flags)
	return int(size), failure(status)
}

// GetHttpRequestHeadersSize returns the bytes of all request headers.
func GetHttpRequestHeadersSize() (int, error) {
	var size uint32
	status := proxyGetHeaderMapSize(requestHeaders, &size)
	return int(size), failure(status)
}
