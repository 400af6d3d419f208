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
	case s.tracker != 0:
		e.Secret = registrationCode(t)
	default:
		return s.registered(t, e)
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

// registered answers a device of a tracker with a password. Where it gets its code for something
// that it presents, that is a credential as any other.
func (s *session) registered(t *queue.Tracker, e *protocol.Event) protocol.Result {
	if s.l.protocol.Registers != nil {
		granted, presented := s.l.protocol.Registers(s.l.settingsOf(t), e)
		if presented {
			if r := s.proves(t, e, "registration", func() bool { return granted }); r !=
				protocol.OK {
				return r
			}
		}
		if granted {
			e.Secret = registrationCode(t)
			return protocol.OK
		}
	}
	return s.refuse(protocol.BadCredentials, "registration", e.DeviceID)
}

// opens reports whether a secret is one that lets a device of the tracker in.
func (l *Listener) opens(t *queue.Tracker, secret string) bool {
	if t.Password == "" || sameSecret(t.Password, secret) {
		return true
	}
	return l.protocol.Registers != nil && sameSecret(registrationCode(t), secret)
}

func sameSecret(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
