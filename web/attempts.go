package web

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"robotorq.org/reserve/api"
)

// How many wrong tokens are heard from one network.
const (
	attemptsAtOnce = 10
	attemptsWindow = 10 * time.Minute // after which they are heard again
	maxAttempters  = 4096             // remembered
)

// attempts bounds how often an address may guess. An attempt is taken before the token
// is looked at and given back when it was right, so that many at the same time are not
// more than one after the other.
type attempts struct {
	clock  api.Clock
	most   int // in a window
	window time.Duration
	mu     sync.Mutex
	seen   map[string]guesses
}

type guesses struct {
	count int
	until time.Time
}

func newAttempts(clock api.Clock) *attempts {
	return &attempts{clock: clock, most: attemptsAtOnce, window: attemptsWindow, seen: map[string]guesses{}}
}

// take takes an attempt, or tells how long to wait for one.
func (a *attempts) take(address string) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.clock.Now()
	g, known := a.seen[address]
	if !known || !now.Before(g.until) {
		a.makeRoom(now)
		g = guesses{until: now.Add(a.window)}
	}
	if g.count >= a.most {
		return g.until.Sub(now)
	}
	g.count++
	a.seen[address] = g
	return 0
}

func (a *attempts) giveBack(address string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if g, known := a.seen[address]; known && g.count > 0 {
		g.count--
		a.seen[address] = g
	}
}

// makeRoom forgets whose window has passed, and one of the others if need be: who has
// thousands of addresses has thousands of times the attempts anyhow.
func (a *attempts) makeRoom(now time.Time) {
	if len(a.seen) < maxAttempters {
		return
	}
	for address, g := range a.seen {
		if !now.Before(g.until) {
			delete(a.seen, address)
		}
	}
	for address := range a.seen {
		if len(a.seen) < maxAttempters {
			return
		}
		delete(a.seen, address)
	}
}

func setRetryAfter(w http.ResponseWriter, wait time.Duration) {
	w.Header().Set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
}
