//go:build wasip1

package proxywasm

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"cairn.dev/proxywasm/types"
)

// Statuses of the ABI.
const (
	statusOK                     = 0
	statusNotFound               = 1
	statusBadArgument            = 2
	statusEmpty                  = 7
	statusCasMismatch            = 8
	statusInternalFailure        = 10
	statusUnimplemented          = 12
	maxUint32             uint32 = 0xFFFFFFFF
)

// held keeps memory the proxy asked for and has not handed over yet, so that the collector leaves
// it alone.
var held = map[uint32][]byte{}

//go:wasmexport proxy_on_memory_allocate
func proxyOnMemoryAllocate(size uint32) unsafe.Pointer {
	bytes := make([]byte, max(size, 1))
	start := unsafe.Pointer(unsafe.SliceData(bytes))
	held[uint32(uintptr(start))] = bytes
	return start
}

// take returns what the proxy wrote into memory it had asked for.
func take(at, size uint32) []byte {
	bytes, ok := held[at]
	delete(held, at)
	if !ok || size == 0 || uint32(len(bytes)) < size {
		return []byte{}
	}
	return bytes[:size]
}

// text lends bytes to the proxy for one call.
func text(bytes []byte) string {
	return unsafe.String(unsafe.SliceData(bytes), len(bytes))
}

func failure(status uint32) error {
	switch status {
	case statusOK:
		return nil
	case statusNotFound:
		return types.ErrorStatusNotFound
	case statusBadArgument:
		return types.ErrorStatusBadArgument
	case statusEmpty:
		return types.ErrorStatusEmpty
	case statusCasMismatch:
		return types.ErrorStatusCasMismatch
	case statusInternalFailure:
		return types.ErrorInternalFailure
	case statusUnimplemented:
		return types.ErrorUnimplemented
	}
	return fmt.Errorf("unknown status code: %d", status)
}

// encode writes pairs as the ABI wants them: the count, all lengths, then each text and a NUL.
func encode(pairs [][2]string) string {
	if len(pairs) == 0 {
		return ""
	}
	size := 4
	for _, pair := range pairs {
		size += 8 + len(pair[0]) + len(pair[1]) + 2
	}
	bytes := make([]byte, 4, size)
	binary.LittleEndian.PutUint32(bytes, uint32(len(pairs)))
	for _, pair := range pairs {
		bytes = binary.LittleEndian.AppendUint32(bytes, uint32(len(pair[0])))
		bytes = binary.LittleEndian.AppendUint32(bytes, uint32(len(pair[1])))
	}
	for _, pair := range pairs {
		bytes = append(append(bytes, pair[0]...), 0)
		bytes = append(append(bytes, pair[1]...), 0)
	}
	return text(bytes)
}

// decode reads pairs; what is malformed reads as far as it makes sense.
func decode(bytes []byte) [][2]string {
	if len(bytes) < 4 {
		return nil
	}
	count := int(binary.LittleEndian.Uint32(bytes))
	if count > (len(bytes)-4)/8 {
		return nil
	}
	sizes, rest := bytes[4:4+8*count], bytes[4+8*count:]
	next := func(size uint32) (string, bool) {
		if uint64(len(rest)) < uint64(size)+1 {
			return "", false
		}
		word := string(rest[:size])
		rest = rest[size+1:]
		return word, true
	}
	pairs := make([][2]string, 0, count)
	for i := range count {
		key, ok := next(binary.LittleEndian.Uint32(sizes[8*i:]))
		if !ok {
			break
		}
		value, ok := next(binary.LittleEndian.Uint32(sizes[8*i+4:]))
		if !ok {
			break
		}
		pairs = append(pairs, [2]string{key, value})
	}
	return pairs
}
