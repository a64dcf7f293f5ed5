package api

import "sync"

// Bounds of event streams. Each costs a goroutine and a copy of every event, so that
// one address must not take them all; who is shut out asks for /api/v1/overview.
const (
	maxStreams        = 512 // open at once
	maxAddressStreams = 64  // of them, of one address; a browser opens one for each tab
)

// CodeTooManyStreams says that the node, or the address, has as many event streams open
// as it may.
const CodeTooManyStreams Code = "too_many_streams"

// streams counts the open event streams.
type streams struct {
	mu        sync.Mutex
	open      int
	addresses map[string]int
}

func newStreams() *streams { return &streams{addresses: map[string]int{}} }

// enter counts a stream of an address. leave MUST be called when it has ended, once. The
// error says which bound is reached.
func (s *streams) enter(address string) (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.open >= maxStreams:
		return nil, Errorf(CodeTooManyStreams, "This node serves %d event streams already. Ask for /api/v1/overview meanwhile, and try again in a while.", maxStreams)
	case s.addresses[address] >= maxAddressStreams:
		return nil, Errorf(CodeTooManyStreams, "Your address has %d event streams open already. Close some, or ask for /api/v1/overview.", maxAddressStreams)
	}
	s.open++
	s.addresses[address]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.open--
		if s.addresses[address]--; s.addresses[address] == 0 {
			delete(s.addresses, address)
		}
	}, nil
}
