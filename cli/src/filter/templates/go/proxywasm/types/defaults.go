package types

// DefaultVMContext can be embedded: it starts, and has no plugin.
type DefaultVMContext struct{}

// OnVMStart implements VMContext.
func (*DefaultVMContext) OnVMStart(int) OnVMStartStatus { return OnVMStartStatusOK }

// NewPluginContext implements VMContext.
func (*DefaultVMContext) NewPluginContext(uint32) PluginContext { return &DefaultPluginContext{} }

// DefaultPluginContext can be embedded: it accepts any configuration and looks at nothing.
type DefaultPluginContext struct{}

// OnPluginStart implements PluginContext.
func (*DefaultPluginContext) OnPluginStart(int) OnPluginStartStatus { return OnPluginStartStatusOK }

// OnPluginDone implements PluginContext.
func (*DefaultPluginContext) OnPluginDone() bool { return true }

// OnQueueReady implements PluginContext.
func (*DefaultPluginContext) OnQueueReady(uint32) {}

// OnTick implements PluginContext.
func (*DefaultPluginContext) OnTick() {}

// NewTcpContext implements PluginContext.
func (*DefaultPluginContext) NewTcpContext(uint32) TcpContext { return nil }

// NewHttpContext implements PluginContext.
func (*DefaultPluginContext) NewHttpContext(uint32) HttpContext { return nil }

// DefaultTcpContext can be embedded: it lets everything pass.
type DefaultTcpContext struct{}

// OnNewConnection implements TcpContext.
func (*DefaultTcpContext) OnNewConnection() Action { return ActionContinue }

// OnDownstreamData implements TcpContext.
func (*DefaultTcpContext) OnDownstreamData(int, bool) Action { return ActionContinue }

// OnDownstreamClose implements TcpContext.
func (*DefaultTcpContext) OnDownstreamClose(PeerType) {}

// OnUpstreamData implements TcpContext.
func (*DefaultTcpContext) OnUpstreamData(int, bool) Action { return ActionContinue }

// OnUpstreamClose implements TcpContext.
func (*DefaultTcpContext) OnUpstreamClose(PeerType) {}

// OnStreamDone implements TcpContext.
func (*DefaultTcpContext) OnStreamDone() {}

// DefaultHttpContext can be embedded: it lets everything pass.
type DefaultHttpContext struct{}

// OnHttpRequestHeaders implements HttpContext.
func (*DefaultHttpContext) OnHttpRequestHeaders(int, bool) Action { return ActionContinue }

// OnHttpRequestBody implements HttpContext.
func (*DefaultHttpContext) OnHttpRequestBody(int, bool) Action { return ActionContinue }

// OnHttpRequestTrailers implements HttpContext.
func (*DefaultHttpContext) OnHttpRequestTrailers(int) Action { return ActionContinue }

// OnHttpResponseHeaders implements HttpContext.
func (*DefaultHttpContext) OnHttpResponseHeaders(int, bool) Action { return ActionContinue }

// OnHttpResponseBody implements HttpContext.
func (*DefaultHttpContext) OnHttpResponseBody(int, bool) Action { return ActionContinue }

// OnHttpResponseTrailers implements HttpContext.
func (*DefaultHttpContext) OnHttpResponseTrailers(int) Action { return ActionContinue }

// OnHttpStreamDone implements HttpContext.
func (*DefaultHttpContext) OnHttpStreamDone() {}

var (
	_ VMContext     = (*DefaultVMContext)(nil)
	_ PluginContext = (*DefaultPluginContext)(nil)
	_ TcpContext    = (*DefaultTcpContext)(nil)
	_ HttpContext   = (*DefaultHttpContext)(nil)
)
