package standin

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
)

// The layouts are those of HAProxy's proxy-protocol.txt, sections 2.1 and 2.2. The header is kept
// as it came; what its addresses are is for its reader.
const (
	proxySign1 = "PROXY "
	proxyMost1 = 107
	proxySign2 = "\r\n\r\n\x00\r\nQUIT\n"
	proxyHead2 = 16 // its last two bytes are the length of the rest
	proxyMost2 = 2 << 10
)

// readProxy reads a PROXY header and not a byte more, because TLS may follow.
func readProxy(r io.Reader) (string, error) {
	head, err := readMore(r, nil, len(proxySign2)) // version 1 is no shorter
	switch {
	case err != nil:
		return "", err
	case string(head) == proxySign2:
		return readProxy2(r, head)
	case !strings.HasPrefix(string(head), proxySign1):
		return "", fmt.Errorf("%w: the connection begins with %q", ErrProxy, head)
	}
	for head[len(head)-1] != '\n' {
		if len(head) == proxyMost1 {
			return "", fmt.Errorf("%w: no end of line", ErrProxy)
		}
		if head, err = readMore(r, head, 1); err != nil {
			return "", err
		}
	}
	return string(head), nil
}

func readProxy2(r io.Reader, head []byte) (string, error) {
	head, err := readMore(r, head, proxyHead2-len(head))
	if err != nil {
		return "", err
	}
	rest := int(binary.BigEndian.Uint16(head[proxyHead2-2:]))
	if rest > proxyMost2 {
		return "", fmt.Errorf("%w: %d bytes of addresses", ErrProxy, rest)
	}
	head, err = readMore(r, head, rest)
	return string(head), err
}

// readMore appends exactly n bytes.
func readMore(r io.Reader, b []byte, n int) ([]byte, error) {
	have := len(b)
	b = append(b, make([]byte, n)...)
	if _, err := io.ReadFull(r, b[have:]); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProxy, err)
	}
	return b, nil
}
