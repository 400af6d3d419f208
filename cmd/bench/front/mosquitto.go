package front

import (
	"context"
	"log/slog"
)

// mosquitto keeps texts and statuses in Redis and pushes through a broker.
type mosquitto struct {
	*redisStatus

	publisher *mqttClient
}

func newMosquitto(ctx context.Context, o Options, log *slog.Logger) (backend, error) {
	m := &mosquitto{redisStatus: newRedisStatus(ctx, o.Redis)}
	m.publisher = &mqttClient{addr: o.Gateway, id: "front-publisher"}
	if err := dialMQTT(ctx, m.publisher, log); err != nil {
		return nil, err
	}
	acks := &mqttClient{addr: o.Gateway, id: "front-acks", filter: "a/#", on: func(id []byte) {
		m.deliver(ctx, string(id), nil)
	}}
	return m, dialMQTT(ctx, acks, log)
}

func (m *mosquitto) send(ctx context.Context, id int64, device int, text string) error {
	// The record first: the ack must not overtake it.
	if err := m.put(ctx, id, device, text); err != nil {
		return err
	}
	return m.publisher.send(ctx, device, id, text)
}
