package queue

import (
	"context"
	"errors"
	"math"
	"time"
)

// Errors of a Store. An error of a whole call means that nothing of it is known to be done, except
// ErrUnknownOutcome.
var (
	// one item: nothing stored.
	ErrTooLarge = errors.New("text is longer than allowed")
	// one item: nothing stored.
	ErrQueueFull = errors.New("tracker has too many undelivered messages")
	// one item: close the session.
	ErrFenced = errors.New("another session owns the tracker")
	// not executed; try again later.
	ErrOverloaded = errors.New("store is overloaded or out of space")
	// not executed; may be retried.
	ErrUnavailable = errors.New("store is unavailable")
	// may have been executed.
	ErrUnknownOutcome = errors.New("store did not answer, outcome unknown")
	// never skipped silently.
	ErrCorrupt = errors.New("store holds data that cannot be read")
	ErrTooOld  = errors.New("changes before that moment are not retained") // Changes only
	// with ErrUnavailable: nothing is taken or given out.
	ErrLost  = errors.New("store has lost its data or is another one")
	ErrInUse = errors.New("store is in use by another process")
	// ImportDirectory only: nothing changed.
	ErrConflict = errors.New("directory contradicts itself")
)

// Messages is the API's side of a store. All methods are safe for concurrent use; result i belongs
// to request i; a nil error means durable under the configured policy. A context that is done
// before the call means that nothing is stored.
type Messages interface {
	// Send stores outgoing messages in the order given and wakes the sessions that own their
	// trackers. Per item: ErrTooLarge, ErrQueueFull.
	Send(ctx context.Context, reqs []SendReq) ([]SendResult, error)
	// List returns the messages of one tracker within whole seconds, ordered by (SubmitMs, ID).
	List(ctx context.Context, q ListQuery) ([]Message, error)
	// Find returns messages by their ids; one that does not exist has ID 0.
	Find(ctx context.Context, ids []int64) ([]Message, error)
	// MarkRead marks incoming messages read: all of a call or none (any MarkUnknown means that
	// nothing changed).
	MarkRead(ctx context.Context, refs []Ref) ([]MarkResult, error)
	// MarkReadAll marks every unread incoming message of the trackers read and returns how many
	// changed.
	MarkReadAll(ctx context.Context, ts []TrackerID) (int, error)
	// LastTimes returns the newest SubmitMs of each tracker in either direction; trackers without
	// messages have no entry.
	LastTimes(ctx context.Context, ts []TrackerID) (map[TrackerID]int64, error)
	// Unread returns the number of unread incoming messages; trackers without any have no entry.
	Unread(ctx context.Context, ts []TrackerID) (map[TrackerID]int, error)
	// Presence says which trackers are connected; those that never were have no entry.
	Presence(ctx context.Context, ts []TrackerID) (map[TrackerID]Presence, error)
	// End ends messages that are still pending. See EndResult.
	End(ctx context.Context, ends []EndReq) ([]EndResult, error)
	BroadcastStore
	// IdempotentAnswer returns the answer remembered for an account's idempotency key, nil if there
	// is none.
	IdempotentAnswer(ctx context.Context, a AccountID, key string) ([]byte, error)
	// SaveAnswer keeps an answer, which is not empty, for 24 h, unless there is one already, and
	// returns the one that counts.
	SaveAnswer(ctx context.Context, a AccountID, key string, answer []byte) ([]byte, error)
}

// Delivery is the gateway's side of a store; the same rules as for Sender.
type Delivery interface {
	// Acquire makes node the owner of the trackers under a new, higher epoch and kicks the former
	// owner, if it was another epoch of any node.
	Acquire(ctx context.Context, node NodeID, ts []TrackerID) ([]Lease, error)
	// Release gives ownership up; false where the epoch was no longer the current one (nothing
	// changes then).
	Release(ctx context.Context, ls []Lease) ([]bool, error)
	// Touch notes Lease.SeenMs where the epoch is still the current one.
	Touch(ctx context.Context, ls []Lease) error
	// List is Sender.List.
	List(ctx context.Context, q ListQuery) ([]Message, error)
	// Claim reads pending messages, oldest first. It changes nothing.
	Claim(ctx context.Context, reqs []ClaimReq) ([]ClaimResult, error)
	// Ack marks messages acknowledged by the device; accepted from any epoch, because an ack proves
	// delivery.
	Ack(ctx context.Context, acks []AckReq) ([]AckResult, error)
	// Progress notes how many parts of a long text are acknowledged, so that a reconnect resumes
	// there, and how often the device was handed the next one without an answer. Neither goes back,
	// except that another number of parts begins anew, and the tries do with each part that is
	// acknowledged.
	Progress(ctx context.Context, ps []ProgressReq) error
	// End ends messages that are still pending. See EndResult.
	End(ctx context.Context, ends []EndReq) ([]EndResult, error)
	// Receive stores texts from devices; a repeated one is stored once and answered with the first
	// id.
	Receive(ctx context.Context, in []Incoming) ([]ReceiveResult, error)
	// CheckLeases returns only those leases that have pending messages or are fenced.
	CheckLeases(ctx context.Context, ls []Lease) ([]PeekResult, error)
	// Unacknowledged returns the newest outgoing messages of a tracker that no ack has reached, in
	// whatever other state they ended, newest first; limit 1..64.
	Unacknowledged(ctx context.Context, t TrackerID, limit int) ([]Message, error)
	// Listen tells what the store has to tell node from when it returns until ctx or the store
	// ends. tell is called beside the work that is told of, by several goroutines at once: it must
	// not wait, nor change the list. Wakes are hints: WakeResync stands for what may not have been
	// told.
	Listen(ctx context.Context, node NodeID, tell func([]Wake)) error
}

// Store is all of it, with what operation needs.
type Store interface {
	Messages
	Delivery
	DirectoryStore
	LiveDirectory
	SessionStore
	Roster
	Feed
	WebhookStore
	// Expire ends, as StatusExpired, pending messages whose time has run out, in a bounded step;
	// call it again while ExpireStats.More. Each is ended once, whoever calls. Between two calls
	// such messages count as pending, except that Send makes room of them before it finds a tracker
	// full.
	Expire(ctx context.Context) (ExpireStats, error)
	// Partitions is how many partitions the store has, from 0 on.
	Partitions() int
	// Trim removes old messages in small steps; call it again while TrimStats.More.
	Trim(ctx context.Context, p Partition, r Retention) (TrimStats, error)
	// Check reports what is wrong with the store; it is called at start and every minute.
	Check(ctx context.Context) (Report, error)
	Close() error
}

// SendReq asks for one outgoing message.
type SendReq struct {
	Tracker  TrackerID
	Employee int64 // 0 none
	Text     string
	// not empty: client's idempotency key, already scoped to the account; the same key for the
	// tracker within 24 h is answered with the first id.
	Key       string
	ExpiresMs int64    // 0 never
	Choices   []string // at most 8
	ReplyTo   int64    // 0 none
	Author    *Author  // nil: not to be told
	Urgent    bool     // see Message
}

// SendResult answers a SendReq.
type SendResult struct {
	ID  int64
	Dup bool // ID is that of an earlier identical request; nothing was stored
	Err error
}

// ListQuery selects messages of one tracker. FromMs and ToMs are inclusive; callers that think in
// whole seconds pass ToMs = second*1000+999.
type ListQuery struct {
	Tracker      TrackerID
	FromMs, ToMs int64
	Limit        int  // 1..1024
	Desc         bool // newest first, and the newest Limit of the window
	// Beyond, if not 0, is where the page before ended: only messages with a higher id, with Desc
	// a lower one. Ids rise in the order of a tracker's messages.
	Beyond int64
}

// Ref names a message of a tracker.
type Ref struct {
	Tracker TrackerID
	ID      int64
}

// MarkResult is the outcome of MarkRead for one message.
type MarkResult byte

// Outcomes of MarkRead.
const (
	MarkUnknown MarkResult = iota // no such incoming message of that tracker
	MarkAlready
	MarkNewly
)

// Lease is the ownership of a tracker by one session.
type Lease struct {
	Tracker TrackerID
	Node    NodeID
	Epoch   int64
	Pending int   // messages still to be delivered when it was acquired
	LastOut int64 // id of the newest outgoing message, 0 none: the first Wake's Prev
	// for Release and Touch: when the device was last heard of, 0 not to be noted; a later time
	// than the store's counts as that.
	SeenMs int64
}

// Cursor is an opaque position in a tracker's pending messages; 0 is the beginning.
type Cursor int64

// ClaimReq asks for pending messages after Cursor: at least one if there is any, then no more than
// MaxBytes of text.
type ClaimReq struct {
	Lease    Lease
	Cursor   Cursor
	MaxBytes int
	Max      int // messages; 0: as many as the store gives at once
}

// Full reports whether an answer that holds so many messages may not take another one, with which
// their texts have so many bytes.
func (r *ClaimReq) Full(messages, bytes int) bool {
	return messages > 0 && (bytes > r.MaxBytes || messages == r.Max)
}

// ClaimResult answers a ClaimReq. Err is ErrFenced if the lease's epoch is not the current one,
// ErrCorrupt if the message that comes next cannot be read; what comes before it is answered first,
// and what comes after it waits for an operator.
type ClaimResult struct {
	Msgs []Message
	Next Cursor // where to go on, also when there is nothing more now
	More bool
	Err  error
}

// AckReq says that the device has acknowledged a message.
type AckReq struct {
	Tracker TrackerID
	ID      int64
	Opened  bool // the driver has opened it as well
	// characters that the device could not show, see Message; counts with the ack that delivers.
	Replaced int
	Hint     int64 // opaque, from Message or Wake; 0 unknown. A wrong hint costs time, never truth
}

// AckResult is the outcome of an AckReq.
type AckResult byte

// Outcomes of Ack.
const (
	AckUnknown   AckResult = iota // no such outgoing message of that tracker
	AckAlready                    // acknowledged before; UpdateMs stays
	AckDelivered                  // acknowledged now, whether it was pending or had ended otherwise
)

// ProgressReq notes that Acked of Parts parts of a message are acknowledged, and how often the next
// one was written since without an answer.
type ProgressReq struct {
	Tracker TrackerID
	ID      int64
	Parts   int
	Acked   int
	Tries   int   // see Message
	TriedMs int64 // not 0 with Tries; a time that has not come for the store is now
}

// Valid reports whether the note makes sense; Progress ignores one that does not.
func (p *ProgressReq) Valid() bool {
	return p.Acked >= 0 && p.Acked <= p.Parts && p.Parts <= math.MaxUint16 &&
		p.Tries >= 0 && p.Tries <= MaxTries && p.TriedMs >= 0 && p.TriedMs < 1<<48 &&
		(p.Tries == 0) == (p.TriedMs == 0)
}

// EndReq ends a pending message: Status is StatusFailed, StatusExpired, StatusCancelled or
// StatusSent.
type EndReq struct {
	Tracker  TrackerID
	ID       int64
	Status   Status
	Reason   Reason // without StatusSent
	Replaced int    // with StatusSent: characters that the device cannot show
}

// EndResult is the outcome of an EndReq.
type EndResult byte

// Outcomes of End.
const (
	EndUnknown EndResult = iota // no such outgoing message of that tracker
	EndAlready                  // not pending any more; nothing changed
	EndNow
)

// Incoming is a text from a device.
type Incoming struct {
	Tracker  TrackerID
	Employee int64
	Text     string
	ReplyTo  int64         // id of the message the driver answers, 0 none
	Key      uint64        // device's own identification of the text; 0 none: always stored
	Window   time.Duration // how long Key means the same text
	// not 0: a copy counts as repeated only if it came under another epoch (protocols without ids),
	// and then stands for one stored text, the oldest; it has this epoch from then on.
	Epoch int64
}

// ReceiveResult answers an Incoming; Err is ErrTooLarge where the text is longer than MaxText.
type ReceiveResult struct {
	ID  int64
	Dup bool
	Err error
}

// PeekResult reports a lease that needs attention.
type PeekResult struct {
	Tracker TrackerID
	Epoch   int64 // of the lease that was asked about
	Pending int
	LastOut int64
	Fenced  bool
}

// WakeKind tells the wakes apart.
type WakeKind byte

// Kinds of Wake.
const (
	// a message was stored; Msg.Text may be missing (Hint true): claim it.
	WakeMessage WakeKind = iota + 1
	WakeKick             // a newer epoch owns the tracker
	// wakes may have been lost: look at every own tracker.
	WakeResync
	// the message with Msg.ID ended (cancelled, expired): do not send it any more.
	WakeEnd
)

// Wake tells a node about one of its trackers.
type Wake struct {
	Kind    WakeKind
	Tracker TrackerID
	// of the lease it is meant for; WakeKick: of the one that has lost.
	Epoch int64
	// WakeMessage: id of the tracker's outgoing message before this one, 0 none (gap detection).
	Prev int64
	Hint bool    // WakeMessage: the text is not included
	Msg  Message // WakeMessage, WakeEnd (ID only)
}

// Partitioned is a store of several partitions.
type Partitioned interface {
	// PartitionOf is where a tracker lies, for ever.
	PartitionOf(t TrackerID) Partition
	// IndependentPartitions reports whether partitions may fail one by one. Who calls such a store
	// for trackers of one partition at a time is not held up by another; of one that is not divided
	// a single call for trackers of any partitions costs least.
	IndependentPartitions() bool
}

// Remote is a store that other processes hold.
type Remote interface {
	// Ping asks each of them for a sign of life, at little cost; the error is ErrUnavailable.
	Ping(ctx context.Context) error
}

// Partition is one of the store's partitions; the embedded store has only 0.
type Partition uint8

// Retention says what Trim may remove: messages submitted before CutoffMs that are not pending, at
// most Max of them a call.
type Retention struct {
	CutoffMs int64
	Max      int
}

// TrimStats says what a Trim did.
type TrimStats struct {
	Removed int
	More    bool
}

// ExpireStats says what an Expire did.
type ExpireStats struct {
	Ended int
	More  bool
}

// Report is the outcome of a Check. The store is fit for use if Problems is empty.
type Report struct {
	Problems []string
	Warnings []string
	Pending  int64 // messages that are still to be delivered
	Counted  bool  // Pending is their number; false: it could not be found out
}
