//go:build uses

// Package outside names what go.mod is for: the SDK for standard Go, and one with examples.
package outside

import (
	_ "github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	_ "github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
	_ "github.com/tetratelabs/proxy-wasm-go-sdk/proxywasm"
)
