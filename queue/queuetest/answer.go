package queuetest

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"trackchat/queue"
)

func answerRules() []rule {
	return []rule{
		{"the first answer counts", firstAnswer},
		{"an answer is kept for 24 hours", answerExpires},
		{"of many at once one counts", oneAnswer},
	}
}

func (c *check) recall(a queue.AccountID, key string) string {
	c.Helper()
	b, err := c.Store.IdempotentAnswer(c.Context(), a, key)
	c.must(err)
	return string(b)
}

// remember is for the key "k" of account 1.
func (c *check) remember(answer string) string {
	c.Helper()
	b, err := c.Store.SaveAnswer(c.Context(), 1, "k", []byte(answer))
	c.must(err)
	return string(b)
}

func firstAnswer(c *check) {
	long := strings.Repeat("12345678901,", 600) + "\x00\xff"
	if got := c.recall(1, "k"); got != "" {
		c.Fatalf("%q before any", got)
	}
	if got := c.remember(long); got != long {
		c.Fatalf("%q", got)
	}
	c.reopen()
	if got := c.remember("second"); got != long {
		c.Fatalf("the second one counts: %q", got)
	}
	if got := c.recall(1, "k"); got != long {
		c.Fatalf("%q", got)
	}
	for _, other := range []struct {
		account queue.AccountID
		key     string
	}{{2, "k"}, {1, "K"}, {1, "k "}, {11, "k"}, {1, ""}} {
		if got := c.recall(other.account, other.key); got != "" {
			c.Fatalf("%v has %q", other, got)
		}
	}
}

func answerExpires(c *check) {
	if c.Clock == nil {
		return // the store's own clock cannot be turned
	}
	c.remember("first")
	c.Clock.Advance(24*time.Hour - time.Second)
	if got := c.recall(1, "k"); got != "first" {
		c.Fatalf("before 24 h: %q", got)
	}
	c.Clock.Advance(2 * time.Second)
	if got := c.recall(1, "k"); got != "" {
		c.Fatalf("after 24 h: %q", got)
	}
	if got := c.remember("second"); got != "second" {
		c.Fatalf("after 24 h: %q", got)
	}
}

func oneAnswer(c *check) {
	got := make([]string, 16)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			b, err := c.Store.SaveAnswer(c.Context(), 1, "k", []byte(strconv.Itoa(i)))
			if err != nil {
				c.Error(err)
			}
			got[i] = string(b)
		})
	}
	wg.Wait()
	for _, s := range got {
		if s != got[0] || s == "" {
			c.Fatalf("different answers: %q", got)
		}
	}
}
