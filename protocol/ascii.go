package protocol

import (
	"fmt"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/transform"
)

// ASCII is what every device shows.
func ASCII() Charset {
	return asciiCharset{tableCharset{encoder: &encoding.Encoder{Transformer: asciiEncoder{}}}}
}

type asciiCharset struct{ tableCharset }

// Decode implements Charset.
func (asciiCharset) Decode(b []byte) (string, error) {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return "", fmt.Errorf("%w: byte %02x in ASCII", ErrMalformed, c)
		}
	}
	return string(b), nil
}

// asciiEncoder passes ASCII on and refuses anything else. It has no state, so it can be shared.
type asciiEncoder struct{ transform.NopResetter }

// Transform implements transform.Transformer.
func (asciiEncoder) Transform(dst, src []byte, _ bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) && nDst < len(dst) {
		if src[nSrc] >= utf8.RuneSelf {
			return nDst, nSrc, ErrMalformed
		}
		dst[nDst] = src[nSrc]
		nDst++
		nSrc++
	}
	if nSrc < len(src) {
		return nDst, nSrc, transform.ErrShortDst
	}
	return nDst, nSrc, nil
}
