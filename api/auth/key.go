// Package auth says who calls and how much they get: keys, passwords and sessions, limits of
// requests and logins, and the shares that strangers and those who are known have of something.
package auth

import (
	"crypto/rand"
	"encoding/hex"
	"net/netip"
)

const keyLength = 32

// NewKey returns a key, or the hash of a session, that nobody can guess.
func NewKey() string {
	var b [keyLength / 2]byte
	_, _ = rand.Read(b[:]) // never fails: the program ends instead
	return hex.EncodeToString(b[:])
}

// IsKey reports whether a text has the form of a key, or of the hash of a session.
func IsKey(s string) bool {
	if len(s) != keyLength {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'f', c >= 'A' && c <= 'F':
		default:
			return false
		}
	}
	return true
}

// Place returns what stands for one customer's address: of IPv6 the first 64 bits.
func Place(addr netip.Addr) string {
	if addr.Is6() {
		if p, err := addr.Prefix(64); err == nil {
			return p.String()
		}
	}
	return addr.String()
}
