package admin

import (
	"context"
	"errors"
	"net/http"
	"time"

	"trackchat/api/navixy"
	"trackchat/queue"
)

// Fleet is what administration asks of the gateways. Every method answers for all nodes that can be
// reached.
type Fleet interface {
	// Sessions returns up to q.Limit sessions ordered by tracker.
	Sessions(ctx context.Context, q SessionQuery) (SessionPage, error)
	// Disconnect closes the session of a tracker; false where there is none. The device may connect
	// again.
	Disconnect(ctx context.Context, t queue.TrackerID) (bool, error)
	// Nodes returns the processes that serve devices.
	Nodes(ctx context.Context) ([]Node, error)
	// Drain makes a node, this process if it is empty, take no new sessions and end those it has,
	// some at a time, so that they go to other nodes. It returns at once. queue.ErrNotFound: there
	// is no such node.
	Drain(ctx context.Context, node queue.NodeID) error
}

// SessionQuery selects sessions of devices.
type SessionQuery struct {
	Tracker  queue.TrackerID // 0: any
	Protocol string          // empty: any
	After    queue.TrackerID
	Limit    int // 1..1000
}

// SessionPage is a part of the sessions of all nodes.
type SessionPage struct {
	Sessions []DeviceSession
	Silent   []queue.NodeID // nodes that live and did not answer: their sessions are missing
}

// DeviceSession is a connection of a device that has logged in.
type DeviceSession struct {
	Tracker  queue.TrackerID `json:"tracker_id"`
	Protocol string          `json:"protocol"`
	Node     queue.NodeID    `json:"node"`
	Remote   string          `json:"remote"` // address and port
	Since    time.Time       `json:"since"`
	LastSeen time.Time       `json:"last_seen"`
	InFlight int             `json:"in_flight"` // messages that are sent and not acknowledged
	BytesIn  int64           `json:"bytes_in"`  // on the wire
	BytesOut int64           `json:"bytes_out"` // what the device's TCP has acknowledged
}

// Node is a process that serves devices.
type Node struct {
	ID       queue.NodeID `json:"id"`
	Started  time.Time    `json:"started"`
	Reported time.Time    `json:"reported"` // the last time
	Sessions int          `json:"sessions"`
	Draining bool         `json:"draining"`
}

// fleetAdmin answers /admin/sessions, /admin/nodes and /admin/drain.
type fleetAdmin struct {
	*administration
	fleet Fleet
}

func (a *fleetAdmin) routes() routes {
	return routes{
		"/admin/sessions": {http.MethodGet: a.handle(a.sessions)},
		"/admin/sessions/{id}": {
			http.MethodDelete: a.change("session/delete", "tracker", bare(a.disconnect)),
		},
		"/admin/nodes": {http.MethodGet: a.handle(a.nodes)},
		"/admin/drain": {
			http.MethodPost: a.change("node/drain", "node", bare(a.drain), "node"),
		},
	}
}

func (a *fleetAdmin) sessions(ctx context.Context, r *http.Request) (any, error) {
	after, limit, err := page(r)
	if err != nil {
		return nil, err
	}
	p, err := navixy.ParseParams("", nil, r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	read := navixy.Reader{Params: p}
	tracker, _ := read.OptionalID("tracker_id")
	q := SessionQuery{
		Tracker: queue.TrackerID(tracker), After: queue.TrackerID(after),
		Limit: limit,
	}
	q.Protocol, _, _ = read.Params.Scalar("protocol")
	if err := read.Done(); err != nil {
		return nil, err
	}
	page, err := a.fleet.Sessions(ctx, q)
	if err != nil {
		return nil, err
	}
	list := page.Sessions
	if list == nil {
		list = []DeviceSession{}
	}
	for i := range list {
		list[i].Since, list[i].LastSeen = list[i].Since.UTC(), list[i].LastSeen.UTC()
	}
	return sessionMembers{list, page.Silent}, nil
}

// sessionMembers are the members of an answer with sessions.
type sessionMembers struct {
	List   []DeviceSession `json:"list"`
	Silent []queue.NodeID  `json:"silent,omitempty"`
}

func (a *fleetAdmin) disconnect(ctx context.Context, r *http.Request) (any, error) {
	id, err := pathID(r)
	if err != nil {
		return nil, err
	}
	done, err := a.fleet.Disconnect(ctx, queue.TrackerID(id))
	if err != nil {
		return nil, err
	}
	if !done {
		return nil, navixy.Refuse(navixy.CodeNotFound)
	}
	return nil, nil //nolint:nilnil // an answer without members
}

func (a *fleetAdmin) nodes(ctx context.Context, _ *http.Request) (any, error) {
	list, err := a.fleet.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	if list == nil {
		list = []Node{}
	}
	for i := range list {
		list[i].Started, list[i].Reported = list[i].Started.UTC(), list[i].Reported.UTC()
	}
	return listMembers{list}, nil
}

func (a *fleetAdmin) drain(ctx context.Context, r *http.Request) (any, error) {
	err := a.fleet.Drain(ctx, queue.NodeID(r.URL.Query().Get("node")))
	if errors.Is(err, queue.ErrNotFound) {
		return nil, navixy.Refuse(navixy.CodeNotFound)
	}
	return nil, err
}
