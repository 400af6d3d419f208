package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"trackchat/queue"
)

func TestTrackerLabels(t *testing.T) {
	w := newWorld(t)
	list := []queue.Tracker{
		{ID: 1, Account: 1, Label: "aa1", DeviceID: "1"},
		{ID: 2, Account: 1, Label: "bb2", DeviceID: "2"},
		{ID: 3, Account: 1, Label: "cc3, Ünal", DeviceID: "3"},
		{ID: 4, Account: 2, Label: "aa4", DeviceID: "4"},
	}
	w.dir.Replace(queue.NewSnapshot(accounts(), list))
	want := func(a answer, ids ...int64) {
		t.Helper()
		var got struct{ List []struct{ ID int64 } }
		if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
		gotIDs := []int64{}
		for _, x := range got.List {
			gotIDs = append(gotIDs, x.ID)
		}
		if !slices.Equal(gotIDs, ids) {
			t.Errorf("trackers %v, want %v", gotIDs, ids)
		}
	}
	want(w.json("tracker/list", ``), 1, 2, 3)
	for _, spelling := range []string{`["aa","b"]`, `["AA","bB2"]`, `"[\"aa\",\"b\"]"`, `"aa,b"`} {
		want(w.json("tracker/list", `"labels":`+spelling), 1, 2)
	}
	for _, spelling := range []string{
		"labels=aa&labels=b", "labels[]=aa&labels[]=b", "labels=aa,b",
		"labels=" + url.QueryEscape(`["aa","b"]`),
	} {
		want(w.do(http.MethodGet, "/tracker/list?hash="+berlinKey+"&"+spelling, ""), 1, 2)
		want(w.do(http.MethodPost, "/tracker/list", "hash="+berlinKey+"&"+spelling, "Content-Type",
			formType), 1, 2)
	}
	want(w.json("tracker/list", `"labels":["3, Ü"]`), 3)
	want(w.json("tracker/list", `"labels":["ü"]`), 3)
	want(w.json("tracker/list", `"labels":["zz"]`))
	want(w.json("tracker/list", `"labels":null`), 1, 2, 3)
	many := make([]string, 1025)
	for i := range many {
		many[i] = fmt.Sprintf(`"x%d"`, i)
	}
	want(w.json("tracker/list", `"labels":[`+strings.Join(many[:1024], ",")+`]`))
	for _, bad := range []string{
		`[` + strings.Join(many, ",") + `]`, `[]`, `""`, `[""]`, `["a",null]`, `["a","a"]`, `[1]`,
		`{}`, `["` + strings.Repeat("x", 61) + `"]`, `["\ud800"]`, `"[1"`,
	} {
		w.json("tracker/list", `"labels":`+bad).invalid(t, "labels")
	}
	want(w.json("tracker/list", `"labels":["`+strings.Repeat("ü", 60)+`"]`))
}
