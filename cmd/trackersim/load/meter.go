package load

import (
	"sync"
	"time"
)

// point is a moment of the run at which the processes are looked at.
type point uint8

const (
	before   point = iota // no device is connected
	loggedIn              // all are
	start                 // of the sending
	end                   // of what followed from it
	points
)

// meter looks at the processes of the service.
type meter struct {
	pids []int

	mu       sync.Mutex
	readings [][points]usage
	peaks    []int64
	own      [points]time.Duration // CPU time of this process
}

func newMeter(pids []int) (*meter, error) {
	for _, pid := range pids {
		if _, err := usageOf(pid); err != nil {
			return nil, err
		}
	}
	return &meter{pids: pids, readings: make([][points]usage, len(pids)), peaks: make([]int64,
		len(pids))}, nil
}

// mark looks at the processes now. One that has gone keeps what was seen of it last.
func (m *meter) mark(at point) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, pid := range m.pids {
		u, err := usageOf(pid)
		if err != nil {
			u = m.readings[i][max(at, 1)-1]
		}
		m.readings[i][at] = u
		m.peaks[i] = max(m.peaks[i], u.rss)
	}
	m.own[at] = ownCPU()
}

// peak looks for the most memory.
func (m *meter) peak() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, pid := range m.pids {
		if u, err := usageOf(pid); err == nil {
			m.peaks[i] = max(m.peaks[i], u.rss)
		}
	}
}

// report tells what each process used for a number of delivered messages and of sessions; held says
// that nothing was sent.
func (m *meter) report(delivered, sessions int64, held bool) []Process {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]Process, 0, len(m.pids))
	for i, pid := range m.pids {
		u := &m.readings[i]
		p := Process{
			PID: pid, Name: nameOf(pid), CPU: (u[end].cpu - u[start].cpu).Seconds(),
			RSS: u[end].rss, RSSBefore: u[before].rss, RSSLoggedIn: u[loggedIn].rss,
			RSSPeak: m.peaks[i], Descriptors: u[end].descriptors,
			DescriptorsThen: u[loggedIn].descriptors,
		}
		if delivered > 0 {
			p.PerMessage = p.CPU * 1e6 / float64(delivered)
		}
		if sessions > 0 {
			last := &u[loggedIn]
			if held {
				last = &u[end]
			}
			p.PerSession = float64(last.rss-u[before].rss) / float64(sessions)
			p.AnonPerSession = float64(last.anon-u[before].anon) / float64(sessions)
		}
		out = append(out, p)
	}
	return out
}

func (m *meter) generator() float64 { return (m.own[end] - m.own[start]).Seconds() }
