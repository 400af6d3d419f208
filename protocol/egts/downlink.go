package egts

import (
	"fmt"

	"trackchat/protocol"
)

// AppendText: CT_MSGTO with the reference as CID. The part is in Windows-1251 if that can carry all
// of it (without CHS), else in UCS2 (CHS 8), where what lies outside the basic plane becomes '?'. A
// repetition has the numbers of the first time, as the standard wants it.
func (c *codec) AppendText(dst []byte, t protocol.Text) ([]byte, error) {
	prefix := ""
	if c.settings.Bool(settingPartPrefix) {
		prefix = string(protocol.AppendPrefix(nil, t))
	}
	cs := c.charset(c.settings)
	body := cs.fold(t.Body)
	n, wide := cs.length(body)
	n += len(prefix)
	if wide {
		n += len(prefix)
	}
	if n > c.textRoom() {
		return dst, fmt.Errorf("%w: %d bytes in one packet, which has room for %d",
			protocol.ErrNotText, n, c.textRoom())
	}
	ref := uint32(t.Ref)
	again := c.text.is && c.text.ref == ref
	if !again {
		if c.text.is {
			c.answered(c.text.pid) // the gateway has done with that text
		}
		c.text = sent{ref: ref, pid: c.nextPID(), rn: c.nextRN(), is: true}
	}
	head := commandHead + 1
	if wide {
		head++
	}
	dst, start := begin(dst, c.via, c.text.pid, typeAppData)
	dst = appendRecord(dst, record{number: c.text.rn, service: serviceCommands}, fromPlatform,
		subCommand, head+n)
	dst = appendCommandHead(dst, messageTo, 0, ref, uint32(c.settings.Int(settingSID)))
	dst = appendCharset(dst, wide)
	if prefix != "" {
		dst = cs.appendText(dst, prefix, wide)
	}
	dst = finish(cs.appendText(dst, body, wide), start)
	if again {
		c.repeated(c.text.pid)
	} else {
		c.wait(waitingPacket{pid: c.text.pid, text: true}, dst[start:])
	}
	return dst, nil
}
