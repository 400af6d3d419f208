package wialon

import (
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"sync"

	"trackchat/protocol"
)

// maxKept bounds the buffer that an inflater keeps for the next container.
const maxKept = 64 << 10

// inflaters lends what unpacks a container; each takes some 40 KB, so sessions share them.
type inflaters struct{ free sync.Pool }

type inflater struct {
	in     bytes.Reader
	zlib   io.ReadCloser
	inside bytes.Buffer
}

// inflate unpacks a container and passes the packet inside it to line. Unpacking stops where it
// would become more than a frame may have.
func (p *inflaters) inflate(packed []byte, line func([]byte) error) error {
	f, ok := p.free.Get().(*inflater)
	if !ok {
		f = new(inflater)
	}
	err := f.unpack(packed)
	if err == nil {
		err = line(f.inside.Bytes())
	}
	f.in.Reset(nil)
	if f.inside.Cap() <= maxKept {
		p.free.Put(f)
	}
	return err
}

func (f *inflater) unpack(packed []byte) error {
	f.in.Reset(packed)
	f.inside.Reset()
	var err error
	if f.zlib == nil {
		f.zlib, err = zlib.NewReader(&f.in)
	} else if again, ok := f.zlib.(zlib.Resetter); ok {
		err = again.Reset(&f.in, nil)
	}
	if err != nil {
		return fmt.Errorf("%w: unpacking: %w", protocol.ErrMalformed, err)
	}
	n, err := io.Copy(&f.inside, io.LimitReader(f.zlib, maxFrame+1))
	switch {
	case n > maxFrame:
		return fmt.Errorf("%w: unpacks to more than %d bytes", protocol.ErrTooLong, maxFrame)
	case errors.Is(err, zlib.ErrChecksum):
		return fmt.Errorf("%w: unpacking: %w", protocol.ErrChecksum, err)
	case err != nil:
		return fmt.Errorf("%w: unpacking: %w", protocol.ErrMalformed, err)
	case f.in.Len() > 0:
		return fmt.Errorf("%w: %d bytes behind the packed ones", protocol.ErrMalformed, f.in.Len())
	}
	return nil
}
