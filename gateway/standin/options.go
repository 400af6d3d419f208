// Package standin stands in for the tracking server behind a gateway that relays, for tests,
// demonstrations and load: a server for the devices of one protocol on a listener of its own, with
// no store and no gateway. The protocol's own codec answers the devices. How the server behaves can
// be changed while it runs (slow, silent, deaf, gone), and what it was sent is recorded, so that a
// test can compare it with what the devices have sent.
//
// Ownership: each connection has a goroutine, which reads it. Its codec and what is written to it
// are under the connection's lock, the records of all devices under the server's.
package standin

import (
	"cmp"
	"crypto/tls"
	"errors"
	"time"

	"trackchat/protocol"
)

// Errors of the server.
var (
	ErrAway  = errors.New("device is not connected")
	ErrProxy = errors.New("no PROXY header")
)

// Bounds that are no option.
const (
	maxWaiting = 1 << 20 // bytes of answers that wait; a connection is not read beyond it
	maxNotes   = 256     // newest acks of a device, and newest texts to it whose acks are known
	readSize   = 4 << 10
	greetWait  = 10 * time.Second // for a PROXY header and the handshake of TLS
	finWait    = 5 * time.Second  // for the other side's end after FIN
)

// Options configure a Server. Protocol and Now are required; every other zero value takes the
// default that is named here.
type Options struct {
	Protocol *protocol.Protocol
	Settings protocol.Settings // from Protocol.NewSettings
	Listen   string            // host:port; 127.0.0.1:0
	TLS      *tls.Config       // plain TCP
	Proxy    bool              // each connection begins with a PROXY header, version 1 or 2
	Now      func() time.Time  // time.Now: deadlines of connections are made from it
	MaxConns int               // 16,384; one more is closed at once
	// MaxDevices bounds the devices that are recorded each for itself: 65,536. Others are served,
	// and count in the figures only.
	MaxDevices int
	// Record is how many bytes are recorded of what each device sends, and as many of its packets
	// with positions, and of its driver's texts. The first ones are kept. 0: figures only.
	Record    int
	Behaviour Behaviour // until Behave
}

func (o *Options) check() error {
	o.Listen = cmp.Or(o.Listen, "127.0.0.1:0")
	o.MaxConns = cmp.Or(o.MaxConns, 16_384)
	o.MaxDevices = cmp.Or(o.MaxDevices, 65_536)
	switch {
	case o.Protocol == nil || o.Now == nil:
		return errors.New("stand-in for a tracking server needs a protocol and a clock")
	case min(o.MaxConns, o.MaxDevices, o.Record) < 0 || o.Behaviour.Delay < 0:
		return errors.New("stand-in for a tracking server has a negative bound or delay")
	}
	return nil
}

// Behaviour is how the server treats its devices. The zero value answers everything at once.
type Behaviour struct {
	// Delay is the time before an answer leaves; frames are read meanwhile.
	Delay  time.Duration
	Silent bool // reads, and never answers
	Deaf   bool // never reads
	// Judge says what the server finds about an event; nil finds everything OK, and a device has to
	// log in first in any case. It is called with the device's id, as Server.Device wants it, and
	// must not write to
	// devices.
	Judge func(device string, e *protocol.Event) protocol.Result
}

// Accept makes a Judge that lets only the devices log in that ok approves of.
func Accept(ok func(device string) bool) func(string, *protocol.Event) protocol.Result {
	return func(device string, e *protocol.Event) protocol.Result {
		if (e.Kind == protocol.KindLogin || e.Kind == protocol.KindRegister) && !ok(device) {
			return protocol.UnknownDevice
		}
		return protocol.OK
	}
}

// End is how the server ends a connection.
type End uint8

// Ends of a connection.
const (
	FIN End = iota // in order; what still comes is read for up to 5 s and dropped
	RST            // what is under way is lost, in both directions
)
