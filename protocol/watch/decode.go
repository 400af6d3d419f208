package watch

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"trackchat/protocol"
)

// word is what a frame's name stands for, Event.Msg.
type word uint32

const (
	wordOther word = iota // nothing is owed
	wordLK
	wordINIT
	wordAL
	wordUD
	wordTKQ
	wordTKQ2
	wordTK
	wordTK2
	wordJXTK
	wordCONFIG
	wordBPHRT
	wordOXYGEN
	wordBTEMP2
	wordWIFIINFOUP
	wordCOST2
	wordMESSAGE
)

const longestWord = len("WIFIINFOUP")

// wordOf reads a name without regard to its case. Names of positions and alarms go on as the model
// likes: UD_LTE, ALCUSTOMER1.
func wordOf(name []byte) word {
	var room [longestWord]byte
	if len(name) >= 2 {
		switch [2]byte{lower(name[0]), lower(name[1])} {
		case [2]byte{'u', 'd'}:
			return wordUD
		case [2]byte{'a', 'l'}:
			return wordAL
		}
	}
	if len(name) > longestWord {
		return wordOther
	}
	for i, c := range name {
		room[i] = lower(c)
	}
	switch string(room[:len(name)]) {
	case "lk":
		return wordLK
	case "init":
		return wordINIT
	case "wt": // a position as well
		return wordUD
	case "tkq":
		return wordTKQ
	case "tkq2":
		return wordTKQ2
	case "tk":
		return wordTK
	case "tk2":
		return wordTK2
	case "jxtk":
		return wordJXTK
	case "config":
		return wordCONFIG
	case "message":
		return wordMESSAGE
	case "bphrt":
		return wordBPHRT
	case "oxygen":
		return wordOXYGEN
	case "btemp2":
		return wordBTEMP2
	case "wifiinfoup":
		return wordWIFIINFOUP
	case "cost2":
		return wordCOST2
	}
	return wordOther
}

var (
	errCloud   = errors.New("a build that is bound to its vendor's cloud")
	errForeign = errors.New("it names another device")
)

// decoding is one call of Decode, or of relay.Up.
type decoding struct {
	*codec
	emit   func(*protocol.Event)
	relay  *relay // nil: Decode
	frame  []byte
	taken  bool // relay: the frame does not go to the server
	number uint32
	word   word
	params []byte
	given  bool // there are parameters, perhaps empty
	flawed bool // the declared length is wrong
}

func (c *codec) Decode(frame []byte, emit func(*protocol.Event)) error {
	d := decoding{codec: c, emit: emit, frame: frame}
	err := d.read()
	if errors.Is(err, errForeign) {
		return fmt.Errorf("%w: %w", protocol.ErrFraming, err)
	}
	return err
}

// read says what the frame means.
func (d *decoding) read() error {
	h, content, ok := opened(d.frame)
	if !ok {
		return d.garbage(d.frame)
	}
	unknown := d.peer.idLength == 0
	if !unknown && !d.peer.is(h.id) {
		return errForeign
	}
	d.peer.take(&h)
	d.cutOff = h.length > len(content)
	name, params, given := bytes.Cut(content, []byte{','})
	d.number, d.word, d.params, d.given = h.number, wordOf(name), params, given
	d.flawed = h.length != len(content)
	if unknown {
		d.out(protocol.Event{Kind: protocol.KindLogin, DeviceID: string(h.id)})
	}
	d.body()
	return nil
}

// opened takes a frame apart as cut returns it; false: it is none.
func opened(frame []byte) (h header, content []byte, ok bool) {
	if len(frame) == 0 {
		return h, nil, false
	}
	h, m := parseHeader(frame)
	last := len(frame) - 1
	if m != matchWhole || last < h.content || frame[last] != ']' {
		return h, nil, false
	}
	return h, frame[h.content:last], true
}

// garbage deals with what is no frame: line ends between frames and the rest of a frame that ended
// before its declared length are nobody's mistake.
func (c *codec) garbage(b []byte) error {
	switch {
	case len(b) > 0 && len(bytes.Trim(b, "\r\n")) == 0, c.cutOff:
		return nil
	case len(b) > 0:
		if n, m := cloud(b); m == matchWhole && n == len(b) {
			return fmt.Errorf("%w: %w", protocol.ErrGarbage, errCloud)
		}
	}
	return fmt.Errorf("%w: %d bytes", protocol.ErrGarbage, len(b))
}

// is compares ids as the directory does: without their case and without leading zeros.
func (p *peer) is(id []byte) bool {
	return bytes.EqualFold(bytes.TrimLeft(p.id[:p.idLength], "0"), bytes.TrimLeft(id, "0"))
}

// take notes how the device writes itself: what it is sent looks the same.
func (p *peer) take(h *header) {
	p.idLength = uint8(copy(p.id[:], h.id))
	p.prefix = [prefixLength]byte(h.prefix)
	p.numbered = h.numbered
}

// modeOf reads the last field of INIT,phone,operator,firmware,n,n[,mode].
func modeOf(params []byte) mode {
	const before = 5
	for range before {
		_, rest, found := bytes.Cut(params, []byte{','})
		if !found {
			return modeCharacters
		}
		params = rest
	}
	switch field, _, _ := bytes.Cut(params, []byte{','}); string(field) {
	case "1":
		return modeBytes
	case "2":
		return modeHexLE
	}
	return modeCharacters
}

func (d *decoding) body() {
	switch d.word {
	case wordLK:
		d.out(protocol.Event{Kind: protocol.KindHeartbeat, Aux: owed})
	case wordINIT, wordCONFIG:
		said := d.given && !isStatus(d.params) // else it is an answer
		if said && d.word == wordINIT {
			d.mode = modeOf(d.params)
		}
		d.report(said)
	case wordAL:
		d.alarm()
	case wordUD:
		d.out(protocol.Event{Kind: protocol.KindPosition, Count: 1})
	case wordTKQ, wordTKQ2, wordBPHRT, wordOXYGEN, wordBTEMP2, wordWIFIINFOUP, wordCOST2:
		d.report(true)
	case wordTK, wordTK2, wordJXTK:
		d.recording()
	case wordMESSAGE:
		if outcome, ok := d.echoed(d.params, d.given); ok {
			d.out(protocol.Event{Kind: protocol.KindAck, Outcome: outcome})
			return
		}
		d.out(protocol.Event{Kind: protocol.KindUnknown, Flawed: true})
	default: // reports that nobody waits for, and answers of the device: an answer would loop
		d.out(protocol.Event{Kind: protocol.KindUnknown})
	}
}

// isStatus reports whether parameters are those of an answer.
func isStatus(params []byte) bool {
	return len(params) == 1 && '0' <= params[0] && params[0] <= '9'
}

func (d *decoding) report(answered bool) {
	e := protocol.Event{Kind: protocol.KindOther}
	if answered {
		e.Aux = owed
	}
	d.out(e)
}

// out emits an event with what its answer needs.
func (d *decoding) out(e protocol.Event) {
	e.Msg, e.Seq = uint32(d.word), d.number
	e.Flawed = e.Kind != protocol.KindLogin && (e.Flawed || d.flawed)
	if d.peer.numbered {
		e.Aux |= numbered
	}
	e.Aux |= uint64(d.peer.prefix[0])<<prefixShift | uint64(d.peer.prefix[1])<<(prefixShift+8)
	if d.relay != nil {
		d.relay.look(d, &e)
	}
	d.shared.events.Emit(d.emit, e)
}

const (
	saidVoice = "[voice message]"
	saidSOS   = "SOS"

	// voiceWindow is how long the same recording is known again: until the device knows that it
	// was taken, which may be days where it is out of reach.
	voiceWindow = 24 * time.Hour
	// alarmWindow is that of an alarm with its time, undatedWindow that of one without.
	alarmWindow   = 24 * time.Hour
	undatedWindow = 2 * time.Minute
)

// recording deals with TK, TK2 and JXTK. A single byte of the first two is the device's answer to
// ours. Recordings that come in parts are noted with their last one.
func (d *decoding) recording() {
	if short := len(d.params) <= 1; short || d.voice == ignoreVoice {
		d.report(short && d.word == wordJXTK) // whose answer has another name
		return
	}
	if d.voice == refuseVoice {
		d.out(protocol.Event{Kind: protocol.KindOther, Aux: owed | refused})
		return
	}
	if (d.peer.numbered || d.word == wordJXTK) && moreFollow(d.params) {
		d.report(true)
		return
	}
	d.out(protocol.Event{
		Kind: protocol.KindText, Text: saidVoice, Aux: owed,
		Key: hash(hashSeed, d.params), Window: voiceWindow, Fleeting: true,
	})
}

// moreFollow reports whether parameters are from,file,part,parts,data of a part before the last.
func moreFollow(params []byte) bool {
	var f [5][]byte
	if split(params, f[:]) < len(f) {
		return false
	}
	part, ok := parseUint(f[2])
	parts, ok2 := parseUint(f[3])
	return ok && ok2 && part < parts
}

// split cuts b at its commas and returns the number of fields; the last element of f takes all that
// is left.
func split(b []byte, f [][]byte) int {
	n := 0
	for ; n < len(f)-1; n++ {
		before, after, found := bytes.Cut(b, []byte{','})
		if !found {
			break
		}
		f[n], b = before, after
	}
	f[n] = b
	return n + 1
}

// parseUint reads up to six decimal digits.
func parseUint(b []byte) (n uint32, ok bool) {
	const most = 6
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint32(c-'0')
	}
	return n, len(b) > 0 && len(b) <= most
}

// Fields of an alarm, which are those of a position.
const (
	fieldDate   = 0
	fieldTime   = 1
	fieldStatus = 15
	alarmFields = fieldStatus + 2 // the last one takes the rest
	statusSOS   = 1 << 16
)

// alarm deals with AL, which is answered whatever can be read of it.
func (d *decoding) alarm() {
	if !d.given {
		d.report(false)
		return
	}
	var f [alarmFields][]byte
	if !d.sos || split(d.params, f[:]) <= fieldStatus || !isSOS(f[fieldStatus]) {
		d.report(true)
		return
	}
	e := protocol.Event{
		Kind: protocol.KindText, Text: saidSOS, Aux: owed, Window: alarmWindow,
		Key: hash(hash(hash(hashSeed, f[fieldDate]), f[fieldTime]), f[fieldStatus]),
	}
	at := string(f[fieldDate]) + string(f[fieldTime])
	if _, err := time.Parse("020106150405", at); err != nil {
		e.Window = undatedWindow
	}
	d.out(e)
}

// isSOS reads a status of up to eight hexadecimal digits.
func isSOS(status []byte) bool {
	n := uint32(0)
	for _, c := range status {
		digit, ok := protocol.HexDigit(c)
		if !ok {
			return false
		}
		n = n<<4 | uint32(digit)
	}
	return len(status) <= 2*hexLength && n&statusSOS != 0
}
