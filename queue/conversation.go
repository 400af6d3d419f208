package queue

import (
	"fmt"
	"slices"
)

// A tracker's messages lie under a key of their own, its conversation: one for each account that
// the tracker has had. What a store calls a tracker is such a key, so that no operation of a store
// can reach the messages of two accounts at once. The first conversation's key is the tracker's id;
// the others' are negative and say whose they are: tracker 999199's second one is -99919901.

// conversationsEach is how many numbers the conversations of one tracker have. One stays free, so
// that there is always one to begin with.
const conversationsEach = 100

// maxMoving bounds the ids of trackers that can have more than one conversation: all keys stay
// exact in a JavaScript number, and in Lua's.
const maxMoving = MaxID / conversationsEach

// History says what becomes of a tracker's messages when it is put into another account.
type History byte

// Histories. The zero value is the default.
const (
	// HistoryKeep leaves them with the account that had the tracker, which can go on reading them;
	// the new account begins anew, or where it was when it had the tracker before.
	HistoryKeep History = iota
	// HistoryMove gives them to the new account.
	HistoryMove
	// HistoryDrop removes them, and also what other accounts have kept of the tracker; what those
	// have kept goes as well where the account stays.
	HistoryDrop
)

// Former is a conversation that an account has kept of a tracker which is another account's now.
type Former struct {
	Account      AccountID `json:"account"`
	Conversation uint8     `json:"conversation,omitempty"`
}

// ParseHistory reads the name of a History; empty is the default.
func ParseHistory(name string) (History, bool) {
	switch name {
	case "", "keep":
		return HistoryKeep, true
	case "move":
		return HistoryMove, true
	case "drop":
		return HistoryDrop, true
	default:
		return 0, false
	}
}

func conversationKey(t TrackerID, n uint8) TrackerID {
	if n == 0 {
		return t
	}
	return -(t*conversationsEach + TrackerID(n))
}

// TrackerOf returns the tracker of a conversation's key, and the number of the conversation.
func TrackerOf(key TrackerID) (TrackerID, uint8) {
	if key >= 0 {
		return key, 0
	}
	return -key / conversationsEach, uint8(-key % conversationsEach)
}

// Key is under what stores keep the tracker's messages and its session.
func (t *Tracker) Key() TrackerID { return conversationKey(t.ID, t.Conversation) }

func (t *Tracker) former() []Former {
	if t.Former == nil {
		return nil
	}
	return *t.Former
}

func (t *Tracker) setFormer(list []Former) {
	t.Former = nil
	if len(list) > 0 {
		t.Former = &list
	}
}

// FormerKeys are the keys of the conversations that an account has kept of the tracker.
func (t *Tracker) FormerKeys(a AccountID) []TrackerID {
	var keys []TrackerID
	for _, f := range t.former() {
		if f.Account == a {
			keys = append(keys, conversationKey(t.ID, f.Conversation))
		}
	}
	return keys
}

// Keys are all of the tracker's keys.
func (t *Tracker) Keys() []TrackerID {
	keys := make([]TrackerID, 0, 1+len(t.former()))
	keys = append(keys, t.Key())
	for _, f := range t.former() {
		keys = append(keys, conversationKey(t.ID, f.Conversation))
	}
	return keys
}

// Holder returns the account that a conversation belongs to, and whether it is the present one.
func (t *Tracker) Holder(key TrackerID) (a AccountID, present, ok bool) {
	id, n := TrackerOf(key)
	if id != t.ID {
		return 0, false, false
	}
	if n == t.Conversation {
		return t.Account, true, true
	}
	for _, f := range t.former() {
		if f.Conversation == n {
			return f.Account, false, true
		}
	}
	return 0, false, false
}

// Succeed works out which conversations t has when it replaces old (nil: it replaces none), as
// t.History says, which is not kept. It returns the keys of those that are to be removed with all
// they have; a *ConflictError where t cannot have another one.
func (t *Tracker) Succeed(old *Tracker) (dropped []TrackerID, err error) {
	history := t.History
	t.History = HistoryKeep
	if old == nil {
		return nil, nil
	}
	t.Conversation, t.Former = old.Conversation, old.Former
	moves := t.Account != old.Account
	switch {
	case history == HistoryDrop && moves:
		dropped, t.Former = old.Keys(), nil
		t.Conversation, err = old.freeConversation()
	case history == HistoryDrop:
		dropped, t.Former = old.Keys()[1:], nil
	case history == HistoryKeep && moves:
		err = t.keepHistory(old)
	}
	return dropped, err
}

// keepHistory leaves old's conversation to its account.
func (t *Tracker) keepHistory(old *Tracker) (err error) {
	list, mine := slices.Clone(t.former()), -1
	for i, f := range list {
		if f.Account == t.Account {
			mine = i // the last one, where it has several
		}
	}
	if mine >= 0 {
		t.Conversation = list[mine].Conversation
		list = slices.Delete(list, mine, mine+1)
	} else if len(list)+2 >= conversationsEach {
		return &ConflictError{
			"history",
			fmt.Sprintf("must be move or drop: %d accounts have kept theirs", len(list)),
		}
	} else if t.Conversation, err = old.freeConversation(); err != nil {
		return err
	}
	t.setFormer(append(list, Former{old.Account, old.Conversation}))
	return nil
}

// Forget removes the conversations that accounts have kept of the tracker, of those accounts that
// are gone, and returns their keys.
func (t *Tracker) Forget(gone func(AccountID) bool) (dropped []TrackerID) {
	former := slices.DeleteFunc(slices.Clone(t.former()), func(f Former) bool {
		if !gone(f.Account) {
			return false
		}
		dropped = append(dropped, conversationKey(t.ID, f.Conversation))
		return true
	})
	t.setFormer(former)
	return dropped
}

// freeConversation is the lowest number that no conversation of the tracker has.
func (t *Tracker) freeConversation() (n uint8, err error) {
	for _, _, taken := t.Holder(conversationKey(t.ID, n)); taken; _, _,
		taken = t.Holder(conversationKey(t.ID, n)) {
		n++
	}
	if n > 0 && t.ID >= maxMoving {
		err = &ConflictError{
			"history",
			fmt.Sprintf("must be move: ids from %d on have one conversation only",
				int64(maxMoving)),
		}
	}
	return n, err
}

// KeepsHistory is the conflict of an account that cannot go.
func KeepsHistory(one TrackerID) error {
	return &ConflictError{
		"id",
		fmt.Sprintf("has kept messages of trackers that are another account's now, such as %d; history: drop on that tracker removes them", one),
	}
}
