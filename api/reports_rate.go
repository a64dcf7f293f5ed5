package api

import (
	"net"
	"sync"
	"time"
)

// How many reports an address may send: a site with hundreds of robots behind
// one address stays below it, and one that catches up with a day does too.
const (
	reportRate   = 200              // a second
	reportBurst  = 2_000            // at once
	maxAddresses = 8_192            // remembered
	forgetAfter  = 30 * time.Second // an address that was silent so long has its burst again
)

// rates bounds what comes from each address.
type rates struct {
	clock Clock

	mu   sync.Mutex
	seen map[string]*allowance
}

// allowance is a token bucket in thousandths of a report.
type allowance struct {
	left int64
	at   time.Time
}

func newRates(clock Clock) *rates { return &rates{clock: clock, seen: map[string]*allowance{}} }

// take takes n reports from an address's allowance. 0 means that they may come
// in, else it is how long to wait before they may.
func (r *rates) take(address string, n int) time.Duration {
	if host, _, err := net.SplitHostPort(address); err == nil {
		address = host
	}
	now := r.clock.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	a, known := r.seen[address]
	if !known {
		if len(r.seen) >= maxAddresses {
			r.forget(now)
		}
		if len(r.seen) >= maxAddresses {
			return forgetAfter
		}
		a = &allowance{left: reportBurst * 1000, at: now}
		r.seen[address] = a
	}
	if passed := min(now.Sub(a.at), forgetAfter); passed > 0 {
		a.left = min(a.left+passed.Milliseconds()*reportRate, reportBurst*1000)
		a.at = now
	}
	if short := int64(n)*1000 - a.left; short > 0 {
		return time.Duration(short/reportRate+1) * time.Millisecond
	}
	a.left -= int64(n) * 1000
	return 0
}

// forget drops the addresses whose burst is whole again.
func (r *rates) forget(now time.Time) {
	for address, a := range r.seen {
		if now.Sub(a.at) >= forgetAfter {
			delete(r.seen, address)
		}
	}
}
