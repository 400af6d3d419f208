package trackersim

import "math/rand/v2"

// route wanders in small steps within a box of a few degrees.
type route struct{ lat, lon float64 }

// The box, degrees.
const (
	south, north = 48.0, 54.0
	west, east   = 7.0, 15.0
	step         = 0.002
)

func newRoute(r *rand.Rand) route {
	return route{lat: south + r.Float64()*(north-south), lon: west + r.Float64()*(east-west)}
}

func (p *route) next(r *rand.Rand) (lat, lon float64) {
	p.lat = min(max(p.lat+(r.Float64()-0.5)*step, south), north)
	p.lon = min(max(p.lon+(r.Float64()-0.5)*step, west), east)
	return p.lat, p.lon
}
