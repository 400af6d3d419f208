package trackersim

import (
	"time"

	"trackchat/protocol"
)

// EventKind says what happened to a simulated tracker.
type EventKind uint8

// Kinds of events.
const (
	Connected    EventKind = iota + 1 // Took: since the dial
	LoggedIn                          // Took: since the dial
	Refused                           // the gateway refused the login; Disconnected follows
	DialFailed                        // Err
	Disconnected                      // Err: why, nil when this side wanted it
	TextReceived                      // Text, Repeated
	// Text, Outcome; the ack is in the socket. Took: since the part arrived.
	TextAcked
	// Text: never acknowledged, by decision or because its connection is gone.
	TextIgnored
	Said // Said, Copy: a copy of the driver's text is in the socket
	// Said, Copy: the gateway acknowledged it. Took: since the first copy.
	SaidAcked
	// Said, Copy: the gateway refused it, or the protocol cannot carry it (Err).
	SaidRefused
	// an answer to a position, before which all heartbeats and positions had theirs. Took: since
	// the position was about to be written.
	PositionAnswered
)

// String names the kind in lower case.
func (k EventKind) String() string {
	switch k {
	case Connected:
		return "connected"
	case LoggedIn:
		return "logged in"
	case Refused:
		return "refused"
	case DialFailed:
		return "dial failed"
	case Disconnected:
		return "disconnected"
	case TextReceived:
		return "text received"
	case TextAcked:
		return "text acknowledged"
	case TextIgnored:
		return "text ignored"
	case Said:
		return "said"
	case SaidAcked:
		return "said text acknowledged"
	case SaidRefused:
		return "said text refused"
	case PositionAnswered:
		return "position answered"
	default:
		return "unknown"
	}
}

// Event is what happened, see the kinds for the fields that have a meaning.
type Event struct {
	Kind     EventKind
	At       time.Time // by Options.Now
	DeviceID string
	Text     protocol.DeviceEvent
	// one of the last 128 parts had the same reference; never where the protocol has none.
	Repeated bool
	Outcome  protocol.Outcome
	Said     string
	Copy     int // from 1
	Took     time.Duration
	Err      error
}

// report counts an event and passes it on.
func (t *Tracker) report(e Event) {
	e.At, e.DeviceID = t.o.Now(), t.o.Device.ID
	t.count(&e)
	if t.o.OnEvent != nil {
		t.o.OnEvent(e)
	}
}
