package api_test

import (
	"crypto/sha256"
	"strings"
	"testing"

	"trackchat/queue"
)

// TestUrgent: a text is stored as urgent where that is asked for, in every spelling of true, and
// told as such; what says nothing of it gets the answers that it always got. A device that cannot
// tell is no reason for strict to refuse.
func TestUrgent(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		members string
		want    bool
	}{
		{`"urgent":true`, true},
		{`"urgent":"1","strict":true`, true},
		{`"urgent":false`, false},
		{`"urgent":null`, false},
		{`"strict":true`, false},
	} {
		id := w.json("tracker/chat/send", `"tracker_id":101,"message":"stop",`+c.members).id(t)
		ms := w.stored(101)
		if m := ms[len(ms)-1]; m.ID != id || m.Urgent != c.want {
			t.Errorf("%s: %+v", c.members, m)
		}
		if got := w.read(id); got.Urgent != c.want {
			t.Errorf("%s: %s", c.members, jsonText(got))
		}
		end := `"expires_at":null,"reason":null}}}`
		if c.want {
			end = `"expires_at":null,"reason":null},"urgent":true}}`
		}
		if a := w.form("tracker/chat/read", "message_id", itoa(id)); !strings.HasSuffix(a.body,
			end) {
			t.Errorf("%s: %s", c.members, a.body)
		}
	}
	if a := w.form("tracker/chat/list", "tracker_id", "101"); strings.Contains(a.body, "urgent") {
		t.Errorf("the message object has another key: %s", a.body)
	}
	w.form("tracker/chat/broadcast", "trackers", "101,102", "message", "storm", "urgent", "true",
		"strict", "true").is(t, `{"success":true,"sent_to":[101,102],"not_sent_to":[]}`)
	for _, id := range []queue.TrackerID{101, 102} {
		ms := w.stored(id)
		if m := ms[len(ms)-1]; m.Text != "storm" || !m.Urgent {
			t.Errorf("%+v", m)
		}
	}
}

// TestUrgentIsAnotherRequest: an idempotency key is good for a text that is urgent or for one that
// is not. The fingerprint of one that is not is what it was before there was a difference, so that
// a request that is repeated over an upgrade is not refused.
func TestUrgentIsAnotherRequest(t *testing.T) {
	w := newWorld(t)
	send := func(more string) answer {
		return w.json("tracker/chat/send",
			`"tracker_id":101,"message":"x","idempotency_key":"k"`+more)
	}
	before := sha256.Sum256([]byte(`{"Op":115,"Trackers":[101],"Text":"x","TTL":0,` +
		`"Choices":null,"ReplyTo":0,"Strict":false}`))
	for key, kept := range map[string][]byte{
		"\nk": before[:],
		"k":   []byte(`s{"success":true,"id":222}`),
	} {
		if _, err := w.store.SaveAnswer(t.Context(), 1, key, kept); err != nil {
			t.Fatal(err)
		}
	}
	send("").is(t, `{"success":true,"id":222}`)
	send(`,"urgent":false`).is(t, `{"success":true,"id":222}`)
	send(`,"urgent":true`).invalid(t, "idempotency_key")
	first := w.json("tracker/chat/send",
		`"tracker_id":101,"message":"x","urgent":true,"idempotency_key":"other"`)
	if again := w.json("tracker/chat/send",
		`"tracker_id":101,"message":"x","urgent":1,"idempotency_key":"other"`); again.id(t) !=
		first.id(t) {
		t.Errorf("%s after %s", again.body, first.body)
	}
	w.json("tracker/chat/send", `"tracker_id":101,"message":"x","idempotency_key":"other"`).
		invalid(t, "idempotency_key")
	if n := len(w.stored(101)); n != 1 {
		t.Errorf("%d stored", n)
	}
}
