package api

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"trackchat/api/navixy"
	"trackchat/queue"
)

// Capabilities are what a tracker's device can be sent, as far as its protocol and its settings
// say.
type Capabilities struct {
	Protocol      string
	Charset       string // name; those of one name show the same characters
	PartBytes     int    // of text in the device's charset
	MaxCharacters int    // of a text that is certain to fit, in characters of the charset
	Choices       int    // canned answers with a text, at most; 0: none
	ReadReceipts  bool   // the device says when the driver has opened a text
	Delivered     bool   // the device can confirm a text
	Urgent        bool   // the device is told which texts are urgent
	// Lost reports whether the device shows '?' for a character.
	Lost func(r rune) bool
	// Asks says why the device would not show a text with all of these canned answers whole, as far
	// as that is not a matter of their number or characters; nil where it would.
	Asks func(text string, choices []string) error
}

const mostLost = 10 // characters that a refusal names

// capabilities answers tracker/chat/capabilities.
func (a *API) capabilities(ctx context.Context, c *call) error {
	id, err := readTracker(c.read)
	if err != nil {
		return err
	}
	t, err := c.chatTracker(id)
	if err != nil {
		return err
	}
	can, ok := a.can(t)
	if !ok {
		return navixy.Refuse(navixy.CodeUnsupported)
	}
	known := (&trackerListing{a: a, c: c, waiting: []*queue.Tracker{t}}).read(ctx)
	dst := append(c.out.buf, `{"success":true,"value":{"protocol":`...)
	dst = navixy.AppendString(dst, can.Protocol)
	dst = append(dst, `,"charset":`...)
	dst = navixy.AppendString(dst, can.Charset)
	dst = append(dst, `,"part_bytes":`...)
	dst = strconv.AppendInt(dst, int64(can.PartBytes), 10)
	dst = append(dst, `,"max_characters":`...)
	dst = strconv.AppendInt(dst, int64(min(can.MaxCharacters, queue.MaxText)), 10)
	dst = append(dst, `,"choices":`...)
	dst = strconv.AppendInt(dst, int64(min(can.Choices, queue.MaxChoices)), 10)
	dst = append(dst, `,"read_receipts":`...)
	dst = strconv.AppendBool(dst, can.ReadReceipts)
	dst = append(dst, `,"delivered":`...)
	if can.Delivered {
		dst = append(dst, `"device"`...)
	} else {
		dst = append(dst, `"none"`...)
	}
	dst = append(dst, `,"urgent":`...)
	dst = strconv.AppendBool(dst, can.Urgent)
	dst = append(dst, `,"online":`...)
	if known == nil {
		dst = append(dst, `null`...)
	} else {
		dst = strconv.AppendBool(dst, known[t.Key()].Online)
	}
	c.out.buf = append(dst, `}}`...)
	return nil
}

// strictSend refuses what the device of t would not show.
func (a *API) strictSend(t *queue.Tracker, q *sendRequest) error {
	if !q.extras.strict {
		return nil
	}
	can, ok := a.can(t)
	if !ok {
		return navixy.Refuse(navixy.CodeUnsupported)
	}
	var s strictness
	s.check(t, &can, q.text, q.extras.choices)
	return s.done(false)
}

// strictBroadcast refuses what one of the devices would not show, and tells which trackers have
// devices that can be sent anything; the others are not sent to.
func (a *API) strictBroadcast(
	trackers []*queue.Tracker, q *broadcastRequest,
) (able []bool, err error) {
	able = make([]bool, len(trackers))
	var s strictness
	for i, t := range trackers {
		able[i] = t.Chat
		if !q.extras.strict || !t.Chat {
			continue
		}
		var can Capabilities
		if can, able[i] = a.can(t); able[i] {
			s.check(t, &can, q.text, q.extras.choices)
		}
	}
	return able, s.done(true)
}

// strictness collects what devices would not show.
type strictness struct {
	seen            map[string][2][]rune // by charset: what it loses of the text, of the choices
	message, answer loss
	few             loss // devices that show fewer choices
	long            loss // devices that have no room for them
	why             error
	most            int // of those, the least that one shows
}

// loss is what some trackers' devices lose.
type loss struct {
	runes    []rune
	trackers []string
}

func (s *strictness) check(t *queue.Tracker, can *Capabilities, text string, choices []string) {
	lost, ok := s.seen[can.Charset]
	if !ok {
		lost = [2][]rune{lostIn(can, text), lostIn(can, choices...)}
		if s.seen == nil {
			s.seen = map[string][2][]rune{}
		}
		s.seen[can.Charset] = lost
	}
	id := strconv.FormatInt(int64(t.ID), 10)
	s.message.add(lost[0], id)
	if len(choices) <= can.Choices {
		s.answer.add(lost[1], id)
		if err := can.Asks(text, choices); err != nil {
			s.long.trackers, s.why = append(s.long.trackers, id), err
		}
		return
	}
	if len(s.few.trackers) == 0 || can.Choices < s.most {
		s.most = can.Choices
	}
	s.few.trackers = append(s.few.trackers, id)
}

// lostIn returns the first few different characters that the device would show as '?'.
func lostIn(can *Capabilities, texts ...string) []rune {
	var lost []rune
	for _, text := range texts {
		for _, r := range text {
			if !slices.Contains(lost, r) && can.Lost(r) {
				if lost = append(lost, r); len(lost) == mostLost {
					return lost
				}
			}
		}
	}
	return lost
}

func (l *loss) add(lost []rune, tracker string) {
	if len(lost) == 0 {
		return
	}
	l.trackers = append(l.trackers, tracker)
	for _, r := range lost {
		if len(l.runes) < mostLost && !slices.Contains(l.runes, r) {
			l.runes = append(l.runes, r)
		}
	}
}

// done returns the refusal of everything that would not be shown, or nil; named says by whom.
func (s *strictness) done(named bool) error {
	by := func(l *loss) string {
		if !named {
			return "the device cannot show"
		}
		return "the devices of trackers " + strings.Join(l.trackers, ", ") + " cannot show"
	}
	var wrong navixy.Problems
	if l := &s.message; len(l.trackers) > 0 {
		wrong.Add("message", by(l)+": "+spaced(l.runes))
	}
	if l := &s.few; len(l.trackers) > 0 {
		problem := fmt.Sprintf("%s more than %d choices", by(l), s.most)
		wrong.Add("choices", problem)
	} else if l := &s.answer; len(l.trackers) > 0 {
		wrong.Add("choices", by(l)+": "+spaced(l.runes))
	} else if l := &s.long; len(l.trackers) > 0 {
		wrong.Add("choices", by(l)+" "+s.why.Error())
	}
	return wrong.Err()
}

func spaced(runes []rune) string {
	return strings.Join(strings.Split(string(runes), ""), " ")
}
