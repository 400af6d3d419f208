package auth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"

	"trackchat/queue"
)

// Bounds of failed logins: a burst, then one in a while.
const (
	// of one login from one address: a person who has forgotten a password.
	pairBurst, pairEvery = 10, 30 * time.Second
	// of one login from everywhere: many addresses that guess one password.
	loginBurst, loginEvery = 50, 10 * time.Second
	// from one address for all logins; programs on this machine are excepted: a proxy speaks for
	// many.
	addressBurst, addressEvery = 50, time.Second
	maxAttemptBuckets          = 16_384 // of each kind that are remembered
)

// decoyHash is that of no password that anybody knows: an unknown login costs as much time as a
// wrong password.
const decoyHash = "$argon2id$v=19$m=19456,t=2,p=1$jh913INdmABiTCr3CwkDZQ$KQuPvvpdLwBT5rp9rXkpLZes7uaxt2Cf9iBPxDE5RcM"

// LoginLimiter limits failed logins, and the logins that are verified at a time.
type LoginLimiter struct {
	pair, login, address *Limiter
	familiar             *familiar
	queue                *hashing
}

// NewLoginLimiter leaves one of the processors and most of the memory, in bytes, to everybody else;
// 0: those that Go uses, and not known.
func NewLoginLimiter(processors int, memory int64) *LoginLimiter {
	every := func(d time.Duration, burst int) *Limiter {
		return newBuckets(1/d.Seconds(), burst, maxAttemptBuckets)
	}
	return &LoginLimiter{
		pair: every(pairEvery, pairBurst), login: every(loginEvery, loginBurst),
		address:  every(addressEvery, addressBurst),
		familiar: newFamiliar(), queue: newHashing(processors, memory),
	}
}

// Attempt is one login from one place.
type Attempt struct {
	Login   string
	Address netip.Addr // of the client
	Now     time.Time
}

// bucketOf is one of the buckets that an attempt draws from.
type bucketOf struct {
	limiter *Limiter
	key     queue.KeyHash
}

// buckets returns those that an attempt draws from. From where somebody has logged in before, it is
// that pair's alone, so that strangers cannot lock a person out by guessing from elsewhere.
func (a *LoginLimiter) buckets(t *Attempt, familiar bool) []bucketOf {
	place := Place(t.Address)
	list := []bucketOf{{a.pair, queue.HashKey("pair\x00" + place + "\x00" + t.Login)}}
	if familiar {
		return list
	}
	list = append(list, bucketOf{a.login, queue.HashKey("login\x00" + t.Login)})
	if !t.Address.IsLoopback() {
		list = append(list, bucketOf{a.address, queue.HashKey("address\x00" + place)})
	}
	return list
}

// FailuresError refuses a login because there were too many failures.
type FailuresError struct{ Wait time.Duration }

func (e *FailuresError) Error() string {
	return fmt.Sprintf("too many failed logins, the next one in %v", e.Wait)
}

// refused says how long an attempt has to wait because there were too many failures.
func refused(buckets []bucketOf, now time.Time) error {
	for _, b := range buckets {
		if d := b.limiter.delay(b.key, now); d > 0 {
			return &FailuresError{d}
		}
	}
	return nil
}

// Verify reports whether a password is that of the hash; an empty hash is nobody's. The error is a
// *FailuresError, or says that too many logins wait; ctx bounds the wait.
func (a *LoginLimiter) Verify(ctx context.Context, t *Attempt, hash, password string) (bool,
	error,
) {
	place := Place(t.Address)
	familiar := a.familiar.has(t.Login, place)
	buckets := a.buckets(t, familiar)
	if err := refused(buckets, t.Now); err != nil { // who is refused anyway takes nobody's turn
		return false, err
	}
	leave, err := a.queue.enter(ctx, place, familiar)
	if err != nil {
		return false, err
	}
	defer leave()
	// Again, where few run at a time, so that a volley cannot pass before its first failure is
	// counted.
	if err := refused(buckets, t.Now); err != nil {
		return false, err
	}
	known := hash != ""
	if !known {
		hash = decoyHash
	}
	if VerifyPassword(hash, password) && known {
		a.familiar.note(t.Login, place)
		return true, nil
	}
	for _, b := range buckets {
		b.limiter.Wait(b.key, t.Now)
	}
	return false, nil
}

// Hash hashes a new password in the turn of one that is verified for the same place; ctx bounds the
// wait. The error is ErrPasswordLength, or says that too many wait.
func (a *LoginLimiter) Hash(ctx context.Context, address netip.Addr, password string) (string,
	error,
) {
	leave, err := a.queue.enter(ctx, Place(address), true)
	if err != nil {
		return "", err
	}
	defer leave()
	return HashPassword(password)
}

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
	turns     Semaphore // verified at this moment
	strangers Semaphore // who may wait for a turn: those who are familiar wait for few of them
	waiting   *FairShare
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
	waiting := NewFairShare(maxLogins, maxStrangeLogin, 0)
	waiting.last = true // who has waited is next
	return &hashing{turns: make(Semaphore, n), strangers: make(Semaphore, n), waiting: waiting}
}

// errLoginQueue refuses a login because too many are verified at a time.
var errLoginQueue = errors.New("too many logins wait")

// enter waits for a turn; leave ends it.
func (q *hashing) enter(ctx context.Context, place string, familiar bool) (leave func(),
	err error,
) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h := q.waiting.Join(place, familiar, cancel)
	if !h.Grow(1) {
		h.Leave()
		return nil, errLoginQueue
	}
	if !familiar {
		if !q.strangers.Acquire(ctx) {
			h.Leave()
			return nil, errLoginQueue
		}
		defer q.strangers.Release()
	}
	if !q.turns.Acquire(ctx) {
		h.Leave()
		return nil, errLoginQueue
	}
	leave = func() {
		q.turns.Release()
		h.Leave()
	}
	if !h.Settle() {
		leave()
		return nil, errLoginQueue
	}
	return leave, nil
}

// Bounds of what is remembered of successful logins.
const (
	maxFamiliarLogins = maxAttemptBuckets
	maxFamiliarPlaces = 16 // of one login, the latest
)

// familiar remembers the places from which logins succeeded, in this process.
type familiar struct {
	mu     sync.Mutex
	places map[queue.KeyHash][]queue.KeyHash // by login, the latest last; guarded by mu
}

func newFamiliar() *familiar {
	return &familiar{places: make(map[queue.KeyHash][]queue.KeyHash)}
}

// has reports whether a login has succeeded from a place.
func (f *familiar) has(login, place string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Contains(f.places[queue.HashKey(login)], queue.HashKey(place))
}

// note remembers that a login has succeeded from a place.
func (f *familiar) note(login, place string) {
	l, p := queue.HashKey(login), queue.HashKey(place)
	f.mu.Lock()
	defer f.mu.Unlock()
	list, ok := f.places[l]
	if !ok && len(f.places) >= maxFamiliarLogins {
		for victim := range f.places { // any: it is known again after its next login
			delete(f.places, victim)
			break
		}
	}
	list = slices.DeleteFunc(list, func(k queue.KeyHash) bool { return k == p })
	f.places[l] = append(list[max(0, len(list)-maxFamiliarPlaces+1):], p)
}
