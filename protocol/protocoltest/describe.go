package protocoltest

import (
	"fmt"
	"strings"

	"trackchat/protocol"
)

func results() []string {
	return []string{"ok", "no_login", "unknown_device", "bad_credentials", "invalid", "later"}
}

func kinds() []string {
	return []string{
		"", "login", "register", "logout", "heartbeat", "position", "ack", "evidence",
		"answer", "text", "other", "unknown", "refused", "known",
	}
}

func outcomes() []string {
	return []string{
		"", "delivered", "opened", "failed", "damaged", "rejected", "unsupported",
		"storage", "later", "linked", "accepted",
	}
}

// describe writes an event the way transcripts show it: what the gateway sees, without the codec's
// own fields except the message id.
func describe(e *protocol.Event) string {
	var b strings.Builder
	b.WriteString(kinds()[e.Kind])
	if e.Msg != 0 {
		fmt.Fprintf(&b, " msg=0x%04x", e.Msg)
	}
	switch e.Kind {
	case protocol.KindLogin, protocol.KindRegister:
		fmt.Fprintf(&b, " id=%q", e.DeviceID)
		if e.Kind == protocol.KindLogin {
			fmt.Fprintf(&b, " secret=%q", e.Secret)
		}
	case protocol.KindPosition:
		fmt.Fprintf(&b, " count=%d", e.Count)
	case protocol.KindAck, protocol.KindEvidence:
		fmt.Fprintf(&b, " ref=%d %s", e.Ref, outcomes()[e.Outcome])
	case protocol.KindAnswer:
		fmt.Fprintf(&b, " ref=%d choice=%d", e.Ref, e.Choice)
	default:
	}
	if e.Text != "" {
		fmt.Fprintf(&b, " %q", e.Text)
	}
	if e.Key != 0 {
		fmt.Fprintf(&b, " key=%016x window=%s", e.Key, e.Window)
	}
	if e.Replies {
		fmt.Fprintf(&b, " reply_to=%d", e.ReplyTo)
	}
	if e.Fleeting {
		b.WriteString(" fleeting")
	}
	if e.Earlier {
		b.WriteString(" earlier")
	}
	if e.Across {
		b.WriteString(" across")
	}
	if e.Flawed {
		b.WriteString(" flawed")
	}
	return b.String()
}
