package api

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"trackchat/queue"
)

// Limits of what send and broadcast take beyond the platform.
const (
	maxTTL     = int(365 * 24 * time.Hour / time.Second)
	maxChoices = 8
	maxChoice  = 50  // characters of one
	maxKey     = 255 // characters
)

// sendOptions are what send and broadcast take beyond the platform.
type sendOptions struct {
	ttl     time.Duration // 0 for ever
	key     string        // the client's idempotency key, '' none
	choices []string
	replyTo int64 // 0 none
	strict  bool  // refuse what the device cannot show
}

func readExtras(r *reader, h http.Header) sendOptions {
	replyTo, _ := r.optionalID("reply_to")
	return sendOptions{
		ttl:     time.Duration(r.within("ttl", 0, 1, maxTTL)) * time.Second,
		key:     r.key("idempotency_key", h),
		choices: r.choices("choices"),
		replyTo: replyTo,
		strict:  r.flag("strict", false),
	}
}

// key reads an optional idempotency key, of the parameter or else of the header.
func (r *reader) key(name string, h http.Header) string {
	v, given := r.params.find(name)
	if list := h.Values("Idempotency-Key"); !given && len(list) > 0 {
		v = value{texts: list}
	} else if !given {
		return ""
	}
	key, ok := v.scalar()
	if !ok {
		r.fail(name, "must be a string")
		return ""
	}
	if n := utf8.RuneCountInString(key); n == 0 || n > maxKey {
		r.fail(name, fmt.Sprintf("length must be between 1 and %d", maxKey))
	}
	if !utf8.ValidString(key) ||
		strings.ContainsFunc(key, func(c rune) bool { return !unicode.IsPrint(c) }) {
		r.fail(name, "must consist of printable characters")
	}
	return key
}

// choices reads the optional canned answers. An empty list is none.
func (r *reader) choices(name string) []string {
	v, given := r.params.findList(name)
	if !given {
		return nil
	}
	list, ok := v.strings()
	switch {
	case !ok:
		r.fail(name, "must be a list of strings")
		return nil
	case len(list) > maxChoices:
		r.fail(name, fmt.Sprintf("size must be at most %d", maxChoices))
		return nil
	}
	seen := make(map[string]struct{}, len(list))
	for i, s := range list {
		text, problem := normalizeText(strings.TrimSpace(s))
		switch _, twice := seen[text]; {
		case problem != "":
		case utf8.RuneCountInString(text) > maxChoice:
			problem = fmt.Sprintf("length of each must be between 1 and %d", maxChoice)
		case strings.ContainsAny(text, "\n\t"):
			problem = "must not contain control characters"
		case twice:
			problem = "must not contain duplicates"
		}
		if problem != "" {
			r.fail(name, problem)
			return nil
		}
		seen[text] = struct{}{}
		list[i] = text
	}
	return list
}

// outgoing makes the request for one message.
func (c *call) outgoing(t *queue.Tracker, text string, x *sendOptions) queue.SendReq {
	r := queue.SendReq{
		Tracker: t.Key(), Employee: t.Employee, Text: text, Choices: x.choices,
		ReplyTo: x.replyTo,
	}
	if x.ttl > 0 {
		r.ExpiresMs = c.now.Add(x.ttl).UnixMilli()
	}
	if x.key != "" {
		r.Key = strconv.FormatInt(int64(c.account.ID), 10) + "/" + x.key
	}
	return r
}

// checkReply refuses an answer to anything but a message of every tracker that it goes to.
func (a *API) checkReply(ctx context.Context, x *sendOptions, trackers ...*queue.Tracker) error {
	if x.replyTo == 0 {
		return nil
	}
	found, err := a.store.Resolve(ctx, []int64{x.replyTo})
	if err != nil {
		return fmt.Errorf("resolving message %d: %w", x.replyTo, err)
	}
	for _, t := range trackers {
		if t.Key() != found[0] {
			return invalid("reply_to", "must be a message of the same tracker")
		}
	}
	return nil
}
