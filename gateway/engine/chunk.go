package engine

import (
	"math/bits"
	"sync"
)

const (
	smallestChunk = 7  // log2 of the smallest pooled capacity
	largestChunk  = 16 // log2 of the largest; beyond that buffers are left to the garbage collector
)

// chunk holds bytes of one connection for a while: b[off:] is what is left of them. A nil chunk is
// empty.
type chunk struct {
	b   []byte
	off int
}

func (c *chunk) bytes() []byte {
	if c == nil {
		return nil
	}
	return c.b[c.off:]
}

func (c *chunk) len() int { return len(c.bytes()) }

// chunkPool lends chunks by size class, powers of two.
type chunkPool struct {
	classes [largestChunk - smallestChunk + 1]sync.Pool
}

func class(n int) int { return max(bits.Len(uint(max(n, 1)-1)), smallestChunk) - smallestChunk }

// get lends an empty chunk with room for n bytes.
func (p *chunkPool) get(n int) *chunk {
	k := class(n)
	if k < len(p.classes) {
		if c, ok := p.classes[k].Get().(*chunk); ok {
			return c
		}
	}
	return &chunk{b: make([]byte, 0, 1<<(k+smallestChunk))}
}

// put takes a chunk back; nil is allowed.
func (p *chunkPool) put(c *chunk) {
	if c == nil {
		return
	}
	k := class(cap(c.b))
	if k >= len(p.classes) || cap(c.b) != 1<<(k+smallestChunk) {
		return
	}
	c.b, c.off = c.b[:0], 0
	p.classes[k].Put(c)
}

// add appends data to c, which may be nil, and returns the chunk that holds both: c, or a larger
// one in its place.
func (p *chunkPool) add(c *chunk, data []byte) *chunk {
	if c != nil && len(c.b)+len(data) <= cap(c.b) {
		c.b = append(c.b, data...)
		return c
	}
	held := c.bytes()
	if c != nil && len(held)+len(data) <= cap(c.b) {
		c.b, c.off = append(append(c.b[:0], held...), data...), 0
		return c
	}
	bigger := p.get(len(held) + len(data))
	bigger.b = append(append(bigger.b, held...), data...)
	p.put(c)
	return bigger
}

// set returns a chunk that holds exactly data: c if it fits without waste, another in its place if
// not. data may be a part of c.
func (p *chunkPool) set(c *chunk, data []byte) *chunk {
	if c != nil && class(len(data)) == class(cap(c.b)) && len(data) <= cap(c.b) {
		c.b, c.off = append(c.b[:0], data...), 0
		return c
	}
	fresh := p.get(len(data))
	fresh.b = append(fresh.b, data...)
	p.put(c)
	return fresh
}
