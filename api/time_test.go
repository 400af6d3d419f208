package api_test

import (
	"net/http"
	"testing"

	"trackchat/queue"
)

func TestTimeZones(t *testing.T) {
	w := newWorld(t)
	w.setTime("2014-07-09T02:50:58.900Z")
	for _, c := range []struct {
		key, plain, iso string
		tracker         queue.TrackerID
	}{
		{berlinKey, "2014-07-09 04:50:58", "2014-07-09T04:50:58+02:00", 101},
		{uralKey, "2014-07-09 08:50:58", "2014-07-09T08:50:58+06:00", 201},
		{islandKey, "2014-07-09 13:20:58", "2014-07-09T13:20:58+10:30", 501},
	} {
		w.send(c.tracker, "x")
		id := itoa(c.tracker)
		for _, iso := range []string{"", "false", "0", "null", "true", "1", "header"} {
			want := c.plain
			if iso == "true" || iso == "1" || iso == "header" {
				want = c.iso
			}
			header := "false"
			if iso == "header" {
				iso, header = "", "true"
			}
			query := "?hash=" + c.key
			if iso != "" {
				query += "&iso_datetime=" + iso
			}
			// Both forms are read in both modes.
			for _, at := range []string{c.plain, c.iso} {
				body := `{"tracker_id":` + id + `,"from":"` + at + `","to":"` + at + `"}`
				got := w.do(http.MethodPost, "/v2/tracker/chat/list"+query, body,
					"NVX-ISO-DateTime", header).list(t)
				if len(got) != 1 || got[0].SubmitTime != want {
					t.Errorf("tracker %s %s: %v, want %s", id, query, got, want)
				}
			}
			w.do(http.MethodPost, "/v2/tracker/chat/updated/list"+query, `{"trackers":`+id+`}`,
				"NVX-ISO-DateTime", header).
				is(t, `{"success":true,"value":{"`+id+`":"`+want+`"}}`)
		}
	}
	w.json("tracker/chat/updated/list", `"trackers":[101],"iso_datetime":true`).is(t,
		`{"success":true,"value":{"101":"2014-07-09T04:50:58+02:00"}}`)
}

func TestZuluAndUnknownZone(t *testing.T) {
	w := newWorld(t)
	ts := []queue.Tracker{
		{ID: 1, Account: 3, Chat: true, Features: []string{queue.FeatureChat}},
		{ID: 2, Account: 9, Chat: true, Features: []string{queue.FeatureChat}},
	}
	strange := append(accounts(), queue.Account{
		ID: 9, TimeZone: "Mars/Olympus",
		Keys: []queue.Key{{Hash: queue.HashKey(unknownKey)}},
	})
	w.dir.Replace(queue.NewSnapshot(strange, ts))
	w.send(1, "x")
	w.send(2, "x")
	for key, id := range map[string]string{noChatKey: "1", unknownKey: "2"} {
		w.formAs(key, "tracker/chat/updated/list", "trackers", id, "iso_datetime", "true").is(t,
			`{"success":true,"value":{"`+id+`":"2016-02-29T10:00:00Z"}}`)
	}
}

// TestClockChange: in Berlin 02:00 became 03:00 at 2016-03-27T01:00Z, and 03:00 became 02:00 at
// 2016-10-30T01:00Z. On Lord Howe 02:00 became 02:30 at 2016-10-01T15:30Z, and 02:00 became 01:30
// at 2016-04-02T15:00Z.
func TestClockChange(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		key        string
		tracker    queue.TrackerID
		start      string // when the first of three messages is sent; empty: they are there
		step       int64  // minutes from one to the next
		from, to   string
		want, name string
	}{
		{
			berlinKey, 1010, "2016-10-30T00:30:00Z", 60, "2016-10-30 02:30:00",
			"2016-10-30 02:30:00",
			"0 1", "both 02:30",
		},
		{
			berlinKey, 1010, "", 60, "2016-10-30 02:30:01", "2016-10-30 03:30:00", "1 2",
			"after the first 02:30",
		},
		{
			berlinKey, 1010, "", 60, "2016-10-30 02:00:00", "2016-10-30 02:29:59", "0",
			"before the second 02:30",
		},
		{
			berlinKey, 1010, "", 60, "2016-10-30T02:30:00+01:00", "2016-10-30T02:30:00+01:00", "1",
			"the second 02:30",
		},
		{
			berlinKey, 1011, "2016-03-27T00:30:00Z", 60, "2016-03-27 02:30:00",
			"2016-03-27 04:00:00",
			"1", "from a time that is not: 03:30",
		},
		{
			berlinKey, 1011, "", 60, "2016-03-27 01:00:00", "2016-03-27 02:30:00", "0 1",
			"to a time that is not: 03:30",
		},
		{
			berlinKey, 1011, "", 60, "2016-03-27 01:00:00", "2016-03-27 02:29:59", "0",
			"to a second before",
		},
		{
			islandKey, 501, "2016-04-02T14:45:00Z", 30, "2016-04-03 01:45:00",
			"2016-04-03 01:45:00",
			"0 1", "both 01:45",
		},
		{
			islandKey, 501, "", 30, "2016-04-03 01:45:00", "2016-04-03 02:15:00", "0 1 2",
			"from the first 01:45",
		},
	} {
		if c.start != "" {
			w.setTime(c.start)
			for i := range 3 {
				w.send(c.tracker, itoa(i))
				w.clock.Add(c.step * 60_000)
			}
		}
		got := w.formAs(c.key, "tracker/chat/list", "tracker_id", itoa(c.tracker), "from", c.from,
			"to", c.to).list(t)
		if texts(got) != c.want {
			t.Errorf("%s: %q, want %q", c.name, texts(got), c.want)
		}
	}
	got := w.form("tracker/chat/list", "tracker_id", "1010", "from", "2016-10-30 00:00:00", "to",
		"2016-10-31 00:00:00", "iso_datetime", "1").list(t)
	if got[0].SubmitTime != "2016-10-30T02:30:00+02:00" ||
		got[1].SubmitTime != "2016-10-30T02:30:00+01:00" {
		t.Errorf("shown as %v", got)
	}
}
