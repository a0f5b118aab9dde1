module cairn.dev/proxywasm

go 1.24
