package watch_test

import (
	"strings"
	"testing"
	"time"

	"trackchat/protocol"
	"trackchat/protocol/watch"
)

// FuzzRelay lets both sides say anything, with texts of ours in between: nothing panics, what
// passes while none of ours is out is what came, and nothing else is acknowledged.
func FuzzRelay(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(frame("LK")+string(v.Bytes()), frame("LK")+string(v.Bytes()), []byte{0, 1, 0, 1})
	}
	f.Add(frame("LK")+frame("MESSAGE")+frame("MESSAGE"), frame("LK")+frame("MESSAGE,0041"),
		[]byte{0, 1, 2, 1, 0, 3, 4, 0})
	p := watch.New()
	f.Fuzz(func(t *testing.T, up, down string, script []byte) {
		b, texts, acks := relayed(t, nil, protocol.RelayOptions{Replay: true}), 0, 0
		plain := true
		next := func(stream string, pass func(string) came) string {
			n, _, err := p.Frame([]byte(stream), 0)
			if n == 0 || err != nil {
				return ""
			}
			got := pass(stream[:n])
			if plain && got.server+got.device != stream[:n] {
				t.Fatalf("%q became %+v", stream[:n], got)
			}
			acks += strings.Count(got.events, "ack")
			return stream[n:]
		}
		for i := range len(up) + len(down) + len(script) {
			step := byte(i % 2)
			if i < len(script) {
				step = script[i] % 6
			}
			switch step {
			case 0:
				up = next(up, b.up)
			case 1:
				down = next(down, b.down)
			case 2:
				if _, err := b.AppendText(nil, protocol.Text{Parts: 1, Body: "a"}); err == nil {
					texts++
					plain = false
				}
			case 3, 4:
				b.poll(time.Duration(step-3) * protocol.RelayWait)
			case 5:
				b.Replay(&protocol.Ways{})
				plain = false
			}
			if acks > texts {
				t.Fatalf("%d acks of %d texts", acks, texts)
			}
		}
	})
}
