package load

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
)

// Report is what a run found out. Counts are of messages: a broadcast to 300 trackers counts 300.
type Report struct {
	Protocol  string  `json:"protocol"`
	Devices   int     `json:"devices"`
	LoggedIn  int64   `json:"logged_in"` // when the sending began
	Rate      float64 `json:"rate"`
	Broadcast int     `json:"broadcast"`
	Size      int     `json:"size"`
	Seconds   float64 `json:"seconds"` // of the sending

	Sent       int64            `json:"sent"`
	Accepted   int64            `json:"accepted"`
	Refused    map[string]int64 `json:"refused"` // by the API's code
	Unanswered int64            `json:"unanswered"`
	Written    int64            `json:"written"` // arrived at their devices, each counted once
	Acked      int64            `json:"acked"`
	Delivered  int64            `json:"delivered"` // as the API lists them
	Pending    int64            `json:"pending"`   // accepted and listed as not delivered

	// accepted and not listed, or acknowledged by the device and not listed as delivered.
	Lost int64 `json:"lost"`
	// listed as delivered, and never acknowledged by the device.
	Unproven int64 `json:"unproven"`
	// came again after the device's ack, or are listed twice.
	Duplicated  int64 `json:"duplicated"`
	Repeated    int64 `json:"repeated"`     // came again without an ack, as they have to
	OutOfOrder  int64 `json:"out_of_order"` // arrived before a message with a lower id
	Foreign     int64 `json:"foreign"`      // texts of another run, waiting since then
	LateStored  int64 `json:"late_stored"`  // refused or unanswered, and listed all the same
	Unreadable  int64 `json:"unreadable"`   // trackers whose list could not be read
	Reconnects  int64 `json:"reconnects"`   // logged-in connections that the gateway ended
	DialsFailed int64 `json:"dials_failed"` // and connections that ended before the login's answer
	Logins      int64 `json:"logins_refused"`

	AcceptedPerSecond float64 `json:"accepted_per_s"`
	// from the first text's time to the last ack.
	DeliveredPerSecond float64 `json:"delivered_per_s"`
	// scheduled to arrived at a device that acknowledges.
	ToDevice Quantiles `json:"to_device_ms"`
	ToAnswer Quantiles `json:"to_answer_ms"` // scheduled to accepted
	// scheduled to sent: the generator's own delay.
	Behind       Quantiles `json:"behind_ms"`
	LoginSeconds float64   `json:"login_s"` // from the first dial to the last login
	StormSeconds float64   `json:"storm_s,omitempty"`
	GeneratorCPU float64   `json:"generator_cpu_s"`
	Processes    []Process `json:"processes,omitempty"`

	samples  []sample
	toDevice *latency
	toAnswer *latency
	notes    []string
}

// Process is what one process of the service used.
type Process struct {
	PID         int     `json:"pid"`
	Name        string  `json:"name"`
	CPU         float64 `json:"cpu_s"`              // during the sending and what followed from it
	PerMessage  float64 `json:"cpu_us_per_message"` // of the delivered ones
	RSS         int64   `json:"rss"`                // VmRSS: bytes, at the end of that
	RSSBefore   int64   `json:"rss_before"`         // before the first device
	RSSLoggedIn int64   `json:"rss_logged_in"`      // before the first text
	RSSPeak     int64   `json:"rss_peak"`
	// What the logins, or without texts the whole time, added for each device: VmRSS, and RssAnon,
	// which is that without the pages of files.
	PerSession      float64 `json:"vmrss_per_session"`
	AnonPerSession  float64 `json:"rssanon_per_session"`
	Descriptors     int     `json:"descriptors"`
	DescriptorsThen int     `json:"descriptors_logged_in"`
}

// sample is the state at one time.
type sample struct {
	at                       float64 // seconds
	accepted, arrived, acked int64
}

// Broken says whether a promise was broken: something lost, delivered without an ack, duplicated,
// or out of order.
func (r *Report) Broken() bool { return r.Lost+r.Unproven+r.Duplicated+r.OutOfOrder > 0 }

// WriteJSON writes the report as one line.
func (r *Report) WriteJSON(w io.Writer) error {
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	_, err = w.Write(append(line, '\n'))
	return err
}

// WriteTable writes the report for people; errors stay in w.
func (r *Report) WriteTable(w io.Writer) {
	row := func(name, format string, args ...any) {
		_, _ = fmt.Fprintf(w, "%-34s %s\n", name, fmt.Sprintf(format, args...))
	}
	row("devices", "%d %s, %d logged in within %.2f s", r.Devices, r.Protocol, r.LoggedIn,
		r.LoginSeconds)
	if r.Sent > 0 {
		r.messages(row)
	}
	for _, f := range []struct {
		name string
		n    int64
	}{
		{"connections that the gateway ended", r.Reconnects},
		{"dials and logins that failed", r.DialsFailed},
		{"logins refused", r.Logins},
		{"texts of other runs", r.Foreign},
		{"trackers whose list is unreadable", r.Unreadable},
	} {
		if f.n > 0 {
			row(f.name, "%d", f.n)
		}
	}
	for i := range r.Processes {
		p := &r.Processes[i]
		row(fmt.Sprintf("process %d (%s)", p.PID, p.Name),
			"CPU %.2f s (%.1f us a message)  RSS %.1f MB (before %.1f, logged in %.1f, peak %.1f)  %.0f B a session, %.0f without files  %d descriptors",
			p.CPU, p.PerMessage, mb(p.RSS), mb(p.RSSBefore), mb(p.RSSLoggedIn), mb(p.RSSPeak),
			p.PerSession, p.AnonPerSession, p.Descriptors)
	}
	row("generator", "CPU %.2f s, late p50 %.2f p99 %.2f ms", r.GeneratorCPU, r.Behind.P50,
		r.Behind.P99)
	for _, note := range r.notes {
		row("note", "%s", note)
	}
}

func (r *Report) messages(row func(name, format string, args ...any)) {
	row("sent", "%d in %.1f s (%.0f/s), %d characters, %d a request", r.Sent, r.Seconds,
		float64(r.Sent)/max(r.Seconds, 1e-9), r.Size, max(r.Broadcast, 1))
	row("  accepted", "%d (%.0f/s)", r.Accepted, r.AcceptedPerSecond)
	for _, code := range slices.Sorted(maps.Keys(r.Refused)) {
		row("  refused, "+codeName(code), "%d", r.Refused[code])
	}
	row("  unanswered", "%d", r.Unanswered)
	row("written", "%d", r.Written)
	row("acked", "%d", r.Acked)
	row("DELIVERED as listed", "%d (%.0f/s)", r.Delivered, r.DeliveredPerSecond)
	row("pending as listed", "%d", r.Pending)
	row("lost", "%d", r.Lost)
	row("delivered without an ack", "%d", r.Unproven)
	row("duplicated", "%d (repeated for want of an ack: %d)", r.Duplicated, r.Repeated)
	row("out of order", "%d", r.OutOfOrder)
	if r.LateStored > 0 {
		row("refused or unanswered, yet listed", "%d", r.LateStored)
	}
	if r.StormSeconds > 0 {
		row("first dial to last ack", "%.2f s", r.StormSeconds)
	}
	for _, q := range []struct {
		name string
		q    Quantiles
	}{{"scheduled to device, ms", r.ToDevice}, {"scheduled to answer, ms", r.ToAnswer}} {
		if q.q.Count > 0 {
			row(q.name, "p50 %.2f  p90 %.2f  p99 %.2f  p99.9 %.2f  max %.2f", q.q.P50, q.q.P90,
				q.q.P99, q.q.P999, q.q.Max)
		}
	}
}

func mb(bytes int64) float64 { return float64(bytes) / (1 << 20) }

func codeName(code string) string {
	if _, err := strconv.Atoi(code); err == nil {
		return "code " + code
	}
	return code
}
