package stack

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"trackchat/cmd/bench/device"
	"trackchat/cmd/bench/process"
)

// Binaries are the programs that stacks are made of.
type Binaries struct {
	Bench      string // this command, for the fronts
	Trackchat  string
	NATSServer string
	Mosquitto  string
	Redis      string // redis-server
}

// Env is where and how a stack runs.
type Env struct {
	Binaries

	Dir     string // of its data and configuration
	Devices int    // that have to be known to it
	Core    int    // that its processes are pinned to; negative: to none
	Ports   Ports
}

// Ports are those that a stack listens on, all on loopback.
type Ports struct{ HTTP, Gateway, Admin, Redis, NATS int }

// Addr is an address on loopback.
func Addr(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

// Key is the API key of trackchat's account.
const Key = "00112233445566778899aabbccddeeff"

// part is one process of a stack, and how to see that it is ready.
type part struct {
	spec  process.Spec
	ready []check
}

// MaxProcs gives tuned stacks, and the generator, more Go processors than they have cores. Pinned
// to one core, Go has one, and who waits in a system call keeps it.
const MaxProcs = "GOMAXPROCS=4"

// parts are the processes of a stack in the order in which they are started.
func (s Stack) parts(e Env) ([]part, error) {
	switch s.system {
	case trackchatEmbedded:
		service, err := s.service(e, "backend: embedded, durability: always, path: "+
			quoted(filepath.Join(e.Dir, "trackchat")))
		return []part{service}, err
	case trackchatRedis:
		service, err := s.service(e, fmt.Sprintf("backend: redis, durability: %s, redis: { addrs: [%q] }",
			s.durability, Addr(e.Ports.Redis)))
		return []part{s.redis(e), service}, err
	case nats:
		server, err := s.natsServer(e)
		return []part{server, s.front(e)}, err
	case mochi:
		return []part{s.front(e)}, nil
	case mosquitto:
		broker, err := s.broker(e)
		return []part{s.redis(e), broker, s.front(e)}, err
	default:
		return []part{s.redis(e), s.front(e)}, nil
	}
}

func quoted(path string) string { return strconv.Quote(path) }

func (s Stack) spec(e Env, name string, args ...string) process.Spec {
	spec := process.Spec{Name: name, Args: args, Core: e.Core}
	if s.Tuned {
		spec.Env = []string{MaxProcs}
	}
	return spec
}

// write writes a file of a stack's directory.
func write(e Env, name, text string) (path string, err error) {
	path = filepath.Join(e.Dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("configuration: %w", err)
	}
	return path, nil
}

func (s Stack) redis(e Env) part {
	return part{
		s.spec(e, "redis-server", e.Redis, "--port", strconv.Itoa(e.Ports.Redis), "--bind",
			"127.0.0.1", "--dir", e.Dir, "--appendonly", "yes", "--appendfsync", s.durability,
			"--save", "", "--daemonize", "no"),
		[]check{pong(e.Ports.Redis)},
	}
}

// service is trackchat itself.
func (s Stack) service(e Env, store string) (p part, err error) {
	var fleet strings.Builder
	fmt.Fprintf(&fleet, "accounts:\n  - { id: 1, title: Fleet, login: bench, password: bench, keys: [%q] }\n",
		Key)
	fleet.WriteString("trackers:\n")
	for i := range e.Devices {
		fmt.Fprintf(&fleet, "  - { id: %d, account: 1, label: Truck %d, protocol: jt808, device_id: %q, features: [chat] }\n",
			i+1, i+1, device.ID(i))
	}
	directory, err := write(e, "directory.yaml", fleet.String())
	if err != nil {
		return p, err
	}
	config, err := write(e, "trackchat.yaml", fmt.Sprintf(`store: { %s }
api: { listen: %q, rate_limit: 0 }
admin: { listen: %q }
gateway: { listeners: [{ protocol: jt808, listen: %q }] }
directory: { file: %q }
log: { level: warn }
`, store, Addr(e.Ports.HTTP), Addr(e.Ports.Admin), Addr(e.Ports.Gateway), directory))
	return part{
		s.spec(e, "trackchat", e.Trackchat, "serve", "--config", config),
		[]check{answers("http://" + Addr(e.Ports.Admin) + "/readyz"), open(e.Ports.Gateway)},
	}, err
}

func (s Stack) natsServer(e Env) (p part, err error) {
	sync := "" // the default: every two minutes
	if s.Synced {
		sync = "sync_interval: always"
	}
	config, err := write(e, "nats.conf", fmt.Sprintf(`server_name: bench
listen: %q
jetstream { store_dir: %q, %s }
mqtt { listen: %q }
`, Addr(e.Ports.NATS), filepath.Join(e.Dir, "jetstream"), sync, Addr(e.Ports.Gateway)))
	return part{
		s.spec(e, "nats-server", e.NATSServer, "-c", config),
		[]check{open(e.Ports.NATS), open(e.Ports.Gateway)},
	}, err
}

func (s Stack) broker(e Env) (p part, err error) {
	// Debian's own configuration has persistence too.
	text := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\nlog_type error\n"+
		"persistence true\npersistence_location %s/\n", e.Ports.Gateway, e.Dir)
	if os.Geteuid() == 0 {
		text += "user root\n" // otherwise it gives up the right to write there
	}
	if s.Tuned {
		text += "max_inflight_messages 0\nmax_queued_messages 0\nset_tcp_nodelay true\n"
	}
	config, err := write(e, "mosquitto.conf", text)
	return part{
		s.spec(e, "mosquitto", e.Mosquitto, "-c", config), []check{open(e.Ports.Gateway)},
	}, err
}

// front is the glue of a peer.
func (s Stack) front(e Env) part {
	args := []string{
		e.Bench, "front", "-kind", s.kind(), "-http", Addr(e.Ports.HTTP), "-gateway",
		Addr(e.Ports.Gateway), "-redis", Addr(e.Ports.Redis), "-nats",
		"nats://" + Addr(e.Ports.NATS), "-dir", e.Dir,
	}
	if s.Synced {
		args = append(args, "-sync")
	}
	if s.Tuned {
		args = append(args, "-publishers", "64", "-workers", "256")
	}
	return part{
		s.spec(e, "front "+s.kind(), args...),
		[]check{open(e.Ports.Gateway), open(e.Ports.HTTP)},
	}
}
