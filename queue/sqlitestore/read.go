package sqlitestore

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"slices"

	"trackchat/queue"
)

// States of messages in SQL, where message.status is a queue.Status. The database uses an index on
// some of them for a query that names them in these very words.
const (
	isPending   = "status = 80"
	isDelivered = "status = 68"
	isOpened    = "status = 86"
	isUnread    = "status = 85"
	isRead      = "status = 82"
	isIncoming  = "(" + isUnread + " OR " + isRead + ")"
	hasEnded    = "(status = 69 OR status = 70 OR status = 83 OR status = 88)" // without an ack
)

// isLate says that a message has changed more than an hour after it was stored.
const isLate = "change_ms > submit_ms + 3600000"

// messageColumns are what scanMessage reads. What few messages have is one column, as each costs
// more than all that is done with it.
const messageColumns = "id, tracker, status, reason, submit_ms, update_ms, read_ms, change_ms, expires_ms, employee, parts, acked, text, " +
	"CASE WHEN choices IS NULL AND author IS NULL AND urgent = 0 THEN NULL ELSE '{\"choices\":' || ifnull(choices, 'null') || ',\"author\":' || ifnull(author, 'null') || ',\"urgent\":' || urgent || '}' END, " +
	"reply_to, replaced, tries, tried_ms"

// messageExtras are what few messages have.
type messageExtras struct {
	Choices []string      `json:"choices"`
	Author  *queue.Author `json:"author"`
	Urgent  int           `json:"urgent"`
}

func scanMessage(row []driver.Value) (queue.Message, error) {
	m := queue.Message{
		ID: integer(row[0]), Tracker: queue.TrackerID(integer(row[1])),
		Status: queue.Status(integer(row[2])), Reason: queue.Reason(integer(row[3])),
		SubmitMs: integer(row[4]), UpdateMs: integer(row[5]), ReadMs: integer(row[6]),
		ChangeMs: integer(row[7]), ExpiresMs: integer(row[8]),
		Employee: integer(row[9]), Parts: int(integer(row[10])), Acked: int(integer(row[11])),
		Text: text(row[12]), ReplyTo: integer(row[14]), Replaced: int(integer(row[15])),
	}
	if m.Status == queue.StatusPending {
		m.Tries, m.TriedMs = int(integer(row[16])), integer(row[17])
	}
	if x := text(row[13]); x != "" {
		var extras messageExtras
		if err := json.Unmarshal([]byte(x), &extras); err != nil {
			return m, fmt.Errorf("%w: choices or author of message %d: %w", queue.ErrCorrupt, m.ID,
				err)
		}
		m.Choices, m.Author, m.Urgent = extras.Choices, extras.Author, extras.Urgent != 0
	}
	return m, nil
}

// collect returns a row function that appends to msgs.
func collect(msgs *[]queue.Message) func(row []driver.Value) error {
	return func(row []driver.Value) error {
		m, err := scanMessage(row)
		if err == nil {
			*msgs = append(*msgs, m)
		}
		return err
	}
}

const (
	maxList = 1024
	listUp  = "SELECT " + messageColumns +
		" FROM message INDEXED BY message_time WHERE tracker = ? AND submit_ms BETWEEN ? AND ? AND id > ? ORDER BY submit_ms, id LIMIT ?"
	listDown = "SELECT " + messageColumns +
		" FROM message INDEXED BY message_time WHERE tracker = ? AND submit_ms BETWEEN ? AND ? AND id < ? ORDER BY submit_ms DESC, id DESC LIMIT ?"
)

func (s *Store) List(ctx context.Context, q queue.ListQuery) ([]queue.Message, error) {
	query, beyond := listUp, q.Beyond
	if q.Desc {
		query = listDown
		if beyond == 0 {
			beyond = queue.MaxID
		}
	}
	var msgs []queue.Message
	err := s.read(ctx, "list", func(c *conn) error {
		return c.query(query, collect(&msgs), int64(q.Tracker), q.FromMs, q.ToMs, beyond,
			int64(min(max(q.Limit, 1), maxList)))
	})
	return msgs, err
}

func (s *Store) Find(ctx context.Context, ids []int64) ([]queue.Message, error) {
	byID := make(map[int64]queue.Message, len(ids))
	err := s.read(ctx, "find", func(c *conn) error {
		return c.eachChunk(s.messagesIn, len(ids), func(i int) int64 { return ids[i] },
			func(row []driver.Value) error {
				m, err := scanMessage(row)
				byID[m.ID] = m
				return err
			})
	})
	if err != nil {
		return nil, err
	}
	found := make([]queue.Message, len(ids))
	for i, id := range ids {
		found[i] = byID[id]
	}
	return found, nil
}

// maxUnacknowledged bounds Unacknowledged.
const maxUnacknowledged = 64

// Unacknowledged: the newest of the pending ones and of those that ended, each by its own index.
func (s *Store) Unacknowledged(ctx context.Context, t queue.TrackerID, limit int) ([]queue.Message,
	error,
) {
	const query = "SELECT " + messageColumns + " FROM message WHERE id IN (" +
		"SELECT id FROM (SELECT id FROM message INDEXED BY message_pending WHERE tracker = ?1 AND " + isPending + " ORDER BY id DESC LIMIT ?2) UNION ALL " +
		"SELECT id FROM (SELECT id FROM message INDEXED BY message_ended WHERE tracker = ?1 AND " + hasEnded + " ORDER BY id DESC LIMIT ?2)" +
		") ORDER BY id DESC LIMIT ?2"
	var msgs []queue.Message
	err := s.read(ctx, "unacknowledged", func(c *conn) error {
		return c.query(query, collect(&msgs), int64(t),
			int64(min(max(limit, 1), maxUnacknowledged)))
	})
	return msgs, err
}

func (s *Store) Changed(ctx context.Context, ts []queue.TrackerID,
	sinceMs int64,
) ([]queue.TrackerID, error) {
	var changed []queue.TrackerID
	err := s.readTrackers(ctx, "changed", s.changedOf, ts, func(row []driver.Value) {
		changed = append(changed, queue.TrackerID(integer(row[0])))
	}, sinceMs)
	if err != nil {
		return nil, err
	}
	slices.Sort(changed)
	return slices.Compact(changed), nil
}

// changesQuery finds what changed within an hour of its storing by the time of that, and everything
// else by the index of late changes.
const changesQuery = "SELECT " + messageColumns + " FROM (" +
	"SELECT * FROM message INDEXED BY message_time WHERE tracker = ?1 AND submit_ms >= ?2 - 3600000 AND change_ms >= ?2 AND change_ms <= submit_ms + 3600000 UNION ALL " +
	"SELECT * FROM message INDEXED BY message_late WHERE tracker = ?1 AND change_ms >= ?2 AND " + isLate +
	") WHERE change_ms > ?3 OR change_ms = ?3 AND id > ?4 ORDER BY change_ms, id LIMIT ?5"

// changedQuery looks for one message of each tracker that changesQuery would find.
const changedQuery = "SELECT id FROM asked, since WHERE " +
	"EXISTS (SELECT 1 FROM message INDEXED BY message_time WHERE tracker = asked.id AND submit_ms >= ms - 3600000 AND change_ms >= ms) OR " +
	"EXISTS (SELECT 1 FROM message INDEXED BY message_late WHERE tracker = asked.id AND change_ms >= ms AND " + isLate + ")"

// Changes: every change is known for as long as its message is there, so ErrTooOld does not occur.
func (s *Store) Changes(ctx context.Context, t queue.TrackerID, sinceMs int64,
	limit int,
) ([]queue.Message, error) {
	var msgs []queue.Message
	err := s.read(ctx, "changes", func(c *conn) error {
		limit := int64(max(limit, 1))
		if err := c.query(changesQuery, collect(&msgs), int64(t), sinceMs, sinceMs-1, int64(0),
			limit); err != nil || int64(len(msgs)) < limit {
			return err
		}
		end := msgs[len(msgs)-1]
		return c.query("SELECT "+messageColumns+" FROM message WHERE tracker = ?1 AND submit_ms <= ?2 AND change_ms = ?2 AND id > ?3 ORDER BY id",
			collect(&msgs), int64(t), end.ChangeMs, end.ID)
	})
	return msgs, err
}

func (s *Store) Presence(ctx context.Context,
	ts []queue.TrackerID,
) (map[queue.TrackerID]queue.Presence, error) {
	known := make(map[queue.TrackerID]queue.Presence)
	err := s.read(ctx, "presence", func(c *conn) error {
		return c.eachChunk(s.presenceIn, len(ts), func(i int) int64 { return int64(ts[i]) },
			func(row []driver.Value) error {
				p := queue.Presence{SinceMs: integer(row[2]), SeenMs: integer(row[3])}
				if p.SinceMs > 0 {
					owner := queue.NodeID(text(row[1]))
					now := s.now()
					known[queue.TrackerID(integer(row[0]))] = queue.PresenceOf(owner, p,
						s.beat(owner, now), now.UnixMilli())
				}
				return nil
			})
	})
	if err != nil {
		return nil, err
	}
	return known, nil
}

// readTrackers calls each with the rows that one of queries has for trackers.
func (s *Store) readTrackers(ctx context.Context, op string, queries map[int]string,
	ts []queue.TrackerID, each func(row []driver.Value), more ...driver.Value,
) error {
	return s.read(ctx, op, func(c *conn) error {
		return c.eachChunk(queries, len(ts), func(i int) int64 { return int64(ts[i]) },
			func(row []driver.Value) error { each(row); return nil }, more...)
	})
}
