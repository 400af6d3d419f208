// Package protocol is what the gateway needs from a wire protocol: how a stream is cut into frames,
// what a frame means, how a text and the answers are written, and the tracker's own side for
// simulators. Everything in it is pure: bytes in, events and bytes out; no I/O, no clock, no
// goroutine.
package protocol

import (
	"errors"
	"time"
)

// Errors of framing and decoding. A codec wraps them with what it saw.
var (
	// Protocol.Frame: the session is closed.
	ErrTooLong = errors.New("frame too long")
	// Protocol.Frame or Codec.Decode: the session is closed.
	ErrFraming   = errors.New("framing lost")
	ErrGarbage   = errors.New("bytes outside a frame") // Codec.Decode: dropped
	ErrChecksum  = errors.New("wrong checksum")        // Codec.Decode: dropped
	ErrMalformed = errors.New("malformed frame")       // Codec.Decode: dropped
	// Codec.AppendText: nothing was written.
	ErrNotText     = errors.New("protocol cannot carry this text now")
	ErrTextTooLong = errors.New("text needs too many parts") // Split
)

// Protocol describes one wire protocol. The values are read-only and shared by all sessions.
type Protocol struct {
	Name     string
	Port     int // default TCP port
	MaxFrame int // bytes, the longest frame that Frame accepts
	// Frame cuts the next frame off buf. It is stateless: n > 0 is the length of the first frame in
	// buf (bytes of garbage before one count as a frame of their own, which Decode refuses); n = 0
	// asks for more bytes, and next is the offset from which the caller passes scanned then, so
	// that no byte is looked at twice. An error means that framing is lost.
	Frame func(buf []byte, scanned int) (n, next int, err error)
	// NewCodec makes the gateway's side of one connection.
	NewCodec func(s Settings) Codec
	// NewRelay makes the gateway's side of one connection that another server answers. The settings
	// are its listener's until Bind. nil: the protocol cannot be relayed.
	NewRelay func(s Settings, o RelayOptions) Relay
	// NewDevice makes the tracker's side of one connection.
	NewDevice func(c DeviceConfig) Device
	Settings  []SettingSpec
	// Variants are what DeviceConfig.Variant may be, the default first.
	Variants []string
	// Registers reports whether a device that asks for its credentials (KindRegister) gets some
	// although its tracker, whose settings these are, has a password, and whether that hung on what
	// it presented; nil: the protocol has no such request.
	Registers func(s Settings, e *Event) (granted, presented bool)
	// LoginTimeout is how long a device with these settings of its listener may take to log in
	// where the protocol states that; nil, or 0: the gateway's own limit, which holds in any case.
	LoginTimeout func(s Settings) time.Duration
	// IdleTimeout replaces the gateway's default where the protocol states its own; 0 otherwise.
	IdleTimeout time.Duration
	// NoProbes says that TCP keepalive probes drain the battery of the devices.
	NoProbes bool
	// RefuseDelay is how long a refused connection stays open so that the device can try again
	// (JT/T 808: register anew); 0 closes after the refusal.
	RefuseDelay time.Duration
}

// Codec is the state of one connection on the gateway's side. It has one owner at a time.
type Codec interface {
	// Caps tells what this session can carry now; it may change with Bind and with what the device
	// sends.
	Caps() TextCaps
	// Decode reads one frame and emits what it means, in order. The event is valid until emit
	// returns. An error says why the frame was refused and is counted; an event emitted before it
	// may still carry the protocol's refusal. The session goes on unless the error is ErrFraming.
	Decode(frame []byte, emit func(*Event)) error
	// AppendReply appends the protocol's answer to e, if it has one, and takes note of the outcome
	// (a login that was OK binds the session). It is called exactly once for every event, in the
	// order of the frames. r is the worst result of e and of the events before it in the same
	// frame.
	AppendReply(dst []byte, e *Event, r Result) []byte
	// Bind gives the settings of the tracker that logged in; it is called before AppendReply of
	// that login.
	Bind(s Settings)
	// AppendText appends one part of a text. Repeating it for the same part gives the same bytes.
	AppendText(dst []byte, t Text) ([]byte, error)
	// Poll appends what the protocol sends by itself and returns when it wants to be asked again;
	// the zero time means only after the next frame or text. now is a reading of time.Now: codecs
	// keep and compare such readings, or what a Clock makes of them, so that a clock that is set
	// makes nothing due.
	Poll(dst []byte, now time.Time) ([]byte, time.Time)
}

// Quitter is a Codec whose protocol says when a device that leaves packets unanswered is gone.
type Quitter interface {
	Codec
	// Gone reports after Poll that the connection has to be closed.
	Gone() bool
}

// Learner is a Codec that finds out about a device what does not end with the connection.
type Learner interface {
	Codec
	// Recall gives, after Bind, what an earlier connection of the device learnt; it is not called
	// where that is nothing.
	Recall(learnt uint8)
	// Learnt returns what is known by now, 0 nothing; news says that it differs from what Recall
	// gave or Learnt returned before. It is asked after every Poll and when the connection has
	// ended.
	Learnt(now time.Time) (learnt uint8, news bool)
}

// Spacer is a Codec whose device may take what one read brings for one frame.
type Spacer interface {
	Codec
	// FrameGap is the least time from one frame to the next one to the device; 0: none.
	FrameGap() time.Duration
}

// Asker is a Codec that can show a text with canned answers only where they fit.
type Asker interface {
	Codec
	// Asks says why the part of a text that has choices would lose some of them; nil: it does not.
	Asks(t Text) error
}

// Withdrawer is a Codec whose protocol can take a text back that is on its way.
type Withdrawer interface {
	Codec
	// AppendWithdraw asks the device to forget the part of that reference. Whether it does is not
	// waited for: an ack that still comes counts.
	AppendWithdraw(dst []byte, ref uint64) []byte
}

// Holder is a Codec that holds bytes back because more may follow that belong to them, such as a
// line without its end. Poll says when to ask.
type Holder interface {
	Codec
	// Release emits what has been held back long enough, or all of it where the session ends:
	// frames that come later are not joined to it. It is called before Decode and Poll.
	Release(now time.Time, end bool, emit func(*Event))
}

// Kind says what an event means for the gateway.
type Kind uint8

// Kinds of events.
const (
	KindLogin Kind = iota + 1 // DeviceID, Secret: bind the session or refuse
	// DeviceID, Secret: it asks for credentials; the gateway sets Secret.
	KindRegister
	KindLogout    // the device says good-bye
	KindHeartbeat // sign of life
	KindPosition  // Count positions
	KindAck       // Ref, Outcome: the device's word about one part of a text
	KindEvidence  // Ref, Outcome (Linked or Accepted): less than that word
	// Ref, Choice: the driver answered a question, which is READ and a text.
	KindAnswer
	KindText    // Text, Key: from the driver
	KindOther   // valid, answered, without meaning for chat
	KindUnknown // valid frame of an unknown type
	// damaged or unreadable frame that the protocol answers; Decode returns an error with it.
	KindRefused
	KindKnown    // Key: the device knows that we have that text
	KindAdmitted // Relay.Down: the server accepts the device's login
	KindDenied   // Relay.Down: the server refuses it
)

// Event is what one frame, or one part of it, means. Msg, Seq and Aux belong to the codec: they are
// what AppendReply needs.
type Event struct {
	Kind     Kind
	Outcome  Outcome
	Msg      uint32 // message id or packet type on the wire
	Seq      uint32 // the frame's own number
	Aux      uint64
	DeviceID string // KindLogin, KindRegister; as on the wire, not normalised
	Alias    string // KindLogin, KindRegister: what else it may be known by; empty: nothing
	Secret   string // KindLogin, KindRegister: what the device presents; then what it is handed out
	Ref      uint64 // KindAck, KindAnswer; without meaning where TextCaps.RefBits is 0
	Choice   int    // KindAnswer: number of the chosen answer, from 1 in the order of Text.Choices
	Count    int    // KindPosition: number of positions
	Text     string // KindText; valid UTF-8
	ReplyTo  uint64 // KindText with Replies: reference of the text that it answers
	Replies  bool   // KindText: the device said to which text it belongs
	// Key identifies a text for as long as Window: a repeated one is stored once; 0: no
	// identification. Across: only a copy that came over another connection is a repetition.
	Key    uint64
	Window time.Duration
	Across bool
	// Fleeting: Key ends with the first frame that the device sends after the answer to its text,
	// because it knows by then that we have it. Any event with the key is a copy, not such a frame.
	Fleeting bool
	// Earlier: the device gave Key's text its number before it opened this connection, which makes
	// it a copy, although the device went on: the answer was on its way when the connection ended.
	// Only of a device whose text had a number of its connection when it came first.
	Earlier bool
	// Passed: the frame goes on to the tracking server, which answers it (Relay).
	Passed bool
	// Flawed: something is wrong with the frame that its device's makers live with, such as its
	// length. It is served, and counted.
	Flawed bool
}

// Outcome is the device's word about a part of a text, see KindAck, or what is known below that,
// see KindEvidence.
type Outcome uint8

// Outcomes of an ack.
const (
	AckDelivered Outcome = iota + 1 // the device has it
	AckOpened                       // the driver has opened it as well
	// the device could not take it now: one more try after a minute, then final.
	AckFailed
	AckDamaged     // it arrived damaged: one more try at once, then final
	AckRejected    // final: the device cannot read what we sent
	AckUnsupported // final: the device has no text service
	AckStorage     // final: the device has no room
	AckLater       // the verdict follows: keep waiting
	// KindEvidence: the packet has arrived, which is no word about the text.
	Linked
	// KindEvidence: the device's command service has taken it, the verdict follows.
	Accepted
)

// Result is how the gateway dealt with an event, in rising order of trouble.
type Result uint8

// Results for AppendReply.
const (
	OK             Result = iota
	NoLogin               // the event needs a login first
	UnknownDevice         // nobody registered this device, or it is blocked
	BadCredentials        // the device is known, what it presents is wrong
	// the event's content cannot be accepted, now or ever (text empty or too long).
	Invalid
	// could not be stored: the device must send it again, so protocols without a word for that stay
	// silent.
	Later
)

// TextCaps says what a session can carry towards the device.
type TextCaps struct {
	PartBytes int // most bytes of encoded text in one part, at least 8
	// width of the references that acks carry; 0: acks carry none and mean the oldest
	// unacknowledged part.
	RefBits int
	Charset Charset // of the text on the wire
	Prefix  bool    // "(2/7) " before each part of a longer text
	Silent  bool    // the device never acknowledges: written once is all there is
	// NotYet, because the tracking server's own text or command is outstanding.
	Turn bool
	// the tracking server uses the driver's terminal itself: messages fail.
	InUse  bool
	NoText bool // this device has no text service (a setting): messages fail as unsupported
	// a handshake is under way: texts wait, and the caps are asked again after every frame and
	// every Poll.
	NotYet  bool
	Choices int // canned answers that can be shown with a text, 0 none
	// Refusal is how long a Silent device may take to refuse a part; 0: it says nothing at all.
	Refusal time.Duration
	Urgent  bool // the device is told which texts are urgent, and shows or says those accordingly
	Opens   bool // the device says when the driver has opened a text, with or without choices

	// Verdict: the device says what became of a text that its command service took (Accepted).
	// Where it keeps that to itself MaxAttempts bounds how often the text is written.
	Verdict bool
}

// Text is one part of a message on its way to the device.
type Text struct {
	Ref     uint64
	Part    int      // from 0
	Parts   int      // at least 1
	Body    string   // this part, without prefix
	Choices []string // only with the last part, at most TextCaps.Choices
	AtMs    int64    // when it was submitted, Unix ms; 0 not known
	Urgent  bool     // without meaning unless TextCaps.Urgent
}

// DeviceConfig configures the tracker's side.
type DeviceConfig struct {
	ID       string // as a person writes it: digits of a phone or IMEI
	Password string
	Variant  string // one of Protocol.Variants, empty for the first
	Settings Settings
}

// Device is the tracker's side, with its own framing: what simulators and tests need. It has one
// owner and one connection at a time, but may live through several: what a real device remembers
// (codes, serial numbers, texts that wait for their ack) goes on.
type Device interface {
	// AppendLogin begins a connection: it appends what the device says first after connecting.
	AppendLogin(dst []byte) []byte
	// Feed takes the bytes that are not yet consumed, appends what the device answers by itself
	// (link acks, the next step of a login) and emits what happened.
	Feed(dst, in []byte, emit func(DeviceEvent)) (out []byte, consumed int, err error)
	// AppendAck appends the answer to a text that Feed emitted.
	AppendAck(dst []byte, e DeviceEvent, o Outcome) []byte
	// AppendText appends a text from the driver. A repetition is a copy of the same bytes.
	AppendText(dst []byte, text string) ([]byte, error)
	// AppendChoice appends the driver's answer (from 1) to a text with choices; it appends nothing
	// where the protocol has none.
	AppendChoice(dst []byte, e DeviceEvent, choice int) []byte
	// AppendHeartbeat appends a sign of life.
	AppendHeartbeat(dst []byte) []byte
	// AppendPosition appends a position in degrees.
	AppendPosition(dst []byte, lat, lon float64, at time.Time) []byte
}

// Unanswered is a Device whose gateway has no answer to a driver's text, as some protocols have
// none: what is written once is said.
type Unanswered interface {
	Device
	// Unanswered reports whether this device is one.
	Unanswered() bool
}

// DeviceEventKind tells what a device saw.
type DeviceEventKind uint8

// Kinds of device events.
const (
	DeviceLoggedIn DeviceEventKind = iota + 1
	DeviceRefused                  // the login was refused
	DeviceText                     // Ref, Body, Choices, Urgent: a part of a text arrived
	// the gateway acknowledged the oldest driver text that it has not yet acknowledged (or the one
	// numbered Ref).
	DeviceTextAck
	DeviceTextNak // the gateway refused it
	DeviceOther   // any other answer
)

// DeviceEvent is what a device saw; valid after Feed returned as well.
type DeviceEvent struct {
	Kind    DeviceEventKind
	Ref     uint64
	Body    string
	Choices []string
	Urgent  bool
}
