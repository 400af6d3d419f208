package protocol_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"trackchat/protocol"

	"pgregory.net/rapid"
)

// What a charset lacks is shown by what is nearest to it; only what nothing is near to is lost.
func TestFoldShowsTheNearest(t *testing.T) {
	gbk, cyrillic, ascii := protocol.GBK(), protocol.Windows1251(), protocol.ASCII()
	for _, c := range []struct {
		cs         protocol.Charset
		text, want string
		replaced   int
		lost       string
	}{
		{gbk, "Płońsk, Łódź, Świętochłowice", "Plońsk, Lódz, Swietochlowice", 6, ""},
		{ascii, "Zażółć gęślą jaźń", "Zazolc gesla jazn", 9, ""},
		{ascii, "Straße, Größe, STRAẞE", "Strasse, Grosse, STRASSE", 4, ""},
		{ascii, "Œuvre, cœur, Ærø, Þórður, ðað", "OEuvre, coeur, AEro, THordur, dad", 9, ""},
		{ascii, "Đorđe, Čačak, Žabljak, Ljubuški", "Dorde, Cacak, Zabljak, Ljubuski", 6, ""},
		{cyrillic, "Iğdır, Şişli, İZMİR, Çeşme", "Igdir, Sisli, IZMIR, Cesme", 8, ""},
		{
			cyrillic, "Șoseaua Ștefan cel Mare, Timișoara, Țăndărei, Târgu",
			"Soseaua Stefan cel Mare, Timisoara, Tandarei, Targu", 7, "",
		},
		{
			ascii, "Šiauliai, Ķekava, Õismäe, Mažeikių, Jūrmala",
			"Siauliai, Kekava, Oismae, Mazeikiu, Jurmala", 7, "",
		},
		{ascii, "Đường Nguyễn Huệ, Thừa Thiên", "Duong Nguyen Hue, Thua Thien", 7, ""},
		{
			ascii, "Győr, Ångström, El Niño, ¿Qué? ¡Sí!", "Gyor, Angstrom, El Nino, ?Que? !Si!", 8,
			"",
		},
		{cyrillic, "Маңғыстау, Өскемен, қала, Әуе, үй", "Мангыстау, Оскемен, кала, Ауе, уй", 6, ""},
		{gbk, "Їжак, ґанок, Україна, ўсё", "Iжак, ганок, Украiна, усё", 4, ""},
		{ascii, "A → B ← C ↔ D ⇒ E ➡️ ⬅️ ↪ 👉 👈", "A -> B <- C <-> D => E -> <- -> -> <-", 9, ""},
		{ascii, "✓ ✔️ ✅ ☑️ 👍 👍🏽 👌 ❌ ✗ ⚠️", "OK OK OK OK OK OK OK X X !", 10, ""},
		{ascii, "„Halle 4“ – ‘Tor’ — «да»… № 7", `"Halle 4" - 'Tor' - "??"... No 7`, 12, "да"},
		{
			ascii, "½ h, 1½ t, 20 °C, 5 µm, m², 10 €, ≤ 3 × 4 ± 1",
			" 1/2 h, 1 1/2 t, 20 degC, 5 um, m^2, 10 EUR, <= 3 x 4 +/- 1", 9, "",
		},
		{ascii, "ﬁx ＡＢＣ１２\u00a0①\u2009㎏ ㏂\u2028end", "fix ABC12 1 kg a.m.\nend", 12, ""},
		{ascii, "🙂 😉 😢 ❤️ 🚚 ⛽ 🅿️ 🇩🇪 1️⃣", ":) ;) :( <3 [truck] [fuel] P DE 1", 10, ""},
		{gbk, "→ ← ★ № “…” —", "→ ← ★ № “…” —", 0, ""},
		{gbk, "é à ü ế", "é à ü ê", 1, ""},
		{cyrillic, "Майский", "Майский", 0, ""},
		// A letter and its accent apart: one where the charset has that, else without the accent.
		{cyrillic, "и\u0306 е\u0308 \u0306", "й ё ", 1, ""},
		{gbk, "e\u0301 e\u0302\u0301 z\u030c", "é ê z", 2, ""},
		{ascii, "caf\u0065\u0301", "cafe", 1, ""},
		{ascii, "\u0301\u0301", "?", 2, ""},
		{ascii, "\u200b", "?", 0, ""},
		// What nobody sees is not missed.
		{ascii, "a\u200bb\u200dc\ufeffd\u00ade\ufe0f\u200e", "abcde", 0, ""},
		{cyrillic, "مرحبا 7 שלום ไทย 한국 日本", "????? 7 ???? ??? ?? ??", 16, "مرحباשלוםไทย한국日本"},
		{gbk, "한국 🦕", "?? ?", 3, "한국🦕"},
		{ascii, "㍿ 10月", "? 10?", 2, "㍿月"},
		{protocol.UTF16(true), "好 → 😀 👍🏽 𝐀 🄐 🦕", "好 → :) OK A (A) ?", 5, "🦕"},
		{protocol.UTF8(), "Płońsk مرحبا 🦕 e\u0301", "Płońsk مرحبا 🦕 e\u0301", 0, ""},
	} {
		got, replaced := protocol.Fold(c.cs, c.text)
		if got != c.want || replaced != c.replaced {
			t.Errorf("%s: %q became %q with %d replaced, want %q with %d", c.cs, c.text, got,
				replaced, c.want, c.replaced)
		}
		var lost strings.Builder
		for _, r := range c.text {
			if protocol.Lost(c.cs, r) {
				lost.WriteRune(r)
			}
		}
		if lost.String() != c.lost {
			t.Errorf("%s: %q loses %q, want %q", c.cs, c.text, lost.String(), c.lost)
		}
		wire := c.cs.Append([]byte("head"), c.text)
		if back, err := c.cs.Decode(wire[len("head"):]); err != nil || back != c.want ||
			string(wire[:4]) != "head" {
			t.Errorf("%s: %q arrives as %q, %v", c.cs, c.text, back, err)
		}
	}
}

// A folded text has nothing left to fold, and what is on the wire is what it says.
func TestFoldedTextIsWhatArrives(t *testing.T) {
	for _, cs := range []protocol.Charset{
		protocol.ASCII(), protocol.GBK(), protocol.Windows1251(),
		protocol.UTF16(true), protocol.UTF8(),
	} {
		t.Run(cs.String(), rapid.MakeCheck(func(t *rapid.T) {
			text := rapid.String().Draw(t, "text")
			folded, replaced := protocol.Fold(cs, text)
			if again, n := protocol.Fold(cs, folded); again != folded || n != 0 ||
				replaced > utf8.RuneCountInString(text) {
				t.Fatalf("%q became %q with %d replaced, then %q with %d", text, folded, replaced,
					again, n)
			}
			wire, bytes := cs.Append(nil, text), 0
			for _, r := range folded {
				if protocol.Lost(cs, r) {
					t.Fatalf("%q is lost in %q", r, folded)
				}
				bytes += cs.RuneLen(r)
			}
			if back, err := cs.Decode(wire); err != nil &&
				!strings.ContainsRune(folded, utf8.RuneError) || err == nil && back != folded ||
				bytes != len(wire) {
				t.Fatalf("%q arrives as %q in %d bytes, %v; announced %q in %d bytes", text, back,
					len(wire), err, folded, bytes)
			}
		}))
	}
}

// No line of the table sends a reader to another one, and no character stands in two.
func TestLookalikesAreFinal(t *testing.T) {
	shown, keys := map[rune]bool{}, map[rune]bool{}
	for line := range strings.Lines(strings.TrimPrefix(protocol.Lookalikes, "\n")) {
		what, list, found := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if !found || what == "" || list == "" {
			t.Fatalf("line %q", line)
		}
		for _, r := range what {
			shown[r] = true
		}
		for _, r := range list {
			if keys[r] || r < utf8.RuneSelf {
				t.Errorf("%q stands for itself or twice", r)
			}
			keys[r] = true
			if got, n := protocol.Fold(bare{protocol.UTF8(), r}, string(r)); got != what || n != 1 {
				t.Errorf("%q is shown as %q, want %q", r, got, what)
			}
		}
	}
	for r := range keys {
		if shown[r] {
			t.Errorf("%q is shown for others and has something shown for it", r)
		}
	}
}

// bare is a charset that lacks one character.
type bare struct {
	protocol.Charset
	lacks rune
}

func (b bare) Lossy(r rune) bool { return r == b.lacks }
