package gateway

import (
	"errors"
	"slices"
	"time"

	"trackchat/protocol"

	"go.uber.org/zap"
)

// fromDevice passes on what the device sends, and returns how many bytes are used up. What is left
// stays with its connection.
func (r *relay) fromDevice(buf []byte) (used int) {
	s := r.s
	switch {
	case r.stage == stageNaming:
		return r.name(buf)
	case r.stage == stageDialling && !r.is(relayAnswered), r.stage == stageDown &&
		!r.is(relayAnswered):
		r.awaitServer(len(buf))
		return 0
	}
	s.shard.cur = s
	now, frames := s.l.g.o.Now(), int32(0)
	left, begun := s.l.g.framesLeft(s.heard, s.frames), false
	for used < len(buf) && !s.closing && s.marks&markCrowded == 0 {
		if !r.room() {
			r.fill()
			break
		}
		if int(frames) >= left {
			s.throttle()
			break
		}
		n, whole := r.cutUp(buf[used:])
		if begun = n == 0; begun {
			break
		}
		if whole {
			frames++
			s.life.sign(lifeFrame)
			r.upFrame(buf[used:used+n], now)
		} else {
			s.shard.up = append(s.shard.up, buf[used:used+n]...)
		}
		used += n
	}
	r.send()
	r.ease()
	if r.waits != 0 { // so that the end of the device comes after what it has said
		r.fill()
	}
	s.framesCame(frames)
	r.await(&r.up, begun, used, len(buf)-used)
	if frames > 0 && !s.closing {
		s.poll(now)
		r.offerServerAgain()
	}
	return used
}

// await gives a frame that has begun its time, anew with each piece of it: a network may be slow.
// used: bytes before it that were taken.
func (r *relay) await(f *unfinished, begun bool, used, bytes int) {
	switch {
	case !begun:
		*f = unfinished{}
	case f.untilMs == 0 || used > 0 || f.bytes != int32(bytes):
		f.bytes = int32(bytes)
		r.at(&f.untilMs, unfinishedWait)
	}
}

// offerServerAgain has the bytes of the server that are left be looked at again: what they mean may
// depend on what the device has said.
func (r *relay) offerServerAgain() {
	if r.down.untilMs != 0 && r.conn() != nil {
		r.offerAgain(r.conn())
	}
}

// limit is how long a frame of the device may be to be looked into.
func (r *relay) limit() int {
	if r.s.tracker != 0 {
		return max(r.s.l.protocol.MaxFrame, r.to.Buffer)
	}
	return r.to.Buffer
}

// cutUp is the length of the next frame of the device, or of bytes that are none and pass as they
// are; 0: more have to come.
func (r *relay) cutUp(rest []byte) (n int, whole bool) {
	s := r.s
	if r.is(relayLostUp) {
		if !s.l.beginsFrame(rest) {
			return len(rest), false
		}
		r.mark(relayLostUp, false)
	}
	n, next, err := s.l.protocol.Frame(rest, int(s.scanned))
	switch {
	case err != nil, n <= 0 && len(rest) > r.limit():
		r.lose(relayLostUp, err)
		s.scanned = 0
		return len(rest), false
	case n <= 0:
		s.scanned = int32(next)
		return 0, false
	}
	s.scanned = 0
	return n, true
}

// cutDown is cutUp for the server.
func (r *relay) cutDown(rest []byte) (n int, whole bool) {
	if r.is(relayLostDown) {
		if !r.allFrames(rest) {
			return len(rest), false
		}
		r.mark(relayLostDown, false)
	}
	n, next, err := r.codec.CutDown(rest, int(r.scanned))
	switch {
	case err != nil, n <= 0 && len(rest) > mostServerPart:
		r.lose(relayLostDown, err)
		r.scanned = 0
		return len(rest), false
	case n <= 0:
		r.scanned = int32(next)
		return 0, false
	}
	r.scanned = 0
	return n, true
}

// lose notes that the bytes of one side are no frames: chat pauses until they are again.
func (r *relay) lose(side relayMarks, err error) {
	s := r.s
	if side == relayLostDown && !s.closing {
		s.pollCodec(s.l.g.o.Now()) // what the codec has kept back of the server goes before
	}
	r.mark(side, true)
	if ce := s.l.g.log.Check(zap.DebugLevel, "bytes pass that are no frames"); ce != nil {
		ce.Write(s.field(), zap.String("protocol", s.l.protocol.Name), zap.Bool("of_the_device",
			side == relayLostUp), zap.Error(err))
	}
}

// beginsFrame reports whether bytes begin with a whole and undamaged frame of the protocol.
func (l *Listener) beginsFrame(buf []byte) bool {
	n, _, err := l.protocol.Frame(buf, 0)
	if err != nil || n <= 0 {
		return false
	}
	return l.protocol.NewCodec(l.settings).Decode(buf[:n], func(*protocol.Event) {}) == nil
}

// allFrames reports whether bytes of the server are nothing but whole frames.
func (r *relay) allFrames(buf []byte) bool {
	for len(buf) > 0 {
		n, _, err := r.codec.CutDown(buf, 0)
		if err != nil || n <= 0 {
			return false
		}
		buf = buf[n:]
	}
	return true
}

// upFrame deals with one frame of the device.
func (r *relay) upFrame(frame []byte, now time.Time) {
	s := r.s
	sh := s.shard
	sh.frame++
	sh.worst = protocol.OK
	if s.told != nil {
		s.told.copied = nil
	}
	w := &sh.ways
	w.Device, w.Server = w.Device[:0], w.Server[:0]
	r.mark(relayRefused, false)
	err := r.codec.Up(w, frame, now, sh.emit)
	if err == nil && s.told != nil && s.tracker != 0 {
		s.wentOn(&s.l.g.history.known, s.tracker, s.l.g.minute())
	}
	if errors.Is(err, protocol.ErrFraming) {
		r.lose(relayLostUp, err)
	}
	sh.out = append(sh.out, w.Device...)
	r.count()
	switch {
	case len(w.Server) == 0:
	case r.is(relayRefused): // as where the store does, see settled
		s.close(reasonStore)
		return
	case s.replies.awaitStore(sh.frame):
		r.send() // what came before it need not wait
		r.waits = sh.frame
	}
	sh.up = append(sh.up, w.Server...)
}

// refused takes note of a text that the device has to send again.
func (r *relay) refused(e *protocol.Event, result protocol.Result) {
	if r != nil && e.Passed && result == protocol.Later {
		r.mark(relayRefused, true)
	}
}

// awaitStore reports whether a text of a frame is not stored yet.
func (q *replies) awaitStore(frame int64) bool {
	return q != nil && slices.ContainsFunc(q.slots, func(sl slot) bool {
		return sl.waiting && sl.frame == frame && sl.event.Passed
	})
}

// settled goes on with the frame that waits for the store to have its texts. A device whose text
// could not be stored must send it again, so its frame does not pass.
func (r *relay) settled() {
	s := r.s
	if r.waits == 0 || s.replies.awaitStore(r.waits) {
		return
	}
	r.waits = 0
	if r.is(relayRefused) {
		r.held = nil
		s.close(reasonStore)
		return
	}
	r.goOn()
}

// goOn sends what was held back, and reads on.
func (r *relay) goOn() {
	r.send()
	r.ease()
	if c := r.s.conn; !r.is(relayDeviceFull) {
		r.offerAgain(c)
	}
}

// send hands what has gathered for the server to its connection, or keeps it.
func (r *relay) send() {
	sh := r.s.shard
	if r.stage != stageOpen || r.waits != 0 {
		r.held = append(r.held, sh.up...)
	} else {
		if len(r.held) > 0 {
			r.write(r.held)
			r.held = nil
		}
		r.write(sh.up)
	}
	if cap(sh.up) > maxScratch {
		sh.up = nil
	}
	sh.up = sh.up[:0]
}

// write gives the server bytes. What fails ends the connection, and OnClose tells.
func (r *relay) write(b []byte) {
	c := r.conn()
	if len(b) == 0 || c == nil {
		return
	}
	failed := c.Write(b) != nil
	if !failed {
		r.s.l.g.m.relayUp.Add(float64(len(b)))
		r.server.up.Add(int64(len(b)))
	}
	r.mark(relayPassed, true)
	r.mark(relayUnsent, failed || c.Unsent() > 0)
}

// room reports whether more of the device may be taken.
func (r *relay) room() bool {
	n := len(r.held) + len(r.s.shard.up)
	if c := r.conn(); c != nil && r.is(relayUnsent) {
		n += c.Unsent()
	}
	return r.waits == 0 && n < r.to.Buffer
}

// fill has the device wait until the server has caught up.
func (r *relay) fill() {
	if !r.is(relayDeviceFull) {
		r.mark(relayDeviceFull, true)
		r.s.l.g.m.paused.Inc()
	}
	r.s.conn.Pause()
}

// ease has it read again.
func (r *relay) ease() {
	if r.is(relayDeviceFull) && r.room() {
		r.mark(relayDeviceFull, false)
		r.s.resume()
	}
}

// fromServer passes on what the tracking server sends, and returns how many bytes are used up.
func (r *relay) fromServer(buf []byte) (used int) {
	s := r.s
	s.shard.cur = s
	now, begun := s.l.g.o.Now(), false
	for used < len(buf) && !s.closing {
		if !r.deviceRoom() {
			r.mark(relayServerFull, true)
			s.l.g.m.paused.Inc()
			r.conn().Pause()
			break
		}
		n, whole := r.cutDown(buf[used:])
		if begun = n == 0; begun {
			break
		}
		if whole {
			r.downFrame(buf[used:used+n], now)
		} else {
			s.shard.out = append(s.shard.out, buf[used:used+n]...)
			r.countDown(n)
		}
		used += n
	}
	r.send()
	r.await(&r.down, begun, used, len(buf)-used)
	if !s.closing {
		s.poll(now)
	}
	return used
}

// downFrame deals with one frame of the server.
func (r *relay) downFrame(frame []byte, now time.Time) {
	sh := r.s.shard
	sh.frame++
	sh.worst = protocol.OK
	w, before, replaying := &sh.ways, len(sh.out), r.stage == stageReplaying
	w.Device, w.Server = w.Device[:0], w.Server[:0]
	if err := r.codec.Down(w, frame, now, sh.emit); errors.Is(err, protocol.ErrFraming) {
		r.lose(relayLostDown, err)
	}
	// what is said because of the frame follows it
	sh.out = slices.Insert(sh.out, before, w.Device...)
	r.countDown(len(w.Device))
	r.count()
	if !replaying {
		sh.up = append(sh.up, w.Server...)
		return
	}
	r.write(w.Server) // it belongs to the login, and so before what waits
	if r.stage == stageOpen {
		r.goOn()
	}
}

// count takes note of what a codec has done.
func (r *relay) count() {
	w, m := &r.s.shard.ways, r.s.l.g.m
	if w.Mapped > 0 {
		m.relayMapped.Add(float64(w.Mapped))
	}
	if w.Conflicts > 0 {
		m.relayConflicts.Add(float64(w.Conflicts))
		r.s.l.g.log.Warn("the tracking server uses the driver's terminal itself, texts fail",
			r.s.field(), zap.String("protocol", r.s.l.protocol.Name),
			zap.String("upstream", r.to.Address))
	}
	w.Mapped, w.Conflicts = 0, 0
}

func (r *relay) countDown(n int) {
	r.s.l.g.m.relayDown.Add(float64(n))
	r.server.down.Add(int64(n))
}

// deviceRoom reports whether more of the server may be taken.
func (r *relay) deviceRoom() bool {
	n := len(r.s.shard.out) + r.s.conn.Unsent()
	if p := r.s.spaced; p != nil {
		n += len(p.held)
	}
	return n < r.to.Buffer
}

// deviceDrained reads on from a server whose device has caught up.
func (r *relay) deviceDrained() {
	c := r.conn()
	switch {
	case r.endMs != 0 && r.s.conn.Unsent() == 0:
		r.s.close(reasonUpstream)
	case c != nil && r.is(relayServerFull) && r.deviceRoom():
		r.mark(relayServerFull, false)
		c.Resume()
	}
}
