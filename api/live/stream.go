package live

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"trackchat/queue"
)

// Retained is how long what has happened is told later; older positions are told reset.
const Retained = 24 * time.Hour

const (
	heartbeatEvery = 15 * time.Second
	// of one write: a client that takes nothing for so long is gone.
	stallTimeout = 10 * time.Second
	maxReplayed  = 10_000 // events; a client that missed more is told reset
	// who has been away for longer reads most of it before it is told anything new.
	replayFirst = time.Minute
	reconnectMs = 1000     // how soon clients should come back
	streamFlush = 64 << 10 // bytes after which what is told is written out
)

// errTooMuch ends the replay of more than a client is told one by one.
var errTooMuch = errors.New("more was missed than is told")

// Client is one reader of the feed: who it is, where it goes on, and where it is written to.
type Client struct {
	Account queue.AccountID
	Key     queue.KeyHash // what it showed
	Session bool          // key is a session's
	Since   int64         // position that it has seen everything before
	Resumes bool          // there is such a position
	W       http.ResponseWriter
	Start   func() // sends the header off, before the first event
}

// Serve streams (text/event-stream) what happens to the account's trackers until the client leaves.
// An error says that nothing was written.
func (f *Feed) Serve(ctx context.Context, c *Client) error {
	s := &stream{
		Client: c, feed: f, control: http.NewResponseController(c.W),
		sub: &subscriber{
			account: c.Account, key: c.Key, session: c.Session, ready: make(chan struct{}, 1),
		},
	}
	s.sub.cut = s.interrupt
	defer f.leave(s.sub)
	defer s.sub.retire() // its connection may be somebody else's next request
	return s.run(ctx)
}

// stream is what is written to one client.
type stream struct {
	*Client
	feed    *Feed
	control *http.ResponseController
	sub     *subscriber
	started bool        // the header is out
	store   string      // its state as last told
	stall   *time.Timer // interrupts a write that takes too long
	buf     []byte
	count   int // of replayed events
}

// run streams until the client has gone or its subscription is over. Only before the first byte can
// it return an error that is to be answered.
func (s *stream) run(ctx context.Context) error {
	reset := s.tooOld()
	if !reset && s.Resumes && s.feed.now().UnixMilli()-s.Since > replayFirst.Milliseconds() {
		// Read while nothing new waits for this client, so that it may take its time.
		at := s.feed.now().UnixMilli()
		again, err := s.replay(ctx, s.Since)
		if err != nil {
			return s.failed(err)
		}
		if reset = again; !reset {
			s.Since = at
		}
	}
	bounded, cancel := context.WithTimeout(ctx, s.feed.timeout)
	position, err := s.feed.subscribe(bounded, s.sub)
	cancel()
	if err != nil {
		return s.failed(err)
	}
	if s.Resumes && !reset {
		if reset, err = s.replay(ctx, s.Since); err != nil {
			return s.failed(err)
		}
	}
	if err := s.begin(); err != nil {
		return nil //nolint:nilerr // the client is gone
	}
	if reset {
		s.feed.metrics.resets.Inc()
		e := resetEvent(s.feed.now().UnixMilli())
		e.position = position
		s.buf = appendEvent(s.buf, e)
	}
	// A client that is cut off before its first event goes on from here.
	s.buf = append(s.buf, "retry: "...)
	s.buf = strconv.AppendInt(s.buf, reconnectMs, 10)
	s.buf = append(s.buf, "\nid: "...)
	s.buf = strconv.AppendInt(s.buf, position, 10)
	s.buf = append(s.buf, "\n\n"...)
	_, store := s.feed.pulse()
	s.heartbeat(position, store)
	if s.flush() == nil {
		s.live(ctx)
	}
	return nil
}

// tooOld reports whether the client's position is out of what is told.
func (s *stream) tooOld() bool {
	return s.Resumes && s.feed.now().UnixMilli()-s.Since > Retained.Milliseconds()
}

// live hands over events as they come.
func (s *stream) live(ctx context.Context) {
	beat := time.NewTicker(s.feed.Heartbeat)
	defer beat.Stop()
	defer func() {
		if s.stall != nil {
			s.stall.Stop()
		}
	}()
	for {
		due := false
		select {
		case <-ctx.Done():
			return
		case <-s.sub.ready:
		case <-beat.C:
			due = true
		}
		// read before looking whether something waits: all before it has been handed over then.
		position, store := s.feed.pulse()
		list, over := s.sub.take()
		if over != endNot {
			return
		}
		now := s.feed.now().UnixMilli()
		for _, e := range list {
			s.buf = appendEvent(s.buf, e)
			s.feed.metrics.lag.Observe(max(0, float64(now-e.ms)/1000))
			if len(s.buf) >= streamFlush && s.flush() != nil {
				return
			}
		}
		if due || len(list) == 0 || store != s.store {
			s.heartbeat(position, store)
		}
		s.feed.metrics.events.Add(float64(len(list)))
		if s.flush() != nil {
			return
		}
	}
}

// heartbeat appends a sign of life that names the store's state. Its position saves a client that
// was idle for long from being told reset.
func (s *stream) heartbeat(position int64, store string) {
	s.store = store
	data := append([]byte(`{"store":"`), store...)
	data = append(data, `"}`...)
	s.buf = append(s.buf, ":\n"...) // a comment as well, for clients that look for one
	s.buf = appendEvent(s.buf, &event{name: eventHeartbeat, position: position, data: data})
}

// replay writes what has happened since a position. The events carry that position: a client that
// is cut off in the middle begins again. It reports whether that was too much.
func (s *stream) replay(ctx context.Context, since int64) (reset bool, err error) {
	select {
	case s.feed.replays <- struct{}{}:
		defer func() { <-s.feed.replays }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	err = s.feed.replay(ctx, s.sub.account, since-feedSlack.Milliseconds(),
		func(events []*event) error {
			if s.count += len(events); s.count > maxReplayed {
				return errTooMuch
			}
			if err := s.begin(); err != nil {
				return err
			}
			for _, e := range events {
				e.position = since
				s.buf = appendEvent(s.buf, e)
			}
			s.feed.metrics.events.Add(float64(len(events)))
			if len(s.buf) < streamFlush {
				return nil
			}
			return s.flush()
		}, noReset)
	switch {
	case errors.Is(err, queue.ErrTooOld), errors.Is(err, errTooMuch):
		return true, nil
	case err != nil:
		return false, err
	}
	return false, s.flush()
}

// failed is the answer where streaming cannot begin. Once it has, the end of the stream is all that
// can be said.
func (s *stream) failed(err error) error {
	if s.started {
		return nil
	}
	return err
}

// begin writes the header, once.
func (s *stream) begin() error {
	if s.started {
		return nil
	}
	h := s.W.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("X-Accel-Buffering", "no") // proxies hand on at once
	// The server's own deadlines are for requests that end.
	if err := errors.Join(s.control.SetReadDeadline(time.Time{}),
		s.control.SetWriteDeadline(time.Time{})); err != nil {
		return fmt.Errorf("lifting the deadlines: %w", err)
	}
	s.started = true
	s.Start()
	return nil
}

// flush writes what there is. A client that does not take it in time is cut off.
func (s *stream) flush() error {
	if len(s.buf) == 0 || !s.started {
		return nil
	}
	if s.stall == nil {
		s.stall = time.AfterFunc(stallTimeout, s.interrupt)
	} else {
		s.stall.Reset(stallTimeout)
	}
	_, err := s.W.Write(s.buf)
	if err == nil {
		err = s.control.Flush()
	}
	s.stall.Stop()
	if s.buf = s.buf[:0]; cap(s.buf) > keepIdle {
		s.buf = nil
	}
	return err
}

// keepIdle is the greatest buffer that an idle stream keeps.
const keepIdle = 256

// interrupt ends a write that waits for the client, and all later ones.
func (s *stream) interrupt() { _ = s.control.SetWriteDeadline(time.Unix(1, 0)) }
