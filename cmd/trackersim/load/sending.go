package load

import (
	"bytes"
	"encoding/json"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// sending is the job of the texts.
type sending struct {
	o      *Options
	ledger *ledger
	fleet  *devices
	single bool

	due      atomic.Int64 // requests whose time has come
	answered atomic.Int64 // requests that are answered or lost
	expected atomic.Int64 // accepted messages whose devices acknowledge
	// scheduled to written to the API's connection: what the generator itself is late.
	behind *latency
	accept *latency // scheduled to accepted

	lastAnswer atomic.Int64 // Unix ns

	begun  atomic.Int64 // requests so far
	closed atomic.Bool  // what is answered from now on came too late

	mu      sync.Mutex
	refused map[string]int64 // messages by code
}

func newSending(o *Options, l *ledger, c *devices) *sending {
	return &sending{
		o: o, ledger: l, fleet: c, single: l.batch == 1, behind: newLatency(),
		accept: newLatency(), refused: make(map[string]int64),
	}
}

func (s *sending) operation() string {
	if s.single {
		return "send"
	}
	return "broadcast"
}

func (s *sending) next(dst []byte) (body []byte, token int, ok bool) {
	if s.begun.Load() >= s.due.Load() {
		return dst, 0, false
	}
	request := int(s.begun.Add(1)) - 1
	if s.ledger.interval > 0 {
		s.behind.add(s.ledger.since(time.Now()) - s.ledger.due(request))
	}
	s.ledger.sent.Add(int64(s.ledger.batch))
	dst = append(append(append(dst, `{"hash":"`...), s.o.Key...), `","message":"`...)
	dst = append(s.ledger.appendText(dst, request), '"', ',')
	if s.single {
		dst = strconv.AppendInt(append(dst, `"tracker_id":`...), s.tracker(request, 0), 10)
		return append(dst, '}'), request, true
	}
	dst = append(dst, `"trackers":[`...)
	for place := range s.ledger.batch {
		if place > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendInt(dst, s.tracker(request, place), 10)
	}
	return append(dst, ']', '}'), request, true
}

func (s *sending) tracker(request, place int) int64 {
	return s.o.From + int64(s.ledger.device(request, place))
}

// reply is what the API answers to send and broadcast.
type reply struct {
	Success   bool    `json:"success"`
	NotSentTo []int64 `json:"not_sent_to"`
	Status    struct {
		Code int `json:"code"`
	} `json:"status"`
}

func (s *sending) answer(request, status int, body []byte) {
	if s.closed.Load() {
		return
	}
	now := time.Now()
	s.lastAnswer.Store(now.UnixNano())
	defer s.answered.Add(1)
	var r reply
	if s.single && bytes.HasPrefix(body, []byte(`{"success":true,"id":`)) {
		// spares what decoding costs
		r.Success = true
	} else if err := json.Unmarshal(body, &r); err != nil {
		s.refuse(request, "http "+strconv.Itoa(status))
		return
	}
	if !r.Success {
		s.refuse(request, strconv.Itoa(r.Status.Code))
		return
	}
	if s.ledger.interval > 0 {
		s.accept.add(s.ledger.since(now) - s.ledger.due(request))
	}
	for _, tracker := range r.NotSentTo {
		if rec, ok := s.ledger.of(request, int(tracker-s.o.From)); ok {
			s.ledger.answer(rec, refused)
		}
	}
	s.count("not_sent_to", len(r.NotSentTo))
	for place := range s.ledger.batch {
		rec := &s.ledger.records[request*s.ledger.batch+place]
		if rec.state.Load()&refused != 0 {
			continue
		}
		s.ledger.answer(rec, accepted)
		if s.fleet.devices[s.ledger.device(request, place)].habit == acknowledges {
			s.expected.Add(1)
		}
	}
}

func (s *sending) refuse(request int, code string) {
	s.each(request, refused)
	s.count(code, s.ledger.batch)
}

func (s *sending) count(code string, messages int) {
	if messages == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused[code] += int64(messages)
}

func (s *sending) each(request int, what uint32) {
	for place := range s.ledger.batch {
		s.ledger.answer(&s.ledger.records[request*s.ledger.batch+place], what)
	}
}

func (s *sending) lost(request int) {
	s.each(request, unanswered)
	s.answered.Add(1)
}

// stop begins no more requests, and says how many messages that leaves unsent.
func (s *sending) stop() int64 {
	due := s.due.Swap(0)
	return max(due-s.begun.Load(), 0) * int64(s.ledger.batch)
}

// close counts what has no answer by now as unanswered.
func (s *sending) close() {
	s.closed.Store(true)
	for i := range s.ledger.records[:s.begun.Load()*int64(s.ledger.batch)] {
		s.ledger.records[i].state.CompareAndSwap(0, unanswered)
	}
}

// idle says whether every request that was begun is answered or lost.
func (s *sending) idle() bool { return s.answered.Load() >= s.begun.Load() }

// done says whether nothing is under way: every request answered, and every text that was accepted
// for a device that acknowledges acknowledged.
func (s *sending) done() bool {
	return s.answered.Load() >= s.due.Load() && s.ledger.acked.Load() >= s.expected.Load()
}
