package explorer

import (
	"container/list"
	"sync"
)

// cache keeps the values that were used last.
type cache[K comparable, V any] struct {
	max int

	mu    *sync.Mutex
	order *list.List // newest first
	at    map[K]*list.Element
}

type cached[K comparable, V any] struct {
	key   K
	value V
}

func newCache[K comparable, V any](most int) cache[K, V] {
	return cache[K, V]{max: most, mu: new(sync.Mutex), order: list.New(), at: map[K]*list.Element{}}
}

func (c *cache[K, V]) get(key K) (value V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el, ok := c.at[key]
	if !ok {
		return value, false
	}
	c.order.MoveToFront(el)
	return el.Value.(cached[K, V]).value, true
}

func (c *cache[K, V]) put(key K, value V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.at[key]; ok {
		el.Value = cached[K, V]{key, value}
		c.order.MoveToFront(el)
		return
	}
	c.at[key] = c.order.PushFront(cached[K, V]{key, value})
	for c.order.Len() > c.max {
		last := c.order.Back()
		c.order.Remove(last)
		delete(c.at, last.Value.(cached[K, V]).key)
	}
}
