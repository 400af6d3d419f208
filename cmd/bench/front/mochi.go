package front

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"

	pebbledb "github.com/cockroachdb/pebble"
	mqttserver "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/hooks/storage/pebble"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

// mochi is an embedded broker that persists in a pebble of its own. Texts and statuses are in
// another one, every commit of which is synced.
type mochi struct {
	server *mqttserver.Server
	db     *pebbledb.DB
	writes *batcher[pair]
}

type pair struct{ key, value []byte }

func textKey(id string) []byte   { return append([]byte("m"), id...) }
func statusKey(id string) []byte { return append([]byte("s"), id...) }

func newMochi(o Options, log *slog.Logger) (backend, error) {
	m := &mochi{server: mqttserver.New(&mqttserver.Options{InlineClient: true, Logger: log})}
	var err error
	m.db, err = pebbledb.Open(filepath.Join(o.Dir, "status"),
		&pebbledb.Options{Logger: pebbleLog{log}})
	if err != nil {
		return nil, fmt.Errorf("opening the statuses: %w", err)
	}
	m.writes = &batcher[pair]{most: 1024, write: m.commit}
	mode := pebble.NoSync
	if o.Sync {
		mode = pebble.Sync
	}
	err = errors.Join(
		m.server.AddHook(new(auth.AllowHook), nil),
		m.server.AddHook(new(pebble.Hook), &pebble.Options{
			Path: filepath.Join(o.Dir, "broker"), Mode: mode,
			Options: &pebbledb.Options{Logger: pebbleLog{log}},
		}),
		m.server.AddListener(listeners.NewTCP(listeners.Config{ID: "t", Address: o.Gateway})),
		m.server.Serve(),
		m.server.Subscribe("a/#", 1,
			func(_ *mqttserver.Client, _ packets.Subscription, p packets.Packet) {
				m.writes.add(pair{statusKey(string(p.Payload)), []byte{delivered}}, nil)
			}),
	)
	if err != nil {
		return nil, fmt.Errorf("starting the broker: %w", err)
	}
	return m, nil
}

func (m *mochi) commit(pairs []pair) error {
	b := m.db.NewBatch()
	for _, p := range pairs {
		if err := b.Set(p.key, p.value, nil); err != nil {
			return err
		}
	}
	return b.Commit(pebbledb.Sync)
}

func (m *mochi) send(ctx context.Context, id int64, device int, text string) error {
	name := strconv.FormatInt(id, 10)
	if err := m.writes.do(ctx, pair{textKey(name), []byte(text)}); err != nil {
		return fmt.Errorf("storing a text: %w", err)
	}
	topic := "t/" + strconv.Itoa(device)
	if err := m.server.Publish(topic, []byte(name+" "+text), false, 1); err != nil {
		return fmt.Errorf("publishing: %w", err)
	}
	return nil
}

func (m *mochi) statuses(_ context.Context, ids []int64) ([]int, error) {
	list := make([]int, 0, len(ids))
	for _, id := range ids {
		name := strconv.FormatInt(id, 10)
		is, err := m.has(statusKey(name))
		status := delivered
		if err == nil && !is {
			status = waiting
			if is, err = m.has(textKey(name)); !is {
				status = unknown
			}
		}
		if err != nil {
			return nil, fmt.Errorf("reading statuses: %w", err)
		}
		list = append(list, status)
	}
	return list, nil
}

func (m *mochi) has(key []byte) (bool, error) {
	_, closer, err := m.db.Get(key)
	if errors.Is(err, pebbledb.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, closer.Close()
}

// pebbleLog passes only what is wrong.
type pebbleLog struct{ log *slog.Logger }

func (pebbleLog) Infof(string, ...any) {}

func (p pebbleLog) Errorf(format string, args ...any) {
	p.log.Error(fmt.Sprintf(format, args...))
}

// Fatalf must not return.
func (p pebbleLog) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
