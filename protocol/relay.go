package protocol

import "time"

// RelayWait bounds how long a text of ours waits for the tracking server's own text or command, and
// that one for ours, where a device has one of them outstanding at a time.
const RelayWait = 30 * time.Second

// Relay is the Codec of a device whose tracking server is another one behind the gateway. That one
// answers the device; the gateway passes the frames of both, writes texts between those of the
// server, and takes out what is about its own texts. It is never stricter than the server: what
// cannot be read, or is of no interest, passes as it came.
//
// Up takes the place of Decode. AppendReply gets its events as ever, but answers only those of
// frames that did not pass. No event but an ack of what this side wrote over this connection, and
// nothing that could as well be about the server's own, is a KindAck.
//
// Poll is called after every read of either side, after AppendText and late answers, and once more
// when the bytes of the server are no frames any more: what is held back of it goes before those.
type Relay interface {
	Codec
	// Up reads a frame of the device, as Protocol.Frame cuts it, and emits what it means for chat.
	// An error says why it could not be read, in which case it has passed all the same unless it
	// can only be ours; ErrFraming that what follows is no frame either.
	Up(w *Ways, frame []byte, now time.Time, emit func(*Event)) error
	// CutDown is Protocol.Frame for what the server sends.
	CutDown(buf []byte, scanned int) (n, next int, err error)
	// Down reads a frame of the server as CutDown cuts it. It emits KindAdmitted and KindDenied for
	// the server's answers to the device's logins.
	Down(w *Ways, frame []byte, now time.Time, emit func(*Event)) error
	// Replay begins a connection to the server anew (RelayOptions.Replay): it appends the frames
	// that the device logged in with, whose answers Down swallows, and forgets what was outstanding
	// with the old one. False: they are not known, or too long.
	Replay(w *Ways) bool
}

// MaxReplay bounds the frames that a Relay keeps for Replay, in bytes.
const MaxReplay = 1 << 10

// Ways is where a Relay writes.
type Ways struct {
	Device, Server []byte
	Mapped         int // frames in which a number was replaced
	Conflicts      int // times that the server was seen to use the driver's terminal itself
}

// RelayOptions are those of a listener's upstream.
type RelayOptions struct {
	PassAcks bool // the server gets the acks of our texts, too
	OnlyChat bool // drivers' texts do not go to the server where they have frames of their own
	Replay   bool // Relay.Replay may be asked for
}
