package protocol_test

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"trackchat/protocol"

	"pgregory.net/rapid"
)

func TestSplitKeepsTextWholeAndPartsWithinRoom(t *testing.T) {
	charsets := map[string]protocol.Charset{
		"utf8": protocol.UTF8(), "gbk": protocol.GBK(), "cp1251": protocol.Windows1251(),
		"utf16":    protocol.UTF16(true),
		"widening": widening{protocol.UTF16(true)},
	}
	for name, cs := range charsets {
		t.Run(name, rapid.MakeCheck(func(t *rapid.T) {
			text := rapid.StringMatching(`[ a-z\nя亊éłŒ…→👍😀🦕́]{1,400}`).Draw(t, "text")
			c := protocol.TextCaps{
				Charset: cs, PartBytes: rapid.IntRange(16, 200).Draw(t, "room"),
				Prefix: rapid.Bool().Draw(t, "prefix"),
			}
			parts, err := protocol.Split(text, c)
			if err != nil {
				t.Fatal(err)
			}
			if want, _ := protocol.Fold(cs, text); strings.Join(parts, "") != want {
				t.Fatalf("parts %q are not the whole of %q", parts, text)
			}
			for i, part := range parts {
				var wire []byte
				if c.Prefix {
					wire = protocol.AppendPrefix(wire, protocol.Text{Part: i, Parts: len(parts)})
				}
				wire = cs.Append(wire, part)
				if part == "" || len(wire) > c.PartBytes || !utf8.ValidString(part) {
					t.Fatalf("part %d %q takes %d of %d bytes", i, part, len(wire), c.PartBytes)
				}
			}
		}))
	}
}

// A text of as many characters as Longest promises fits, however its spaces fall and whatever its
// characters take.
func TestTheLongestTextFits(t *testing.T) {
	alphabets := map[protocol.Charset]string{
		protocol.UTF8(): "[ a🦕]", protocol.GBK(): "[ a好]", protocol.Windows1251(): "[ aя]",
		protocol.UTF16(true): "[ a好]", protocol.ASCII(): "[ a]",
	}
	for cs, alphabet := range alphabets {
		t.Run(cs.String(), rapid.MakeCheck(func(t *rapid.T) {
			c := protocol.TextCaps{
				Charset: cs, PartBytes: rapid.IntRange(8, 40).Draw(t, "room"),
				Prefix: rapid.Bool().Draw(t, "prefix"),
			}
			pattern := rapid.StringMatching(alphabet+"{1,30}").Draw(t, "pattern")
			n := min(protocol.Longest(c), 20_000)
			text := string([]rune(strings.Repeat(pattern, n/utf8.RuneCountInString(pattern)+1))[:n])
			if _, err := protocol.Split(text, c); err != nil {
				t.Fatalf("%d times %q: %v", n, pattern, err)
			}
		}))
	}
	for _, c := range []struct {
		room   int
		prefix bool
		cs     protocol.Charset
		want   int
	}{
		{8, true, protocol.GBK(), 4},                       // no room for a number and a text
		{8, false, protocol.UTF8(), 2 * protocol.MaxParts}, // 5 bytes of a part at least
		{13, true, protocol.ASCII(), 99 * 5},
	} {
		if got := protocol.Longest(protocol.TextCaps{
			Charset: c.cs, PartBytes: c.room,
			Prefix: c.prefix,
		}); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

// widening takes one byte for each letter, two where one of them is not Latin: what a Fitter is
// for.
type widening struct{ protocol.Charset }

func (w widening) Append(dst []byte, text string) []byte {
	out := make([]byte, utf8.RuneCountInString(text))
	if strings.ContainsFunc(text, func(r rune) bool { return r > '~' }) {
		out = append(out, out...)
	}
	return append(dst, out...)
}

func (w widening) Fit(text string, room int) int {
	for i, r := range text {
		if len(w.Append(nil, text[:i]+string(r))) > room {
			return i
		}
	}
	return len(text)
}

func TestSplitUsesTheRoomOfAFitter(t *testing.T) {
	c := protocol.TextCaps{Charset: widening{protocol.UTF16(true)}, PartBytes: 10}
	for text, want := range map[string][]string{
		"0123456789":           {"0123456789"},
		"0123456789a":          {"0123456789", "a"},
		"яяяяя":                {"яяяяя"},
		"0123456яяяяяя":        {"0123456", "яяяяя", "я"},
		"aaaaaaaaa bbbbbbbbb":  {"aaaaaaaaa ", "bbbbbbbbb"},
		"aaaaaaaa bbbbbbbbbbя": {"aaaaaaaa ", "bbbbbbbbbb", "я"},
	} {
		if parts, err := protocol.Split(text, c); err != nil || !slices.Equal(parts, want) {
			t.Errorf("%q became %q, not %q, %v", text, parts, want, err)
		}
	}
}

func TestSplitPrefersSpaces(t *testing.T) {
	parts, err := protocol.Split("aaaaaaaaa bbbbbbbbb", protocol.TextCaps{
		Charset:   protocol.UTF8(),
		PartBytes: 11,
	})
	if err != nil || len(parts) != 2 || parts[0] != "aaaaaaaaa " {
		t.Fatalf("got %q, %v", parts, err)
	}
}

func TestReferencesOfRecentMessagesDiffer(t *testing.T) {
	const recent, parts = 64, 81 // 20,000 Chinese characters are 80 parts
	for _, bits := range []int{16, 32, 64} {
		seen := map[uint64]int64{}
		for n := int64(5000); n < 5000+recent; n++ {
			for part := range parts {
				ref := protocol.Reference(n*256, part, bits)
				if other, taken := seen[ref]; taken {
					t.Fatalf("%d bits: message %d part %d has the reference of a part of %d", bits,
						n, part, other)
				}
				if bits < 64 && ref>>bits != 0 {
					t.Fatalf("%d bits: reference %x is too wide", bits, ref)
				}
				seen[ref] = n
			}
		}
	}
}

func TestCharsetsReplaceWhatTheyCannotCarry(t *testing.T) {
	for _, c := range []struct {
		cs         protocol.Charset
		text, back string
	}{
		{protocol.GBK(), "Привет, 你好，司机 亊亇", "Привет, 你好，司机 亊亇"},
		{protocol.GBK(), "Čž 😀", "Cz :)"},
		{protocol.Windows1251(), "Груз ё Œuvre 好", "Груз ё OEuvre ?"},
		{protocol.UTF16(true), "a🦕я", "a?я"},
		{protocol.UTF16(false), "日本", "日本"},
	} {
		wire := c.cs.Append([]byte("head"), c.text)[len("head"):]
		n := 0
		for _, r := range c.back {
			n += c.cs.RuneLen(r)
		}
		back, err := c.cs.Decode(wire)
		if err != nil || back != c.back || n != len(wire) {
			t.Errorf("%q came back as %q (%v), %d bytes announced, %d written", c.text, back, err,
				n, len(wire))
		}
	}
	if _, err := protocol.GBK().Decode([]byte{0x81}); err == nil {
		t.Error("half a GBK character was decoded")
	}
}

func TestSettingsReportEveryProblem(t *testing.T) {
	p := protocol.Protocol{Name: "p", Settings: []protocol.SettingSpec{
		{Name: "n", Default: "5", Check: protocol.CheckInt(1, 9)}, {
			Name: "b", Default: "false",
			Check: protocol.CheckBool,
		},
	}}
	s, err := p.NewSettings(map[string]string{"n": "7"}, map[string]string{"b": "true"})
	if err != nil || s.Int("n") != 7 || !s.Bool("b") {
		t.Fatalf("got %v %v %v", s.Int("n"), s.Bool("b"), err)
	}
	_, err = p.NewSettings(map[string]string{"n": "12", "b": "maybe", "x": "1"})
	for _, want := range []string{`"n"`, `"b"`, `"x"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not speak of %s", err, want)
		}
	}
}

func TestEarlySettingsAreNoTrackers(t *testing.T) {
	p := protocol.Protocol{Name: "p", Settings: []protocol.SettingSpec{{
		Name:    "early",
		Default: "false", Check: protocol.CheckBool, Early: true,
	}, {
		Name: "n", Default: "5",
		Check: protocol.CheckInt(1, 9),
	}}}
	if err := p.CheckTracker("n", "7"); err != nil {
		t.Error(err)
	}
	for name, value := range map[string]string{"early": "true", "n": "12", "x": "1"} {
		if err := p.CheckTracker(name, value); err == nil ||
			!strings.Contains(err.Error(), `"`+name+`"`) {
			t.Errorf("%s of a tracker: %v", name, err)
		}
	}
	if _, err := p.NewSettings(map[string]string{"early": "true"}); err != nil {
		t.Error(err)
	}
}
