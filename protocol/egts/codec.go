package egts

import (
	"cmp"

	"trackchat/protocol"
)

const (
	defaultBS = 1024
	// minBS is the least packet size that is believed: less would hardly leave room for a word.
	minBS = 128
	// prefixRoom is what "(1234/5678) " takes in UCS2 beyond what protocol.Split keeps free.
	prefixRoom = 12
)

var (
	_ protocol.Codec      = (*codec)(nil)
	_ protocol.Quitter    = (*codec)(nil)
	_ protocol.Withdrawer = (*codec)(nil)
)

// codec is the gateway's side. It is small because most of a million sessions are idle.
type codec struct {
	*shared
	settings protocol.Settings
	open     *answer     // of a packet of which not all events are answered; nil mostly
	waiting  *unanswered // packets of ours that the terminal has to answer; nil mostly
	text     sent
	oid      uint32 // lenient: who the terminal says it is
	via      route  // how packets to the terminal travel
	bs       uint16 // most bytes of a packet to the terminal; 0: not said
	pid, rn  uint16 // of our next packet and record
	gone     bool   // the terminal has left a text unanswered for as long as the standard allows
	loggedIn bool
	offered  bool // lenient: the login was emitted
}

// sent is the newest text: repeated under the same numbers, and the one that a word about a packet
// or record can mean.
type sent struct {
	ref       uint32
	pid, rn   uint16
	is        bool
	withdrawn bool // by CT_DELCOM: CT_COMCONF is about that
}

func newCodec(s *shared, settings protocol.Settings) *codec {
	return &codec{shared: s, settings: settings}
}

func (c *codec) Bind(s protocol.Settings) { c.settings = s }

// Caps: The room depends on BS, so on the login, and on the route.
func (c *codec) Caps() protocol.TextCaps {
	prefix := c.settings.Bool(settingPartPrefix)
	room := c.textRoom()
	if n := c.settings.Int(settingPartBytes); n > 0 {
		room = min(room, n)
	}
	if prefix {
		room -= prefixRoom
	}
	return protocol.TextCaps{
		PartBytes: room, RefBits: 32, Charset: c.charset(c.settings), Prefix: prefix,
		Opens: true, Verdict: true,
	}
}

// limit is the most bytes of a packet to the terminal.
func (c *codec) limit() int { return int(cmp.Or(c.bs, defaultBS)) }

// textRoom is how many bytes of text, after flags and CHS, a packet of that size has room for.
func (c *codec) textRoom() int { return c.limit() - textOverhead - (c.via.header() - shortHeader) }

// nextPID counts our packets. A number that comes round again no longer means the text, or the
// CT_DELIV, that had it.
func (c *codec) nextPID() uint16 {
	n := c.pid
	c.pid++
	c.text.is = c.text.is && c.text.pid != n
	c.learned(func(t told) bool { return t.pid == n })
	return n
}

// nextRN counts our records.
func (c *codec) nextRN() uint16 {
	n := c.rn
	c.rn++
	c.text.is = c.text.is && c.text.rn != n
	c.learned(func(t told) bool { return t.rn == n })
	return n
}

// taken is the outcome of a text that the terminal's command service took.
func (c *codec) taken() protocol.Outcome {
	if c.settings.String(settingDeliveredOn) == deliveredOnRecord {
		return protocol.AckDelivered
	}
	return protocol.Accepted
}
