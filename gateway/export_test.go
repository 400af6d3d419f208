package gateway

import "math"

// Seconds is the coarse clock by which frames are noted, which follows the real one a moment later.
func (g *Gateway) Seconds() int64 { return g.seconds.Load() }

// Ticks is how often every shard has looked at what is due, at least.
func (g *Gateway) Ticks() int64 {
	least := int64(math.MaxInt64)
	for _, sh := range g.shards {
		answer := make(chan int64, 1)
		if sh.loop.Execute(func() { answer <- sh.wheel.at }) {
			least = min(least, <-answer)
		}
	}
	return least
}

// Hold has every loop wait until release is called.
func (g *Gateway) Hold() (release func()) {
	gate := make(chan struct{})
	for _, sh := range g.shards {
		held := make(chan struct{})
		if sh.loop.Execute(func() { close(held); <-gate }) {
			<-held
		}
	}
	return func() { close(gate) }
}
