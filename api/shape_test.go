package api_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// shaped posts a form whose names are not changed.
func (w *world) shaped(op, form string) answer {
	w.tb.Helper()
	return w.do(http.MethodPost, "/v2/"+op, "hash="+berlinKey+"&"+form, "Content-Type", formType)
}

// TestNoListIsReadAsAbsent: a list that is given in a shape that means nothing is refused by every
// operation that takes one, in a form, a query and JSON; nothing is sent, marked or listed.
func TestNoListIsReadAsAbsent(t *testing.T) {
	w := newWorld(t)
	in := w.receive(101, "unread")
	for op, lists := range map[string]struct{ name, rest, members string }{
		"tracker/chat/broadcast":     {"trackers", "&message=x", `,"message":"x"`},
		"tracker/chat/mark_read_all": {"trackers", "", ""},
		"tracker/chat/updated/list":  {"trackers", "", ""},
		"tracker/chat/mark_read": {"message_ids", "&message_id=" + itoa(in), `,"message_id":` +
			itoa(in)},
		"tracker/chat/send": {
			"choices", "&tracker_id=101&message=x",
			`,"tracker_id":101,"message":"x"`,
		},
		"tracker/list": {"labels", "", ""},
	} {
		n := lists.name
		for _, form := range []string{
			n + "[a]=101", n + "[0][id]=101", n + "[0][]=101", n + "[-1]=101", n + "[0=101", n +
				"[ 0]=101", n + ".0=101", n + "[]x=101", n + "]=101&" + n + "[=101",
			n + "[18446744073709551616]=101", n + "[0]=", n + "=101&" + n + "[a]=102", n +
				"[0]=101&" + n + "[1]=",
		} {
			w.shaped(op, form+lists.rest).invalid(t, n)
			w.do(http.MethodGet, "/v2/"+op+"?hash="+berlinKey+"&"+strings.ReplaceAll(
				form+lists.rest, " ", "%20"), "").invalid(t, n)
		}
		for _, members := range []string{
			`"` + n + `":{"0":101}`, `"` + n + `":{}`, `"` + n + `[a]":101`, `"` + n +
				`[0]":{"id":101}`, `"` + n + `[]":{"0":101}`, `"` + n + `.0":101`,
			`"` + n + `":[[101]]`, `"` + n + `":[{"id":101}]`, `"` + n + `":true`, `"` + n +
				`[0]":null`, `"` + n + `":"{\"0\":101}x,"`,
		} {
			if strings.HasSuffix(members, `true`) && (n == "labels" || n == "choices") {
				continue // a text
			}
			if strings.Contains(members, `x,"`) && n == "labels" {
				continue // two texts
			}
			w.json(op, members+lists.members).invalid(t, n)
		}
	}
	if ms := w.stored(101); len(ms) != 1 || ms[0].UpdateMs != 0 {
		t.Errorf("stored %+v", ms)
	}
	// The same for what is no list: silently without its time limit a text would wait for ever.
	for _, name := range []string{"ttl", "reply_to", "strict", "idempotency_key"} {
		w.shaped("tracker/chat/send", "tracker_id=101&message=x&"+name+"[0]=1").invalid(t, name)
		w.json("tracker/chat/send", `"tracker_id":101,"message":"x","`+name+`[a]":1`).invalid(t,
			name)
	}
	w.shaped("tracker/chat/unread/count", "other[a]=1&x.y=2&[=3&]=4&.=5&[0]=6").is(t,
		`{"success":true,"value":{"101":1}}`)
	// An empty list touches nothing, as ever.
	for _, form := range []string{"trackers=", "trackers[]=", "trackers=[]"} {
		w.shaped("tracker/chat/mark_read_all", form).is(t, `{"success":true}`)
	}
	w.shaped("tracker/chat/mark_read_all", "trackers[0]=102").is(t, `{"success":true}`)
	w.form("tracker/chat/unread/count").is(t, `{"success":true,"value":{"101":1}}`)
	w.shaped("tracker/chat/mark_read_all", "trackers[4]=101").is(t, `{"success":true}`)
	w.form("tracker/chat/unread/count").is(t, `{"success":true,"value":{}}`)
}

// TestElementsAreWhole: what is given as an element is not cut at its commas.
func TestElementsAreWhole(t *testing.T) {
	w := newWorld(t)
	for form, want := range map[string][]string{
		"choices[1]=No&choices[0]=Yes,+sir": {"Yes, sir", "No"},
		"choices[]=Yes,+sir":                {"Yes, sir"},
		"choices[0]=[x]":                    {"[x]"},
		"choices=Yes,No":                    {"Yes", "No"},
		"choices=":                          nil,
	} {
		id := w.shaped("tracker/chat/send", "tracker_id=101&message=x&"+form).id(t)
		ms := w.stored(101)
		if m := ms[len(ms)-1]; m.ID != id || !slices.Equal(m.Choices, want) {
			t.Errorf("%s: %+v", form, m)
		}
	}
	if got := w.shaped("tracker/list", "labels[0]=truck+2").body; strings.Count(got,
		`"label"`) != 1 {
		t.Errorf("listed %.300s", got)
	}
}
