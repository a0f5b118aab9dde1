// A filter that greets.
package main

import (
	"encoding/json"
	"errors"
	"strings"

	"cairn.dev/proxywasm"
	"cairn.dev/proxywasm/types"
)

func main() {}

func init() {
	proxywasm.SetPluginContext(func(uint32) types.PluginContext { return &plugin{} })
}

// plugin is the filter with one configuration; it makes a request for each request.
type plugin struct {
	types.DefaultPluginContext
	config struct {
		Greeting string `json:"greeting"`
	}
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	bytes, err := proxywasm.GetPluginConfiguration()
	if err == nil {
		err = json.Unmarshal(bytes, &p.config)
	}
	if err == nil && p.config.Greeting == "" {
		err = errors.New("greeting must be a text")
	}
	if err != nil {
		// The proxy does not use a filter that fails here.
		proxywasm.LogErrorf("the configuration cannot be used: %v", err)
		return types.OnPluginStartStatusFailed
	}
	return types.OnPluginStartStatusOK
}

func (p *plugin) NewHttpContext(uint32) types.HttpContext {
	return &request{greeting: p.config.Greeting}
}

// request is one request and its answer.
type request struct {
	types.DefaultHttpContext
	greeting string
}

func (r *request) OnHttpRequestHeaders(int, bool) types.Action {
	method, _ := proxywasm.GetHttpRequestHeader(":method")
	path, _ := proxywasm.GetHttpRequestHeader(":path")
	proxywasm.LogInfof("%s %s", method, path)
	if strings.HasPrefix(path, "/forbidden") {
		if err := proxywasm.SendHttpResponse(403, nil, []byte("not for you\n"), -1); err != nil {
			proxywasm.LogErrorf("cannot answer: %v", err)
		}
		return types.ActionPause
	}
	if err := proxywasm.ReplaceHttpRequestHeader("x-greeting", r.greeting); err != nil {
		proxywasm.LogErrorf("cannot greet: %v", err)
	}
	return types.ActionContinue
}

func (r *request) OnHttpResponseHeaders(int, bool) types.Action {
	if err := proxywasm.ReplaceHttpResponseHeader("x-filter", "{{name}}"); err != nil {
		proxywasm.LogErrorf("cannot sign: %v", err)
	}
	return types.ActionContinue
}
