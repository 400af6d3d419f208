package gateway

import (
	"errors"
	"io"

	"trackchat/gateway/engine"
	"trackchat/protocol"
)

// reason says why a connection ended: a label of trackchat_closed_total.
type reason uint8

const (
	reasonNone reason = iota
	reasonLocal
	reasonPeer
	reasonBroken
	reasonShutdown
	reasonFraming
	reasonFrameTooLong
	reasonTooMuch
	reasonGarbage
	reasonSlow
	reasonIdle
	reasonLoginTimeout
	reasonRefused
	reasonTakeover
	reasonMoved
	reasonFenced
	reasonDirectory
	reasonUnconfirmed
	reasonPanic
	reasonUnanswered
	reasonHandshake
	reasonHandshakeLate
	reasonCrowded
)

// String is the label.
func (r reason) String() string {
	return [...]string{
		"none", "local", "peer", "broken", "shutdown", "framing", "frame_too_long", "too_much",
		"garbage", "slow", "idle", "login_timeout", "refused",
		"takeover", "moved", "fenced", "directory", "unconfirmed", "panic", "unanswered",
		"tls_handshake", "tls_timeout", "crowded",
	}[r]
}

// closeReason is the reason for a connection that this side did not close, or closed for the error.
func closeReason(err error) reason {
	switch {
	case err == nil:
		return reasonLocal
	case errors.Is(err, engine.ErrHandshakeLate):
		return reasonHandshakeLate
	case errors.Is(err, engine.ErrHandshake): // before the end of the stream, which it may wrap
		return reasonHandshake
	case errors.Is(err, io.EOF):
		return reasonPeer
	case errors.Is(err, protocol.ErrTooLong):
		return reasonFrameTooLong
	case errors.Is(err, protocol.ErrFraming):
		return reasonFraming
	case errors.Is(err, engine.ErrTooMuch), errors.Is(err, engine.ErrBudget):
		return reasonTooMuch
	case errors.Is(err, engine.ErrShutdown):
		return reasonShutdown
	default:
		return reasonBroken
	}
}
