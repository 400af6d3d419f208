package live_test

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"

	"trackchat/api/live"
	"trackchat/queue"
)

// TestPublicAddresses knows the addresses that lead into private networks.
func TestPublicAddresses(t *testing.T) {
	for text, public := range map[string]bool{
		"8.8.8.8": true, "2606:4700::1111": true, "127.0.0.1": false, "10.1.2.3": false,
		"172.16.0.1": false, "192.168.1.1": false, "169.254.169.254": false,
		"100.64.0.1": false, "0.0.0.0": false, "255.255.255.255": false, "224.0.0.1": false,
		"::1": false, "::": false, "fe80::1%eth0": false, "fd00::1": false,
		"::ffff:10.0.0.1": false, "::ffff:8.8.8.8": true, "64:ff9b::a00:1": false,
		"2002:a00:1::": false, "ff02::1": false, "198.18.0.1": false, "::10.0.0.1": false,
	} {
		if live.IsPublic(netip.MustParseAddr(text)) != public {
			t.Errorf("%s: public %v", text, !public)
		}
	}
}

// TestHookPlaces: who has the fewest places is next, and what is kept for those without any is not
// more than half.
func TestHookPlaces(t *testing.T) { synctest.Test(t, testHookPlaces) }

func testHookPlaces(t *testing.T) {
	places := live.NewHookPlaces(8)
	places.SetHooks(100)
	ended, end := context.WithCancel(t.Context())
	end()
	for i := range 4 { // half of them for one account, the rest is kept
		if !places.Enter(t.Context(), 1) {
			t.Fatalf("no place %d", i)
		}
	}
	if places.Enter(ended, 1) {
		t.Fatal("a place that is kept for others was given")
	}
	for a := range queue.AccountID(4) {
		if !places.Enter(t.Context(), 2+a) {
			t.Fatalf("no first place for account %d", 2+a)
		}
	}
	order := make(chan queue.AccountID, 3)
	for i, a := range []queue.AccountID{1, 2, 9} {
		go func() {
			places.Enter(t.Context(), a)
			order <- a
		}()
		synctest.Wait()
		if places.Waiting() != i+1 {
			t.Fatal("it does not wait")
		}
	}
	places.Leave(3)
	if a := <-order; a != 9 {
		t.Errorf("account %d is next, not that without a place", a)
	}
	places.SetHooks(0)
	places.Leave(4)
	if a := <-order; a != 2 {
		t.Errorf("account %d is next, not that with the fewest", a)
	}
	places.Leave(5)
	if a := <-order; a != 1 {
		t.Errorf("account %d is last", a)
	}
}
