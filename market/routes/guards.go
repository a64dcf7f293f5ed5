package routes

import (
	"context"
	"sync"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/coordinator"
)

// keyring remembers the keys of agents, which never change once they are registered.
type keyring struct {
	mu   sync.Mutex
	keys map[string][]byte
}

// most bounds what is remembered; beyond it everything is forgotten and asked for again.
const most = 100_000

func newKeyring() *keyring { return &keyring{keys: map[string][]byte{}} }

func (k *keyring) of(ctx context.Context, d *coordinator.Desk, agent string) (key []byte, known bool, err error) {
	k.mu.Lock()
	key, known = k.keys[agent]
	k.mu.Unlock()
	if known {
		return key, true, nil
	}
	a, err := d.Agent(ctx, agent)
	if market.CodeOf(err) == market.CodeAgentNotFound {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.keys) >= most {
		clear(k.keys)
	}
	k.keys[agent] = a.PublicKey
	return a.PublicKey, true, nil
}

// limiter bounds how often an agent may write: so many at once, and so many a second for long.
type limiter struct {
	mu     sync.Mutex
	agents map[string]bucket
}

type bucket struct {
	millis int64 // tokens, in thousandths
	at     int64
}

const (
	burst     = 200
	perSecond = 50
)

func newLimiter() *limiter { return &limiter{agents: map[string]bucket{}} }

func (l *limiter) take(agent string, now int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.agents) >= most {
		clear(l.agents)
	}
	b, known := l.agents[agent]
	if !known {
		b = bucket{burst * 1000, now}
	}
	b.millis = min(burst*1000, b.millis+max(0, now-b.at)*perSecond)
	b.at = max(b.at, now)
	if b.millis < 1000 {
		l.agents[agent] = b
		return api.Errorf(codeRateLimited, "Agent %s sent more than %d signed requests at once and %d a second. Wait.", agent, burst, perSecond)
	}
	b.millis -= 1000
	l.agents[agent] = b
	return nil
}
