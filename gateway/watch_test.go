package gateway_test

import (
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"trackchat/gateway"
	"trackchat/queue"
)

// wearable is a watch by the protocol's document alone: nothing of it is the codec's own. It cuts
// by the length that a frame declares, as firmware does.
type wearable struct {
	t        *testing.T
	nc       net.Conn
	prefix   string
	id       string
	numbered bool
	count    int
	bytewise bool // each byte is a segment of its own
	came     string
}

const watchID = "9900000017"

func watchTracker(settings map[string]string) queue.Tracker {
	return queue.Tracker{ID: 1, Protocol: "watch", DeviceID: watchID, Settings: settings}
}

func (r *rig) wearable(prefix string, numbered bool) *wearable {
	r.t.Helper()
	nc, err := net.Dial("tcp", r.addrs["watch"])
	must(r.t, err)
	r.t.Cleanup(func() { _ = nc.Close() })
	return &wearable{t: r.t, nc: nc, prefix: prefix, id: watchID, numbered: numbered}
}

// say sends a frame.
func (w *wearable) say(content string) {
	w.t.Helper()
	w.count++
	number := ""
	if w.numbered {
		number = fmt.Sprintf("%04X*", w.count)
	}
	w.raw(fmt.Sprintf("[%s*%s*%s%04X*%s]", w.prefix, w.id, number, len(content), content))
}

func (w *wearable) raw(bytes string) {
	w.t.Helper()
	pieces := []string{bytes}
	if w.bytewise {
		pieces = strings.Split(bytes, "")
	}
	for _, piece := range pieces {
		_, err := io.WriteString(w.nc, piece)
		must(w.t, err)
	}
}

// hears returns the content of the next frame and the number before it.
func (w *wearable) hears() (content, number string) {
	w.t.Helper()
	must(w.t, w.nc.SetReadDeadline(time.Now().Add(patience)))
	chunk := make([]byte, 4<<10)
	for {
		fields := 4
		if w.numbered {
			fields = 5
		}
		if f := strings.SplitN(w.came, "*", fields); len(f) == fields {
			length, err := strconv.ParseUint(f[fields-2], 16, 16)
			if f[0] != "["+w.prefix || f[1] != w.id || err != nil ||
				f[fields-2] != strings.ToLower(f[fields-2]) || len(f[fields-2]) != 4 {
				w.t.Fatalf("heard %q", w.came)
			}
			rest := f[fields-1]
			if n := int(length); len(rest) > n {
				if rest[n] != ']' {
					w.t.Fatalf("no bracket behind %d bytes of %q", n, rest)
				}
				w.came = rest[n+1:]
				if w.numbered {
					number = f[2]
				}
				return rest[:n], number
			}
		}
		n, err := w.nc.Read(chunk)
		if err != nil {
			w.t.Fatalf("heard %q: %v", w.came, err)
		}
		w.came += string(chunk[:n])
	}
}

// wants hears one frame.
func (w *wearable) wants(content string) {
	w.t.Helper()
	if got, _ := w.hears(); got != content {
		w.t.Fatalf("heard %q instead of %q", got, content)
	}
}

// gone hears nothing more, and that the gateway hangs up.
func (w *wearable) gone() {
	w.t.Helper()
	must(w.t, w.nc.SetReadDeadline(time.Now().Add(patience)))
	rest, err := io.ReadAll(w.nc)
	if err != nil || w.came != "" || len(rest) > 0 {
		w.t.Fatalf("heard %q, %v", w.came+string(rest), err)
	}
}

// on writes a text as the document does: UTF-16BE in hexadecimal digits.
func on(text string) string {
	var b []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		b = append(b, byte(unit>>8), byte(unit))
	}
	return "MESSAGE," + hex.EncodeToString(b)
}

// Logins, texts of one and of two parts, echoes in time and late, and a connection that ends in
// between; each byte for itself as well.
func TestWatch(t *testing.T) {
	for _, bytewise := range []bool{false, true} {
		t.Run(fmt.Sprint("bytewise ", bytewise), func(t *testing.T) {
			r := newRig(t, []queue.Tracker{watchTracker(nil)}, withAcks(20*time.Second,
				40*time.Second))
			w := r.wearable("3G", false)
			w.bytewise = bytewise
			w.say("LK,0,0,64")
			w.wants("LK")
			w.say("UD,261126,101500,A,10.0,N,20.0,E,0,0,0,9,100,64,0,0,00000000,1,0,1,Cafe [5]")
			id := r.send(1, "好123, [gate]")[0]
			w.wants(on("好123, [gate]"))
			w.say("LK,0,0,63")
			w.wants("LK")
			if m := r.message(id, 1); m.Status != queue.StatusPending {
				t.Fatalf("a sign of life made it %+v", m)
			}
			w.say("MESSAGE")
			r.become(id, 1, queue.StatusDelivered)

			// late: after all waits are over, from a watch that is alive
			id = r.send(1, "late")[0]
			w.wants(on("late"))
			r.later(45 * time.Second)
			w.say("LK")
			w.wants("LK")
			r.clock.advance(16 * time.Second)
			r.counted("texts_timed_out_total", 1)
			w.say("message,1")
			r.become(id, 1, queue.StatusDelivered)

			// two parts, each with an echo of its own
			first, second := strings.Repeat("å", 99)+" ", strings.Repeat("b", 60)
			id = r.send(1, first+second)[0]
			w.wants(on(first))
			w.say(strings.ToUpper(on(first)))
			w.wants(on(second))
			must(t, w.nc.Close()) // its echo gets lost
			again := r.wearable("SG", false)
			again.bytewise = bytewise
			again.raw("[SG*" + watchID + "*0087*AL,nonsense]") // and with a wrong length
			again.wants("AL")
			again.wants(on(second))
			r.counted("frames_flawed_total", 1, "protocol=watch")
			again.say("MESSAGE")
			r.become(id, 1, queue.StatusDelivered)
		})
	}
}

// The numbered form: numbers of answers are the watch's, those of texts are ours.
func TestNumberedWatch(t *testing.T) {
	r := newRig(t, []queue.Tracker{watchTracker(nil)})
	w := r.wearable("YW", true)
	w.count = 0x45C
	heard := func(content, number string) {
		t.Helper()
		if c, n := w.hears(); c != content || n != number {
			t.Fatalf("heard %q under %s instead of %q under %s", c, n, content, number)
		}
	}
	w.say("INIT,19900000000,0,D9_V1.0,0001,0001,1")
	heard("INIT,1", "045D")
	ids := r.send(1, "[one]", "two")
	heard("MESSAGE,(one)", "0001")
	w.say("LK,64")
	heard("LK", "045E")
	w.say("MESSAGE")
	heard("MESSAGE,two", "0002")
	w.say("MESSAGE,0")
	r.become(ids[0], 1, queue.StatusDelivered)
	if m := r.become(ids[1], 1, queue.StatusFailed); m.Reason != queue.ReasonMalformed {
		t.Errorf("reason %v", m.Reason)
	}
}

// A part that was written twice may earn two echoes: the second one is nobody's.
func TestSecondEchoOfAWatch(t *testing.T) {
	r := newRig(t, []queue.Tracker{watchTracker(nil)})
	ids := r.send(1, "one", "two")
	w := r.wearable("3G", false)
	w.say("LK")
	w.wants("LK")
	w.wants(on("one"))
	must(t, w.nc.Close())
	r.reaches("closed_total", 1)
	w = r.wearable("3G", false)
	w.say("LK")
	w.wants("LK")
	w.wants(on("one"))
	w.say("MESSAGE")
	r.become(ids[0], 1, queue.StatusDelivered)
	w.say("MESSAGE")
	r.counted("late_acks_total", 1, "result=ignored")
	w.say("LK")
	w.wants("LK") // and no text yet
	r.clock.advance(5 * time.Second)
	w.wants(on("two"))
	if m := r.message(ids[1], 1); m.Status != queue.StatusPending {
		t.Fatalf("an echo of another text made it %+v", m)
	}
	w.say("MESSAGE")
	r.become(ids[1], 1, queue.StatusDelivered)
}

// A watch that sends back what it never shows is told to operators by its setting; a silent one
// fails.
func TestWatchesWhoseEchoMeansNothing(t *testing.T) {
	r := newRig(t, []queue.Tracker{watchTracker(map[string]string{"ack": "none"})})
	id := r.send(1, "one")[0]
	w := r.wearable("3G", false)
	w.say("LK")
	w.wants("LK")
	w.wants(on("one"))
	w.say("MESSAGE")
	r.become(id, 1, queue.StatusSent)

	r = newRig(t, []queue.Tracker{watchTracker(nil)}, withAcks(time.Minute),
		func(o *gateway.Options) { o.MaxAttempts = 2 })
	id = r.send(1, "one")[0]
	w = r.wearable("3G", false)
	w.say("LK")
	w.wants("LK")
	w.wants(on("one"))
	for round := range 2 {
		r.later(50 * time.Second)
		w.say("MESSAGE,2") // means nothing
		w.say("TKQ")
		w.wants("TKQ")
		r.clock.advance(11 * time.Second)
		r.counted("texts_timed_out_total", float64(round+1))
	}
	if m := r.become(id, 1, queue.StatusFailed); m.Reason != queue.ReasonNotConfirmed {
		t.Errorf("reason %v", m.Reason)
	}
}

// Voice and an SOS are stored before they are answered, and copies of them once.
func TestWhatAWearerSays(t *testing.T) {
	r := newRig(t, []queue.Tracker{watchTracker(map[string]string{"alarms": "sos"})})
	const sos = "AL,261126,101500,A,10.0,N,20.0,E,0,0,0,9,100,64,0,0,00010000,1,0,1"
	const voice = "#!AMR\n\x0c}\x01}\x02}\x03}\x04}\x05"
	w := r.wearable("3G", false)
	w.say("LK")
	w.wants("LK")
	w.say(sos)
	w.wants("AL")
	w.say("TK," + voice)
	w.wants("TK,1")
	must(t, w.nc.Close())
	w = r.wearable("3G", false)
	w.say("LK")
	w.wants("LK")
	w.say("TK2," + voice) // it never heard the answer
	w.wants("TK2,1")
	w.say(sos)
	w.wants("AL")
	w.say("TK," + voice) // it has gone on since: another one
	w.wants("TK,1")
	var texts []string
	for _, m := range r.list(1) {
		texts = append(texts, m.Text)
	}
	if got := strings.Join(texts, ", "); got != "SOS, [voice message], [voice message]" {
		t.Errorf("stored %s", got)
	}
	r.counted("texts_repeated_total", 2)
}

// An LK whose answer has the time and waits behind a recording is answered with it.
func TestTimeBehindARecording(t *testing.T) {
	r := newRig(t, []queue.Tracker{watchTracker(map[string]string{"lk_time": "utc"})})
	w := r.wearable("ZJ", true)
	w.say("INIT,19900000000,1,S1_V1.0,0000,0000")
	w.wants("INIT,1")
	voice := "TK,#!AMR"
	w.raw(fmt.Sprintf("[ZJ*%s*0007*%04x*%s][ZJ*%s*0008*0005*LK,64]", watchID, len(voice), voice,
		watchID))
	w.wants("TK,1")
	if said, number := w.hears(); !strings.HasPrefix(said, "LK,2") || number != "0008" {
		t.Errorf("%q, %s", said, number)
	}
}

// Whoever is not known is not answered, but for an INIT; nor is another device on a connection.
func TestWatchThatIsNotLetIn(t *testing.T) {
	r := newRig(t, []queue.Tracker{watchTracker(nil)})
	w := r.wearable("3G", false)
	w.id = "9900000018"
	w.say("LK,0,0,64")
	w.gone()
	w = r.wearable("ZJ", true)
	w.id = "099000000000018"
	w.say("INIT,19900000000,1,S1_V1.0,0000,0000")
	w.wants("INIT,0")
	w.gone()
	w = r.wearable("3G", false)
	w.raw("[0123456789abcdef0123456789abcdefYS*" + watchID + "*0002*LK]\n") // a cloud's own build
	w.say("LK")
	w.wants("LK")
	w.id = "9900000018"
	w.say("LK")
	w.gone()
	r.counted("closed_total", 1, "reason=framing")
	r.counted("logins_total", 2, "result=unknown_device")
}
