package gateway

import (
	"bytes"

	"trackchat/protocol"
)

// speaker is a protocol as a listener of another one tries it.
type speaker struct {
	protocol *protocol.Protocol
	settings protocol.Settings
}

func newSpeakers(ps []*protocol.Protocol) ([]speaker, error) {
	list := make([]speaker, 0, len(ps))
	for _, p := range ps {
		s, err := p.NewSettings()
		if err != nil {
			return nil, err
		}
		list = append(list, speaker{p, s})
	}
	return list, nil
}

// recognise looks whether a connection whose bytes its own protocol does not understand, or not
// yet, speaks another one, and notes that. At most twice a connection: for its first bytes where
// they are no whole frame, and for its first refused frame.
func (s *session) recognise(buf []byte, mark marks) {
	if s.tracker != 0 || s.marks&mark != 0 {
		return
	}
	s.marks |= markLooked
	name, device := s.l.g.speaks(buf, s.l.protocol.Name)
	if name == "" {
		return
	}
	s.marks |= markRefused // there is nothing more to say of its frames
	if device == "" {
		device = s.conn.RemoteAddr().Addr().Unmap().String()
	}
	s.l.g.admission.refuse(reasonWrongProtocol)
	s.l.noteRefused(s.remote(), reasonWrongProtocol, device, name)
}

// speaks names the protocol that the first bytes of a connection are of, other than the given one,
// and the device where they tell it; empty: it is not known.
func (g *Gateway) speaks(buf []byte, other string) (name, device string) {
	for _, known := range [...]struct{ begin, name string }{
		{"GET ", "http"},
		{"HEAD ", "http"},
		{"POST ", "http"},
		{"PUT ", "http"},
		{"OPTIONS ", "http"},
		{"CONNECT ", "http"},
		{"\x16\x03", "tls"},
		{"SSH-", "ssh"},
		{"PROXY ", "proxy_header"},
		{"\xffAQSH", "watch_cloud"}, // a watch that speaks with its vendor's servers alone
		{"\r\n\r\n\x00\r\nQUIT\n", "proxy_header"},
	} {
		if bytes.HasPrefix(buf, []byte(known.begin)) {
			return known.name, ""
		}
	}
	for _, sp := range g.speakers {
		if sp.protocol.Name == other {
			continue
		}
		if device, ok := sp.understands(buf); ok {
			return sp.protocol.Name, device
		}
	}
	return "", ""
}

// understands reports whether bytes begin with a whole and undamaged frame of the protocol that
// means something.
func (sp speaker) understands(buf []byte) (device string, ok bool) {
	defer func() {
		if recover() != nil { // a mistake of a protocol that nobody speaks here
			device, ok = "", false
		}
	}()
	n, _, err := sp.protocol.Frame(buf, 0)
	if err != nil || n <= 0 {
		return "", false
	}
	meant := false
	err = sp.protocol.NewCodec(sp.settings).Decode(buf[:n], func(e *protocol.Event) {
		switch e.Kind {
		case protocol.KindLogin, protocol.KindRegister:
			meant, device = true, e.DeviceID
		case protocol.KindHeartbeat, protocol.KindPosition, protocol.KindText:
			meant = true
		default:
		}
	})
	return device, err == nil && meant
}
