package api_test

import (
	"slices"
	"strings"
	"testing"

	"trackchat/queue"
)

func TestExtrasRefusals(t *testing.T) {
	w := newWorld(t)
	foreignID, otherID := w.send(foreign, "x"), w.send(102, "x")
	long := strings.Repeat("é", 51)
	for name, values := range map[string][]string{
		"ttl":             {"0", "-1", "x", "1.5", "31536001", ""},
		"idempotency_key": {"", strings.Repeat("k", 256), "a\nb", "a\x7fb", "\xff", "a\u202eb"},
		"choices":         {`["yes",""]`, `["yes"," "]`, `["yes","yes"]`, `["yes"," yes"]`, `["a\nb"]`, `["a\tb"]`, `["` + long + `"]`, `[1]`, `["a","b","c","d","e","f","g","h","i"]`, `["\ue000"]`, `{"a":1}x,`, "a,,b"},
		"reply_to":        {"x", itoa(foreignID), itoa(otherID), "-1", "4711"},
	} {
		for _, v := range values {
			w.form("tracker/chat/send", "tracker_id", "101", "message", "x", name, v).invalid(t, name)
			w.form("tracker/chat/broadcast", "trackers", "101", "message", "x", name, v).invalid(t, name)
		}
	}
	w.form("tracker/chat/broadcast", "trackers", "101,102", "message", "x", "reply_to", itoa(otherID)).invalid(t, "reply_to")
	w.form("tracker/chat/send", "tracker_id", "x", "message", "", "ttl", "x", "idempotency_key", "", "choices", "[1]", "reply_to", "x").
		invalid(t, "tracker_id", "message", "reply_to", "ttl", "idempotency_key", "choices")
	if n := len(w.stored(101)); n != 0 {
		t.Errorf("%d stored", n)
	}
}

func TestExtrasAreStored(t *testing.T) {
	w := newWorld(t)
	in := w.receive(101, "question")
	id := w.json("tracker/chat/send", `"tracker_id":101,"message":"x","ttl":31536000,"choices":["yes","no"],"reply_to":`+itoa(in)).id(t)
	if got := w.read(id); *got.Delivery.ExpiresAt != "2017-02-28 11:00:00" || !slices.Equal(got.Choices, []string{"yes", "no"}) || got.ReplyTo != in {
		t.Errorf("%s", jsonText(got))
	}
	plain := w.json("tracker/chat/send", `"tracker_id":101,"message":"x","ttl":null,"choices":[],"reply_to":"undefined","idempotency_key":null`).id(t)
	if m := w.stored(101)[2]; m.ID != plain || m.ExpiresMs != 0 || m.Choices != nil || m.ReplyTo != 0 {
		t.Errorf("%+v", m)
	}
	w.form("tracker/chat/broadcast", "trackers", "102,1001", "message", "all", "ttl", "5", "choices", "ok").is(t, `{"success":true,"sent_to":[102,1001],"not_sent_to":[]}`)
	for _, id := range []queue.TrackerID{102, 1001} {
		if m := w.stored(id)[0]; m.ExpiresMs != w.now().UnixMilli()+5000 || !slices.Equal(m.Choices, []string{"ok"}) {
			t.Errorf("%+v", m)
		}
	}
}

// TestChoicesSpellings: the same list in every spelling that a client may use.
func TestChoicesSpellings(t *testing.T) {
	w := newWorld(t)
	for _, members := range []string{`"choices":["да","I say: \"no\""]`, `"choices":"[\"да\",\"I say: \\\"no\\\"\"]"`, `"choices[]":[" да ","I say: \"no\""]`, `"choices":"да, I say: \"no\""`} {
		if got := w.read(w.json("tracker/chat/send", `"tracker_id":101,"message":"x",`+members).id(t)); !slices.Equal(got.Choices, []string{"да", `I say: "no"`}) {
			t.Errorf("%s: %q", members, got.Choices)
		}
	}
	for _, pairs := range [][]string{
		{"choices", "да", "choices", `I say: "no"`},
		{"choices[]", "да", "choices[]", `I say: "no"`},
		{"choices", `["да","I say: \"no\""]`},
		{"choices", `да,I say: "no"`},
	} {
		if got := w.read(w.form("tracker/chat/send", append([]string{"tracker_id", "101", "message", "x"}, pairs...)...).id(t)); !slices.Equal(got.Choices, []string{"да", `I say: "no"`}) {
			t.Errorf("%s: %q", pairs, got.Choices)
		}
	}
	eight := `["1","2","3","4","5","6","7","` + strings.Repeat("é", 50) + `"]`
	if got := w.read(w.form("tracker/chat/send", "tracker_id", "101", "message", "x", "choices", eight).id(t)); len(got.Choices) != 8 {
		t.Errorf("%q", got.Choices)
	}
}
