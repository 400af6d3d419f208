package live

import (
	"context"
	"net/netip"

	"trackchat/queue"

	"github.com/prometheus/client_golang/prometheus"
)

// IsPublic is isPublic.
func IsPublic(a netip.Addr) bool { return isPublic(a) }

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
