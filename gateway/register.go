package gateway

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"strconv"

	"trackchat/protocol"
	"trackchat/queue"
)

// codeLength is that of the codes that devices get by registering: 60 bits.
const codeLength = 12

// register answers a device that asks for its credentials. Where its tracker has a password the
// protocol says whether it gets a code; it is never the password, which may be that of other things
// too. A device that is logged in has presented one of both.
func (s *session) register(e *protocol.Event) protocol.Result {
	t, why := s.find(e)
	switch {
	case why != "":
		return s.refuse(protocol.UnknownDevice, why, e.DeviceID)
	case t.Password == "":
		e.Secret = rand.Text()[:codeLength]
	case s.tracker != 0, s.l.registers(t, e):
		e.Secret = registrationCode(t)
	default:
		return s.refuse(protocol.BadCredentials, "registration", e.DeviceID)
	}
	return protocol.OK
}

// registrationCode is the code that a device of a tracker with a password gets, the same on every
// node and as long as the password is.
func registrationCode(t *queue.Tracker) string {
	h := hmac.New(sha256.New, []byte(t.Password))
	h.Write([]byte("registration of tracker " + strconv.FormatInt(int64(t.ID), 10)))
	return base32.StdEncoding.EncodeToString(h.Sum(nil))[:codeLength]
}

// registers reports whether a device of a tracker with a password gets a code.
func (l *Listener) registers(t *queue.Tracker, e *protocol.Event) bool {
	return l.protocol.Registers != nil && l.protocol.Registers(l.settingsOf(t), e)
}

// opens reports whether a secret is one that lets a device of the tracker in.
func (l *Listener) opens(t *queue.Tracker, secret string) bool {
	if t.Password == "" || sameSecret(t.Password, secret) {
		return true
	}
	return l.protocol.Registers != nil && sameSecret(registrationCode(t), secret)
}

func sameSecret(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
