//go:build wasip1

// Uses a wide part of the Go package, in the way a request's header `x-do` says; the words are the
// same for the guests of all languages.
package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"cairn.dev/proxywasm"
	"cairn.dev/proxywasm/types"
)

const (
	upstream     = "outbound|80||callout.test"
	grpcUpstream = "callout.test:80"
)

func main() {}

func init() {
	proxywasm.SetVMContext(&vm{})
}

type vm struct{ types.DefaultVMContext }

func (*vm) OnVMStart(size int) types.OnVMStartStatus {
	proxywasm.LogInfof("vm start with %d bytes", size)
	return types.OnVMStartStatusOK
}

func (*vm) NewPluginContext(uint32) types.PluginContext { return &plugin{} }

type plugin struct {
	types.DefaultPluginContext
	tcp     bool
	queue   uint32
	waiting []uint32
}

func (p *plugin) OnPluginStart(size int) types.OnPluginStartStatus {
	configuration, _ := proxywasm.GetPluginConfiguration()
	proxywasm.LogInfof("configured with %d bytes: %s", size, configuration)
	if string(configuration) == "refuse" {
		return types.OnPluginStartStatusFailed
	}
	p.tcp = string(configuration) == "tcp"
	if queue, err := proxywasm.RegisterSharedQueue("sdk-queue"); err == nil {
		p.queue = queue
	}
	return types.OnPluginStartStatusOK
}

func (p *plugin) OnQueueReady(queue uint32) {
	for {
		item, err := proxywasm.DequeueSharedQueue(queue)
		if err != nil {
			return
		}
		proxywasm.LogInfof("queue gave %s", item)
	}
}

func (p *plugin) NewHttpContext(id uint32) types.HttpContext {
	if p.tcp {
		return nil
	}
	return &stream{plugin: p, id: id}
}

func (p *plugin) NewTcpContext(uint32) types.TcpContext {
	if !p.tcp {
		return nil
	}
	return &connection{}
}

type stream struct {
	types.DefaultHttpContext
	plugin *plugin
	id     uint32
	task   string
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func set(name, format string, values ...any) {
	must(proxywasm.AddHttpRequestHeader(name, fmt.Sprintf(format, values...)))
}

func (s *stream) call(path string, timeout uint32) types.Action {
	headers := [][2]string{{":method", "POST"}, {":authority", "callout.test"},
		{":path", path}, {"x-from", "sdk"}, {":scheme", "http"}}
	_, err := proxywasm.DispatchHttpCall(upstream, headers, []byte("question"), nil, timeout, s.called)
	if err != nil {
		set("x-called", "refused %v", err)
		return types.ActionContinue
	}
	return types.ActionPause
}

func (s *stream) called(headers, body, trailers int) {
	status := ""
	pairs, _ := proxywasm.GetHttpCallResponseHeaders()
	for _, pair := range pairs {
		if pair[0] == ":status" {
			status = pair[1]
		}
	}
	text, _ := proxywasm.GetHttpCallResponseBody(0, body)
	proxywasm.LogInfof("called: %s, %v headers, %d trailers", status, headers > 0, trailers)
	if s.task == "call-deny" {
		must(proxywasm.SendHttpResponse(403, [][2]string{{"x-denied", "by callout"}}, text, -1))
		return
	}
	if status != "200" {
		text = nil
	}
	set("x-called", "%s %s", status, text)
	must(proxywasm.ResumeHttpRequest())
}

func (s *stream) shared() {
	must(proxywasm.SetSharedData("sdk-key", []byte("one"), 0))
	_, cas, _ := proxywasm.GetSharedData("sdk-key")
	swapped := proxywasm.SetSharedData("sdk-key", []byte("two"), cas)
	stale := proxywasm.SetSharedData("sdk-key", []byte("three"), cas)
	value, _, _ := proxywasm.GetSharedData("sdk-key")
	_, _, none := proxywasm.GetSharedData("sdk-none")
	if !errors.Is(stale, types.ErrorStatusCasMismatch) || !errors.Is(none, types.ErrorStatusNotFound) {
		panic("shared data")
	}
	set("x-shared", "%s %v", value, swapped)
}

func (s *stream) metrics() {
	counter := proxywasm.DefineCounterMetric("sdk_counter")
	gauge := proxywasm.DefineGaugeMetric("sdk_gauge")
	histogram := proxywasm.DefineHistogramMetric("sdk_histogram")
	before := counter.Value()
	counter.Increment(2)
	level := gauge.Value()
	gauge.Add(7)
	gauge.Add(-3)
	histogram.Record(100)
	set("x-metric", "%d %d", counter.Value()-before, gauge.Value()-level)
}

func (s *stream) properties() {
	text := func(path ...string) string {
		value, _ := proxywasm.GetProperty(path)
		return string(value)
	}
	_, source := proxywasm.GetProperty([]string{"source", "address"})
	must(proxywasm.SetProperty([]string{"sdk", "own"}, []byte("kept")))
	_, none := proxywasm.GetProperty([]string{"no", "such"})
	headers, err := proxywasm.GetPropertyMap([]string{"request", "headers"})
	set("x-props", "%s %s source=%v own=%s none=%v map=%v", text("request", "method"),
		text("request", "path"), source == nil, text("sdk", "own"), none != nil,
		err == nil && len(headers) > 2)
}

func (s *stream) foreign() {
	text := bytes.Repeat([]byte("to be compressed "), 10)
	packed, err := proxywasm.CallForeignFunction("compress", text)
	unpacked, again := proxywasm.CallForeignFunction("uncompress", packed)
	_, unknown := proxywasm.CallForeignFunction("no_such_function", nil)
	set("x-foreign", "%v %v %v", err == nil && again == nil, bytes.Equal(text, unpacked), unknown)
}

func (s *stream) grpc(streaming bool) types.Action {
	metadata := [][2]string{{"x-meta", "data"}}
	var err error
	if streaming {
		var id uint32
		id, err = proxywasm.OpenGrpcStream(grpcUpstream, "test.Echo", "Say", metadata, s)
		if err == nil {
			must(proxywasm.SendGrpcMessage(id, []byte("hello"), false))
			must(proxywasm.SendGrpcMessage(id, nil, true))
		}
	} else {
		_, err = proxywasm.DispatchGrpcCall(grpcUpstream, "test.Echo", "Say", metadata, []byte("hello"), 2000,
			func(status uint32, size int) {
				message, _ := proxywasm.GetGrpcMessage(0, size)
				set("x-grpc", "%d %s", status, message)
				must(proxywasm.ResumeHttpRequest())
			})
	}
	if err != nil {
		set("x-grpc", "refused %v", err)
		return types.ActionContinue
	}
	return types.ActionPause
}

func (s *stream) OnGrpcInitialMetadata(count int) {
	proxywasm.LogInfof("grpc initial metadata %v", count > 0)
}

func (s *stream) OnGrpcMessage(size int) {
	message, _ := proxywasm.GetGrpcMessage(0, size)
	proxywasm.LogInfof("grpc message %s", message)
}

func (s *stream) OnGrpcTrailingMetadata(count int) {
	proxywasm.LogInfof("grpc trailing metadata %v", count > 0)
}

func (s *stream) OnGrpcClose(status uint32) {
	set("x-grpc", "closed %d", status)
	must(proxywasm.ResumeHttpRequest())
}

func (s *stream) OnHttpRequestHeaders(_ int, end bool) types.Action {
	s.task, _ = proxywasm.GetHttpRequestHeader("x-do")
	switch s.task {
	case "headers":
		pairs, _ := proxywasm.GetHttpRequestHeaders()
		path, _ := proxywasm.GetHttpRequestHeader(":path")
		_, none := proxywasm.GetHttpRequestHeader("x-none")
		proxywasm.LogInfof("request %s %v end=%v some=%v", path, none, end, len(pairs) > 3)
		must(proxywasm.AddHttpRequestHeader("x-req-added", "a"))
		must(proxywasm.AddHttpRequestHeader("x-req-added", "b"))
		must(proxywasm.ReplaceHttpRequestHeader("X-Req-Set", "c"))
		must(proxywasm.RemoveHttpRequestHeader("x-remove"))
		must(proxywasm.ReplaceHttpRequestHeader(":path", "/by-filter"))
	case "all-headers":
		must(proxywasm.ReplaceHttpRequestHeaders([][2]string{{":method", "GET"}, {":path", "/all"},
			{":authority", "all.test"}, {":scheme", "http"}, {"x-only", "this"}}))
	case "body":
		must(proxywasm.RemoveHttpRequestHeader("content-length"))
	case "local":
		must(proxywasm.SendHttpResponse(418, [][2]string{{"x-local", "yes"}}, []byte("from the guest"), -1))
		return types.ActionPause
	case "local-grpc":
		must(proxywasm.SendHttpResponse(200, nil, []byte("no"), 7))
		return types.ActionPause
	case "call", "call-deny":
		return s.call("/ok", 2000)
	case "call-timeout":
		return s.call("/silent", 100)
	case "call-nowhere":
		headers := [][2]string{{":method", "GET"}, {":path", "/"}, {":authority", "a"}}
		_, refused := proxywasm.DispatchHttpCall("no-such-upstream", headers, nil, nil, 1000, s.called)
		_, malformed := proxywasm.DispatchHttpCall(upstream, [][2]string{{"x-no", "pseudo"}}, nil, nil, 1000, s.called)
		set("x-called", "%v %v", refused, malformed)
	case "grpc":
		return s.grpc(false)
	case "grpc-stream":
		return s.grpc(true)
	case "shared":
		s.shared()
	case "queue":
		must(proxywasm.EnqueueSharedQueue(s.plugin.queue, []byte("item")))
		if err := proxywasm.EnqueueSharedQueue(4711, []byte("lost")); err == nil {
			panic("a queue nobody registered")
		}
	case "metrics":
		s.metrics()
	case "props":
		s.properties()
	case "foreign":
		s.foreign()
	case "time":
		now, err := proxywasm.GetCurrentTime()
		set("x-time", "%v", err == nil && now.Unix() > 1_700_000_000)
	case "reset":
		must(proxywasm.CloseHttpRequest())
	}
	return types.ActionContinue
}

func (s *stream) OnHttpRequestBody(size int, end bool) types.Action {
	switch {
	case s.task == "body" && !end:
		return types.ActionPause
	case s.task == "body":
		body, _ := proxywasm.GetHttpRequestBody(0, size)
		must(proxywasm.ReplaceHttpRequestBody(append(bytes.ToUpper(body), '!')))
	case s.task == "local-body":
		must(proxywasm.SendHttpResponse(413, nil, []byte("too much"), -1))
		return types.ActionPause
	}
	return types.ActionContinue
}

func (s *stream) OnHttpRequestTrailers(int) types.Action {
	if s.task == "trailers" {
		value, _ := proxywasm.GetHttpRequestTrailer("x-client-trailer")
		proxywasm.LogInfof("request trailer %s", value)
		must(proxywasm.AddHttpRequestTrailer("x-req-trailer", "added"))
	}
	return types.ActionContinue
}

func (s *stream) OnHttpResponseHeaders(int, bool) types.Action {
	switch s.task {
	case "headers":
		status, _ := proxywasm.GetHttpResponseHeader(":status")
		proxywasm.LogInfof("response %s", status)
		must(proxywasm.AddHttpResponseHeader("x-resp-added", "a"))
		must(proxywasm.ReplaceHttpResponseHeader("server-test", "replaced"))
	case "status":
		must(proxywasm.ReplaceHttpResponseHeader(":status", "202"))
	case "body":
		must(proxywasm.RemoveHttpResponseHeader("content-length"))
	case "local-response":
		must(proxywasm.SendHttpResponse(502, [][2]string{{"x-local", "late"}}, []byte("instead"), -1))
		return types.ActionPause
	}
	return types.ActionContinue
}

func (s *stream) OnHttpResponseBody(size int, end bool) types.Action {
	if s.task != "body" {
		return types.ActionContinue
	}
	if !end {
		return types.ActionPause
	}
	body, _ := proxywasm.GetHttpResponseBody(0, size)
	must(proxywasm.ReplaceHttpResponseBody(append(bytes.ToUpper(body), '?')))
	return types.ActionContinue
}

func (s *stream) OnHttpResponseTrailers(int) types.Action {
	if s.task == "trailers" {
		value, _ := proxywasm.GetHttpResponseTrailer("x-server-trailer")
		proxywasm.LogInfof("response trailer %s", value)
		must(proxywasm.AddHttpResponseTrailer("x-resp-trailer", "added"))
	}
	return types.ActionContinue
}

func (s *stream) OnHttpStreamDone() {
	if s.task == "" {
		return
	}
	code, err := proxywasm.GetProperty([]string{"response", "code"})
	if err != nil || len(code) != 8 {
		proxywasm.LogInfof("logged %s without a code", s.task)
		return
	}
	proxywasm.LogInfof("logged %s %d", s.task, binary.LittleEndian.Uint64(code))
}

type connection struct{ types.DefaultTcpContext }

func (*connection) OnNewConnection() types.Action {
	proxywasm.LogInfo("new connection")
	return types.ActionContinue
}

func (*connection) OnDownstreamData(size int, end bool) types.Action {
	data, _ := proxywasm.GetDownstreamData(0, size)
	proxywasm.LogInfof("downstream %s end=%v", data, end)
	if bytes.HasPrefix(data, []byte("hold")) && !end {
		return types.ActionPause
	}
	must(proxywasm.ReplaceDownstreamData(bytes.ToUpper(data)))
	return types.ActionContinue
}

func (*connection) OnUpstreamData(size int, end bool) types.Action {
	data, _ := proxywasm.GetUpstreamData(0, size)
	proxywasm.LogInfof("upstream %s end=%v", data, end)
	if len(data) > 0 {
		must(proxywasm.ReplaceUpstreamData(append([]byte{'>'}, data...)))
	}
	return types.ActionContinue
}

func (*connection) OnDownstreamClose(types.PeerType) { proxywasm.LogInfo("downstream closed") }

func (*connection) OnUpstreamClose(types.PeerType) { proxywasm.LogInfo("upstream closed") }

func (*connection) OnStreamDone() { proxywasm.LogInfo("connection logged") }
