package queue

import (
	"context"
	"iter"
)

// Importer is a store that takes the messages of another store over. It is for a store that no
// service uses meanwhile. Everything of a message is kept but its id.
type Importer interface {
	// SkipIDs makes sure that no id up to last is given to a message from now on, so that an id of
	// the other store is never another message's.
	SkipIDs(ctx context.Context, last int64) error
	// ImportMessages appends messages, whose ids are those of the other store and rise within a
	// tracker, and returns the ids that they have here. What is here already (by the tracker's
	// Imported.ID) is skipped, with 0 for its id: an import may be repeated, and goes on where it
	// was interrupted. An error says that some may be imported and some not. ErrConflict: the
	// tracker has messages that are not the import's.
	ImportMessages(ctx context.Context, ms []Message) ([]int64, error)
	// Imported says how far the trackers' imports are.
	Imported(ctx context.Context, ts []TrackerID) ([]Imported, error)
	// FinishImport forgets how far the imports of trackers are; nothing more can be imported for
	// those that have messages.
	FinishImport(ctx context.Context, ts []TrackerID) error
	// History reads a tracker's messages in the order they were stored; it ends after an error.
	History(ctx context.Context, t TrackerID) iter.Seq2[Message, error]
}

// Imported is how far a tracker's import is.
type Imported struct {
	ID       int64 // of the newest imported message in the other store, 0 none
	SubmitMs int64 // of that message
	NewestMs int64 // SubmitMs of the newest message here, imported or not, 0 none
	Pending  int   // messages here that are still to be delivered
	Unread   int
}
