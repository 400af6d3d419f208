package app

import (
	"slices"
	"strings"

	"trackchat/api"
	"trackchat/cmd/trackchat/config"
	"trackchat/protocol"
	"trackchat/protocol/all"
	"trackchat/queue"
)

// capabilities says what devices can be sent, from what this process's configuration says of the
// listeners that they may come to, whether this process opens them or not. It does not change.
type capabilities map[string]spoken // by the protocol's name

// spoken is a protocol with the settings of each of its listeners; without any it has its defaults.
type spoken struct {
	protocol *protocol.Protocol
	layers   []map[string]string
}

func newCapabilities(listeners []config.Listener) capabilities {
	c := capabilities{}
	for _, p := range all.Protocols() {
		s := spoken{protocol: p}
		for i := range listeners {
			if listeners[i].Protocol == p.Name {
				s.layers = append(s.layers, listeners[i].Settings)
			}
		}
		if len(s.layers) == 0 {
			s.layers = []map[string]string{nil}
		}
		c[p.Name] = s
	}
	return c
}

// of says what holds for the tracker's device at whichever listener it logs in.
func (c capabilities) of(t *queue.Tracker) (api.Capabilities, bool) {
	s := c[t.Protocol] // one that is not built in has no layers
	can := api.Capabilities{Protocol: t.Protocol, ReadReceipts: true, Delivered: true, Urgent: true}
	var charsets []protocol.Charset
	var names []string
	codecs := make([]protocol.Codec, len(s.layers))
	for i, layer := range s.layers {
		codecs[i] = s.codec(layer, t.Settings)
		caps := codecs[i].Caps()
		if caps.NoText {
			return api.Capabilities{}, false
		}
		longest := protocol.Longest(caps)
		if i == 0 {
			can.PartBytes, can.MaxCharacters, can.Choices = caps.PartBytes, longest, caps.Choices
		}
		can.PartBytes = min(can.PartBytes, caps.PartBytes)
		can.MaxCharacters = min(can.MaxCharacters, longest)
		can.Choices = min(can.Choices, caps.Choices)
		can.ReadReceipts = can.ReadReceipts && caps.Opens
		can.Delivered = can.Delivered && !caps.Silent
		can.Urgent = can.Urgent && caps.Urgent
		if name := caps.Charset.String(); !slices.Contains(names, name) {
			names, charsets = append(names, name), append(charsets, caps.Charset)
		}
	}
	can.Charset = strings.Join(names, "/")
	can.Lost = func(r rune) bool {
		return slices.ContainsFunc(charsets, func(cs protocol.Charset) bool {
			return protocol.Lost(cs, r)
		})
	}
	can.Asks = func(text string, choices []string) error {
		for _, c := range codecs {
			if err := protocol.Asks(c, text, choices); err != nil {
				return err
			}
		}
		return nil
	}
	return can, len(s.layers) > 0
}

// codec is that of a session that has not begun. A tracker's settings that are wrong count as
// little as they do for the gateway.
func (s spoken) codec(listener, tracker map[string]string) protocol.Codec {
	settings, err := s.protocol.NewSettings(listener, tracker)
	if err != nil {
		settings, _ = s.protocol.NewSettings(listener) // checked with the configuration
	}
	return s.protocol.NewCodec(settings)
}
