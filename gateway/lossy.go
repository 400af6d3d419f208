package gateway

import (
	"trackchat/protocol"
	"trackchat/queue"

	"go.uber.org/zap"
)

// tellReplaced returns and counts the characters of a text that the device's charset cannot carry,
// and says so under the message's id: the driver reads something else than what was written.
func (s *session) tellReplaced(m *queue.Message, cs protocol.Charset) int {
	n := replaced(m.Text, cs)
	if n > 0 {
		s.l.c.replaced.Add(float64(n))
		s.l.g.log.Info("text has characters that the device cannot show", s.field(),
			zap.Int64("message", m.ID), zap.Int("replaced", n))
	}
	return n
}

// replaced returns how many characters of text the device shows otherwise than they were written.
func replaced(text string, cs protocol.Charset) int {
	_, n := protocol.Fold(cs, text)
	return n
}
