package front

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"trackchat/cmd/bench/device"
	"trackchat/protocol"
	"trackchat/protocol/jt808"
)

// terminals is a minimal server of JT/T 808: it lets everybody in, keeps one connection for each
// device, and pushes one text at a time to it.
type terminals struct {
	protocol *protocol.Protocol
	settings protocol.Settings

	mu     sync.Mutex
	online map[int]*terminal // by number of the device
}

const (
	ackWait = 10 * time.Second // for 0x0001
	// turnWait is how long a text waits for the ack of another one to the same terminal before its
	// worker turns to something else.
	turnWait       = 100 * time.Millisecond
	frameBuffer    = 2048             // bytes of each terminal
	terminalSilent = 30 * time.Minute // then a connection is closed
	writeWait      = 5 * time.Second
	authCode       = "bench" // given to each that registers
)

var (
	errAway    = errors.New("the terminal is not connected")
	errBusy    = errors.New("the terminal has not acknowledged another text")
	errNoAck   = errors.New("the terminal has not acknowledged the text")
	errTooLong = errors.New("a frame without an end")
)

// listenTerminals serves terminals until the context ends.
func listenTerminals(ctx context.Context, addr string, log *slog.Logger) (*terminals, error) {
	p := jt808.New()
	settings, err := p.NewSettings()
	if err != nil {
		return nil, fmt.Errorf("settings of terminals: %w", err)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listening for terminals: %w", err)
	}
	context.AfterFunc(ctx, func() { _ = l.Close() }) // ends the loop
	s := &terminals{protocol: p, settings: settings, online: make(map[int]*terminal)}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				if ctx.Err() == nil {
					log.Error("no more terminals are accepted", "error", err)
				}
				return
			}
			go s.serve(c)
		}
	}()
	return s, nil
}

// terminal is one connection.
type terminal struct {
	conn net.Conn
	turn chan struct{} // full while a text is on its way

	mu     sync.Mutex // of everything below, and of writing
	codec  protocol.Codec
	device int // -1 before the login
	ref    uint16
	ack    chan error // of the text that is on its way; nil: none
	out    []byte
}

func (s *terminals) serve(c net.Conn) {
	t := &terminal{
		conn: c, turn: make(chan struct{}, 1), codec: s.protocol.NewCodec(s.settings), device: -1,
	}
	_ = s.read(t) // the terminal is gone, or speaks something else
	_ = c.Close() // nothing is owed
	s.mu.Lock()
	if s.online[t.device] == t {
		delete(s.online, t.device)
	}
	s.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.endLocked(errAway)
}

// endLocked tells who pushes what became of the text.
func (t *terminal) endLocked(err error) {
	if t.ack != nil {
		t.ack <- err
		t.ack = nil
	}
}

// read serves a connection until it ends.
func (s *terminals) read(t *terminal) error {
	buf := make([]byte, frameBuffer)
	have := 0
	for {
		if err := t.conn.SetReadDeadline(time.Now().Add(terminalSilent)); err != nil {
			return err
		}
		if have == len(buf) {
			return errTooLong
		}
		n, err := t.conn.Read(buf[have:])
		if err != nil {
			return err
		}
		have += n
		used := 0
		for used < have {
			n, _, err := s.protocol.Frame(buf[used:have], 0)
			if err != nil {
				return err
			}
			if n == 0 {
				break
			}
			if err := s.frame(t, buf[used:used+n]); err != nil {
				return err
			}
			used += n
		}
		have = copy(buf, buf[used:have])
	}
}

// frame answers one frame. A damaged one is left out.
func (s *terminals) frame(t *terminal, frame []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.out = t.out[:0]
	_ = t.codec.Decode(frame, func(e *protocol.Event) {
		switch e.Kind {
		case protocol.KindRegister:
			e.Secret = authCode
		case protocol.KindLogin:
			if index, ok := device.Index(e.DeviceID); ok {
				t.device = index
				s.mu.Lock()
				s.online[index] = t
				s.mu.Unlock()
			}
			t.codec.Bind(s.settings)
		case protocol.KindAck:
			if uint16(e.Ref) == t.ref && e.Outcome == protocol.AckDelivered {
				t.endLocked(nil)
			}
		default:
		}
		t.out = t.codec.AppendReply(t.out, e, protocol.OK)
	})
	return t.writeLocked()
}

func (t *terminal) writeLocked() error {
	if len(t.out) == 0 {
		return nil
	}
	if err := t.conn.SetWriteDeadline(time.Now().Add(writeWait)); err != nil {
		return err
	}
	_, err := t.conn.Write(t.out)
	return err
}

// push writes a text to a terminal and waits for its ack.
func (s *terminals) push(ctx context.Context, index int, text string) error {
	s.mu.Lock()
	t := s.online[index]
	s.mu.Unlock()
	if t == nil {
		return errAway
	}
	timer := time.NewTimer(turnWait)
	defer timer.Stop()
	select {
	case t.turn <- struct{}{}:
	case <-timer.C:
		return errBusy
	}
	defer func() { <-t.turn }()
	ack, err := t.write(text)
	if err != nil {
		return err
	}
	timer.Reset(ackWait)
	select {
	case err := <-ack:
		return err
	case <-timer.C:
		err = errNoAck
	case <-ctx.Done():
		err = ctx.Err()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ack = nil
	return err
}

// write writes a text whose outcome comes over the channel.
func (t *terminal) write(text string) (chan error, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ref++
	out, err := t.codec.AppendText(t.out[:0], protocol.Text{
		Ref: uint64(t.ref), Parts: 1, Body: text,
	})
	if err != nil {
		return nil, fmt.Errorf("a text: %w", err)
	}
	t.out = out
	if err := t.writeLocked(); err != nil {
		_ = t.conn.Close() // the reading ends, and with it the connection
		return nil, fmt.Errorf("%w: %w", errAway, err)
	}
	t.ack = make(chan error, 1)
	return t.ack, nil
}
