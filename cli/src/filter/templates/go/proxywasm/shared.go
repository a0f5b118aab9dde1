//go:build wasip1

package proxywasm

// GetSharedData reads a value all instances share, and its cas number.
func GetSharedData(key string) (value []byte, cas uint32, err error) {
	var out, size uint32
	if status := proxyGetSharedData(key, &out, &size, &cas); status != statusOK {
		return nil, 0, failure(status)
	}
	return take(out, size), cas, nil
}

// SetSharedData writes it. With a cas other than 0 only if nobody wrote it since.
func SetSharedData(key string, value []byte, cas uint32) error {
	return failure(proxySetSharedData(key, text(value), cas))
}

// RegisterSharedQueue makes or opens a queue whose items this plugin is told of.
func RegisterSharedQueue(name string) (queueID uint32, err error) {
	status := proxyRegisterSharedQueue(name, &queueID)
	return queueID, failure(status)
}

// ResolveSharedQueue finds a queue; an empty vmID is one's own.
func ResolveSharedQueue(vmID, queueName string) (queueID uint32, err error) {
	status := proxyResolveSharedQueue(vmID, queueName, &queueID)
	return queueID, failure(status)
}

// EnqueueSharedQueue puts an item at the end.
func EnqueueSharedQueue(queueID uint32, data []byte) error {
	return failure(proxyEnqueueSharedQueue(queueID, text(data)))
}

// DequeueSharedQueue takes the first item.
func DequeueSharedQueue(queueID uint32) ([]byte, error) {
	var out, size uint32
	if status := proxyDequeueSharedQueue(queueID, &out, &size); status != statusOK {
		return nil, failure(status)
	}
	return take(out, size), nil
}

// MetricCounter only grows.
type MetricCounter uint32

// MetricGauge goes up and down.
type MetricGauge uint32

// MetricHistogram takes samples.
type MetricHistogram uint32

func define(kind uint32, name string) uint32 {
	var id uint32
	if status := proxyDefineMetric(kind, name, &id); status != statusOK {
		LogCriticalf("define metric %q: %v", name, failure(status))
	}
	return id
}

func metric(id uint32) uint64 {
	var value uint64
	if status := proxyGetMetric(id, &value); status != statusOK {
		LogCriticalf("read metric %d: %v", id, failure(status))
	}
	return value
}

// DefineCounterMetric defines a counter or finds it again.
func DefineCounterMetric(name string) MetricCounter { return MetricCounter(define(0, name)) }

// DefineGaugeMetric defines a gauge or finds it again.
func DefineGaugeMetric(name string) MetricGauge { return MetricGauge(define(1, name)) }

// DefineHistogramMetric defines a histogram or finds it again.
func DefineHistogramMetric(name string) MetricHistogram { return MetricHistogram(define(2, name)) }

// Value reads it.
func (m MetricCounter) Value() uint64 { return metric(uint32(m)) }

// Increment moves it up.
func (m MetricCounter) Increment(offset uint64) { proxyIncrementMetric(uint32(m), int64(offset)) }

// Value reads it.
func (m MetricGauge) Value() int64 { return int64(metric(uint32(m))) }

// Add moves it up, or down when negative.
func (m MetricGauge) Add(offset int64) { proxyIncrementMetric(uint32(m), offset) }

// Value reads it.
func (m MetricHistogram) Value() uint64 { return metric(uint32(m)) }

// Record adds a sample.
func (m MetricHistogram) Record(value uint64) { proxyRecordMetric(uint32(m), value) }
