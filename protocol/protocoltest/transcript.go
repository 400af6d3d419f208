package protocoltest

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"trackchat/protocol"
)

// Transcripts replays every testdata/*.txt against a fresh codec and compares what it does with
// what is written there; update writes it anew. A line is one of
//
//	# comment
//	> bytes from the device, in hexadecimal or as a quoted Go string; need not be whole frames
//	= what the codec made of them: an event, or an error
//	< what the codec answered, in the notation of the input
//	! what the gateway does:
//	    ! settings name=value ...       of the listener, before anything else
//	    ! result ok|no_login|unknown_device|bad_credentials|invalid|later    for the events from
//	    here on
//	    ! secret CODE                   handed out for the registrations from here on
//	    ! bind name=value ...           settings of the tracker for the logins from here on
//	    ! text ref=N [part=1/2] [at=RFC3339] [choices="a|b"] [urgent=true]
//	    "body"
//	    ! withdraw ref=N
//	    ! caps                          shows what the session can carry
//	    ! poll RFC3339                  asks what was held back long enough, and what is sent
//	                                    unasked
//	    ! end                           of the session: what it still holds back
//
// The lines with = and < are made by the codec: write the others, run the test with its update flag
// and read what came out.
func Transcripts(t *testing.T, p *protocol.Protocol, update bool) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", "*.txt"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no transcripts in testdata (%v)", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got, err := replay(p, string(want))
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			if got == string(want) {
				return
			}
			if update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			t.Errorf("%s differs:\n%s", path, firstDifference(string(want), got))
		})
	}
}

func firstDifference(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(a), len(b)) {
		var x, y string
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y {
			return fmt.Sprintf("line %d\nwritten: %s\nnow:     %s", i+1, x, y)
		}
	}
	return ""
}

// tape is one transcript being replayed.
type tape struct {
	p      *protocol.Protocol
	codec  protocol.Codec
	stream *Stream
	bound  protocol.Settings
	result protocol.Result
	secret string
	text   bool // bytes are shown as quoted strings
	out    strings.Builder
}

func replay(p *protocol.Protocol, script string) (string, error) {
	settings, err := p.NewSettings()
	if err != nil {
		return "", err
	}
	tp := &tape{
		p: p, codec: p.NewCodec(settings), stream: NewStream(p), bound: settings,
		secret: Secret,
	}
	for n, line := range strings.SplitAfter(script, "\n") {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "=") || strings.HasPrefix(line, "<") {
			continue
		}
		if line == "" && n == strings.Count(script, "\n") {
			break // what follows the last line
		}
		tp.out.WriteString(line + "\n")
		if err := tp.line(line); err != nil {
			return "", fmt.Errorf("line %d: %w", n+1, err)
		}
	}
	return tp.out.String(), nil
}

func (tp *tape) line(line string) error {
	mark, rest, _ := strings.Cut(line, " ")
	switch mark {
	case "", "#":
		return nil
	case ">":
		return tp.receive(rest)
	case "!":
		return tp.act(rest)
	}
	return fmt.Errorf("%q is no line of a transcript", line)
}

func (tp *tape) receive(notation string) error {
	var in []byte
	if strings.HasPrefix(notation, `"`) {
		s, err := strconv.Unquote(notation)
		if err != nil {
			return fmt.Errorf("%s: %w", notation, err)
		}
		in, tp.text = []byte(s), true
	} else {
		b, err := hex.DecodeString(strings.Join(strings.Fields(notation), ""))
		if err != nil {
			return err
		}
		in, tp.text = b, false
	}
	err := tp.stream.Feed(in, tp.frame)
	if errors.Is(err, ErrContract) {
		return err
	}
	if err != nil {
		tp.printf("= closed: %v", err)
	}
	return nil
}

func (tp *tape) printf(format string, args ...any) { fmt.Fprintf(&tp.out, format+"\n", args...) }

func (tp *tape) sent(b []byte) {
	switch {
	case len(b) == 0:
	case tp.text && utf8.Valid(b) &&
		bytes.IndexFunc(b, func(r rune) bool {
			return unicode.IsControl(r) && r != '\r' &&
				r != '\n'
		}) < 0:
		tp.printf("< %q", b)
	default:
		tp.printf("< % x", b)
	}
}

// release shows what the codec has held back.
func (tp *tape) release(at time.Time, end bool) {
	if h, ok := tp.codec.(protocol.Holder); ok {
		var events []protocol.Event
		h.Release(at, end, func(e *protocol.Event) { events = append(events, *e) })
		tp.events(events)
	}
}

// frame does with a frame what the gateway does.
func (tp *tape) frame(frame []byte) {
	events, err := Decode(tp.codec, frame)
	tp.events(events)
	if err != nil {
		tp.printf("= error: %v", err)
	}
}

func (tp *tape) events(events []protocol.Event) {
	for i := range events {
		e := &events[i]
		tp.printf("= %s", describe(e))
		if tp.result == protocol.OK && e.Kind == protocol.KindRegister {
			e.Secret = tp.secret
		}
		if tp.result == protocol.OK && e.Kind == protocol.KindLogin {
			tp.codec.Bind(tp.bound)
		}
		tp.sent(tp.codec.AppendReply(nil, e, tp.result))
	}
}

func (tp *tape) act(action string) error {
	verb, rest, _ := strings.Cut(action, " ")
	switch verb {
	case "settings", "bind":
		s, err := tp.p.NewSettings(maps.Collect(fields(rest)))
		if err != nil {
			return err
		}
		tp.bound = s
		if verb == "settings" {
			tp.codec = tp.p.NewCodec(s)
		}
	case "result":
		for r, name := range results() {
			if name == rest {
				tp.result = protocol.Result(r)
				return nil
			}
		}
		return fmt.Errorf("no result %q", rest)
	case "secret":
		tp.secret = rest
	case "caps":
		c := tp.codec.Caps()
		tp.printf("= caps part_bytes=%d ref_bits=%d choices=%d prefix=%t silent=%t no_text=%t%s",
			c.PartBytes, c.RefBits, c.Choices, c.Prefix, c.Silent, c.NoText,
			map[bool]string{true: " not_yet=true"}[c.NotYet]+
				map[bool]string{true: " urgent=true"}[c.Urgent])
	case "poll":
		at, err := time.Parse(time.RFC3339, rest)
		if err != nil {
			return err
		}
		tp.release(at, false)
		out, next := tp.codec.Poll(nil, at)
		tp.sent(out)
		if !next.IsZero() {
			tp.printf("= poll again at %s", next.UTC().Format(time.RFC3339Nano))
		}
	case "end":
		tp.release(time.Time{}, true)
	case "text":
		return tp.write(rest)
	case "withdraw":
		w, ok := tp.codec.(protocol.Withdrawer)
		ref, err := strconv.ParseUint(strings.TrimPrefix(rest, "ref="), 0, 64)
		if err != nil || !ok {
			return fmt.Errorf("withdraw %q: %w", rest, err)
		}
		tp.sent(w.AppendWithdraw(nil, ref))
	default:
		return fmt.Errorf("no action %q", verb)
	}
	return nil
}

func (tp *tape) write(args string) error {
	text := protocol.Text{Parts: 1}
	for name, value := range fields(args) {
		var err error
		switch name {
		case "":
			text.Body = value
		case "ref":
			text.Ref, err = strconv.ParseUint(value, 0, 64)
		case "at":
			var at time.Time
			at, err = time.Parse(time.RFC3339, value)
			text.AtMs = at.UnixMilli()
		case "part":
			_, err = fmt.Sscanf(value, "%d/%d", &text.Part, &text.Parts)
			text.Part--
		case "urgent":
			text.Urgent, err = strconv.ParseBool(value)
		case "choices":
			text.Choices = strings.Split(value, "|")
		default:
			err = fmt.Errorf("a text has no %q", name)
		}
		if err != nil {
			return err
		}
	}
	out, err := tp.codec.AppendText(nil, text)
	tp.sent(out)
	if err != nil {
		tp.printf("= error: %v", err)
	}
	return nil
}

// fields yields name and value of `a=b c="d e" "f"`; a value alone has no name.
func fields(s string) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for s = strings.TrimSpace(s); s != ""; s = strings.TrimSpace(s) {
			name := ""
			if i := strings.IndexAny(s, `=" `); i >= 0 && s[i] == '=' {
				name, s = s[:i], s[i+1:]
			}
			value, err := strconv.QuotedPrefix(s)
			if err == nil {
				s = s[len(value):]
				value, _ = strconv.Unquote(value)
			} else {
				value, s, _ = strings.Cut(s, " ")
			}
			if !yield(name, value) {
				return
			}
		}
	}
}
