package egts

import (
	"strings"
	"time"
	"unicode"

	"trackchat/protocol"
)

const (
	// dedupeWindow is how long a terminal may repeat a text of known time: it may have no network
	// in between.
	dedupeWindow = 24 * time.Hour
	// timelessWindow is for the others, because terminals begin to count anew when they start.
	timelessWindow = 2 * time.Minute
	// uncountedWindow is for terminals whose texts all have CID 0: three repetitions after 5 s each
	// and a new connection after 30 s fit in.
	uncountedWindow = time.Minute
)

// driverText emits CT_MSGFROM. A text that cannot be read is refused and never guessed at.
func (m *emission) driverText(r *record, cmd *command) {
	text, err := m.charset(m.settings).Decode(cmd.text)
	if err != nil {
		m.bad(codeDataForm, err)
		return
	}
	if text = clean(text); text == "" { // taken, but nothing to show
		m.plain(protocol.KindOther)
		return
	}
	e := m.base
	e.Kind, e.Text, e.Ref, e.Aux = protocol.KindText, text, uint64(cmd.cid), uint64(cmd.sid)
	e.Key, e.Window = key(r, cmd, m.base.Seq)
	m.add(e)
}

// key tells a repeated text from a new one by CID, SID, the record's OID and TM, and the text
// itself, because terminals begin to count anew when they start and drivers say the same words
// again. It holds until the terminal has confirmed our CT_DELIV (KindKnown). Where CID is 0 the
// terminal does not count,
// and only the same packet and record are a repetition.
func key(r *record, cmd *command, seq uint32) (uint64, time.Duration) {
	number, window := uint64(cmd.cid), dedupeWindow
	switch {
	case cmd.cid == 0:
		number, window = 1<<32|uint64(seq), uncountedWindow
	case r.time == 0:
		window = timelessWindow
	}
	origin := uint64(r.oid)<<32 | uint64(r.time)
	h := uint64(14695981039346656037) // FNV-1a
	const prime = 1099511628211
	for shift := 0; shift < 64; shift += 8 {
		h = (h ^ number>>shift&0xFF) * prime
		h = (h ^ uint64(cmd.sid)>>shift&0xFF) * prime
		h = (h ^ origin>>shift&0xFF) * prime
	}
	for _, b := range cmd.text {
		h = (h ^ uint64(b)) * prime
	}
	return max(h, 1), window
}

// clean removes the NULs that end a string, byte order marks and control characters except line
// feeds and tabs, and the white space around.
func clean(text string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if (unicode.IsControl(r) && r != '\n' && r != '\t') || r == '\uFEFF' {
			return -1
		}
		return r
	}, text))
}
