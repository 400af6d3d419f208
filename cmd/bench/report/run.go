// Package report is what runs of the benchmark say, and the tables that are made of it.
package report

import "trackchat/cmd/bench/ledger"

// Names of the scenarios.
const (
	Rate      = "rate"      // closed loop, open loop at half of it, open loop at the same rate for all
	Broadcast = "broadcast" // closed loop of broadcasts
	Kill      = "kill"      // kill -9 of all processes in an open loop
	Idle      = "idle"      // memory of idle sessions
	Deaf      = "deaf"      // devices that read nothing
	Storm     = "storm"     // all devices reconnect at once
)

// Scenarios are all of them, in the order in which they are measured.
func Scenarios() []string { return []string{Rate, Broadcast, Kill, Idle, Deaf, Storm} }

// Run is one run of the generator. What does not belong to its scenario is nil.
type Run struct {
	Stack    string `json:"stack"`
	Scenario string `json:"scenario"`
	Round    int    `json:"round"` // from 1
	Devices  int    `json:"devices"`
	Failed   string `json:"failed,omitempty"` // why it could not be measured
	Cannot   string `json:"cannot,omitempty"` // why the stack cannot do it

	LoginSeconds float64 `json:"login_s"` // first dial to last login
	Reconnects   int     `json:"reconnects"`

	Closed *Phase        `json:"closed,omitempty"`
	Half   *Phase        `json:"half,omitempty"`
	Same   *Phase        `json:"same,omitempty"`
	Kill   *Phase        `json:"kill,omitempty"`
	Idle   *Memory       `json:"idle,omitempty"`
	Deaf   *DeafResult   `json:"deaf,omitempty"`
	Storm  *StormResult  `json:"storm,omitempty"`
	Counts ledger.Counts `json:"counts"` // of the whole run
}

// Phase is one stretch of sending, until every text was read back as delivered or given up.
type Phase struct {
	Planned     float64 `json:"planned_per_s,omitempty"` // open loop
	Unreachable bool    `json:"unreachable,omitempty"`   // planned more than the closed loop gave
	Accepted    int64   `json:"accepted"`
	Seconds     float64 `json:"s"`         // first request to the last status
	PerSecond   float64 `json:"per_s"`     // accepted by these seconds
	CPUMicros   float64 `json:"cpu_us"`    // of the stack, for each accepted text
	StackCores  float64 `json:"cores"`     // that the stack used while requests were sent
	OwnCores    float64 `json:"gen_cores"` // that generator and devices used then
	RSS         int64   `json:"rss"`       // of the stack at the end, bytes
	Left        int     `json:"left"`      // accepted and not read back as delivered
	Missing     int     `json:"missing"`   // planned in an open loop and not at a device in the end

	// Planned to the begin of the request, ms, the 99th percentile.
	LateP99 float64 `json:"late_p99_ms"`
	LateP50 float64 `json:"late_p50_ms"`

	// Planned to the device, ms.
	P50  float64 `json:"p50_ms"`
	P90  float64 `json:"p90_ms"`
	P99  float64 `json:"p99_ms"`
	P999 float64 `json:"p999_ms"`
	Max  float64 `json:"max_ms"`
}

// Whole reports whether every text that was planned has come: only then latencies compare.
func (p *Phase) Whole() bool { return p != nil && !p.Unreachable && p.Missing == 0 && p.P99 > 0 }

// PerCoreSecond is how many texts a second of CPU of the stack takes through their lives; 0: not
// known.
func (p *Phase) PerCoreSecond() float64 {
	if p == nil || p.CPUMicros <= 0 {
		return 0
	}
	return 1e6 / p.CPUMicros
}

// Memory is the resident memory of the stack's processes, bytes.
type Memory struct {
	Before int64 `json:"rss_before"`
	After  int64 `json:"rss_after"`
}

// DeafResult is what deaf devices cost.
type DeafResult struct {
	Memory
	Devices int    `json:"devices"`
	Texts   int64  `json:"texts"` // accepted for the deaf ones
	Asked   int64  `json:"asked"` // that should have been
	Healthy *Phase `json:"healthy"`
	Calm    *Phase `json:"calm"` // the same load before there was a text for a deaf one
}

// StormResult is how all devices reconnect at once.
type StormResult struct {
	Queued  int64   `json:"queued"`
	Asked   int64   `json:"asked"`
	LoggedS float64 `json:"logged_in_s"` // first dial to the last login; 0: not all
	LastAck float64 `json:"last_ack_s"`  // first dial to the last ack
	Missing int     `json:"missing"`     // texts that did not come
}
