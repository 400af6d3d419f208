package trackersim_test

import (
	"maps"
	"slices"
	"testing"

	"trackchat/protocol"
	"trackchat/protocol/egts"
	"trackchat/protocol/galileosky"
	"trackchat/protocol/jt808"
	"trackchat/protocol/teltonika"
	"trackchat/protocol/watch"
	"trackchat/protocol/wialon"
	"trackchat/queue"
)

// variant is one way to be a tracker, and what such a device can say.
type variant struct {
	name     string
	p        *protocol.Protocol
	of       string            // DeviceConfig.Variant
	set      map[string]string // settings of the tracker
	listener map[string]string // settings that a login needs
	sample   string            // a text that its charset carries, in either direction

	done       queue.Status     // of a text that came through; 0: delivered
	auto       bool             // the device confirms every text, whatever the test decides
	refuse     protocol.Outcome // with which it can refuse a text for good; 0: it cannot
	reason     queue.Reason     // what a refusal becomes
	unnumbered bool             // its acks name nothing
	// it tells when the driver has read a text that it acknowledged before.
	read       bool
	choices    bool // the driver can choose an answer
	mute       bool // the driver cannot write
	spoken     bool // the driver can only speak
	unanswered bool // nobody answers what the driver writes
	wordless   bool // its protocol cannot refuse a login: the connection is closed
}

// came is the status of a text that came through.
func (v variant) came() queue.Status {
	if v.done == 0 {
		return queue.StatusDelivered
	}
	return v.done
}

func (v variant) confirms() bool { return v.done != queue.StatusSent }

// answered reports whether the gateway answers what the driver writes.
func (v variant) answered() bool { return !v.mute && !v.unanswered }

// heard is what is stored of what the driver says.
func (v variant) heard(said ...string) []string {
	if v.spoken {
		return slices.Repeat([]string{"[voice message]"}, len(said))
	}
	return said
}

// settings are what both sides work with.
func (v variant) settings(t *testing.T) protocol.Settings {
	t.Helper()
	s, err := v.p.NewSettings(v.listener, v.set)
	check(t, err)
	return s
}

func (v variant) device(t *testing.T, id string) protocol.DeviceConfig {
	t.Helper()
	return protocol.DeviceConfig{ID: id, Variant: v.of, Settings: v.settings(t)}
}

// desk is a desk for such devices.
func (v variant) desk(t *testing.T) *desk {
	t.Helper()
	d := newDesk(t, v.p)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settings = v.settings(t)
	return d
}

const (
	chinese  = "Привет, 你好，司机 亊亇"
	anything = "Привет, 你好 😀"
	cyrillic = "Груз №7 – склад"
	japanese = "荷物 груз 7"
)

type values = map[string]string

// with returns set and one more.
func with(set values, name, value string) values {
	more := maps.Clone(set)
	more[name] = value
	return more
}

// variants returns every protocol in every edition, charset and policy of acks.
func variants() []variant {
	var all []variant
	for _, more := range [][]variant{
		variantsOfJT808(), variantsOfWialon(), variantsOfTeltonika(),
		variantsOfEGTS(), variantsOfGalileosky(), variantsOfWatch(),
	} {
		all = append(all, more...)
	}
	return all
}

// those returns the variants that fit.
func those(fits func(variant) bool) []variant {
	return slices.DeleteFunc(variants(), func(v variant) bool { return !fits(v) })
}

func variantsOfJT808() []variant {
	v := variant{
		name: "jt808", p: jt808.New(), sample: chinese, refuse: protocol.AckRejected,
		reason: queue.ReasonMalformed, choices: true,
	}
	of2011, of2019 := v, v
	of2011.name, of2011.of = "jt808 2011", "2011"
	of2019.name, of2019.of, of2019.choices = "jt808 2019", "2019", false
	return []variant{v, of2011, of2019}
}

func variantsOfWialon() []variant {
	v := variant{
		name: "wialon", p: wialon.New(), sample: anything + "; жди", unnumbered: true,
		refuse: protocol.AckRejected, reason: queue.ReasonMalformed,
	}
	v.set = values{"repeat_seconds": "3600"} // a slow machine does not make a repetition a new text
	v1, cp1251, next, none := v, v, v, v
	v1.name, v1.of, v1.sample = "wialon 1.1", "1.1", anything
	cp1251.name, cp1251.set, cp1251.sample = "wialon cp1251", with(v.set, "charset", "cp1251"),
		cyrillic
	next.name, next.set, next.auto = "wialon next_frame", with(v.set, "ack", "next_frame"), true
	none.name, none.set, none.done, none.refuse = "wialon none", with(v.set, "ack", "none"),
		queue.StatusSent, 0
	return []variant{v, v1, cp1251, next, none}
}

// fmiVariants are those of a Garmin navigator behind v's tracker.
func fmiVariants(v variant) []variant {
	name := v.name
	v.sample, v.read, v.choices = anything, true, true
	a611, a604, a602 := v, v, v
	a611.name, a611.of, a611.set, a611.refuse, a611.reason = name+" a611", "a611",
		values{"fmi_version": "a611"}, protocol.AckStorage, queue.ReasonStorage
	a604.name, a604.of, a604.refuse, a604.reason = name+" a604", "a604", protocol.AckFailed,
		queue.ReasonRefused
	a602.name, a602.of, a602.set, a602.done, a602.read, a602.choices = name+" a602", "a602",
		values{"fmi_version": "a602", "charset": "cp1251"}, queue.StatusOpened, false, false
	a602.sample = cyrillic
	return []variant{a611, a604, a602}
}

func variantsOfTeltonika() []variant {
	v := variant{name: "teltonika", p: teltonika.New()}
	all := fmiVariants(v)
	gbk := all[1]
	gbk.name, gbk.sample = "teltonika codec 14 gbk", chinese
	gbk.set = values{"down_codec": "14", "charset": "gbk"}
	serial := v
	serial.name, serial.sample, serial.unanswered = "teltonika serial", cyrillic, true
	serial.set = values{"chat": "serial", "charset": "cp1251", "ack_pattern": `^A(\d+)$`}
	word := serial
	word.name, word.unnumbered, word.set = "teltonika serial with unnumbered acks", true,
		values{"chat": "serial", "charset": "cp1251", "ack_pattern": "^OK$"}
	line := serial
	line.name, line.sample, line.done = "teltonika serial without acks", anything, queue.StatusSent
	line.set = values{"chat": "serial"}
	return append(all, gbk, serial, word, line)
}

func variantsOfEGTS() []variant {
	v := variant{
		name: "egts cp1251", p: egts.New(), sample: cyrillic, refuse: protocol.AckRejected,
		reason: queue.ReasonMalformed, read: true,
	}
	be, le, record, oid := v, v, v, v
	be.name, be.sample = "egts ucs2", japanese
	le.name, le.sample, le.set = "egts ucs2 le", japanese, values{"ucs2": "le"}
	record.name, record.set = "egts record", values{"delivered_on": "record"}
	record.auto, record.refuse = true, 0
	oid.name, oid.of, oid.listener = "egts oid", "oid", values{"lenient": "true"}
	return []variant{v, be, le, record, oid}
}

func variantsOfGalileosky() []variant {
	v := variant{name: "galileosky", p: galileosky.New(), wordless: true}
	command := v
	command.name, command.sample, command.mute = "galileosky command", cyrillic, true
	command.set = values{
		"chat": "command", "delivered_on": "reply", "command_prefix": "show ",
		"charset": "cp1251",
	}
	none := command
	none.name, none.sample, none.done, none.set = "galileosky command without acks", anything,
		queue.StatusSent, values{"chat": "command"}
	return append(fmiVariants(v), command, none)
}

func variantsOfWatch() []variant {
	v := variant{
		name: "watch", p: watch.New(), sample: anything, unnumbered: true, spoken: true,
		refuse: protocol.AckRejected, reason: queue.ReasonMalformed, wordless: true,
	}
	zj, yw, hexle, none := v, v, v, v
	zj.name, zj.of, zj.wordless = "watch numbered", "zj", false
	yw.name, yw.of, yw.wordless = "watch numbered, raw", "yw", false
	hexle.name, hexle.set = "watch hexle", values{"text": "hexle", "prefix": "SG"}
	none.name, none.set, none.done, none.refuse = "watch none", values{"ack": "none"},
		queue.StatusSent, 0
	return []variant{v, zj, yw, hexle, none}
}
