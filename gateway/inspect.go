package gateway

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"

	"trackchat/gateway/engine"
	"trackchat/queue"
)

// SessionQuery selects sessions of this node.
type SessionQuery struct {
	Tracker  queue.TrackerID // 0: any
	Protocol string          // empty: any
	After    queue.TrackerID // only those of trackers with greater ids
	Limit    int             // at most
}

// SessionInfo is what is known of a session.
type SessionInfo struct {
	Tracker           queue.TrackerID
	Protocol          string
	Remote            netip.AddrPort
	SinceMs           int64 // login
	SeenMs            int64 // when the device was last heard of, to the second
	InFlight          int   // messages that are written and not acknowledged
	BytesIn, BytesOut int64 // on the wire, see engine.Traffic
}

// Inspect returns sessions of devices that have logged in, ordered by tracker. Those that end
// meanwhile may be missing.
func (g *Gateway) Inspect(ctx context.Context, q SessionQuery) ([]SessionInfo, error) {
	key := q.Tracker
	if t, ok := g.o.Directory.Current().Tracker(q.Tracker); ok {
		key = t.Key()
	}
	found := g.reg.find(q, key)
	byShard := make(map[*shard]*inspection)
	answers := make(chan []SessionInfo, len(g.shards))
	for _, s := range found {
		of := byShard[s.shard]
		if of == nil {
			of = &inspection{answers: answers}
			byShard[s.shard] = of
		}
		of.sessions = append(of.sessions, s)
	}
	for sh, of := range byShard {
		if !sh.loop.Execute(func() { sh.inspect(of) }) {
			of.answers <- nil
		}
	}
	list := make([]SessionInfo, 0, len(found))
	for range byShard {
		select {
		case part := <-answers:
			list = append(list, part...)
		case <-ctx.Done():
			return nil, fmt.Errorf("inspecting sessions: %w", ctx.Err())
		}
	}
	slices.SortFunc(list, func(a, b SessionInfo) int { return cmp.Compare(a.Tracker, b.Tracker) })
	return list, nil
}

// inspection asks one shard about some of its sessions.
type inspection struct {
	sessions []*session
	answers  chan<- []SessionInfo // has room for every shard
}

func (sh *shard) inspect(of *inspection) {
	list := make([]SessionInfo, 0, len(of.sessions))
	for _, s := range of.sessions {
		if s.dead || s.closing {
			continue
		}
		id, _ := queue.TrackerOf(s.tracker)
		info := SessionInfo{
			Tracker: id, Protocol: s.l.protocol.Name, Remote: s.conn.RemoteAddr(),
			SinceMs: s.l.g.wall(s.since), SeenMs: s.lease().SeenMs,
		}
		if s.inFlight() {
			info.InFlight = 1 // one text at a time
		}
		info.BytesIn, info.BytesOut = engine.Traffic(s.conn)
		list = append(list, info)
	}
	of.answers <- list
}

// find returns the first sessions of a query in the order of their trackers; key is that of the
// tracker it names.
func (r *registry) find(q SessionQuery, key queue.TrackerID) []*session {
	if q.Tracker != 0 {
		if s := r.get(key); s != nil && q.Tracker > q.After && (q.Protocol == "" ||
			q.Protocol == s.l.protocol.Name) {
			return []*session{s}
		}
		return nil
	}
	var best nearest
	for i := range r.stripe {
		st := &r.stripe[i]
		st.Lock()
		for _, s := range st.slots {
			if s == nil || q.Protocol != "" && q.Protocol != s.l.protocol.Name {
				continue
			}
			if id, _ := queue.TrackerOf(s.tracker); id > q.After {
				best.add(id, s, q.Limit)
			}
		}
		st.Unlock()
	}
	best.cut(q.Limit)
	return best.sessions()
}

// nearest keeps the few trackers with the lowest ids of many, and their sessions. It lets twice as
// many gather before it sorts the greater half out.
type nearest struct {
	list  []bound
	below queue.TrackerID // 0: all are let in; else what is not below cannot be among the lowest
}

type bound struct {
	t queue.TrackerID
	s *session
}

func (n *nearest) add(t queue.TrackerID, s *session, most int) {
	if most <= 0 || n.below != 0 && t >= n.below {
		return
	}
	n.list = append(n.list, bound{t, s})
	if len(n.list) >= 2*most {
		n.cut(most)
		n.below = n.list[most-1].t
	}
}

func (n *nearest) cut(most int) {
	slices.SortFunc(n.list, func(a, b bound) int { return cmp.Compare(a.t, b.t) })
	n.list = n.list[:min(len(n.list), most)]
}

func (n *nearest) sessions() []*session {
	list := make([]*session, len(n.list))
	for i, b := range n.list {
		list[i] = b.s
	}
	return list
}
