// Package queue is the domain of trackchat: messages, their states, the stores that hold them and
// the directory of accounts and trackers. It knows neither a wire protocol nor HTTP: the api and
// the gateway meet here.
package queue

import "unicode/utf8"

// MaxText is the greatest length of a message's text in characters (code points).
const MaxText = 20_000

// MaxTries is the greatest number of tries that is kept of a message: more are told as that many.
const MaxTries = 255

// MaxID bounds message ids: they stay exact in a JavaScript number.
const MaxID = 1 << 53

// TrackerID names a tracker; it is unique over all accounts.
type TrackerID int64

// AccountID names an account.
type AccountID int64

// NodeID names one run of one gateway process: at most 32 bytes, never reused by a later run.
type NodeID string

// Status is the state of a message, one byte as the stores keep it.
type Status byte

// States of an outgoing message. Only StatusPending is still to be delivered; DELIVERED for the API
// are StatusDelivered and StatusOpened, everything else is PENDING there.
const (
	StatusPending   Status = 'P' // stored, not acknowledged by the device
	StatusDelivered Status = 'D' // acknowledged by the device
	StatusOpened    Status = 'V' // acknowledged, and the driver has opened it
	StatusFailed    Status = 'F' // refused by the device or never confirmed; Reason says why
	StatusExpired   Status = 'E' // its time to live ran out before an ack
	StatusCancelled Status = 'X' // withdrawn by the sender before an ack
	StatusSent      Status = 'S' // written to a device that cannot confirm
)

// States of an incoming message.
const (
	StatusUnread Status = 'U'
	StatusRead   Status = 'R'
)

// Incoming reports whether s is a state of a message that came from the device.
func (s Status) Incoming() bool { return s == StatusUnread || s == StatusRead }

// Acknowledged reports whether the device has acknowledged the outgoing message.
func (s Status) Acknowledged() bool { return s == StatusDelivered || s == StatusOpened }

// Done reports whether the API shows DELIVERED: acknowledged by the device, or read by the
// dispatcher.
func (s Status) Done() bool { return s.Acknowledged() || s == StatusRead }

// Reason says why an outgoing message ended without an ack; stored as a byte, so values never
// change.
type Reason byte

// Reasons of StatusFailed.
const (
	ReasonNone         Reason = 0
	ReasonRefused      Reason = 1 // the device reported a failure, twice
	ReasonMalformed    Reason = 2 // the device could not parse the frame
	ReasonUnsupported  Reason = 3 // the device has no text service
	ReasonNotConfirmed Reason = 4 // written as often as allowed and never acknowledged
	ReasonTooLong      Reason = 5 // more parts than the protocol can number
	ReasonStorage      Reason = 6 // the device has no room for it
	ReasonMoved        Reason = 7 // the tracker is another account's now
	ReasonInUse        Reason = 8 // the tracking server itself writes to the driver's terminal
)

// String is the text that the API and the logs show.
func (r Reason) String() string {
	switch r {
	case ReasonNone:
		return ""
	case ReasonRefused:
		return "refused by the device"
	case ReasonMalformed:
		return "not understood by the device"
	case ReasonUnsupported:
		return "not supported by the device"
	case ReasonNotConfirmed:
		return "not confirmed"
	case ReasonTooLong:
		return "too long for the device"
	case ReasonStorage:
		return "device storage full"
	case ReasonMoved:
		return "tracker moved to another account"
	case ReasonInUse:
		return "terminal in use by the tracking server"
	default:
		return "unknown"
	}
}

// Message is one text in either direction. Times are UTC milliseconds since 1970, 0 where there is
// none.
type Message struct {
	ID       int64
	Tracker  TrackerID
	Status   Status
	Reason   Reason
	SubmitMs int64 // when the store accepted it; never decreases within a tracker
	// outgoing: when the device's ack was stored; incoming: when it was marked read.
	UpdateMs int64
	ReadMs   int64 // outgoing: when the driver opened it
	// when anything of it last changed, its storing included; never decreases within a tracker's
	// changes.
	ChangeMs  int64
	ExpiresMs int64 // outgoing: not sent any more from then on; 0 never
	Employee  int64 // assigned to the tracker when the message was stored; 0 none
	// parts the text was cut into when delivery began; 0 not begun or a single one.
	Parts int
	// parts acknowledged so far, all of them once the message is, none once it is StatusSent;
	// meaningful with Parts only.
	Acked int
	// times a pending message was written and the device has not answered, since its last answer;
	// at most MaxTries.
	Tries   int
	TriedMs int64 // when the first of them was; 0 with Tries 0
	// characters that the device cannot show and got others for, known once it is acknowledged or
	// StatusSent; at most MaxText.
	Replaced int
	Text     string   // 1..MaxText characters
	Choices  []string // canned answers shown with the text
	ReplyTo  int64    // id of the message this one answers; 0 none
	Author   *Author  // outgoing: who wrote it, nil not known; never changed in place
	Urgent   bool     // outgoing: shown, and said, as the device does with what is urgent
	Hint     int64    // opaque position for Store.Ack, 0 unknown
}

// Overdue reports whether the message is still pending although its time has run out at now (Unix
// milliseconds).
func (m *Message) Overdue(now int64) bool {
	return m.Status == StatusPending && m.ExpiresMs != 0 && now >= m.ExpiresMs
}

// TextTooLong reports whether text has more than MaxText characters.
func TextTooLong(text string) bool {
	return len(text) > MaxText && (len(text) > MaxText*utf8.UTFMax ||
		utf8.RuneCountInString(text) > MaxText)
}
