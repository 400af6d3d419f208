package wialon_test

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"

	"trackchat/protocol"
	"trackchat/protocol/protocoltest"
	"trackchat/protocol/wialon"
)

const record = "240126;135321;5512.3456;N;03734.5678;E;89;42;150;16"

func container(tb testing.TB, inside string) string {
	tb.Helper()
	var packed bytes.Buffer
	z := zlib.NewWriter(&packed)
	if _, err := z.Write([]byte(inside)); err != nil {
		tb.Fatal(err)
	}
	if err := z.Close(); err != nil {
		tb.Fatal(err)
	}
	return string(append(binary.LittleEndian.AppendUint16([]byte{0xFF}, uint16(packed.Len())),
		packed.Bytes()...))
}

func TestTooLongLineIsDroppedAndTheNextOneIsWhole(t *testing.T) {
	p := wialon.New()
	for _, length := range []int{p.MaxFrame - 1, p.MaxFrame, p.MaxFrame + 1, 3*p.MaxFrame + 7} {
		s := loggedIn(t, "1.1", nil)
		got := s.Send("#M#" + strings.Repeat("x", length-4) + "\n#P#\r\n")
		fits := length <= p.MaxFrame
		if !strings.HasSuffix(got.Answers, "#AP#\r\n") || fits != (got.Err == nil) ||
			fits != strings.Contains(got.Answers, "#AM#1") {
			t.Errorf("a line of %d bytes: answers %q, %v", length, got.Answers, got.Err)
		}
		if !fits && !errors.Is(got.Err, protocol.ErrGarbage) {
			t.Errorf("a line of %d bytes: %v", length, got.Err)
		}
	}
}

func TestBlockThatCannotFitEndsTheSession(t *testing.T) {
	p := wialon.New()
	for _, size := range []int{p.MaxFrame, p.MaxFrame + 1, 1 << 40} {
		line := "#I#" + strconv.Itoa(size) + ";0;0;240126;135321;a.jpg\r\n"
		if _, _, err := p.Frame([]byte(line), 0); !errors.Is(err, protocol.ErrTooLong) {
			t.Errorf("a block of %d bytes: %v", size, err)
		}
	}
	head := "#I#1048000;0;0;240126;135321;a.jpg\r\n"
	frame := []byte(head + strings.Repeat("\n", 1_048_000))
	if n, _, err := p.Frame(frame, 0); n != len(frame) || err != nil {
		t.Errorf("a block that fits: %d, %v", n, err)
	}
}

// A line that arrives byte by byte must not be searched from its start each time.
func TestFrameGoesOnWhereItStopped(t *testing.T) {
	p := wialon.New()
	line := bytes.Repeat([]byte("x"), 1000)
	scanned := 0
	for i := range line {
		n, next, err := p.Frame(line[:i+1], scanned)
		if n != 0 || next != i+1 || err != nil {
			t.Fatalf("after %d bytes: %d, next %d, %v", i+1, n, next, err)
		}
		scanned = next
	}
	image := []byte("#I#100;0;0;240126;135321;a.jpg\r\n" + strings.Repeat("\n", 100))
	end := bytes.IndexByte(image, '\n')
	if n, next, err := p.Frame(image[:end+50], 0); n != 0 || next != end || err != nil {
		t.Errorf("half a block: %d, next %d instead of %d, %v", n, next, end, err)
	}
	if n, _, err := p.Frame(image, end); n != len(image) || err != nil {
		t.Errorf("the whole block: %d, %v", n, err)
	}
}

func TestContainerIsUnpackedWithinBounds(t *testing.T) {
	p := wialon.New()
	s := loggedIn(t, "1.1", nil)
	if got := s.Send(container(t, "#M#"+strings.Repeat("x", p.MaxFrame-4)+"\n")); got.Err != nil ||
		got.Answers != "#AM#1\r\n" {
		t.Errorf("a packet as long as a frame may be: %q, %v", got.Answers, got.Err)
	}
	for _, length := range []int{p.MaxFrame + 1, 40 * p.MaxFrame} {
		bomb := container(t, strings.Repeat("x", length))
		if got := s.Send(bomb); !errors.Is(got.Err, protocol.ErrTooLong) || len(got.Events) != 0 {
			t.Errorf("%d bytes packed into %d: %+v, %v", length, len(bomb), got.Events, got.Err)
		}
	}
	if got := s.Send(container(t, "#P#")); got.Answers != "#AP#\r\n" {
		t.Errorf("after the bombs: %q, %v", got.Answers, got.Err)
	}
}

func TestSessionsShareWhatUnpacks(t *testing.T) {
	p := wialon.New()
	settings := protocoltest.NewSettings(t, p, nil)
	var all sync.WaitGroup
	for i := range 8 {
		text := strings.Repeat(strconv.Itoa(i), 1000)
		frame := []byte(container(t, "#M#"+text))
		all.Go(func() {
			c := p.NewCodec(settings)
			for range 50 {
				events, err := protocoltest.Decode(c, frame)
				if err != nil || len(events) != 1 || events[0].Text != text {
					t.Errorf("session %d got %+v, %v", i, events, err)
				}
			}
		})
	}
	all.Wait()
}

func TestFullBlackBox(t *testing.T) {
	const records = 5000
	s := loggedIn(t, "2.0", nil)
	extended := record + ";0.9;897;NA;0.223000,0.000000;NA;ign:1:1,fuel1:1:2183,text:3:number "
	var b strings.Builder
	for i := range records {
		b.WriteString(extended + strconv.Itoa(i) + "|")
	}
	got := s.Send("#B#" + b.String() + crc(b.String()) + "\r\n")
	if got.Err != nil || got.Answers != "#AB#5000\r\n" || len(got.Events) != records+1 {
		t.Fatalf("%d events, answers %q, %v", len(got.Events), got.Answers, got.Err)
	}
	keys := map[uint64]bool{}
	for i, e := range got.Events[:records] {
		if e.Text != "number "+strconv.Itoa(i) {
			t.Fatalf("text %d is %q", i, e.Text)
		}
		keys[e.Key] = true
	}
	if len(keys) != records {
		t.Errorf("%d different keys for %d texts", len(keys), records)
	}
}

// The worst that a line can hold must take time in proportion to its length: were it quadratic,
// these would take minutes.
func TestHostileLinesTakeLinearTime(t *testing.T) {
	s := loggedIn(t, "1.1", nil)
	for name, params := range map[string]string{
		"commas":           "text:3:" + strings.Repeat(",", 500_000) + "x",
		"commas and words": "text:3:" + strings.Repeat(",x", 250_000),
		"almost":           "text:3:" + strings.Repeat(",x:", 150_000),
		"texts":            strings.Repeat("text:3:x,", 50_000),
		"semicolons":       strings.Repeat(";", 500_000),
	} {
		got := s.Send("#D#" + record + ";NA;NA;NA;NA;NA;" + params + "\r\n")
		if got.Answers == "" {
			t.Errorf("%s: no answer, %v", name, got.Err)
		}
	}
	got := s.Send("#B#" + strings.Repeat("|", 1_000_000) + "\r\n")
	if got.Answers != "#AB#0\r\n" {
		t.Errorf("a box of nothing: %q, %v", got.Answers, got.Err)
	}
}
