package protocoltest

import (
	"errors"
	"testing"

	"trackchat/protocol"
)

// Session is a codec with its stream; the test plays the gateway and finds everything OK.
type Session struct {
	Codec protocol.Codec

	tb     testing.TB
	stream *Stream
}

// Seen is what came out of one stream: events and answers in order, and all errors of frames.
type Seen struct {
	Events  []protocol.Event
	Answers string
	Err     error
}

// NewSession is a session before its login.
func NewSession(tb testing.TB, p *protocol.Protocol, settings map[string]string) *Session {
	tb.Helper()
	return &Session{
		Codec: p.NewCodec(NewSettings(tb, p, settings)), tb: tb, stream: NewStream(p),
	}
}

// Send feeds bytes and answers each event as OK.
func (s *Session) Send(bytes string) Seen { s.tb.Helper(); return s.Result(bytes, protocol.OK) }

// Result feeds bytes and answers each event with r.
func (s *Session) Result(bytes string, r protocol.Result) (got Seen) {
	s.tb.Helper()
	var answers []byte
	cutting := s.stream.Feed([]byte(bytes), func(frame []byte) {
		events, err := Decode(s.Codec, frame)
		for i := range events {
			answers = s.Codec.AppendReply(answers, &events[i], r)
		}
		got.Events, got.Err = append(got.Events, events...), errors.Join(got.Err, err)
	})
	if cutting != nil {
		s.tb.Fatal(cutting)
	}
	got.Answers = string(answers)
	return got
}

// Text is a text of one part as it is written.
func (s *Session) Text(body string) string {
	s.tb.Helper()
	out, err := s.Codec.AppendText(nil, protocol.Text{Parts: 1, Body: body})
	if err != nil {
		s.tb.Fatal(err)
	}
	return string(out)
}
