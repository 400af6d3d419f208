package load

import (
	"encoding/json"
	"strconv"
	"strings"
	"sync"
	"time"
)

// verification is the job of one look at what the API lists: all messages of the run, tracker by
// tracker.
type verification struct {
	o      *Options
	ledger *ledger
	number uint32 // of this reading, from 1

	mu      sync.Mutex
	queue   []page
	asked   map[int]page // by token
	tokens  int
	holding time.Time // the API asked for patience until then
	result  listed
	failure string // of the newest page that could not be read
}

// page is the next piece of one tracker's list.
type page struct {
	device  int
	from    time.Time
	lastID  int64
	arrived int64 // of the last message before it
}

// listed is what a reading found.
type listed struct {
	outOfOrder int64 // messages that arrived before one with a lower id
	twice      int64 // texts that are there again under another id
	unreadable int64 // trackers whose list could not be read
}

func newVerification(o *Options, l *ledger, number uint32, devices []int,
	from time.Time,
) *verification {
	r := &verification{o: o, ledger: l, number: number, asked: make(map[int]page)}
	for _, d := range devices {
		r.queue = append(r.queue, page{device: d, from: from})
	}
	return r
}

func (r *verification) next(dst []byte) (body []byte, token int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 || !r.holding.IsZero() && time.Now().Before(r.holding) {
		return dst, 0, false
	}
	p := r.queue[len(r.queue)-1]
	r.queue = r.queue[:len(r.queue)-1]
	r.tokens++
	r.asked[r.tokens] = p
	dst = append(append(append(dst, `{"hash":"`...), r.o.Key...), `","tracker_id":`...)
	dst = strconv.AppendInt(dst, r.o.From+int64(p.device), 10)
	dst = append(dst, `,"iso_datetime":true,"limit":`...)
	dst = strconv.AppendInt(dst, listLimit, 10)
	dst = append(dst, `,"from":"`...)
	dst = p.from.UTC().AppendFormat(dst, time.RFC3339)
	return append(dst, '"', '}'), r.tokens, true
}

// message is one entry of a list.
type message struct {
	ID         int64     `json:"id"`
	SubmitTime time.Time `json:"submit_time"`
	Text       string    `json:"text"`
	Type       string    `json:"type"`
	Status     string    `json:"status"`
}

func (r *verification) answer(token, status int, body []byte) {
	var a struct {
		reply
		List []message `json:"list"`
	}
	err := json.Unmarshal(body, &a)
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.asked[token]
	delete(r.asked, token)
	switch {
	case err != nil:
		r.failedLocked("an answer of status " + strconv.Itoa(status) + " that is not JSON")
	case a.Status.Code == 15:
		r.holding = time.Now().Add(time.Second)
		r.queue = append(r.queue, p)
	case a.Status.Code == 8 || a.Status.Code == 14:
		r.holding = time.Now().Add(200 * time.Millisecond)
		r.queue = append(r.queue, p)
	case !a.Success:
		r.failedLocked("error " + strconv.Itoa(a.Status.Code))
	default:
		r.pageLocked(p, a.List)
	}
}

func (r *verification) failedLocked(why string) {
	r.failure = why
	r.result.unreadable++
}

// lost asks again: a reading changes nothing.
func (r *verification) lost(token int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue = append(r.queue, r.asked[token])
	delete(r.asked, token)
}

// pageLocked compares a piece of a list, oldest first, with the ledger.
func (r *verification) pageLocked(p page, list []message) {
	before := p.lastID
	for i := range list {
		m := &list[i]
		if m.ID <= p.lastID || m.Type != "OUTGOING" {
			continue
		}
		p.lastID = m.ID
		request, _, other := r.ledger.read(m.Text)
		if other || request < 0 {
			continue
		}
		if rec, ok := r.ledger.of(request, p.device); ok {
			r.messageLocked(&p, m, rec)
		}
	}
	if len(list) < listLimit {
		return
	}
	if last := list[len(list)-1].SubmitTime; last.After(p.from) || p.lastID > before {
		if !last.After(p.from) {
			r.failedLocked("more than " + strconv.Itoa(listLimit) +
				" messages of one tracker in one second")
			return
		}
		p.from = last
		r.queue = append(r.queue, p)
	}
}

func (r *verification) messageLocked(p *page, m *message, rec *record) {
	if rec.listed.Swap(r.number) == r.number {
		r.result.twice++
		return
	}
	if strings.EqualFold(m.Status, "DELIVERED") {
		rec.set(delivered)
	}
	if at := rec.arrived.Load(); at != 0 {
		if at < p.arrived {
			r.result.outOfOrder++
		}
		p.arrived = at
	}
}

// done says whether everything is read.
func (r *verification) done() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.queue) == 0 && len(r.asked) == 0
}
