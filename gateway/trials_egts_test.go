package gateway_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/queue"
	"trackchat/queue/sqlitestore"
)

// egtsPacket is a packet of EGTS as it came.
type egtsPacket struct {
	kind byte // 0 RESPONSE, 1 APPDATA
	pid  uint16
	to   uint16 // RESPONSE: the packet that it answers
	rn   uint16 // of its first record
	data []byte // of that record's first subrecord
	sub  byte
}

// egtsCRC is CRC-16/CCITT-FALSE.
func egtsCRC(b []byte) uint16 {
	crc := uint16(0xFFFF)
	for _, c := range b {
		crc ^= uint16(c) << 8
		for range 8 {
			top := crc&0x8000 != 0
			if crc <<= 1; top {
				crc ^= 0x1021
			}
		}
	}
	return crc
}

// egtsHead is CRC-8 with the polynomial 0x31.
func egtsHead(b []byte) byte {
	crc := byte(0xFF)
	for _, c := range b {
		crc ^= c
		for range 8 {
			top := crc&0x80 != 0
			if crc <<= 1; top {
				crc ^= 0x31
			}
		}
	}
	return crc
}

// egtsFrame is a packet to the gateway.
func egtsFrame(kind byte, pid uint16, data []byte) []byte {
	f := []byte{1, 0, 0, 11, 0}
	f = binary.LittleEndian.AppendUint16(f, uint16(len(data)))
	f = append(binary.LittleEndian.AppendUint16(f, pid), kind)
	f = append(append(f, egtsHead(f)), data...)
	return binary.LittleEndian.AppendUint16(f, egtsCRC(data))
}

// egtsRecord is a record of the service for commands with one subrecord.
func egtsRecord(rn uint16, sub byte, data []byte) []byte {
	r := binary.LittleEndian.AppendUint16(nil, uint16(3+len(data)))
	r = append(binary.LittleEndian.AppendUint16(r, rn), 0x80, 4, 4, sub)
	return append(binary.LittleEndian.AppendUint16(r, uint16(len(data))), data...)
}

// packet waits for the next one.
func (w *wire) packet() egtsPacket {
	w.t.Helper()
	for {
		if len(w.came) >= 11 {
			data := int(binary.LittleEndian.Uint16(w.came[5:]))
			if n := 11 + data + 2; len(w.came) >= n {
				p := egtsPacket{kind: w.came[9], pid: binary.LittleEndian.Uint16(w.came[7:])}
				record := w.came[11 : 11+data]
				if p.kind == 0 {
					p.to, record = binary.LittleEndian.Uint16(record), record[3:]
				}
				if len(record) >= 10 {
					p.rn, p.sub = binary.LittleEndian.Uint16(record[2:]), record[7]
					p.data = bytes.Clone(record[10:])
				}
				w.came = w.came[n:]
				return p
			}
		}
		w.came = append(w.came, w.raw()...)
	}
}

// sync waits until everything written so far has been dealt with.
func (w *wire) sync() {
	w.t.Helper()
	const pid = 901
	w.write(egtsFrame(1, pid, egtsRecord(901, 0, []byte{0, 0, 0})))
	for p := w.packet(); p.kind != 0 || p.to != pid; p = w.packet() {
	}
}

// command waits for the next COMMAND_DATA of a type (CT) and answers everything on the way with a
// bare RESPONSE, except what it returns.
func (w *wire) command(ct byte) egtsPacket {
	w.t.Helper()
	for {
		p := w.packet()
		if p.sub == 51 && p.data[0]>>4 == ct {
			return p
		}
		w.respond(p, false)
	}
}

// respond answers a packet, with the word of the command service about its record or without.
func (w *wire) respond(p egtsPacket, record bool) {
	w.t.Helper()
	if p.kind == 0 {
		return
	}
	data := append(binary.LittleEndian.AppendUint16(nil, p.pid), 0)
	if record {
		word := append(binary.LittleEndian.AppendUint16(nil, p.rn), 0)
		data = append(data, egtsRecord(900, 0, word)...)
	}
	w.write(egtsFrame(0, 900, data))
}

// A terminal that has confirmed our CT_DELIV and then starts anew means another text by the same
// number and words.
func TestTrialEGTSTextsWithOneNumber(t *testing.T) {
	calls := trialFrames(t, "west-F1a")
	login, said := calls[0][0], calls[1][0]
	clock := new(clock)
	st, err := sqlitestore.Open(t.Context(), sqlitestore.Options{Path: t.TempDir(), Now: clock.now})
	must(t, err)
	t.Cleanup(func() { must(t, st.Close()) })
	r := newRigOn(t, st, []queue.Tracker{tracker("egts", imeiIn(login))})
	say := func(confirm bool) {
		t.Helper()
		w := r.wire("egts")
		w.write(login)
		w.write(said)
		if p := w.command(8); confirm {
			w.respond(p, false)
			w.sync()
		}
		must(t, w.nc.Close())
	}
	for n := range 3 {
		say(true)
		if ms := r.list(1); len(ms) != n+1 {
			t.Fatalf("start %d: stored %+v", n+1, ms)
		}
	}
	say(false)
	say(false)
	if ms := r.list(1); len(ms) != 4 {
		t.Errorf("a text whose CT_DELIV was not confirmed is stored %d times", len(ms)-3)
	}
	clock.advance(3 * time.Minute)
	say(false)
	if ms := r.list(1); len(ms) != 5 {
		t.Errorf("minutes later: %d stored", len(ms))
	}
}

// loggedInEGTS is a terminal that has authenticated.
func loggedInEGTS(r *rig, login []byte) *wire {
	r.t.Helper()
	w := r.wire("egts")
	w.write(login)
	for {
		p := w.packet()
		if w.respond(p, false); p.sub == 9 {
			return w
		}
	}
}

// CT_COMCONF for our CID is a word about the text: not permitted and an error end it, and the next
// one gets its turn.
func TestTrialEGTSCommandConfirmed(t *testing.T) {
	login := trialFrames(t, "west-F7")[0][0]
	for name, confirmed := range map[string]byte{"CC_ERROR": 1, "CC_ILL": 2} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, []queue.Tracker{tracker("egts", imeiIn(login))})
			ids := r.send(1, "first", "second")
			w := loggedInEGTS(r, login)
			for i, text := range []string{"first", "second"} {
				p := w.command(4)
				if !bytes.HasSuffix(p.data, []byte(text)) {
					t.Fatalf("%q instead of %q", p.data, text)
				}
				w.respond(p, true)
				word := slices.Concat([]byte{1<<4 | confirmed}, p.data[1:5], make([]byte, 5))
				w.write(egtsFrame(1, 10, egtsRecord(10, 51, word)))
				if m := r.become(ids[i], 1, queue.StatusFailed); m.Reason != queue.ReasonMalformed {
					t.Errorf("%+v", m)
				}
			}
		})
	}
}

// A terminal that says no more than that its command service took a text gets it MaxAttempts times,
// whether it stays or comes back, and then the next one.
func TestEGTSWithoutVerdict(t *testing.T) {
	login := trialFrames(t, "west-F7")[0][0]
	for name, stays := range map[string]bool{"stays": true, "comes back": false} {
		for answer, comconf := range map[string]bool{"record": false, "CC_OK": true} {
			t.Run(name+", "+answer, func(t *testing.T) {
				trackers := []queue.Tracker{tracker("egts", imeiIn(login))}
				r := newRig(t, trackers, func(o *gateway.Options) {
					if o.MaxAttempts = 4; stays { // three attempts, a pause, and the last one
						const wait = 100 * time.Millisecond
						o.AckTimeout, o.RetryIdle = []time.Duration{wait, wait, wait}, wait
					}
				})
				ids := r.send(1, "first", "second")
				w := loggedInEGTS(r, login)
				first := 0
				for {
					p := w.command(4)
					if bytes.HasSuffix(p.data, []byte("second")) {
						break
					}
					first++
					w.respond(p, true)
					if comconf {
						word := slices.Concat([]byte{1 << 4}, p.data[1:5], make([]byte, 5))
						w.write(egtsFrame(1, 10, egtsRecord(10, 51, word)))
					}
					if !stays {
						w.sync()
						must(t, w.nc.Close())
						w = loggedInEGTS(r, login)
					}
				}
				m := r.become(ids[0], 1, queue.StatusFailed)
				if m.Reason != queue.ReasonNotConfirmed || first < 4 || !stays && first > 4 {
					t.Errorf("after %d attempts %+v", first, m)
				}
			})
		}
	}
}
