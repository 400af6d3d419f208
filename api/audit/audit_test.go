package audit_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"trackchat/api/audit"
	"trackchat/api/navixy"
	"trackchat/queue"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func newLog() (*audit.Log, *observer.ObservedLogs) {
	core, lines := observer.New(zap.InfoLevel)
	return audit.New(zap.New(core), time.Now), lines
}

// guess is a login that was refused.
func guess(login, remote string) audit.Event {
	return audit.Event{
		Actor: audit.Actor{Kind: audit.User, Name: login}, Remote: remote, Action: "user/auth",
		Code: navixy.CodeWrongLogin,
	}
}

func done(object string) audit.Event {
	return audit.Event{
		Actor: audit.Actor{Account: 1, Kind: audit.Key, ID: "a"}, Action: "message/cancel",
		Object: object,
	}
}

// TestLineAndEntrySayTheSame under the same names.
func TestLineAndEntrySayTheSame(t *testing.T) {
	log, lines := newLog()
	log.Write(audit.Event{
		Actor:  audit.Actor{Account: 3, Kind: audit.User, ID: "7", Name: "Ann"},
		Remote: "192.0.2.1:5", Request: "r-1", Action: "key/create", Object: "account 3",
		Detail: "key 0a", Code: navixy.CodeNotPermitted,
	})
	line, entry := lines.All()[0], log.Recent(0, 1)[0]
	b, err := json.Marshal(entry)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]any{}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if line.LoggerName != audit.Name || !line.Time.Equal(entry.Time) || entry.ID == 0 {
		t.Errorf("%+v, %s", line.Entry, b)
	}
	delete(got, "id")
	delete(got, "time")
	want := line.ContextMap()
	want["action"] = line.Message
	if fmt.Sprint(got) != fmt.Sprint(want) || len(want) != 11 {
		t.Errorf("entry %v\nline %v", got, want)
	}
}

// TestRefusalsOfOneSourceAreMerged, whatever login it tries; what was done is told each time.
func TestRefusalsOfOneSourceAreMerged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, lines := newLog()
		log.Write(guess("first", "192.0.2.1:1"))
		time.Sleep(time.Second)
		since := time.Now().Add(4 * time.Second)
		for i := range 100 {
			log.Write(guess(fmt.Sprint("login", i), fmt.Sprintf("192.0.2.1:%d", 1000+i)))
			log.Write(done(fmt.Sprint("message ", i)))
			if i < 10 {
				time.Sleep(time.Second)
			}
		}
		log.Write(guess("another", "192.0.2.2"))
		if n := lines.FilterMessage("user/auth").Len(); n != 6 {
			t.Errorf("%d refusals are told at once", n)
		}
		if n := lines.FilterMessage("message/cancel").Len(); n != 100 {
			t.Errorf("%d of 100 that were done", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		e := log.Recent(0, 1)[0]
		last := lines.All()[lines.Len()-1].ContextMap()
		if lines.FilterMessage("user/auth").Len() != 7 || e.Repeated != 96 || e.Name != "login99" ||
			!e.Since.Equal(since) || e.Outcome != "refused" || last["repeated"] != int64(96) {
			t.Errorf("at the end of the minute %+v, %v", e, last)
		}
		log.Write(guess("later", "192.0.2.1:1"))
		if lines.FilterMessage("user/auth").Len() != 8 {
			t.Error("the next minute does not begin anew")
		}
		for range 10 {
			log.Write(guess("later", "192.0.2.1:1"))
		}
		log.Flush() // the end of the service
		if e = log.Recent(0, 1)[0]; e.Repeated != 6 {
			t.Errorf("at the end %+v", e)
		}
	})
}

// TestGuessingFloodsNothing: from many addresses, by many logins, and by keys that are known.
func TestGuessingFloodsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, lines := newLog()
		for i := range 900 {
			log.Write(done(fmt.Sprint("message ", i)))
		}
		const minutes, each = 10, 2000
		for range minutes {
			for i := range each {
				log.Write(guess(strings.Repeat("x", 10_000), fmt.Sprintf("10.0.%d.%d:1", i/250, i%250)))
			}
			time.Sleep(2 * time.Minute)
		}
		synctest.Wait()
		told, counted := 0, 0
		for _, line := range lines.FilterMessage("user/auth").All() {
			told++
			counted++
			if n, ok := line.ContextMap()["repeated"].(int64); ok {
				counted += int(n) - 1
			}
		}
		if counted != minutes*each || told > minutes*33*6 {
			t.Errorf("%d lines for %d of %d", told, counted, minutes*each)
		}
		kept, size := 0, 0
		list := log.Recent(0, 5000)
		for _, e := range list {
			b, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			size += len(b)
			if e.Code == navixy.CodeOK {
				kept++
			}
		}
		if kept != 750 || len(list) != 1000 || size > 500_000 {
			t.Errorf("%d entries of %d bytes, of them %d that were done", len(list), size, kept)
		}
	})
}

func TestTheLastThousandAreKept(t *testing.T) {
	log, lines := newLog()
	for i := range 1500 {
		log.Write(done(fmt.Sprint(i)))
	}
	list := log.Recent(0, 5000)
	if len(list) != 1000 || list[0].Object != "1499" || list[999].Object != "500" ||
		lines.Len() != 1500 {
		t.Fatalf("%d entries, the newest %+v", len(list), list[0])
	}
	if some := log.Recent(list[10].ID, 3); len(some) != 3 || some[0].ID != list[0].ID {
		t.Errorf("%+v", some)
	}
	if some := log.Recent(list[2].ID, 1000); len(some) != 2 || some[1].ID != list[1].ID {
		t.Errorf("%+v", some)
	}
	if log.Recent(list[0].ID, 10) == nil || len(log.Recent(list[0].ID, 10)) != 0 {
		t.Error("not an empty list")
	}
	later := audit.New(zap.NewNop(), func() time.Time { return time.Now().Add(time.Second) })
	later.Write(done("after a restart"))
	if len(later.Recent(list[0].ID, 1)) != 1 {
		t.Error("ids do not grow over a restart")
	}
	var none *audit.Log
	none.Write(done("x"))
	none.Flush()
	if len(none.Recent(0, 10)) != 0 {
		t.Error("nothing remembers something")
	}
}

func TestText(t *testing.T) {
	long := audit.Text(strings.Repeat("é", 1000))
	if len(long) > 303 || !utf8.ValidString(long) || !strings.HasSuffix(long, "é…") {
		t.Errorf("%d bytes: %q", len(long), long)
	}
	if broken := audit.Text(strings.Repeat("\x80", 1000)); len(broken) > 303 {
		t.Errorf("%d bytes of what is no text", len(broken))
	}
	for in, want := range map[string]string{
		"Ann Ünal 王": "Ann Ünal 王", "a\nb\x1b[2J\u009b": "a�b�[2J�", "x\u202ey": "x�y", "\xff": "�",
	} {
		if got := audit.Text(in); got != want {
			t.Errorf("%q is told as %q", in, got)
		}
	}
	if id := audit.KeyID(queue.HashKey("secret")); len(id) != 16 {
		t.Error(id)
	}
}

// TestManyWriteAtATime while others read.
func TestManyWriteAtATime(t *testing.T) {
	log, lines := newLog()
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			for i := range 50 {
				log.Write(done(fmt.Sprint(i)))
				log.Write(guess("x", fmt.Sprintf("192.0.2.%d:1", n)))
				if i%10 == 0 {
					log.Flush()
				}
				seen := log.Recent(0, 100)
				for k := 1; k < len(seen); k++ {
					if seen[k].ID >= seen[k-1].ID {
						t.Error("not newest first")
					}
				}
			}
		})
	}
	all.Wait()
	if n := lines.FilterMessage("message/cancel").Len(); n != 8*50 {
		t.Errorf("%d lines", n)
	}
}
