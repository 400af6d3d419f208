package main

import (
	"io"
	"net"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	"trackchat/cmd/trackchat/apptest"
	"trackchat/cmd/trackchat/config"
	"trackchat/gateway/trackersim"
	"trackchat/queue/queuetest"
)

const (
	fleetPace  = 40 * time.Millisecond // of the texts for one tracker
	fleetGroup = 10                    // trackers of a scenario
)

// fleet is an API and two gateways, a process each, on one store, and a load balancer in front of
// the gateways.
type fleet struct {
	t        testing.TB
	redis    []*queuetest.RedisServer
	api      *apptest.Child
	gateways [2]*apptest.Child
	doors    map[string]*balancer // by protocol
}

// fleetStores are the stores that every scenario runs on.
var fleetStores = map[string]func(testing.TB) []*queuetest.RedisServer{
	"redis": func(tb testing.TB) []*queuetest.RedisServer {
		tb.Helper()
		return []*queuetest.RedisServer{queuetest.StartRedis(tb)}
	},
	"cluster": func(tb testing.TB) []*queuetest.RedisServer {
		tb.Helper()
		return queuetest.StartCluster(tb, 3).Nodes
	},
}

// fleetOptions say what the processes of a fleet have in common.
type fleetOptions struct {
	trackers   int
	durability string // always
}

func startFleet(tb testing.TB, servers []*queuetest.RedisServer, o fleetOptions) *fleet {
	tb.Helper()
	f := &fleet{t: tb, redis: servers, doors: map[string]*balancer{}}
	addrs := make([]string, len(servers))
	for i, s := range servers {
		addrs[i] = s.Addr
	}
	common := apptest.ChildOptions{Redis: addrs, Trackers: o.trackers, Durability: o.durability}
	part := func(node, role string) *apptest.Child {
		own := common
		own.Node, own.Roles = node, []string{role}
		return apptest.NewChild(tb, own)
	}
	f.api = part("api", config.RoleAPI)
	for i := range f.gateways {
		f.gateways[i] = part("gateway-"+strconv.Itoa(i+1), config.RoleGateway)
	}
	for _, c := range f.processes() {
		c.Launch()
	}
	for _, c := range f.processes() {
		c.AwaitReady()
	}
	for _, protocol := range []string{apptest.ProtocolOf(0), apptest.ProtocolOf(1)} {
		f.doors[protocol] = startBalancer(tb, f.gateways[0].Ports[protocol],
			f.gateways[1].Ports[protocol])
	}
	return f
}

func (f *fleet) processes() []*apptest.Child {
	return []*apptest.Child{f.api, f.gateways[0], f.gateways[1]}
}

// door is where tracker id finds some gateway.
func (f *fleet) door(id int) string { return f.doors[apptest.ProtocolOf(id)].addr }

// sum adds a metric of both gateways up.
func (f *fleet) sum(name string) float64 {
	f.t.Helper()
	return f.gateways[0].Metric(name) + f.gateways[1].Metric(name)
}

// alive fails the test if a process of the fleet has ended by itself or is not ready.
func (f *fleet) alive() {
	f.t.Helper()
	for _, c := range f.processes() {
		c.AwaitReady()
	}
}

// balancer passes connections on to its targets in turn, past those that are down.
type balancer struct{ addr string }

func startBalancer(tb testing.TB, targets ...string) *balancer {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	apptest.Must(tb, err)
	var work sync.WaitGroup
	work.Go(func() {
		for n := 0; ; n++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				passOn(c, append(targets[n%len(targets):len(targets):len(targets)],
					targets...))
			})
		}
	})
	tb.Cleanup(func() {
		_ = ln.Close() // the devices are gone already
		work.Wait()
	})
	return &balancer{addr: ln.Addr().String()}
}

// passOn connects c with the first target that answers, until either side ends.
func passOn(c net.Conn, targets []string) {
	defer func() { _ = c.Close() }()
	for _, target := range targets {
		up, err := net.Dial("tcp", target)
		if err != nil {
			continue
		}
		defer func() { _ = up.Close() }()
		back := make(chan struct{})
		go func() {
			defer close(back)
			_, _ = io.Copy(c, up) // ends with either connection
			_ = c.Close()
		}()
		_, _ = io.Copy(up, c)
		_ = up.Close()
		<-back
		return
	}
}

// outage asks the API everything at once while its store is away: it has to say so in time.
func (f *fleet) outage(id int) {
	f.t.Helper()
	tracker := strconv.Itoa(id)
	var asking sync.WaitGroup
	for op, ask := range map[string]struct {
		params url.Values
		code   int
	}{
		"send":          {url.Values{"tracker_id": {tracker}, "message": {"into the void"}}, 8},
		"broadcast":     {url.Values{"trackers": {tracker}, "message": {"into the void"}}, 8},
		"list":          {url.Values{"tracker_id": {tracker}}, 14},
		"last/list":     {url.Values{"trackers": {tracker}}, 14},
		"updated/list":  {url.Values{"trackers": {tracker}}, 14},
		"unread/count":  {url.Values{}, 14},
		"mark_read_all": {url.Values{"trackers": {tracker}}, 14},
	} {
		asking.Go(func() {
			begin := time.Now()
			a, err := f.api.Client().Try(op, ask.params)
			took := time.Since(begin)
			if err != nil || a.Success || a.Status.Code != ask.code {
				f.t.Errorf("%s while the store is away: %+v %v, want code %d", op, a, err, ask.code)
			}
			if took > answerWithin(f.t) {
				f.t.Errorf("%s answered after %v", op, took)
			}
		})
	}
	asking.Wait()
}

// answerWithin is api.timeout and what a loaded machine needs to say so.
func answerWithin(tb testing.TB) time.Duration {
	tb.Helper()
	d, err := time.ParseDuration(apptest.ChildAPITimeout)
	apptest.Must(tb, err)
	return d + 750*time.Millisecond
}

// connected remembers which devices are connected and returns a check that none of them was
// disconnected since.
func (l *ledger) connected() func() {
	before := map[int]trackersim.Stats{}
	for _, id := range l.ids {
		before[id] = l.devices[id].Stats()
	}
	return func() {
		l.t.Helper()
		for _, id := range l.ids {
			if st := l.devices[id].Stats(); st.Disconnects != before[id].Disconnects {
				l.t.Errorf("tracker %d was disconnected: %+v", id, st)
			}
		}
	}
}

// lend makes t, a part of the fleet's test, the one that fails.
func (f *fleet) lend(t *testing.T) {
	t.Helper()
	whole := f.t
	f.report(t)
	t.Cleanup(func() { f.report(whole) })
}

func (f *fleet) report(tb testing.TB) {
	tb.Helper()
	f.t = tb
	for _, c := range f.processes() {
		c.T = tb
	}
}
