package trackersim

import "sync"

// Sizes of buffers, bytes.
const (
	readSize = 2 << 10
	maxKept  = 16 << 10 // a larger write buffer is not kept
)

// Buffers lend the buffers that a tracker needs only while bytes pass. The zero value is ready.
type Buffers struct {
	reads  sync.Pool
	writes sync.Pool
}

func (b *Buffers) read() *[readSize]byte {
	if p, ok := b.reads.Get().(*[readSize]byte); ok {
		return p
	}
	return new([readSize]byte)
}

func (b *Buffers) putRead(p *[readSize]byte) { b.reads.Put(p) }

func (b *Buffers) write() *[]byte {
	if p, ok := b.writes.Get().(*[]byte); ok {
		return p
	}
	return new([]byte)
}

func (b *Buffers) putWrite(p *[]byte) {
	if cap(*p) <= maxKept {
		*p = (*p)[:0]
		b.writes.Put(p)
	}
}
