package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"trackchat/cmd/trackchat/app"
	"trackchat/cmd/trackchat/config"
	"trackchat/queue"
	"trackchat/queue/redisstore"
	"trackchat/queue/sqlitestore"
)

// migrate is the command of that name: it takes an embedded store that no service uses over to
// Redis. It returns the exit code.
func migrate(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("trackchat migrate", flag.ContinueOnError)
	flags.SetOutput(stderr)
	from := flags.String("from", "",
		"`STORE`: directory of a stopped service's embedded store, or a backup")
	to := flags.String("to", "", "configuration `FILE` of the service that will run on Redis")
	if err := flags.Parse(args); err != nil {
		return flagExit(err)
	}
	if flags.NArg() > 0 || *from == "" || *to == "" {
		_, _ = fmt.Fprintln(stderr,
			"trackchat migrate: --from STORE --to FILE are expected, nothing else")
		return 2
	}
	cfg, err := config.Load(*to, os.Environ())
	if err == nil {
		err = runMigrate(ctx, *from, cfg, stdout)
	}
	if ctx.Err() != nil {
		_, _ = fmt.Fprintln(stderr,
			"trackchat migrate: interrupted; nothing is lost, the same command goes on from here")
		return 1
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "trackchat migrate: %v\n", err)
		return 1
	}
	return 0
}

func runMigrate(ctx context.Context, from string, cfg *config.Config,
	stdout io.Writer,
) (err error) {
	if cfg.Store.Backend != config.BackendRedis {
		return errors.New("store.backend of the configuration is not redis")
	}
	source, err := sqlitestore.OpenArchive(from)
	switch {
	case errors.Is(err, queue.ErrInUse):
		return fmt.Errorf("%w: stop the service first", err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s holds no embedded store: %w", from, err)
	case err != nil:
		return fmt.Errorf("opening %s: %w", from, err)
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	name, err := source.Fingerprint(ctx)
	if err != nil {
		return fmt.Errorf("reading %s: %w", from, err)
	}
	options, err := app.RedisOptions(&cfg.Store)
	if err != nil {
		return err
	}
	target, done, err := redisstore.OpenMigration(ctx, options, name)
	if errors.Is(err, redisstore.ErrUsed) {
		return fmt.Errorf("nothing was written: %w; a migration goes into an empty Redis", err)
	}
	if err != nil {
		return fmt.Errorf("opening Redis: %w", err)
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	m := newMigration(source, target, stdout)
	if done {
		return m.again(ctx)
	}
	return m.run(ctx)
}

// importStore is what a migration writes to.
type importStore interface {
	queue.DirectoryStore
	queue.Importer
	queue.SessionStore
	queue.BroadcastStore
	FinishMigration(ctx context.Context) error
	List(ctx context.Context, q queue.ListQuery) ([]queue.Message, error)
}

const (
	migrateMessages = 8192 // read at once
	migrateBytes    = 8 << 20
	migrateTrackers = 1000 // asked about at once
	tellEvery       = 5 * time.Second
)

// migration is one run of migrate. Each tracker's messages are appended in their order, and all of
// them in the order they were stored, so that retention finds the old ones first.
type migration struct {
	from *sqlitestore.Archive
	to   importStore
	out  io.Writer

	accounts []queue.AccountID
	trackers []queue.TrackerID         // that have messages, in order
	counts   map[queue.TrackerID]int   // of their messages
	total    int                       // of messages
	done     map[queue.TrackerID]int64 // newest message that Redis has already
	skipped  int                       // messages that Redis had already
	copied   int
	begun    bool // Redis has a part of this migration that is not finished
	told     time.Time
}

func newMigration(from *sqlitestore.Archive, to importStore, out io.Writer) *migration {
	return &migration{
		from: from, to: to, out: out, done: make(map[queue.TrackerID]int64),
		told: time.Now(),
	}
}

func (m *migration) say(format string, args ...any) {
	_, _ = fmt.Fprintf(m.out, format+"\n", args...) // the exit code says the same
}

func (m *migration) run(ctx context.Context) error {
	return inOrder(ctx, m.count, m.directory, m.survey, m.copy, m.broadcasts, m.logins, m.check,
		m.finish)
}

// again looks at what was taken over before, and writes nothing.
func (m *migration) again(ctx context.Context) error {
	m.say("this store was taken over before: nothing is written, everything is compared")
	if err := inOrder(ctx, m.count, m.check); err != nil {
		return fmt.Errorf("services have used this Redis since, or something is missing: %w", err)
	}
	return nil
}

func inOrder(ctx context.Context, steps ...func(context.Context) error) error {
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// directory takes accounts and trackers over; what Redis has besides them stays.
func (m *migration) directory(ctx context.Context) error {
	accounts, trackers, err := m.from.Directory(ctx)
	if err != nil {
		return fmt.Errorf("reading accounts and trackers: %w", err)
	}
	stats, err := m.to.ImportDirectory(ctx, accounts, trackers, false)
	if err != nil {
		return fmt.Errorf("taking accounts and trackers over: %w", err)
	}
	for i := range accounts {
		m.accounts = append(m.accounts, accounts[i].ID)
	}
	m.say("%d accounts and %d trackers: %d added, %d updated, %d there already", len(accounts),
		len(trackers), stats.Added, stats.Updated, stats.Unchanged)
	return nil
}

// copy appends what Redis does not have yet.
func (m *migration) copy(ctx context.Context) error {
	last, err := m.from.LastID()
	if err != nil {
		return fmt.Errorf("reading the last id: %w", err)
	}
	if last > 0 {
		if err := m.to.SkipIDs(ctx, last); err != nil {
			return fmt.Errorf("leaving out the ids of the embedded store: %w", err)
		}
	}
	for after := int64(0); ; {
		page, err := m.from.Messages(after, migrateMessages, migrateBytes)
		if err != nil {
			return fmt.Errorf("reading messages: %w", err)
		}
		if len(page) == 0 {
			m.say("messages: %d copied, %d were there already", m.copied, m.skipped)
			return nil
		}
		after = page[len(page)-1].ID
		if err := m.copyPage(ctx, page); err != nil {
			return err
		}
		if now := time.Now(); now.Sub(m.told) >= tellEvery {
			m.told = now
			m.say("messages: %d of %d", m.copied+m.skipped, m.total)
		}
	}
}

// wasFinished reports whether a migration before this one has got past the messages.
func (m *migration) wasFinished() bool { return m.total > 0 && m.copied == 0 && !m.begun }

// broadcasts takes over which messages are one text to many trackers.
func (m *migration) broadcasts(ctx context.Context) error {
	if m.wasFinished() {
		return nil
	}
	n := 0
	for _, account := range m.accounts {
		list, err := m.from.Broadcasts(account)
		if err != nil {
			return fmt.Errorf("reading broadcasts: %w", err)
		}
		for i := range list {
			if err := m.broadcast(ctx, account, &list[i]); err != nil {
				return err
			}
			n++
		}
	}
	m.say("broadcasts: %d", n)
	return nil
}

// broadcast: A message that is no longer there keeps its id, which is no other's in Redis either.
func (m *migration) broadcast(ctx context.Context, account queue.AccountID,
	b *queue.Broadcast,
) error {
	targets, err := m.from.BroadcastTargets(account, b.ID)
	if err != nil {
		return fmt.Errorf("reading broadcast %d: %w", b.ID, err)
	}
	if err := m.to.SaveBroadcast(ctx, account, *b, 0, nil); err != nil {
		return fmt.Errorf("taking broadcast %d over: %w", b.ID, err)
	}
	first := 0
	for some := range slices.Chunk(targets, migrateTrackers) {
		for i := range some {
			t := &some[i]
			id, err := m.counterpart(ctx, t.Tracker, t.Message)
			if err != nil {
				return err
			}
			t.Message = cmp.Or(id, t.Message)
		}
		if err := m.to.SaveBroadcast(ctx, account, *b, first, some); err != nil {
			return fmt.Errorf("taking broadcast %d over: %w", b.ID, err)
		}
		first += len(some)
	}
	return nil
}

// logins takes sessions over that have not expired. Those of a migration that was finished before
// are left as they are: some may have ended since.
func (m *migration) logins(ctx context.Context) error {
	if m.wasFinished() {
		return nil
	}
	n, now := 0, time.Now().UnixMilli()
	for after := (queue.KeyHash{}); ; {
		page, err := m.from.Sessions(after, migrateTrackers)
		if err != nil {
			return fmt.Errorf("reading logins: %w", err)
		}
		for i := range page {
			if page[i].ExpiresMs <= now {
				continue
			}
			if err := m.to.PutSession(ctx, page[i]); err != nil {
				return fmt.Errorf("taking a login of account %d over: %w", page[i].Account, err)
			}
			n++
		}
		if len(page) == 0 {
			m.say("logins: %d", n)
			return nil
		}
		after = page[len(page)-1].Hash
	}
}

// copyPage appends a page in pieces, so that a message which an answer names is there before the
// answer.
func (m *migration) copyPage(ctx context.Context, page []queue.Message) error {
	var piece []queue.Message
	open := make(map[int64]bool) // ids in the piece
	flush := func() error {
		if len(piece) == 0 {
			return nil
		}
		if _, err := m.to.ImportMessages(ctx, piece); err != nil {
			return fmt.Errorf("writing messages: %w", err)
		}
		m.copied += len(piece)
		piece = piece[:0]
		clear(open)
		return nil
	}
	for _, msg := range page {
		if msg.ID <= m.done[msg.Tracker] {
			m.skipped++
			continue
		}
		if open[msg.ReplyTo] {
			if err := flush(); err != nil {
				return err
			}
		}
		if msg.ReplyTo != 0 {
			id, err := m.counterpart(ctx, msg.Tracker, msg.ReplyTo)
			if err != nil {
				return err
			}
			msg.ReplyTo = id
		}
		piece = append(piece, msg)
		open[msg.ID] = true
	}
	return flush()
}

// counterpart is the id that a message of the embedded store has in Redis, 0 if it is no longer
// there: the one at the same place in the same millisecond.
func (m *migration) counterpart(ctx context.Context, t queue.TrackerID, id int64) (int64, error) {
	old, before, err := m.from.Find(t, id)
	if err != nil {
		return 0, fmt.Errorf("looking for message %d: %w", id, err)
	}
	if old.ID == 0 {
		return 0, nil
	}
	same, err := m.to.List(ctx, queue.ListQuery{
		Tracker: t, FromMs: old.SubmitMs,
		ToMs: old.SubmitMs, Limit: 1024,
	})
	if err != nil {
		return 0, fmt.Errorf("looking for message %d in Redis: %w", id, err)
	}
	if before >= len(same) || same[before].Text != old.Text {
		return 0, fmt.Errorf("%w: message %d of tracker %d is not in Redis", queue.ErrConflict, id,
			t)
	}
	return same[before].ID, nil
}
