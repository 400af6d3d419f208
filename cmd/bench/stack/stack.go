// Package stack knows the systems that are compared: what each is made of, how it is started and
// tuned, and what its 200 means.
package stack

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"trackchat/cmd/bench/device"
	"trackchat/cmd/bench/front"
	"trackchat/cmd/bench/load"
)

// Systems, by the names that their stacks begin with.
const (
	trackchatEmbedded = "trackchat-embedded"
	trackchatRedis    = "trackchat-redis"
	nats              = "nats"
	mochi             = "mochi"
	mosquitto         = "mosquitto"
	asynq             = "asynq"
)

// Stack is one system with one durability and one tuning.
type Stack struct {
	Name     string
	Peer     bool
	Tuned    bool          // peers: as their manuals advise, otherwise their defaults
	Synced   bool          // the text is synced to the disk before its 200
	Speak    string        // what its devices speak
	API      string        // what the generator has to talk to
	AckQoS   int           // of the acknowledgements of MQTT devices
	Patience time.Duration // after which without news what is missing will not come
	Meaning  string        // of its 200
	Settings string        // that differ from its defaults

	system     string
	durability string // as the system names it
}

// variant is a durability of a system.
type variant struct {
	name    string
	synced  bool
	meaning string
}

// system describes what its stacks share.
type system struct {
	name, speak string
	ackQoS      int
	patience    time.Duration
	tuning      string // settings of the tuned stacks; empty: there are no two kinds
	settings    string // of all
	variants    []variant
}

// What several stacks say about their 200 and their settings.
const (
	redisSecond  = "the text is in Redis, which syncs once a second"
	redisEach    = "the text is in Redis, which has synced it"
	brokerMemory = "; the push is in the broker's memory, which saves every 30 minutes"
	noRateLimit  = "api.rate_limit 0"
	withRedis    = "Redis with appendonly yes and without save"
)

func systems() []system {
	return []system{
		{
			name: trackchatEmbedded, speak: device.JTT808, patience: 75 * time.Second,
			settings: noRateLimit,
			variants: []variant{{"", true, "the message is in SQLite, synced"}},
		},
		{
			name: trackchatRedis, speak: device.JTT808, patience: 75 * time.Second,
			settings: noRateLimit + ", " + withRedis,
			variants: []variant{
				{"everysec", false, "the message is in Redis, which syncs once a second"},
				{"always", true, "the message is in Redis, which has synced it"},
			},
		},
		{
			// An acknowledgement of QoS 1 would be stored as well, which nobody would read. What a
			// device has not acknowledged comes again after 30 s (ack_wait).
			name: nats, speak: device.MQTT, ackQoS: 0, patience: 45 * time.Second,
			tuning: MaxProcs + ", 64 publishing connections",
			variants: []variant{
				{"interval", false, "text and push are in JetStream files, synced every 2 minutes"},
				{"always", true, "text and push are in JetStream files, each synced"},
			},
		},
		{
			name: mochi, speak: device.MQTT, ackQoS: 1, patience: 20 * time.Second,
			tuning: MaxProcs,
			variants: []variant{
				{"nosync", false, "the text is in pebble, synced; the push is in the broker's, not synced"},
				{"sync", true, "the text is in pebble, the push in the broker's, both synced"},
			},
		},
		{
			name: mosquitto, speak: device.MQTT, ackQoS: 1, patience: 20 * time.Second,
			settings: "persistence true, " + withRedis,
			tuning: MaxProcs + ", max_inflight_messages 0, max_queued_messages 0, " +
				"set_tcp_nodelay true",
			variants: []variant{
				{"everysec", false, redisSecond + brokerMemory},
				{"always", true, redisEach + brokerMemory},
			},
		},
		{
			// A task whose worker is dead is found by its lease of 30 s once a minute.
			name: asynq, speak: device.JTT808, patience: 100 * time.Second,
			settings: withRedis,
			tuning: MaxProcs + ", 256 workers, looks for tasks every 5 ms and for delayed ones " +
				"every second, tries again after 1 s",
			variants: []variant{
				{"everysec", false, "text and task are in Redis, which syncs once a second"},
				{"always", true, "text and task are in Redis, which has synced them"},
			},
		},
	}
}

// All returns every stack.
func All() (all []Stack) {
	for _, sys := range systems() {
		for _, v := range sys.variants {
			s := Stack{
				Name: strings.TrimSuffix(sys.name+"-"+v.name, "-"), Synced: v.synced,
				Speak: sys.speak, API: load.Front, AckQoS: sys.ackQoS, Patience: sys.patience,
				Meaning: v.meaning, Settings: sys.settings, Peer: sys.tuning != "",
				system: sys.name, durability: v.name,
			}
			if !s.Peer {
				s.API = load.Trackchat
				all = append(all, s)
				continue
			}
			plain, tuned := s, s
			plain.Name += "-default"
			tuned.Name += "-tuned"
			tuned.Tuned = true
			tuned.Settings = strings.TrimPrefix(sys.settings+", "+sys.tuning, ", ")
			all = append(all, plain, tuned)
		}
	}
	return all
}

// Find returns the stacks of these names; none means all.
func Find(names []string) ([]Stack, error) {
	all := All()
	if len(names) == 0 {
		return all, nil
	}
	var found []Stack
	for _, name := range names {
		i := slices.IndexFunc(all, func(s Stack) bool { return s.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no stack %q; they are %s", name, list(all))
		}
		found = append(found, all[i])
	}
	return found, nil
}

func list(all []Stack) string {
	names := make([]string, 0, len(all))
	for _, s := range all {
		names = append(names, s.Name)
	}
	return strings.Join(names, " ")
}

// kind is the front of a peer.
func (s Stack) kind() string {
	return map[string]string{
		nats: front.NATS, mochi: front.Mochi, mosquitto: front.Mosquitto, asynq: front.Asynq,
	}[s.system]
}
