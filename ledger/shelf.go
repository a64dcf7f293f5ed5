package ledger

import (
	"maps"
	"slices"
)

// shelf holds numbered values that change rarely: contracts, schedules, notices,
// bonds, policies. A value is replaced whole and never changed in place, so that
// what the command at hand did can be undone.
type shelf[V any] struct {
	items map[uint64]V
	dirty map[uint64]struct{}
	undo  []replaced[V]
}

type replaced[V any] struct {
	key uint64
	old V
	had bool
}

func newShelf[V any]() *shelf[V] {
	return &shelf[V]{items: make(map[uint64]V), dirty: make(map[uint64]struct{})}
}

func (s *shelf[V]) get(key uint64) (V, bool) {
	v, ok := s.items[key]
	return v, ok
}

func (s *shelf[V]) set(key uint64, v V) {
	old, had := s.items[key]
	s.undo = append(s.undo, replaced[V]{key, old, had})
	s.items[key] = v
}

func (s *shelf[V]) remove(key uint64) {
	old, had := s.items[key]
	s.undo = append(s.undo, replaced[V]{key, old, had})
	delete(s.items, key)
}

// keys are sorted.
func (s *shelf[V]) keys() []uint64 { return slices.Sorted(maps.Keys(s.items)) }

func (s *shelf[V]) rollback() {
	for _, c := range slices.Backward(s.undo) {
		if c.had {
			s.items[c.key] = c.old
		} else {
			delete(s.items, c.key)
		}
	}
	s.undo = s.undo[:0]
}

func (s *shelf[V]) commit() {
	for _, c := range s.undo {
		s.dirty[c.key] = struct{}{}
	}
	clear(s.undo)
	s.undo = s.undo[:0]
}

// drain calls yield for each key that changed since the last drain, sorted.
func (s *shelf[V]) drain(yield func(key uint64, v V, exists bool)) {
	for _, key := range slices.Sorted(maps.Keys(s.dirty)) {
		v, ok := s.items[key]
		yield(key, v, ok)
	}
	clear(s.dirty)
}
