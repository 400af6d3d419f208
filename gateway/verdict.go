package gateway

import "trackchat/queue"

// attempted counts that the part at hand was written to a device that took it and has not said what
// became of it, though its protocol has a word for that (TextCaps.Verdict). It reports whether that
// was the last of MaxAttempts: such a device would get the text for ever, and nothing behind it its
// turn. Devices of which nothing was heard are not counted: they may be out of reach for long.
func (s *session) attempted() bool {
	b := s.box
	if b.evidence != evidenceAccepted || !s.codec.Caps().Verdict {
		return false
	}
	return s.l.g.unconfirmed.add(s.tracker, b.msgs[0].ID) >= s.l.g.o.MaxAttempts
}

// leftWithoutVerdict counts the attempt that ends with the connection.
func (s *session) leftWithoutVerdict(why reason) {
	b := s.box
	if b == nil || b.state != flightSent || b.ended || len(b.msgs) == 0 || why == reasonShutdown {
		return
	}
	last := s.attempted()
	b.evidence = evidenceNone // it is counted
	if last {
		s.end(queue.StatusFailed, queue.ReasonNotConfirmed)
	}
}
