package api

import (
	"context"
	"errors"
	"runtime"
)

// Bounds of logins that are verified.
const (
	loginMemory = passwordMemory << 10 // bytes of one
	// one part in so many of the limit of memory is for all of them.
	loginShare      = 16
	maxLogins       = 128 // that wait or are verified
	maxStrangeLogin = 64  // of them, from where nobody has logged in before
)

// hashing is the queue of logins whose password is to be verified: each takes 19 MiB and tens of
// milliseconds of a processor, and one processor is left to everybody else in any case.
type hashing struct {
	turns     semaphore // verified at this moment
	strangers semaphore // who may wait for a turn: those who are familiar wait for few of them
	waiting   *fair
}

// newHashing returns a queue for a number of processors and a limit of memory; 0: those that Go
// uses, and not known.
func newHashing(processors int, memory int64) *hashing {
	if processors <= 0 {
		processors = runtime.GOMAXPROCS(0)
	}
	n := processors - 1
	if memory > 0 {
		n = min(n, int(memory/loginShare/loginMemory))
	}
	n = max(n, 1)
	waiting := newFair(maxLogins, maxStrangeLogin, 0)
	waiting.last = true // who has waited is next
	return &hashing{turns: make(semaphore, n), strangers: make(semaphore, n), waiting: waiting}
}

// errLoginQueue refuses a login because too many are verified at a time.
var errLoginQueue = errors.New("too many logins wait")

// enter waits for a turn; leave ends it.
func (q *hashing) enter(ctx context.Context, place string, familiar bool) (leave func(),
	err error,
) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h := q.waiting.join(place, familiar, cancel)
	if !h.grow(1) {
		h.leave()
		return nil, errLoginQueue
	}
	if !familiar {
		if !q.strangers.acquire(ctx) {
			h.leave()
			return nil, errLoginQueue
		}
		defer q.strangers.release()
	}
	if !q.turns.acquire(ctx) {
		h.leave()
		return nil, errLoginQueue
	}
	leave = func() {
		q.turns.release()
		h.leave()
	}
	if !h.settle() {
		leave()
		return nil, errLoginQueue
	}
	return leave, nil
}
