// Package all is the one list of the protocols that are built in.
package all

import (
	"trackchat/protocol"
	"trackchat/protocol/egts"
	"trackchat/protocol/galileosky"
	"trackchat/protocol/jt808"
	"trackchat/protocol/teltonika"
	"trackchat/protocol/watch"
	"trackchat/protocol/wialon"
)

// Protocols describes every protocol that is built in, in the order in which they are listed to
// people. Each call makes new values.
func Protocols() []*protocol.Protocol {
	return []*protocol.Protocol{
		jt808.New(),
		wialon.New(),
		teltonika.New(),
		egts.New(),
		galileosky.New(),
		watch.New(),
	}
}

// Find returns the protocol of that name.
func Find(name string) (*protocol.Protocol, bool) {
	for _, p := range Protocols() {
		if p.Name == name {
			return p, true
		}
	}
	return nil, false
}
