package load

import (
	"fmt"
	"io"
	"math"
	"strings"
)

// Size and margins of one of the two diagrams, in pixels.
const (
	plotWidth  = 860.0
	plotHeight = 300.0
	plotLeft   = 80.0
	plotTop    = 46.0
	plotGap    = 90.0
)

// curve is one line of a diagram.
type curve struct {
	name, colour string
	x, y         []float64
}

// axis maps values to pixels.
type axis struct {
	low, high float64
	log       bool
}

func (a axis) share(v float64) float64 {
	if a.log {
		return (math.Log10(max(v, a.low)) - math.Log10(a.low)) / (math.Log10(a.high) - math.Log10(
			a.low))
	}
	return (v - a.low) / (a.high - a.low)
}

// WriteSVG draws the distribution of latencies and the throughput over time.
func (r *Report) WriteSVG(w io.Writer) error {
	var b strings.Builder
	height := 2*(plotTop+plotHeight) + plotGap
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" font-family="sans-serif" font-size="12">`+"\n", plotLeft+plotWidth+40, height)
	b.WriteString(`<rect width="100%" height="100%" fill="white"/>` + "\n")
	r.drawLatencies(&b)
	r.drawThroughput(&b)
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// drawLatencies has shares at 1/(1-q) to the right, so that the tail is as wide as the rest, and
// milliseconds upwards, both logarithmic.
func (r *Report) drawLatencies(b *strings.Builder) {
	curves := []curve{
		{name: "scheduled to device", colour: "#1f5fbf"},
		{name: "scheduled to answer", colour: "#c2571a"},
	}
	low, high := math.Inf(1), 0.0
	for i, l := range []*latency{r.toDevice, r.toAnswer} {
		if l == nil || l.quantiles().Count == 0 {
			continue
		}
		for e := 0.0; e <= 4; e += 0.05 {
			q := 1 - math.Pow(10, -e)
			ms := max(l.at(q*100), 0.001)
			curves[i].x, curves[i].y = append(curves[i].x, math.Pow(10, e)), append(curves[i].y, ms)
			low, high = min(low, ms), max(high, ms)
		}
	}
	if high == 0 {
		low, high = 0.1, 1
	}
	low, high = math.Pow(10, math.Floor(math.Log10(low))),
		math.Pow(10, math.Ceil(math.Log10(high*1.01)))
	y := axis{low: low, high: high, log: true}
	frame(b, 0, fmt.Sprintf("Latency, ms: %s, %d devices, %.0f messages a second", r.Protocol,
		r.Devices, r.Rate))
	for v := low; v <= high*1.01; v *= 10 {
		grid(b, 0, y.share(v), fmt.Sprintf("%g", v))
	}
	for e, label := range []string{"0 %", "90 %", "99 %", "99.9 %", "99.99 %"} {
		tick(b, 0, float64(e)/4, label)
	}
	draw(b, 0, axis{low: 1, high: 10_000, log: true}, y, curves)
}

func (r *Report) drawThroughput(b *strings.Builder) {
	curves := []curve{{name: "accepted", colour: "#c2571a"}, {
		name:   "at the device",
		colour: "#1f5fbf",
	}, {name: "acknowledged", colour: "#2d8a4e"}}
	highX, highY := 1.0, 1.0
	for i := 1; i < len(r.samples); i++ {
		was, is := &r.samples[i-1], &r.samples[i]
		span := max(is.at-was.at, 1e-3)
		for j, n := range []int64{
			is.accepted - was.accepted, is.arrived - was.arrived,
			is.acked - was.acked,
		} {
			perSecond := float64(n) / span
			curves[j].x, curves[j].y = append(curves[j].x, is.at), append(curves[j].y, perSecond)
			highY = max(highY, perSecond)
		}
		highX = max(highX, is.at)
	}
	top := plotTop + plotHeight + plotGap
	y := axis{high: highY * 1.1}
	frame(b, top, "Messages a second over the seconds of the run")
	for i := range 5 {
		v := y.high * float64(i) / 4
		grid(b, top, y.share(v), fmt.Sprintf("%.0f", v))
	}
	for i := range 6 {
		tick(b, top, float64(i)/5, fmt.Sprintf("%.0f s", highX*float64(i)/5))
	}
	draw(b, top, axis{high: highX}, y, curves)
}

func frame(b *strings.Builder, top float64, title string) {
	fmt.Fprintf(b, `<text x="%.0f" y="%.0f" font-size="15">%s</text>`+"\n", plotLeft, top+24, title)
	fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="none" stroke="#888"/>`+"\n", plotLeft, top+plotTop, plotWidth, plotHeight)
}

func grid(b *strings.Builder, top, share float64, label string) {
	at := top + plotTop + plotHeight*(1-share)
	fmt.Fprintf(b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#ddd"/><text x="%.1f" y="%.1f" text-anchor="end">%s</text>`+"\n",
		plotLeft, at, plotLeft+plotWidth, at, plotLeft-6, at+4, label)
}

func tick(b *strings.Builder, top, share float64, label string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="middle">%s</text>`+"\n",
		plotLeft+plotWidth*share, top+plotTop+plotHeight+18, label)
}

func draw(b *strings.Builder, top float64, x, y axis, curves []curve) {
	for i, c := range curves {
		if len(c.x) == 0 {
			continue
		}
		fmt.Fprintf(b, `<polyline fill="none" stroke="%s" stroke-width="1.6" points="`, c.colour)
		for j := range c.x {
			fmt.Fprintf(b, "%.1f,%.1f ", plotLeft+plotWidth*x.share(c.x[j]),
				top+plotTop+plotHeight*(1-y.share(c.y[j])))
		}
		fmt.Fprintf(b, `"/><text x="%.1f" y="%.1f" fill="%s">%s</text>`+"\n", plotLeft+12,
			top+plotTop+18+16*float64(i), c.colour, c.name)
	}
}
