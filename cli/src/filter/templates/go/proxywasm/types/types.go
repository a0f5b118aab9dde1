// Package types holds what a filter implements and the values it answers with.
package types

import "errors"

// Action is what happens to a stream after a callback.
type Action uint32

const (
	// ActionContinue lets it go on.
	ActionContinue Action = 0
	// ActionPause holds it until it is resumed, or, in a body callback, collects the body.
	ActionPause Action = 1
)

// PeerType says who closed a connection.
type PeerType uint32

const (
	// PeerTypeUnknown is nobody in particular.
	PeerTypeUnknown PeerType = 0
	// PeerTypeLocal is the proxy.
	PeerTypeLocal PeerType = 1
	// PeerTypeRemote is the other end.
	PeerTypeRemote PeerType = 2
)

// OnVMStartStatus is the answer of OnVMStart.
type OnVMStartStatus bool

const (
	// OnVMStartStatusOK says that the VM can be used.
	OnVMStartStatusOK OnVMStartStatus = true
	// OnVMStartStatusFailed says that it cannot.
	OnVMStartStatusFailed OnVMStartStatus = false
)

// OnPluginStartStatus is the answer of OnPluginStart.
type OnPluginStartStatus bool

const (
	// OnPluginStartStatusOK says that the configuration is accepted.
	OnPluginStartStatusOK OnPluginStartStatus = true
	// OnPluginStartStatusFailed says that it is not; the proxy does not use the plugin then.
	OnPluginStartStatusFailed OnPluginStartStatus = false
)

// What host calls fail with.
var (
	ErrorStatusNotFound    = errors.New("error status returned by host: not found")
	ErrorStatusBadArgument = errors.New("error status returned by host: bad argument")
	ErrorStatusEmpty       = errors.New("error status returned by host: empty")
	ErrorStatusCasMismatch = errors.New("error status returned by host: cas mismatch")
	ErrorInternalFailure   = errors.New("error status returned by host: internal failure")
	ErrorUnimplemented     = errors.New("error status returned by host: unimplemented")
)

// VMContext is one instance of the module.
type VMContext interface {
	// OnVMStart is called once, before anything else.
	OnVMStart(vmConfigurationSize int) OnVMStartStatus
	// NewPluginContext is called for each plugin that runs on this instance.
	NewPluginContext(contextID uint32) PluginContext
}

// PluginContext is a plugin: the module with one configuration.
type PluginContext interface {
	// OnPluginStart is where the configuration is read.
	OnPluginStart(pluginConfigurationSize int) OnPluginStartStatus
	// OnPluginDone tells that the plugin is to end; false asks for time until PluginDone.
	OnPluginDone() bool
	// OnQueueReady tells that an item waits in a queue this plugin registered.
	OnQueueReady(queueID uint32)
	// OnTick is the timer set with SetTickPeriodMilliSeconds.
	OnTick()
	// NewTcpContext is called for each connection; nil ignores it.
	NewTcpContext(contextID uint32) TcpContext
	// NewHttpContext is called for each request; nil ignores it.
	NewHttpContext(contextID uint32) HttpContext
}

// TcpContext is one connection.
type TcpContext interface {
	OnNewConnection() Action
	OnDownstreamData(dataSize int, endOfStream bool) Action
	OnDownstreamClose(peerType PeerType)
	OnUpstreamData(dataSize int, endOfStream bool) Action
	OnUpstreamClose(peerType PeerType)
	// OnStreamDone is the last call.
	OnStreamDone()
}

// HttpContext is one request and its response.
type HttpContext interface {
	OnHttpRequestHeaders(numHeaders int, endOfStream bool) Action
	OnHttpRequestBody(bodySize int, endOfStream bool) Action
	OnHttpRequestTrailers(numTrailers int) Action
	OnHttpResponseHeaders(numHeaders int, endOfStream bool) Action
	OnHttpResponseBody(bodySize int, endOfStream bool) Action
	OnHttpResponseTrailers(numTrailers int) Action
	// OnHttpStreamDone is the last call; everything about the request is still readable.
	OnHttpStreamDone()
}

// ForeignFunctionHandler may be implemented by any context the proxy calls by other names; the
// arguments are read with GetForeignFunctionArguments.
type ForeignFunctionHandler interface {
	OnForeignFunction(functionID uint32, argumentsSize int)
}

// GrpcStreamHandler takes what a gRPC stream brings.
type GrpcStreamHandler interface {
	OnGrpcInitialMetadata(numMetadata int)
	OnGrpcMessage(messageSize int)
	OnGrpcTrailingMetadata(numMetadata int)
	// OnGrpcClose is the last call; 0 is success.
	OnGrpcClose(status uint32)
}
