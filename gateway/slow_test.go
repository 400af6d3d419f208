package gateway_test

import (
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/protocol"
	"trackchat/queue"
)

// A store that takes its time holds up nobody: devices are read, answered and sent the next text
// meanwhile.
func TestAcksFlowWhileTheStoreIsSlow(t *testing.T) {
	const trackers, texts = 100, 20
	st := newGated(t)
	list := make([]queue.Tracker, trackers)
	for i := range list {
		list[i] = jt(queue.TrackerID(i + 1))
	}
	r := newRigOn(t, st, list)
	for i := range texts {
		reqs := make([]queue.SendReq, trackers)
		for j := range reqs {
			reqs[j] = queue.SendReq{Tracker: list[j].ID, Text: string(rune('a' + i))}
		}
		r.sendReqs(reqs...)
	}
	st.set(func() { st.delay = 20 * time.Millisecond })
	begin := time.Now()
	done := make(chan string, trackers)
	for _, tr := range list {
		d := r.login("jt808", tr.DeviceID)
		go func() {
			for i := range texts {
				e := d.text()
				if want := string(rune('a' + i)); e.Body != want {
					done <- "got " + e.Body + ", want " + want
					return
				}
				d.ack(e, protocol.AckDelivered)
			}
			done <- ""
		}()
	}
	for range trackers {
		if problem := <-done; problem != "" {
			t.Fatal(problem)
		}
	}
	// One store call for each text of a device, one after the other, would take trackers × texts ×
	// 20 ms = 40 s.
	if took := time.Since(begin); took > 15*time.Second {
		t.Errorf("took %s", took)
	}
	for _, tr := range list {
		eventually(t, func() bool {
			left, err := st.Store.CheckLeases(t.Context(), []queue.Lease{{
				Tracker: tr.ID,
				Epoch:   1,
			}})
			must(t, err)
			return len(left) == 0
		}, func() string { return "pending" })
	}
}

func TestNextTextDoesNotWaitForTheAckToBeStored(t *testing.T) {
	st := newGated(t)
	r := newRigOn(t, st, []queue.Tracker{jt(1), wl(2, nil)})
	ids := r.send(1, "one", "two")
	d, other := r.login("jt808", phone(1)), r.login("wialon", phone(2))
	entered, release := st.stop("ack")
	d.ack(d.text(), protocol.AckDelivered)
	<-entered
	if e := d.text(); e.Body != "two" {
		t.Fatalf("got %q", e.Body)
	}
	d.silent(protocol.DeviceText)
	other.say("a text is stored meanwhile")
	other.wait(protocol.DeviceTextAck)
	if m := r.message(ids[0], 1); m.Status != queue.StatusPending {
		t.Fatalf("%+v", m)
	}
	release()
	r.become(ids[0], 1, queue.StatusDelivered)
}

// A device that sends more texts than may wait for the store is read no further, and is answered in
// full once the store is back.
func TestAnswersThatWaitForTheStoreAreBounded(t *testing.T) {
	const texts = 300
	st := newGated(t)
	r := newRigOn(t, st, []queue.Tracker{wl(1, nil), jt(bystander)})
	d, other := r.login("wialon", phone(1)), r.login("jt808", phone(bystander))
	entered, release := st.stop("receive")
	for range texts {
		d.say("text")
	}
	<-entered
	eventually(t, func() bool { return r.metric("reads_paused_total") > 0 },
		func() string { return "read on" })
	r.caughtUp(other, other)
	release()
	for range texts {
		d.wait(protocol.DeviceTextAck)
	}
	if n := len(r.list(1)); n != texts {
		t.Errorf("%d texts stored", n)
	}
}

func TestDeviceThatDoesNotReadIsClosed(t *testing.T) {
	r := newRig(t, []queue.Tracker{wl(1, nil), jt(bystander)},
		func(o *gateway.Options) { o.IdleTimeout = time.Hour })
	d, other := r.login("wialon", phone(1)), r.login("jt808", phone(bystander))
	burst := make([]byte, 0, 64<<10)
	for len(burst) < 60<<10 {
		burst = append(burst, "#P#\r\n"...)
	}
	go func() {
		for {
			if _, err := d.nc.Write(burst); err != nil {
				// answers fill the way back until the gateway has enough
				return
			}
		}
	}()
	eventually(t, func() bool { return r.metric("closed_total", "reason=slow") == 1 },
		func() string { return "kept" })
	r.caughtUp(other, other)
}
