package gateway_test

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/protocol"
	"trackchat/queue"
)

// moody plays a device that loses its connection, answers late, twice or not at all, until told to
// stop. It remembers what it has shown and acknowledged.
type moody struct {
	mu sync.Mutex
	// bodies in the order in which they came, repetitions of the newest dropped.
	shown []string
	acked map[string]bool // bodies that it has acknowledged, whether or not that arrived
}

func (m *moody) note(body string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.shown = append(m.shown, body)
}

func (m *moody) ack(body string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.acked[body] = true
}

func (m *moody) play(r *rig, tr queue.Tracker, rnd *rand.Rand, stop <-chan struct{}) {
	for calm := false; ; {
		d := r.dial(tr.Protocol, tr.DeviceID)
		for broken := false; !broken; {
			select {
			case <-stop:
				calm = true
			default:
			}
			if calm && m.done() {
				_ = d.nc.Close()
				return
			}
			for _, e := range d.seen {
				if e.Kind == protocol.DeviceText {
					broken = m.answer(d, e, rnd, calm) || broken
				}
			}
			d.seen = d.seen[:0]
			if err := d.read(20 * time.Millisecond); err != nil &&
				!strings.Contains(err.Error(), "timeout") {
				broken = true
			}
		}
		_ = d.nc.Close()
	}
}

func (m *moody) done() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.acked["last"]
}

// answer reports whether the device breaks the connection.
func (m *moody) answer(d *device, e protocol.DeviceEvent, rnd *rand.Rand, calm bool) bool {
	m.note(e.Body)
	mood := rnd.IntN(10)
	if calm {
		mood = 9
	}
	switch mood {
	case 0:
		return true
	case 1:
		return false // says nothing
	case 2: // answers, and the connection breaks at once
		m.ack(e.Body)
		_, _ = d.nc.Write(d.side.AppendAck(nil, e, protocol.AckDelivered))
		return true
	case 3: // answers twice
		m.ack(e.Body)
		_, _ = d.nc.Write(d.side.AppendAck(d.side.AppendAck(nil, e, protocol.AckDelivered), e,
			protocol.AckDelivered))
		return false
	}
	m.ack(e.Body)
	_, err := d.nc.Write(d.side.AppendAck(nil, e, protocol.AckDelivered))
	return err != nil
}

// Whatever devices and dispatchers do, nothing is lost, nothing is DELIVERED without the device's
// word, and every device is shown its texts in order.
func TestMoodyDevices(t *testing.T) {
	const trackers, texts = 12, 40
	var list []queue.Tracker
	for i := range trackers {
		if id := queue.TrackerID(i + 1); i%2 == 0 {
			list = append(list, jt(id))
		} else {
			list = append(list, wl(id, nil))
		}
	}
	r := newRig(t, list, withAcks(40*time.Millisecond, 60*time.Millisecond),
		func(o *gateway.Options) {
			o.RetryIdle, o.Repoll, o.MaxAttempts = 100*time.Millisecond, 200*time.Millisecond, 1000
		})
	stop := make(chan struct{})
	devices := make([]*moody, trackers)
	var group sync.WaitGroup
	for i, tr := range list {
		devices[i] = &moody{acked: map[string]bool{}}
		rnd := rand.New(rand.NewPCG(1, uint64(i)))
		group.Go(func() { devices[i].play(r, tr, rnd, stop) })
	}
	ids := make([][]int64, trackers)
	cancelled := map[int64]bool{}
	rnd := rand.New(rand.NewPCG(2, 2))
	for n := range texts {
		for i, tr := range list {
			text := strconv.Itoa(n)
			if rnd.IntN(4) == 0 {
				// longer than a wake carries and, on JT/T 808, several parts.
				text += strings.Repeat(" long", 300)
			}
			ids[i] = append(ids[i], r.send(tr.ID, text)...)
			if rnd.IntN(6) == 0 {
				id := ids[i][rnd.IntN(len(ids[i]))]
				res, err := r.store.End(t.Context(), []queue.EndReq{{
					Tracker: tr.ID, ID: id,
					Status: queue.StatusCancelled,
				}})
				must(t, err)
				cancelled[id] = cancelled[id] || res[0] == queue.EndNow
			}
		}
	}
	for i, tr := range list {
		ids[i] = append(ids[i], r.send(tr.ID, "last")...)
	}
	close(stop)
	group.Wait()
	for i, tr := range list {
		r.become(ids[i][texts], tr.ID, queue.StatusDelivered)
		for _, m := range r.list(tr.ID) {
			if m.Status != queue.StatusDelivered && (m.Status != queue.StatusCancelled ||
				!cancelled[m.ID]) {
				t.Errorf("tracker %d: message %d is %c", tr.ID, m.ID, m.Status)
			}
		}
		devices[i].judge(t, tr, r.list(tr.ID))
	}
}

func (m *moody) judge(t *testing.T, tr queue.Tracker, ms []queue.Message) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	newest := -1
	for _, body := range m.shown {
		head, _, _ := strings.Cut(body, " ")
		n, err := strconv.Atoi(head)
		if err != nil {
			continue // a later part, or the last text
		}
		if n < newest {
			t.Errorf("tracker %d was shown text %d after %d", tr.ID, n, newest)
		}
		newest = max(newest, n)
	}
	for _, msg := range ms {
		if msg.Status != queue.StatusDelivered {
			continue
		}
		acked := m.acked[msg.Text]
		if !acked { // in several parts: all that the device has acknowledged of them
			head := msg.Text[:min(len(msg.Text), 100)]
			for body := range m.acked {
				acked = acked || strings.HasPrefix(body, head)
			}
		}
		if !acked {
			t.Errorf("tracker %d: %.20q is DELIVERED, but was never acknowledged", tr.ID, msg.Text)
		}
	}
}
