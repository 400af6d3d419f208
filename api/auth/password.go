package auth

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"

	"trackchat/queue"

	"golang.org/x/crypto/argon2"
)

// Cost of a new hash: one of the equivalent choices of the OWASP Password Storage Cheat Sheet for
// Argon2id. Hashes keep their own cost, so these can be raised.
const (
	passwordMemory  = 19 << 10 // KiB
	passwordPasses  = 2
	passwordThreads = 1
	passwordSalt    = 16 // bytes
	passwordKey     = 32 // bytes
)

// Bounds of what is read: a stored hash must not make one login take all memory.
const (
	maxPasswordHash    = 256 // characters
	maxPasswordMemory  = 256 << 10
	maxPasswordPasses  = 32
	maxPasswordThreads = 16
	minPasswordSalt    = 8
	maxPasswordSalt    = 64
	minPasswordKey     = 16
	maxPasswordKey     = 64
)

// ErrPasswordLength is what HashPassword says about a password that is empty or too long.
var ErrPasswordLength = errors.New("a password has 1 to " + strconv.Itoa(queue.MaxPassword) + " bytes")

// HashPassword hashes a password with Argon2id (RFC 9106) and a new random salt, in PHC form:
// $argon2id$v=19$m=19456,t=2,p=1$salt$hash. It takes tens of milliseconds and 19 MiB.
func HashPassword(pw string) (string, error) {
	if pw == "" || len(pw) > queue.MaxPassword {
		return "", ErrPasswordLength
	}
	h := passwordHash{
		memory: passwordMemory, passes: passwordPasses, threads: passwordThreads,
		salt: make([]byte, passwordSalt),
	}
	_, _ = rand.Read(h.salt) // never fails: the program ends instead
	h.key = h.derive(pw, passwordKey)
	return h.String(), nil
}

// VerifyPassword reports whether a hash in PHC form is that of the password. The comparison takes
// the same time whatever the password; a hash that is damaged, of another scheme or beyond the
// bounds verifies nothing.
func VerifyPassword(hash, pw string) bool {
	h, ok := parsePasswordHash(hash)
	if !ok || pw == "" || len(pw) > queue.MaxPassword {
		return false
	}
	return subtle.ConstantTimeCompare(h.derive(pw, len(h.key)), h.key) == 1
}

// IsPasswordHash reports whether a text is a hash in PHC form that VerifyPassword can be asked
// about.
func IsPasswordHash(s string) bool {
	_, ok := parsePasswordHash(s)
	return ok
}

// passwordHash is a hash in PHC form, taken apart.
type passwordHash struct {
	memory  uint32 // KiB
	passes  uint32
	threads uint8
	salt    []byte
	key     []byte
}

func (h *passwordHash) derive(pw string, length int) []byte {
	return argon2.IDKey([]byte(pw), h.salt, h.passes, h.memory, h.threads, uint32(length))
}

// String gives the PHC form.
func (h *passwordHash) String() string {
	b := []byte("$argon2id$v=")
	b = strconv.AppendInt(b, argon2.Version, 10)
	b = append(b, "$m="...)
	b = strconv.AppendUint(b, uint64(h.memory), 10)
	b = append(b, ",t="...)
	b = strconv.AppendUint(b, uint64(h.passes), 10)
	b = append(b, ",p="...)
	b = strconv.AppendUint(b, uint64(h.threads), 10)
	b = append(b, '$')
	b = base64.RawStdEncoding.AppendEncode(b, h.salt)
	b = append(b, '$')
	b = base64.RawStdEncoding.AppendEncode(b, h.key)
	return string(b)
}

// parsePasswordHash reads the PHC form with the parameters in the order of the reference
// implementation.
func parsePasswordHash(s string) (*passwordHash, bool) {
	if len(s) > maxPasswordHash {
		return nil, false
	}
	fields := strings.Split(s, "$")
	if len(fields) != 6 || fields[0] != "" || fields[1] != "argon2id" ||
		fields[2] != "v="+strconv.Itoa(argon2.Version) {
		return nil, false
	}
	costs := strings.Split(fields[3], ",")
	if len(costs) != 3 {
		return nil, false
	}
	memory, okM := passwordCost(costs[0], "m=", maxPasswordMemory)
	passes, okT := passwordCost(costs[1], "t=", maxPasswordPasses)
	threads, okP := passwordCost(costs[2], "p=", maxPasswordThreads)
	salt, okS := passwordBytes(fields[4], minPasswordSalt, maxPasswordSalt)
	key, okK := passwordBytes(fields[5], minPasswordKey, maxPasswordKey)
	if !okM || !okT || !okP || !okS || !okK || memory < 8*threads {
		// RFC 9106, 3.1: at least 8 KiB for each thread
		return nil, false
	}
	return &passwordHash{
		memory: memory, passes: passes, threads: uint8(threads), salt: salt,
		key: key,
	}, true
}

// passwordCost reads a number from 1 to most.
func passwordCost(s, prefix string, most uint32) (uint32, bool) {
	digits, ok := strings.CutPrefix(s, prefix)
	n, err := strconv.ParseUint(digits, 10, 32)
	return uint32(n), ok && err == nil && n >= 1 && n <= uint64(most)
}

// passwordBytes reads unpadded base64.
func passwordBytes(s string, least, most int) ([]byte, bool) {
	b, err := base64.RawStdEncoding.Strict().DecodeString(s)
	return b, err == nil && len(b) >= least && len(b) <= most
}
