package redisstore

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"

	"trackchat/queue"
)

// Codes of a stored message in a script's results.
const (
	storedNow = iota
	storedBefore
	storedFull
)

func (s *Store) Send(ctx context.Context, reqs []queue.SendReq) ([]queue.SendResult, error) {
	results := make([]queue.SendResult, len(reqs))
	items, index := make([]*item, 0, len(reqs)), make([]int, 0, len(reqs))
	for i := range reqs {
		r := &reqs[i]
		if queue.TextTooLong(r.Text) {
			results[i].Err = queue.ErrTooLarge
			continue
		}
		it := s.sendItem(r, !s.older.Load())
		if it.bytes > maxTail {
			results[i].Err = queue.ErrTooLarge
			continue
		}
		if err := s.roomIn(s.slots[it.partition]); err != nil {
			return nil, err
		}
		items, index = append(items, it), append(index, i)
	}
	if err := s.execute(ctx, opSend, items); err != nil {
		return nil, err
	}
	for i, it := range items {
		r := &results[index[i]]
		if r.Err = it.Err; r.Err != nil {
			continue
		}
		switch it.reply[0] {
		case storedFull:
			r.Err = queue.ErrQueueFull
		case storedBefore:
			r.Dup = true
			fallthrough
		default:
			r.ID = uint56([]byte(it.reply[1:]))
		}
	}
	return results, nil
}

// sendItem: authors says whether the record may tell who wrote it.
func (c *client) sendItem(r *queue.SendReq, authors bool) *item {
	author := r.Author
	if !authors {
		author = nil
	}
	tail := appendTail(make([]byte, 0, len(r.Text)+32), &queue.Message{
		Employee: r.Employee, ExpiresMs: r.ExpiresMs, ReplyTo: r.ReplyTo, Choices: r.Choices,
		Author: author, Urgent: r.Urgent, Text: r.Text,
	})
	meta := binary.BigEndian.AppendUint32(tracker8(r.Tracker), rand.Uint32())
	if r.Key != "" {
		sum := sha256.Sum256(append(tracker8(r.Tracker), r.Key...))
		meta = hex.AppendEncode(meta, sum[:16])
	}
	return &item{partition: partitionOf(r.Tracker), args: []any{
		c.trackerKey(r.Tracker), meta, tail,
	}, weight: 1, width: 8, bytes: len(tail) + 64}
}

// blockKey is the key of the block that holds a message.
func (c *client) blockKey(at place) string {
	return c.key(at.partition, ":c:", at.block)
}

// trackerKey is the key of a tracker's state.
func (c *client) trackerKey(t queue.TrackerID) string {
	return c.key(partitionOf(t), ":t:", int64(t))
}

func (c *client) key(partition int, kind string, number int64) string {
	b := make([]byte, 0, 48) // on the stack
	b = append(append(b, c.keys[partition]...), kind...)
	return string(strconv.AppendInt(b, number, 10))
}

func trackerArg(t queue.TrackerID) string { return strconv.FormatInt(int64(t), 10) }

func (s *Store) Receive(ctx context.Context, in []queue.Incoming) ([]queue.ReceiveResult, error) {
	results := make([]queue.ReceiveResult, len(in))
	items, index := make([]*item, 0, len(in)), make([]int, 0, len(in))
	for i := range in {
		if queue.TextTooLong(in[i].Text) {
			results[i].Err = queue.ErrTooLarge
			continue
		}
		it := receiveItem(&in[i])
		if err := s.roomIn(s.slots[it.partition]); err != nil {
			return nil, err
		}
		items, index = append(items, it), append(index, i)
	}
	if err := s.execute(ctx, opReceive, items); err != nil {
		return nil, err
	}
	for i, it := range items {
		r := &results[index[i]]
		if r.Err = it.Err; r.Err == nil {
			r.ID, r.Dup = uint56([]byte(it.reply[1:])), it.reply[0] == storedBefore
		}
	}
	return results, nil
}

func receiveItem(in *queue.Incoming) *item {
	meta := binary.BigEndian.AppendUint32(tracker8(in.Tracker), rand.Uint32())
	tail := appendTail(make([]byte, 0, len(in.Text)+32), &queue.Message{
		Employee: in.Employee, ReplyTo: in.ReplyTo, Text: in.Text,
	})
	var key []byte
	if in.Key != 0 {
		key = binary.BigEndian.AppendUint64(nil, in.Key)
	}
	return &item{
		partition: partitionOf(in.Tracker),
		args: []any{
			trackerArg(in.Tracker), meta, tail, key, in.Window.Milliseconds(),
			binary.BigEndian.AppendUint64(nil, uint64(in.Epoch)),
		},
		weight: 1, width: 8, bytes: len(tail) + 96,
	}
}

func (s *Store) IdempotentAnswer(ctx context.Context, a queue.AccountID, key string) ([]byte,
	error,
) {
	return s.answerTo(ctx, "recall", a, key, nil)
}

func (s *Store) SaveAnswer(ctx context.Context, a queue.AccountID, key string,
	answer []byte) ([]byte,
	error,
) {
	return s.answerTo(ctx, "remember", a, key, answer)
}

// answerTo keeps an answer, if one is given, and returns the one that counts.
func (s *Store) answerTo(ctx context.Context, op string, a queue.AccountID, key string,
	answer []byte,
) ([]byte, error) {
	sum := sha256.Sum256([]byte(strconv.FormatInt(int64(a), 10) + "/" + key))
	p := int(sum[len(sum)-1]) % partitions
	q := s.evalsha(s.slots[p], s.keys[p], scriptRemember, hex.EncodeToString(sum[:16]),
		s.scriptClock(), answer)
	q.writes = len(answer) > 0
	if err := s.ask(ctx, op, []*query{q}); err != nil {
		return nil, err
	}
	text, ok := q.reply.(string)
	switch {
	case !ok:
		return nil, fmt.Errorf("%w: remembering answered %T", queue.ErrCorrupt, q.reply)
	case text == "":
		return nil, nil
	default:
		return []byte(text), nil
	}
}
