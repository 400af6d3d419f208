package engine

// came takes what the loop has read.
func (c *conn) came(fresh []byte) error {
	if t := c.tls(); t != nil && !c.has(unheard) {
		return t.came(fresh)
	}
	c.last.Store(c.srv.core.seconds())
	return c.offer(fresh)
}

// offer gives the handler what is kept and what has come, plain bytes, and keeps what it leaves.
// Without fresh bytes it does so only after Resume.
func (c *conn) offer(fresh []byte) error {
	c.mu.Lock()
	was := c.flags
	if was&(closed|paused) == 0 {
		c.flags &^= rerun
	}
	if was&closed != 0 || len(fresh) == 0 && was&(paused|rerun) != rerun {
		c.mu.Unlock()
		return nil // what the peer of a closed connection sends is of no interest
	}
	data := fresh
	if c.partial != nil {
		c.partial = c.srv.core.pool.add(c.partial, fresh)
		data = c.partial.bytes()
	}
	c.mu.Unlock()
	if was&paused != 0 {
		return c.keep(data)
	}
	if was&unheard != 0 {
		used, err := c.srv.hear(c, data)
		switch {
		case err != nil:
			return err
		case used == 0:
			return c.keep(data)
		}
		data = data[used:]
		if t := c.tls(); t != nil {
			return t.begin(data)
		}
		if c.has(closed | paused) { // by OnOpen
			return c.keep(data)
		}
	}
	for len(data) > 0 {
		n, err := c.srv.data(c, data)
		if err != nil {
			return err
		}
		data = data[n:]
		if n == 0 || len(data) > 0 && c.has(closed|paused) {
			break
		}
	}
	return c.keep(data)
}

// keep stores what the handler left. A paused connection that keeps bytes leaves its loop, since
// more may come.
func (c *conn) keep(rest []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	core := c.srv.core
	switch {
	case len(rest) > 0:
		c.partial = core.pool.set(c.partial, rest)
	case c.partial != nil:
		core.pool.put(c.partial)
		c.partial = nil
	default:
		return nil
	}
	most := int(c.limit)
	if c.flags&(paused|rerun) != 0 {
		most += 2 * core.readCap() // the read amid which it was paused, and one more
	}
	if len(rest) > most {
		return ErrTooMuch
	}
	if err := c.accountLocked(); err != nil {
		return err
	}
	if c.flags&(paused|closed) == paused && len(rest) > 0 {
		return c.leaveLocked()
	}
	return nil
}

// accountLocked sees to it that the unconsumed bytes are within the budget, and counts them.
func (c *conn) accountLocked() error {
	core := c.srv.core
	want := c.partial.len()
	if c.more != nil && c.more.tls != nil {
		want += c.more.tls.pending
	}
	n := int64(want) - int64(c.charged)
	if c.flags&trusted == 0 {
		if core.untrusted.Add(n) > int64(core.PartialBudget) && n > 0 {
			core.untrusted.Add(-n)
			return ErrBudget
		}
	}
	core.Stats.Partial.Add(n)
	c.charged = uint32(want)
	return nil
}
