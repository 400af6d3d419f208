package gateway

// Seconds is the coarse clock by which frames are noted, which follows the real one a moment later.
func (g *Gateway) Seconds() int64 { return g.seconds.Load() }
