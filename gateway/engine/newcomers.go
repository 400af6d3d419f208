package engine

import "time"

// newcomers are a loop's connections whose PROXY header is still to come, in two generations:
// whoever is in the older one when the timeout has passed once more is late. That costs one timer,
// and no connection keeps a deadline.
type newcomers struct {
	loop       *loop
	young, old []*conn
	timer      bool // one is running
}

// await gives a connection time for its header.
func (n *newcomers) await(c *conn) {
	n.young = append(n.young, c)
	n.remind(c.srv.front.timeout())
}

func (n *newcomers) remind(after time.Duration) {
	if n.timer {
		return
	}
	n.timer = true
	// a loop that has ended takes no orders.
	time.AfterFunc(after, func() { n.loop.Execute(n.late) })
}

// late ends the older generation.
func (n *newcomers) late() {
	n.timer = false
	for _, c := range n.old {
		if c.has(unheard) && !c.has(gone) {
			c.apply(ErrProxyLate)
		}
	}
	n.old, n.young = n.young, nil
	if len(n.old) > 0 {
		n.remind(n.old[0].srv.front.timeout())
	}
}
