package api

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"time"

	"trackchat/queue"

	"github.com/prometheus/client_golang/prometheus"
)

// HurryFeed makes what is slow about the feed fast enough for a test, and bounds the readers of an
// account.
func (a *API) HurryFeed(heartbeat time.Duration, most int) {
	a.feed.heartbeat, a.feed.perAccount = heartbeat, most
}

// IsPublic is isPublic.
func IsPublic(a netip.Addr) bool { return isPublic(a) }

// Routes returns the operations of an API as paths.
func (a *API) Routes() []string {
	var paths []string
	for handler, actions := range a.routes {
		for action := range actions {
			paths = append(paths, "/"+handler+"/"+action)
		}
	}
	slices.Sort(paths)
	return paths
}

// AdminRoutes returns every administrative path with its methods, as "GET /path".
func AdminRoutes() []string {
	all := new(administration).routes()
	maps.Copy(all, (&fleetAdmin{administration: new(administration)}).routes())
	maps.Copy(all, (&troubleAdmin{administration: new(administration)}).routes())
	maps.Copy(all, (&webhookAdmin{administration: new(administration)}).routes())
	var list []string
	for path, ms := range all {
		for method := range ms {
			list = append(list, method+" "+path)
		}
	}
	slices.Sort(list)
	return list
}

// ObjectMember returns the raw value of a name in a JSON object.
func ObjectMember(object []byte, name string) (string, bool) {
	s, err := parseObject(object)
	if err != nil {
		return "", false
	}
	v, ok := s.get(name)
	return string(v.raw), ok
}

// HookPlaces is hookPlaces for tests.
type HookPlaces struct{ p *hookPlaces }

// NewHookPlaces returns places that nobody has.
func NewHookPlaces(total int) HookPlaces {
	return HookPlaces{newHookPlaces(total, prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "waiting",
		Help: "Calls that wait.",
	}))}
}

// SetHooks tells how many accounts there are.
func (h HookPlaces) SetHooks(n int) { h.p.setHooks(n) }

// Enter waits for a place.
func (h HookPlaces) Enter(ctx context.Context, a queue.AccountID) bool { return h.p.enter(ctx, a) }

// Leave gives one back.
func (h HookPlaces) Leave(a queue.AccountID) { h.p.leave(a) }

// Waiting is how many wait.
func (h HookPlaces) Waiting() int {
	h.p.mu.Lock()
	defer h.p.mu.Unlock()
	return len(h.p.queue)
}
