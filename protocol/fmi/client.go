package fmi

import (
	"encoding/binary"
	"fmt"
	"slices"

	"trackchat/protocol"
)

// mostKept bounds the texts, lists and canned answers that a Client remembers; the oldest are
// forgotten.
const mostKept = 64

// Client is the navigator's side: what simulators and tests need. It lives through all connections
// of its tracker and has one owner.
type Client struct {
	shared  *Shared
	charset protocol.Charset
	version Version
	unique  uint32 // of the driver's next text
	replies bool   // 0026 instead of 0024: the server enabled A607

	rest    []byte // of an unfinished frame
	long    incoming
	texts   []kept
	lists   []list
	answers []canned
}

// incoming is a text that arrives in segments.
type incoming struct {
	id   messageID
	next byte
	text []byte
}

// kept is a text that the client knows.
type kept struct {
	id       messageID
	packet   uint16 // that brought it
	at       uint32
	sequence byte // of its last segment
	stored   bool
	opened   bool
}

// list is what a question may be answered with.
type list struct {
	id  messageID
	ids []uint32
}

type canned struct {
	response uint32
	text     string
}

// NewClient returns a client that speaks v, A611 for Auto.
func (h *Shared) NewClient(v Version, charset protocol.Charset) *Client {
	if v == Auto {
		v = A611
	}
	return &Client{shared: h, charset: charset, version: v, unique: 1}
}

// Reset forgets what belongs to one connection.
func (d *Client) Reset() { d.rest, d.long, d.replies = nil, incoming{}, false }

// remember adds to what is kept.
func remember[T any](kept []T, one T) []T {
	if len(kept) == mostKept {
		kept = slices.Delete(kept, 0, 1)
	}
	return append(kept, one)
}

func (d *Client) find(id messageID) *kept {
	i := slices.IndexFunc(d.texts, func(k kept) bool { return k.id == id })
	if i < 0 {
		return nil
	}
	return &d.texts[i]
}

// known returns the text that a device event is about: the newest one of that reference.
func (d *Client) known(ref uint64) *kept {
	for i := range slices.Backward(d.texts) {
		if reference(d.texts[i].id) == ref {
			return &d.texts[i]
		}
	}
	return nil
}

// reference is how a text is called in device events.
func reference(id messageID) uint64 {
	if ref, _, ok := id.ours(); ok {
		return ref
	}
	return hash(hashSeed, id.id[:])
}

// AppendAck answers a text that Feed emitted. A text that the client has already is refused, as
// clients do. A602 acknowledges nothing before the driver presses OK.
func (d *Client) AppendAck(dst []byte, c Carrier, e protocol.DeviceEvent,
	o protocol.Outcome,
) []byte {
	k := d.known(e.Ref)
	if k == nil || o == protocol.AckLater {
		return dst
	}
	taken := o == protocol.AckDelivered || o == protocol.AckOpened
	var room [maxPayload]byte
	p := room[:0]
	switch k.packet {
	case packetTextOK:
		k.stored, k.opened = true, true
		p = appendTextHead(p, packetAnswer, k.at, k.id, [3]byte{})
		return wrap(dst, c, linkFleet, binary.LittleEndian.AppendUint32(p, 0))
	case packetLongText:
		result := longResult(o)
		if k.stored {
			result = resultInUse
		}
		p = appendTextHead(p, packetLongReceipt, k.at, k.id, [3]byte{result, 1, k.sequence})
	default:
		result := byte(0)
		if taken && !k.stored {
			result = 1
		}
		p = appendTextHead(p, packetReceipt, k.at, k.id, [3]byte{result})
	}
	k.stored = k.stored || taken
	dst = wrap(dst, c, linkFleet, p)
	if o == protocol.AckOpened {
		k.opened = true
		dst = wrap(dst, c, linkFleet, appendIDPacket(p[:0], packetStatus, k.id, statusRead))
	}
	return dst
}

// longResult is the result of 0056 that says o.
func longResult(o protocol.Outcome) byte {
	switch o {
	case protocol.AckDelivered, protocol.AckOpened:
		return 0
	case protocol.AckStorage:
		return 3
	case protocol.AckRejected, protocol.AckUnsupported:
		return 10 // wrong type
	default:
		return resultInUse
	}
}

// AppendText appends a text of the driver, at most 199 bytes.
func (d *Client) AppendText(dst []byte, c Carrier, text string) ([]byte, error) {
	var room [maxPayload]byte
	p := room[:0]
	if d.replies {
		p = binary.LittleEndian.AppendUint16(p, packetClientReply)
		p = binary.LittleEndian.AppendUint32(p, noTime)
		p = append(p, 0, 0, 0, 0x80, 0, 0, 0, 0x80) // no fix
		p = binary.LittleEndian.AppendUint32(p, d.unique)
		p = append(p, make([]byte, 4+idBytes)...) // answers no text in particular
	} else {
		p = binary.LittleEndian.AppendUint16(p, packetClientText)
		p = binary.LittleEndian.AppendUint32(p, noTime)
		p = binary.LittleEndian.AppendUint32(p, d.unique)
	}
	body := d.charset.Append(nil, text)
	if len(body) == 0 || len(body) > shortBytes {
		return dst, fmt.Errorf("%w: %d bytes", protocol.ErrTextTooLong, len(body))
	}
	d.unique++
	return wrap(dst, c, linkFleet, append(append(p, body...), 0)), nil
}

// AppendChoice appends the driver's answer, from 1, to a text with choices.
func (d *Client) AppendChoice(dst []byte, c Carrier, e protocol.DeviceEvent, choice int) []byte {
	k := d.known(e.Ref)
	if k == nil {
		return dst
	}
	i := slices.IndexFunc(d.lists, func(l list) bool { return l.id == k.id })
	if i < 0 || choice < 1 || choice > len(d.lists[i].ids) {
		return dst
	}
	var room [maxPayload]byte
	p := appendTextHead(room[:0], packetAnswer, k.at, k.id, [3]byte{})
	return wrap(dst, c, linkFleet, binary.LittleEndian.AppendUint32(p, d.lists[i].ids[choice-1]))
}

// AppendPing appends a sign of life.
func (d *Client) AppendPing(dst []byte, c Carrier) []byte {
	return wrap(dst, c, linkFleet, binary.LittleEndian.AppendUint16(nil, packetPing))
}
