// Package robottest lets agents, printers and meters meet in a test without a
// network and without waiting: [Network] is a network in memory, whose
// connections a testing/synctest bubble can see through, and [Clock] is the
// time of such a bubble.
package robottest

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

// Clock is the time package's clock, which in a bubble is the bubble's, wrong
// by Offset. The zero Clock is right.
type Clock struct{ Offset time.Duration }

// Now is the current time with its monotonic reading.
func (c Clock) Now() time.Time { return time.Now().Add(c.Offset) }

// After sends once when d has passed.
func (Clock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// NewTimer returns a running timer and its stop function.
func (Clock) NewTimer(d time.Duration) (<-chan time.Time, func() bool) {
	t := time.NewTimer(d)
	return t.C, t.Stop
}

// NewTicker returns a running ticker and its stop function.
func (Clock) NewTicker(d time.Duration) (<-chan time.Time, func()) {
	t := time.NewTicker(d)
	return t.C, t.Stop
}

// Network is a network in memory. Addresses are host:port; what listens is
// found by them, whatever the name means elsewhere.
type Network struct {
	mu        sync.Mutex
	listeners map[string]*listener
}

// NewNetwork makes a network on which nobody listens.
func NewNetwork() *Network { return &Network{listeners: map[string]*listener{}} }

// Listen listens on an address until the listener is closed; then the address
// is free again, and dialling it fails.
func (n *Network) Listen(address string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[address] != nil {
		return nil, errors.New(address + " is in use")
	}
	l := &listener{network: n, address: address, conns: make(chan net.Conn), closed: make(chan struct{})}
	n.listeners[address] = l
	return l, nil
}

// Dial connects to whoever listens on the address.
func (n *Network) Dial(ctx context.Context, _, address string) (net.Conn, error) {
	n.mu.Lock()
	l := n.listeners[address]
	n.mu.Unlock()
	if l == nil {
		return nil, errors.New("nobody listens on " + address)
	}
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.closed:
		return nil, errors.New("nobody listens on " + address + " any more")
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Client is an HTTP client of this network. Its idle connections have to be
// closed before the bubble ends.
func (n *Network) Client() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: n.Dial}}
}

type listener struct {
	network *Network
	address string
	conns   chan net.Conn
	close   sync.Once
	closed  chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.close.Do(func() {
		close(l.closed)
		l.network.mu.Lock()
		delete(l.network.listeners, l.address)
		l.network.mu.Unlock()
	})
	return nil
}

func (l *listener) Addr() net.Addr { return address(l.address) }

type address string

func (address) Network() string  { return "memory" }
func (a address) String() string { return string(a) }
