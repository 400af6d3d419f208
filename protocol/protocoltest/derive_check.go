package protocoltest

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"trackchat/protocol"
)

// window is how many bytes of a text may not be found again.
const window = 6

// anonymous checks that nothing of v can be found in w.
func (d *Derivation) anonymous(t *testing.T, p *protocol.Protocol, v, w Vector) {
	t.Helper()
	was, is := v.Bytes(), w.Bytes()
	secrets := append(d.Secrets(t, v, was), described(v)...)
	secrets = append(secrets, words(was)...)
	texts := d.outcome(t, p, v).said
	for _, text := range texts {
		secrets = append(secrets, wordForms(text)...)
	}
	for _, secret := range secrets {
		if telling(secret) && bytes.Contains(is, secret) {
			t.Errorf("%x (%q) of %x is in %x", secret, secret, was, is)
		}
		if len(secret) >= window && strings.Contains(w.Description, string(secret)) {
			t.Errorf("%q is in %q", secret, w.Description)
		}
	}
	for _, text := range d.outcome(t, p, w).said {
		for _, other := range texts {
			for i := range len(other) - window + 1 {
				if part := other[i : i+window]; telling([]byte(part)) &&
					strings.Contains(text, part) {
					t.Errorf("%q is in %q", part, text)
				}
			}
		}
	}
	if n := regexp.MustCompile(`\d{6}`).FindString(w.Description); n != "" {
		t.Errorf("%q is in %q", n, w.Description)
	}
}

// telling reports whether b is more than padding with a small number.
func telling(b []byte) bool {
	const least = 2
	n := len(b)
	for _, padding := range []byte{0, 0xFF, '0'} {
		n -= bytes.Count(b, []byte{padding})
	}
	return n >= least
}

// described returns the ids that a description names, as they may lie in the frame.
func described(v Vector) (secrets [][]byte) {
	const ids = `(?:phone|OID|IMEI|TID) ([0-9a-f]+)|([0-9]{6,})|[b ]'(.*)'`
	for _, m := range regexp.MustCompile(ids).FindAllStringSubmatch(v.Description, -1) {
		secrets = append(secrets, wordForms(m[1]+m[2]+m[3])...)
	}
	return secrets
}

// wordForms returns how an id or a text may be written: in ASCII, in BCD, as a number.
func wordForms(id string) (forms [][]byte) {
	if len(id) >= 4 {
		forms = append(forms, []byte(id))
	}
	if b, err := hex.DecodeString(strings.Repeat("0", len(id)%2) + id); err == nil && len(b) > 2 {
		forms = append(forms, b)
	}
	if n, err := strconv.ParseUint(id, 10, 32); err == nil {
		forms = append(forms, binary.BigEndian.AppendUint32(nil, uint32(n)))
		forms = append(forms, binary.LittleEndian.AppendUint32(nil, uint32(n)))
	}
	return forms
}

// words returns every window of the words in a frame.
func words(frame []byte) (secrets [][]byte) {
	for _, word := range regexp.MustCompile(`[0-9A-Za-z]+`).FindAll(frame, -1) {
		for i := range len(word) - window + 1 {
			secrets = append(secrets, word[i:i+window])
		}
	}
	return secrets
}

// alike checks that w means what v does: the frames that are cut off, the kinds of events, the
// errors, and answers of the same length.
func (d *Derivation) alike(t *testing.T, p *protocol.Protocol, v, w Vector) {
	t.Helper()
	if a, b := d.outcome(t, p, v).did, d.outcome(t, p, w).did; a != b {
		t.Errorf("%s\n%x does\n%s%x does\n%s", v.Description, v.Bytes(), a, w.Bytes(), b)
	}
}

// outcome is what became of a frame.
type outcome struct {
	did  string
	said []string // ids and texts
}

func (d *Derivation) outcome(t *testing.T, p *protocol.Protocol, v Vector) outcome {
	t.Helper()
	if v.BodyOnly() {
		return outcome{}
	}
	var o outcome
	if v.FromDevice() {
		c := p.NewCodec(NewSettings(t, p, d.Settings))
		if d.Prepare != nil {
			d.Prepare(t, c, v)
		}
		frames, rest, err := Cut(p, v.Bytes())
		o.add("%d bytes left, %s", rest, kindOf(err))
		for _, frame := range frames {
			events, err := Decode(c, frame)
			o.add("frame of %d bytes, %s", len(frame), kindOf(err))
			for i := range events {
				o.event(&events[i], d.unescaped(c.AppendReply(nil, &events[i], protocol.OK)))
			}
		}
	}
	if v.ToDevice() {
		cfg := protocol.DeviceConfig{ID: "13812345678", Settings: NewSettings(t, p, d.Settings)}
		if d.Device != nil {
			cfg = d.Device(v)
		}
		device := NewDeviceStream(p.NewDevice(cfg))
		out, events, err := device.Feed(v.Bytes())
		o.add("device: %d bytes left, %d bytes out, %s", device.Pending(), len(out), kindOf(err))
		for _, e := range events {
			o.add("device event %d ref=%d, %d choices", e.Kind, e.Ref, len(e.Choices))
			if e.Kind == protocol.DeviceText {
				o.said = append(o.said, e.Body)
			}
		}
	}
	return o
}

func (o *outcome) add(format string, args ...any) { o.did += fmt.Sprintf(format+"\n", args...) }

func (o *outcome) event(e *protocol.Event, answer []byte) {
	o.said = append(o.said, e.Text, e.DeviceID, e.Alias, e.Secret)
	o.add("%s msg=%x ref=%d outcome=%d choice=%d count=%d, %d bytes of answer",
		kinds()[e.Kind], e.Msg, e.Ref, e.Outcome, e.Choice, e.Count, len(answer))
}

func (d *Derivation) unescaped(b []byte) []byte {
	if d.Unescape == nil {
		return b
	}
	return d.Unescape(b)
}

// kindOf names what an error is.
func kindOf(err error) string {
	for _, e := range []error{
		protocol.ErrTooLong, protocol.ErrFraming, protocol.ErrGarbage, protocol.ErrChecksum,
		protocol.ErrMalformed,
	} {
		if errors.Is(err, e) {
			return e.Error()
		}
	}
	return fmt.Sprint(err)
}
