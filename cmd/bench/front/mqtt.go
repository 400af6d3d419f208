package front

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"trackchat/cmd/bench/mqtt"
)

const (
	// betweenDials is how long a front's client waits before it connects again.
	betweenDials = 50 * time.Millisecond
	readBuffer   = 64 << 10
)

var (
	errBroken  = errors.New("the connection to the broker broke")
	errRefused = errors.New("the broker refuses")
	errFull    = errors.New("all packet numbers are taken")
)

// mqttClient publishes with QoS 1, many texts at a time, and may subscribe to one filter.
type mqttClient struct {
	addr, id, filter string
	on               func(payload []byte) // called for what comes in, one after the other

	ready chan struct{} // closed when the client is connected first
	once  sync.Once

	mu      sync.Mutex
	conn    net.Conn // nil between connections
	out     []byte
	spare   []byte
	writing bool
	number  uint16
	waits   map[uint16]chan<- error
}

// dialMQTT keeps a client connected until the context ends, and waits for the first time.
func dialMQTT(ctx context.Context, m *mqttClient, log *slog.Logger) error {
	m.waits, m.ready = make(map[uint16]chan<- error), make(chan struct{})
	go func() {
		for ctx.Err() == nil {
			if err := m.connect(ctx); err != nil && ctx.Err() == nil {
				log.Warn("connection to the broker", "client", m.id, "error", err)
			}
			time.Sleep(betweenDials)
		}
	}()
	select {
	case <-m.ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// connect serves one connection.
func (m *mqttClient) connect(ctx context.Context) error {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", m.addr)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = c.Close() })() // ends the reading
	defer m.disconnected(c)
	hello := mqtt.AppendConnect(nil, m.id)
	if m.filter != "" {
		hello = mqtt.AppendSubscribe(hello, m.filter, 1)
	}
	if _, err := c.Write(hello); err != nil {
		return err
	}
	r := mqtt.NewReader(c, readBuffer)
	for {
		p, err := r.Next()
		if err != nil {
			return err
		}
		if err := m.take(c, p); err != nil {
			return err
		}
	}
}

// take deals with one packet from the broker.
func (m *mqttClient) take(c net.Conn, p mqtt.Packet) error {
	switch p.Type {
	case mqtt.ConnAck, mqtt.SubAck:
		if p.Refused() {
			return errRefused
		}
		if p.Type == mqtt.SubAck || m.filter == "" {
			m.mu.Lock()
			m.conn = c
			m.mu.Unlock()
			m.once.Do(func() { close(m.ready) })
		}
	case mqtt.PubAck:
		n, err := p.Number()
		if err != nil {
			return err
		}
		m.mu.Lock()
		wait := m.waits[n]
		delete(m.waits, n)
		m.mu.Unlock()
		if wait != nil {
			wait <- nil
		}
	case mqtt.Publish:
		_, number, payload, err := p.Publication()
		if err != nil {
			return err
		}
		if number != 0 {
			m.mu.Lock()
			m.out = mqtt.AppendPubAck(m.out, number)
			m.flushLocked()
			m.mu.Unlock()
		}
		m.on(payload)
	}
	return nil
}

func (m *mqttClient) disconnected(c net.Conn) {
	_ = c.Close() // nothing more is owed
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conn, m.out = nil, nil
	for n, wait := range m.waits {
		wait <- errBroken
		delete(m.waits, n)
	}
}

// flushLocked sees to it that somebody writes what is queued: many packets with one system call.
func (m *mqttClient) flushLocked() {
	if m.writing || m.conn == nil {
		return
	}
	m.writing = true
	go m.write()
}

func (m *mqttClient) write() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.out) > 0 && m.conn != nil {
		out, c := m.out, m.conn
		m.out = m.spare[:0]
		m.mu.Unlock()
		_, err := c.Write(out)
		m.mu.Lock()
		m.spare = out
		if err != nil {
			_ = c.Close() // the reading ends, and with it the connection
			break
		}
	}
	m.writing = false
}

// publish queues "<id> <text>" for a device; wait gets the broker's word.
func (m *mqttClient) publish(device int, id int64, text string, wait chan<- error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.conn == nil {
		wait <- errBroken
		return
	}
	if len(m.waits) >= 1<<16-1 {
		wait <- errFull
		return
	}
	for taken := true; taken || m.number == 0; {
		m.number++
		_, taken = m.waits[m.number]
	}
	m.waits[m.number] = wait
	payload := append(strconv.AppendInt(nil, id, 10), ' ')
	m.out = mqtt.AppendPublish(m.out, "t/"+strconv.Itoa(device), m.number, false,
		append(payload, text...))
	m.flushLocked()
}

// send publishes and waits for the broker's word.
func (m *mqttClient) send(ctx context.Context, device int, id int64, text string) error {
	wait := make(chan error, 1)
	m.publish(device, id, text, wait)
	if err := outcome(ctx, wait); err != nil {
		return fmt.Errorf("publishing: %w", err)
	}
	return nil
}
