package engine

// Traffic returns the bytes that a TCP connection has received from its peer and that the peer has
// acknowledged, TLS and all, as the kernel counts them: a quiet connection pays nothing for it. 0
// where there is no such count (elsewhere than on Linux), and after the connection has closed.
func Traffic(c Conn) (in, out int64) {
	own, ok := c.(*conn)
	if !ok {
		return 0, 0
	}
	own.mu.Lock()
	defer own.mu.Unlock()
	if own.flags&closed != 0 || own.fd < 0 {
		return 0, 0
	}
	return traffic(int(own.fd))
}
