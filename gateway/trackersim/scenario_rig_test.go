package trackersim_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/gateway/engine"
	"trackchat/gateway/trackersim"
	"trackchat/protocol"
	"trackchat/queue"
	"trackchat/queue/queuetest"
	"trackchat/queue/redisstore"
	"trackchat/queue/sqlitestore"
)

// stores are the backends that every scenario runs on.
func stores() map[string]func(*testing.T) queue.Store {
	return map[string]func(*testing.T) queue.Store{
		"sqlite": func(t *testing.T) queue.Store {
			t.Helper()
			st, err := sqlitestore.Open(t.Context(), sqlitestore.Options{
				Path: t.TempDir(),
				Now:  time.Now,
			})
			check(t, err)
			return st
		},
		"redis": func(t *testing.T) queue.Store {
			t.Helper()
			st, err := redisstore.Open(t.Context(),
				redisstore.Options{Addrs: []string{queuetest.StartRedis(t).Addr}, Now: time.Now})
			check(t, err)
			return st
		},
	}
}

// scene is one scenario played by one tracker; the gateway and its store are shared by all of them.
type scene struct {
	v       variant
	play    scenario
	store   queue.Store
	addr    string
	tracker queue.TrackerID
	device  protocol.DeviceConfig
	done    chan error

	mu    sync.Mutex
	parts []protocol.DeviceEvent // as they arrived
}

// stage casts every scenario that fits for every variant, with a listener for each variant.
func stage(t *testing.T, st queue.Store) []*scene {
	t.Helper()
	t.Cleanup(func() { check(t, st.Close()) })
	var scenes []*scene
	var trackers []queue.Tracker
	vs := variants()
	for _, v := range vs {
		for _, sc := range scenarios() {
			if !sc.fits(v) {
				continue
			}
			n := len(scenes) + 1
			s := &scene{v: v, play: sc, store: st, tracker: queue.TrackerID(n), device: v.device(t,
				fmt.Sprint(100_000+n)), done: make(chan error, 1)}
			scenes = append(scenes, s)
			trackers = append(trackers, queue.Tracker{
				ID: s.tracker, Account: 1, Label: v.name, Protocol: v.p.Name, DeviceID: s.device.ID,
				Chat: true, Features: []string{queue.FeatureChat}, Settings: v.set,
			})
		}
	}
	addrs := listen(t, st, trackers, vs)
	for _, s := range scenes {
		s.addr = addrs[s.v.name]
	}
	return scenes
}

// listen runs the real gateway, with waits that are short enough to be waited for, and returns the
// address of each variant's listener.
func listen(t *testing.T, st queue.Store, trackers []queue.Tracker,
	vs []variant,
) map[string]string {
	t.Helper()
	accounts := []queue.Account{{ID: 1, Login: "demo"}}
	_, err := st.ImportDirectory(t.Context(), accounts, trackers, true)
	check(t, err)
	directory := new(queue.Directory)
	directory.Replace(queue.NewSnapshot(accounts, trackers))
	e, err := engine.New(engine.Options{Now: time.Now})
	check(t, err)
	g, err := gateway.New(gateway.Options{
		Node: "test", Engine: e, Store: st, Directory: directory, Now: time.Now,
		AckTimeout: []time.Duration{
			300 * time.Millisecond, 600 * time.Millisecond,
			900 * time.Millisecond,
		}, RetryIdle: time.Second, RetryFailed: 50 * time.Millisecond,
		MaxAttempts: 1000, // on a busy machine a text whose ack is held back may see many rounds
	})
	check(t, err)
	check(t, g.Start(t.Context()))
	var served sync.WaitGroup
	addrs := map[string]string{}
	for _, v := range vs {
		l, err := g.Listen(v.p, v.listener, 0)
		check(t, err)
		ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		check(t, err)
		addrs[v.name] = ln.Addr().String()
		served.Go(func() {
			if err := l.Serve(ln); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		check(t, g.Quiesce(ctx))
		check(t, e.Shutdown(ctx))
		check(t, g.Close(ctx))
		served.Wait()
	})
	return addrs
}

// run plays the scenario to its end.
func (s *scene) run() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	err := s.play.play(ctx, s)
	if err != nil {
		ms, _ := s.messages(context.WithoutCancel(ctx)) // what is known helps
		err = fmt.Errorf("%w; messages %s; shown %q", err, describe(ms), s.shown())
	}
	s.done <- err
}

func describe(ms []queue.Message) string {
	var b strings.Builder
	for _, m := range ms {
		fmt.Fprintf(&b, "[%d %c %q %d/%d %s] ", m.ID, m.Status, m.Text[:min(len(m.Text), 40)],
			m.Acked, m.Parts, m.Reason)
	}
	return b.String()
}

// login starts the tracker; decide is asked about each part, numbered from 1 as they arrive, and
// nil takes them all. leave ends it.
func (s *scene) login(ctx context.Context, change func(*trackersim.Options), decide func(n int,
	e protocol.DeviceEvent) trackersim.Action,
) (tr *trackersim.Tracker, leave func()) {
	o := trackersim.Options{
		Protocol: s.v.p, Gateway: s.addr, Device: s.device, Now: time.Now, SayTimeout: time.Hour,
		Reconnect: true, ReconnectMin: 2 * time.Millisecond, ReconnectMax: 20 * time.Millisecond,
		OnText: func(e protocol.DeviceEvent) trackersim.Action {
			s.mu.Lock()
			s.parts = append(s.parts, e)
			n := len(s.parts)
			s.mu.Unlock()
			if decide == nil {
				return trackersim.Action{}
			}
			return decide(n, e)
		},
	}
	if change != nil {
		change(&o)
	}
	tr = trackersim.New(o)
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = tr.Run(ctx)
	}()
	return tr, func() {
		cancel()
		<-ended
	}
}

// shown returns the bodies of the parts without repetitions.
func (s *scene) shown() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var bodies []string
	for i, p := range s.parts {
		if i > 0 && p.Ref == s.parts[i-1].Ref && p.Body == s.parts[i-1].Body {
			continue
		}
		bodies = append(bodies, strings.TrimRight(p.Body, " "))
	}
	return bodies
}

func (s *scene) part(i int) protocol.DeviceEvent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.parts[i]
}

// copies returns how many parts have arrived, repetitions included.
func (s *scene) copies() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.parts)
}

func (s *scene) send(ctx context.Context, text string, choices ...string) (int64, error) {
	res, err := s.store.Send(ctx, []queue.SendReq{{
		Tracker: s.tracker, Text: text,
		Choices: choices,
	}})
	if err != nil {
		return 0, err
	}
	return res[0].ID, res[0].Err
}

func (s *scene) messages(ctx context.Context) ([]queue.Message, error) {
	return s.store.List(ctx, queue.ListQuery{Tracker: s.tracker, ToMs: 1 << 50, Limit: 1024})
}

// until waits until the tracker's messages are as wanted.
func (s *scene) until(ctx context.Context, what string, ok func([]queue.Message) bool) error {
	every := time.NewTicker(20 * time.Millisecond)
	defer every.Stop()
	since := time.Now()
	for {
		ms, err := s.messages(ctx)
		if err == nil && ok(ms) {
			return nil
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting %s for %s: %w", time.Since(since).Round(time.Millisecond),
				what, errors.Join(err, ctx.Err()))
		}
	}
}

// ended waits until a message has a status.
func (s *scene) ended(ctx context.Context, id int64, want queue.Status) error {
	return s.until(ctx, fmt.Sprintf("message %d to be %c", id, want),
		func(ms []queue.Message) bool {
			return message(ms, id).Status == want
		})
}

// message returns the one of that id, an empty one where there is none.
func message(ms []queue.Message, id int64) queue.Message {
	for _, m := range ms {
		if m.ID == id {
			return m
		}
	}
	return queue.Message{}
}

// incoming returns what the driver wrote.
func incoming(ms []queue.Message) []string {
	var texts []string
	for _, m := range ms {
		if m.Status.Incoming() {
			texts = append(texts, m.Text)
		}
	}
	return texts
}
