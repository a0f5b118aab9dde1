//go:build uses

// Package outside names what go.mod is for: the compiler TinyGo, and an SDK with its examples.
package outside

import (
	_ "github.com/tetratelabs/proxy-wasm-go-sdk/proxywasm"
	_ "github.com/tinygo-org/tinygo"
)
