package app

import (
	"net"
	"testing"
	"time"

	"trackchat/cmd/trackchat/apptest"
	"trackchat/gateway/standin"
	"trackchat/protocol"
	"trackchat/protocol/all"
)

// nurseBehind is nurse with a tracking server behind the listener of one protocol.
func nurseBehind(t *testing.T, proto, address string) *patient {
	t.Helper()
	cfg := apptest.Config(t, 2)
	apptest.PutBehind(cfg, proto, address)
	return nurse(t, cfg)
}

// upstreamAway is a tracking server that cannot be reached by devices that come again and again.
func upstreamAway(t *testing.T) course {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	apptest.Must(t, err)
	apptest.Must(t, ln.Close())
	p := nurseBehind(t, "wialon", ln.Addr().String())
	for range 3 {
		p.wialon("wialon", wialonLogin(2), "")
	}
	p.until("trackchat_relay_dial_errors_total", 3)
	return p.seenNow()
}

// terminalsUsed is a tracking server that speaks FMI with the navigators itself.
func terminalsUsed(t *testing.T) course {
	t.Helper()
	tracking := apptest.TrackingServer(t, "teltonika", standin.Options{})
	p := nurseBehind(t, "teltonika", tracking.Addr())
	nc, err := net.Dial("tcp", p.Addrs["teltonika"])
	apptest.Must(t, err)
	t.Cleanup(func() { _ = nc.Close() })
	proto, _ := all.Find("teltonika")
	settings, err := proto.NewSettings()
	apptest.Must(t, err)
	device := proto.NewDevice(protocol.DeviceConfig{ID: apptest.DeviceOf(2), Settings: settings})
	login := device.AppendPosition(device.AppendLogin(nil), 52, 13, time.Now())
	_, err = nc.Write(login)
	apptest.Must(t, err)
	p.until("trackchat_relay_conflicts_total", 1)
	return p.seenNow()
}
