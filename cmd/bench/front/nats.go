package front

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"
)

// Streams of the two buckets, and how many publications may wait for the server's word.
const (
	texts       = "chat"
	flips       = "stat"
	mostPending = 20_000
	reads       = 64 // statuses that are read at a time
)

// natsFront keeps the text in a key-value bucket, pushes by MQTT QoS 1 (which the server stores
// before it acknowledges), and puts the status when the device's acknowledgement comes by.
type natsFront struct {
	js            nats.JetStreamContext
	texts, status nats.KeyValue
	// The server stores what one connection publishes one after the other.
	publishers []*mqttClient
}

func newNATS(ctx context.Context, o Options, log *slog.Logger) (backend, error) {
	conn, err := nats.Connect(o.NATS, nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true))
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	n := &natsFront{}
	if n.js, err = conn.JetStream(nats.PublishAsyncMaxPending(mostPending)); err != nil {
		return nil, fmt.Errorf("using JetStream: %w", err)
	}
	if n.texts, err = n.bucket(texts); err != nil {
		return nil, err
	}
	if n.status, err = n.bucket(flips); err != nil {
		return nil, err
	}
	for i := range max(o.Publishers, 1) {
		c := &mqttClient{addr: o.Gateway, id: "front-publisher-" + strconv.Itoa(i)}
		if err := dialMQTT(ctx, c, log); err != nil {
			return nil, err
		}
		n.publishers = append(n.publishers, c)
	}
	// MQTT's a/<device> is a.<device> here.
	_, err = conn.Subscribe("a.*", func(m *nats.Msg) {
		if _, err := n.js.PublishAsync(subject(flips, string(m.Data)), []byte("1")); err != nil {
			log.Error("putting a status", "error", err)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("subscribing: %w", err)
	}
	return n, nil
}

// bucket opens a bucket and creates it where there is none.
func (n *natsFront) bucket(name string) (nats.KeyValue, error) {
	kv, err := n.js.KeyValue(name)
	if errors.Is(err, nats.ErrBucketNotFound) {
		kv, err = n.js.CreateKeyValue(&nats.KeyValueConfig{
			Bucket: name, History: 1, Storage: nats.FileStorage,
		})
	}
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", name, err)
	}
	return kv, nil
}

// subject is where a bucket's value is published.
func subject(bucket, key string) string { return "$KV." + bucket + "." + key }

func (n *natsFront) send(ctx context.Context, id int64, device int, text string) error {
	stored, err := n.js.PublishAsync(subject(texts, strconv.FormatInt(id, 10)), []byte(text))
	if err != nil {
		return fmt.Errorf("storing a text: %w", err)
	}
	published := make(chan error, 1)
	n.publishers[device%len(n.publishers)].publish(device, id, text, published)
	select {
	case <-stored.Ok():
	case err := <-stored.Err():
		return fmt.Errorf("storing a text: %w", err)
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := outcome(ctx, published); err != nil {
		return fmt.Errorf("publishing: %w", err)
	}
	return nil
}

func (n *natsFront) statuses(_ context.Context, ids []int64) ([]int, error) {
	list, errs := make([]int, len(ids)), make([]error, len(ids))
	turns := make(chan struct{}, reads)
	var all sync.WaitGroup
	for i, id := range ids {
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			list[i], errs[i] = n.statusOf(strconv.FormatInt(id, 10))
		})
	}
	all.Wait()
	return list, errors.Join(errs...)
}

func (n *natsFront) statusOf(id string) (int, error) {
	if _, err := n.status.Get(id); !errors.Is(err, nats.ErrKeyNotFound) {
		return delivered, err
	}
	if _, err := n.texts.Get(id); !errors.Is(err, nats.ErrKeyNotFound) {
		return waiting, err
	}
	return unknown, nil
}
