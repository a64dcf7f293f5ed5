package api

import (
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// What an address may send that nobody answers for: reports that are not known to
// be the robot's, and signed writes. An authentic report counts for its robot
// alone, so that a site with hundreds of robots behind one address, one that
// catches up with a day, and strangers beside it do not hinder each other.
const (
	addressRate  = 200   // a second
	addressBurst = 2_000 // at once
	robotRate    = 50
	robotBurst   = 1_000
	maxAddresses = 8_192            // remembered
	maxRobots    = 131_072          // remembered
	fullAfter    = 30 * time.Second // who was silent so long has the burst again

	unreadableCost = 16 << 10 // bytes of a body that is no report, for each report it counts as
)

// rates bounds what comes under each name.
type rates struct {
	clock       Clock
	rate, burst int64
	most        int

	mu   sync.Mutex
	seen map[string]*allowance
}

// allowance is a token bucket in thousandths of a report. It may be in debt.
type allowance struct {
	left int64
	at   time.Time
}

func newRates(clock Clock, rate, burst int64, most int) *rates {
	return &rates{clock: clock, rate: rate, burst: burst, most: most, seen: map[string]*allowance{}}
}

// wait is how long a name must wait before it has one left; 0 if it has.
func (r *rates) wait(name string) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, known := r.seen[name]
	if !known {
		return 0
	}
	return r.short(a)
}

// take takes one from a name's allowance, or tells how long to wait for it.
func (r *rates) take(name string) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.of(name)
	after := r.short(a)
	if after == 0 {
		a.left -= 1000
	}
	return after
}

// charge takes n, which may lead into debt, or gives back what was taken before.
func (r *rates) charge(name string, n int) {
	if n == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.of(name)
	r.short(a)
	a.left = max(-r.burst*1000, min(a.left-int64(n)*1000, r.burst*1000))
}

// short fills an allowance up to now and tells how long one is still missing.
func (r *rates) short(a *allowance) time.Duration {
	now := r.clock.Now()
	if passed := min(now.Sub(a.at), 2*fullAfter); passed > 0 {
		a.left = min(a.left+passed.Milliseconds()*r.rate, r.burst*1000)
		a.at = now
	}
	if short := 1000 - a.left; short > 0 {
		return time.Duration(short/r.rate+1) * time.Millisecond
	}
	return 0
}

// of is the allowance of a name. Where too many are known any other one makes
// room: strangers with many addresses must not lock out the rest.
func (r *rates) of(name string) *allowance {
	a, known := r.seen[name]
	if known {
		return a
	}
	if len(r.seen) >= r.most {
		for other := range r.seen {
			delete(r.seen, other)
			break
		}
	}
	a = &allowance{left: r.burst * 1000, at: r.clock.Now()}
	r.seen[name] = a
	return a
}

// Network is whom an address counts for: itself, of IPv6 its /64, which one
// subscriber has whole.
func Network(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		address = host
	}
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	prefix, err := ip.Prefix(64)
	if err != nil {
		return address
	}
	return prefix.String()
}

// door takes one from the address's allowance before anything is read of the body.
func (s *Server) door(ctx huma.Context, next func(huma.Context)) {
	r, w := humago.Unwrap(ctx)
	if after := s.addresses.take(Network(r.RemoteAddr)); after > 0 {
		seconds := retryAfter(w.Header(), after)
		WriteProblem(w, r, Errorf(CodeTooManyRequests, "Too much comes from this address. Send it again in %d seconds.", seconds))
		return
	}
	next(ctx)
}

// polls bounds who waits for marks, apart from who hands in reports: all
// together, by address, and one of a robot and address.
type polls struct {
	mu        sync.Mutex
	open      int
	addresses map[string]int
	waiting   map[pollOf]*poll
}

type pollOf struct{ robot, address string }

// poll is one that is open.
type poll struct {
	of     pollOf
	gone   bool // it is counted no more
	cancel func()
}

// Bounds of polls.
const (
	maxPolls        = 4096 // open at once
	maxAddressPolls = 512  // of them, of one address
)

func newPolls() *polls { return &polls{addresses: map[string]int{}, waiting: map[pollOf]*poll{}} }

// enter counts a poll and ends the one that the same robot has waiting from the
// same address; false where too many are open. leave MUST be called after.
func (p *polls) enter(of pollOf, cancel func()) (leave func(), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if older := p.waiting[of]; older != nil {
		p.forget(older)
		older.cancel()
	}
	if p.open >= maxPolls || p.addresses[of.address] >= maxAddressPolls {
		return nil, false
	}
	mine := &poll{of: of, cancel: cancel}
	p.open++
	p.addresses[of.address]++
	p.waiting[of] = mine
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.forget(mine)
	}, true
}

func (p *polls) forget(one *poll) {
	if one.gone {
		return
	}
	one.gone = true
	p.open--
	if p.addresses[one.of.address]--; p.addresses[one.of.address] == 0 {
		delete(p.addresses, one.of.address)
	}
	delete(p.waiting, one.of)
}

// retryAfter writes a pause into a header and returns it in whole seconds.
func retryAfter(h http.Header, after time.Duration) int {
	seconds := int((after + time.Second - 1) / time.Second)
	h.Set("Retry-After", strconv.Itoa(seconds))
	return seconds
}
