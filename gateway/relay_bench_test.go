package gateway_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"trackchat/gateway"
	"trackchat/protocol"
	"trackchat/protocol/all"
	"trackchat/queue"
)

// BenchmarkRelayFrame is a position of a Wialon device and its answer: through a relayed session,
// through a proxy that copies bytes, through HAProxy where it is installed, and without anything
// between. "single" waits for each answer, "stream" sends 50 positions with one write and does not
// wait.
func BenchmarkRelayFrame(b *testing.B) {
	ways := []struct {
		name string
		way  func(b *testing.B, server string) (addr string)
	}{
		{"direct", func(_ *testing.B, server string) string { return server }},
		{"copy", benchCopy},
		{"haproxy", benchHAProxy},
		{"relay", func(b *testing.B, server string) string {
			b.Helper()
			_, addr, l := benchListener(b, []queue.Tracker{wl(1, nil)})
			l.SetUpstream(&gateway.Upstream{Address: server})
			return addr
		}},
	}
	for _, w := range ways {
		b.Run(w.name, func(b *testing.B) {
			addr := w.way(b, benchServer(b))
			b.Run("single", func(b *testing.B) { benchPositions(b, addr, 1) })
			b.Run("stream", func(b *testing.B) { benchPositions(b, addr, 50) })
		})
	}
}

const (
	benchLogin  = "#AL#1\r\n"
	benchAnswer = "#ASD#1\r\n"
)

// benchPositions sends b.N positions over one connection, batch of them with each write.
func benchPositions(b *testing.B, addr string, batch int) {
	b.Helper()
	p, _ := all.Find("wialon")
	settings, err := p.NewSettings()
	need(b, err)
	side := p.NewDevice(protocol.DeviceConfig{ID: phone(1), Settings: settings})
	nc, err := net.Dial("tcp", addr)
	need(b, err)
	defer func() { _ = nc.Close() }()
	_, err = nc.Write(side.AppendLogin(nil))
	need(b, err)
	_, err = io.ReadFull(nc, make([]byte, len(benchLogin)))
	need(b, err)
	position := side.AppendPosition(nil, 52.5, 13.4, time.Unix(1_700_000_000, 0))
	b.SetBytes(int64(len(position)))
	b.ReportAllocs()
	if batch == 1 {
		answer := make([]byte, len(benchAnswer))
		for b.Loop() {
			_, err := nc.Write(position)
			need(b, err)
			_, err = io.ReadFull(nc, answer)
			need(b, err)
		}
		return
	}
	positions := bytes.Repeat(position, batch)
	b.ResetTimer()
	sent := make(chan error, 1)
	go func() {
		for left := b.N; left > 0; left -= batch {
			if _, err := nc.Write(positions[:min(left, batch)*len(position)]); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	_, err = io.CopyN(io.Discard, nc, int64(b.N*len(benchAnswer)))
	need(b, err)
	need(b, <-sent)
}

// benchListen serves every connection with a goroutine of its own until the benchmark ends.
func benchListen(b *testing.B, serve func(nc net.Conn)) (addr string) {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	need(b, err)
	b.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = nc.Close() }()
				serve(nc)
			}()
		}
	}()
	return ln.Addr().String()
}

// benchServer is a tracking server that answers each line, and looks into none but the login.
func benchServer(b *testing.B) (addr string) {
	b.Helper()
	return benchListen(b, func(nc net.Conn) {
		buf, out := make([]byte, 16<<10), []byte(nil)
		for first := true; ; first = false {
			n, err := nc.Read(buf)
			if err != nil {
				return
			}
			out = out[:0]
			if first { // the login is alone
				out = append(out, benchLogin...)
			} else {
				for range bytes.Count(buf[:n], []byte{'\n'}) {
					out = append(out, benchAnswer...)
				}
			}
			if _, err := nc.Write(out); err != nil {
				return
			}
		}
	})
}

// benchCopy is a proxy as plain as can be, with a goroutine and a buffer each way. Its writers hide
// that they are sockets, between which the kernel would copy by itself.
func benchCopy(b *testing.B, server string) (addr string) {
	b.Helper()
	return benchListen(b, func(device net.Conn) {
		up, err := net.Dial("tcp", server)
		if err != nil {
			return
		}
		defer func() { _ = up.Close() }()
		way := func(to, from net.Conn) {
			_, _ = io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from},
				make([]byte, 16<<10)) // the end of either ends both
			_ = to.Close()
		}
		go way(device, up)
		way(up, device)
	})
}

func benchHAProxy(b *testing.B, server string) (addr string) {
	b.Helper()
	program, err := exec.LookPath("haproxy")
	if err != nil {
		b.Skip("not installed")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	need(b, err)
	addr = ln.Addr().String()
	need(b, ln.Close()) // haproxy takes the port
	file := filepath.Join(b.TempDir(), "haproxy.cfg")
	need(b, os.WriteFile(file, fmt.Appendf(nil, `global
  nbthread 1
  maxconn 100
defaults
  mode tcp
  timeout connect 5s
  timeout client 10m
  timeout server 10m
listen devices
  bind %s
  server tracking %s
`, addr, server), 0o600))
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, "-db", "-f", file)
	need(b, cmd.Start())
	b.Cleanup(func() {
		stop()
		_ = cmd.Wait() // it was killed
	})
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		nc, err := net.Dial("tcp", addr)
		if err == nil {
			_ = nc.Close()
			return addr
		}
		if time.Now().After(end) {
			b.Fatal(err)
		}
	}
}
