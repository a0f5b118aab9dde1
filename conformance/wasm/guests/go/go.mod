module cairn.dev/conformance/sdk-go

go 1.24

require cairn.dev/proxywasm v0.0.0

replace cairn.dev/proxywasm => ../../../../cli/src/filter/templates/go/proxywasm
