package engine

import "time"

// newcomers are a loop's connections whose PROXY header is still to come, in two generations: whoever is in the older one when the timeout has
// passed once more is late. That costs one timer, and no connection keeps a deadline.
type newcomers struct {
	young, old []*loopConn
	timer      bool // an orderLate is on its way
}

// await gives a connection time for its header.
func (l *loop) await(c *loopConn) {
	l.unheard.young = append(l.unheard.young, c)
	l.remind(c.srv.front.timeout())
}

func (l *loop) remind(after time.Duration) {
	if l.unheard.timer {
		return
	}
	l.unheard.timer = true
	time.AfterFunc(after, func() { l.post(order{kind: orderLate}) }) // a loop that has ended takes no orders
}

// late ends the older generation.
func (l *loop) late() {
	n := &l.unheard
	n.timer = false
	for _, c := range n.old {
		if c.has(unheard) {
			l.finish(c, ErrProxyLate)
		}
	}
	n.old, n.young = n.young, nil
	if len(n.old) > 0 {
		l.remind(n.old[0].srv.front.timeout())
	}
}
