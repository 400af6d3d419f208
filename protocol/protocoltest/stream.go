package protocoltest

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"trackchat/protocol"
)

// ErrContract means that a protocol broke the contract of package protocol.
var ErrContract = errors.New("contract broken")

// Stream cuts a byte stream into frames as the gateway does, and holds Protocol.Frame to its
// contract with every call.
type Stream struct {
	p       *protocol.Protocol
	buf     []byte
	scanned int
}

// NewStream returns an empty stream of p.
func NewStream(p *protocol.Protocol) *Stream { return &Stream{p: p} }

// Pending returns how many bytes wait for the rest of their frame.
func (s *Stream) Pending() int { return len(s.buf) }

// Feed adds bytes and calls frame for every frame that is complete then. The error is ErrContract,
// or the one with which Protocol.Frame gave up.
func (s *Stream) Feed(in []byte, frame func([]byte)) error {
	s.buf = append(s.buf, in...)
	for len(s.buf) > 0 {
		n, next, err := s.p.Frame(s.buf, s.scanned)
		switch {
		case err != nil && !errors.Is(err, protocol.ErrTooLong) &&
			!errors.Is(err, protocol.ErrFraming):
			return fmt.Errorf("%w: Frame returned %w", ErrContract, err)
		case err != nil:
			return err
		case n < 0 || n > len(s.buf):
			return fmt.Errorf("%w: Frame cut %d bytes off %d", ErrContract, n, len(s.buf))
		case n > s.p.MaxFrame:
			return fmt.Errorf("%w: Frame cut %d bytes, more than MaxFrame %d", ErrContract, n,
				s.p.MaxFrame)
		case n == 0 && (next < s.scanned || next > len(s.buf)):
			return fmt.Errorf("%w: next went from %d to %d of %d", ErrContract, s.scanned, next,
				len(s.buf))
		case n == 0 && len(s.buf) > s.p.MaxFrame:
			return fmt.Errorf("%w: Frame waits with %d bytes, more than MaxFrame %d", ErrContract,
				len(s.buf), s.p.MaxFrame)
		case n == 0:
			s.scanned = next
			return nil
		}
		cut := s.buf[:n:n]
		s.buf, s.scanned = s.buf[n:], 0
		frame(cut)
	}
	return nil
}

// Cut returns the frames of the pieces of one stream, how many bytes were left over, and how it
// ended.
func Cut(p *protocol.Protocol, pieces ...[]byte) (frames [][]byte, rest int, err error) {
	s := NewStream(p)
	for _, piece := range pieces {
		err = s.Feed(piece, func(f []byte) { frames = append(frames, f) })
		if err != nil {
			break
		}
	}
	return frames, s.Pending(), err
}

// Bytewise cuts b into single bytes.
func Bytewise(b []byte) [][]byte {
	pieces := make([][]byte, len(b))
	for i := range b {
		pieces[i] = b[i : i+1]
	}
	return pieces
}

// Randomly cuts b at random places.
func Randomly(b []byte, r *rand.Rand) [][]byte {
	var pieces [][]byte
	for len(b) > 0 {
		n := 1 + r.IntN(len(b))
		if r.IntN(2) == 0 {
			n = 1 + r.IntN(min(len(b), 8))
		}
		pieces = append(pieces, b[:n])
		b = b[n:]
	}
	return pieces
}
