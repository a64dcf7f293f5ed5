package archive

import (
	"container/list"
	"errors"
	"os"
	"syscall"
)

// blockCache keeps the raw blocks that were read last.
type blockCache struct {
	max   int
	order *list.List
	at    map[blockID]*list.Element
}

type blockID struct {
	pack *pack
	i    int
}

type cachedBlock struct {
	id  blockID
	raw []byte
}

func newBlockCache(max int) *blockCache {
	return &blockCache{max: max, order: list.New(), at: map[blockID]*list.Element{}}
}

func (c *blockCache) get(p *pack, i int) []byte {
	e := c.at[blockID{p, i}]
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	if b, ok := e.Value.(*cachedBlock); ok {
		return b.raw
	}
	return nil
}

func (c *blockCache) put(p *pack, i int, raw []byte) {
	id := blockID{p, i}
	c.at[id] = c.order.PushFront(&cachedBlock{id, raw})
	for c.order.Len() > c.max {
		last := c.order.Back()
		c.order.Remove(last)
		if b, ok := last.Value.(*cachedBlock); ok {
			delete(c.at, b.id)
		}
	}
}

// fileCache keeps the pack files that were used last open.
type fileCache struct {
	max     int
	order   []*pack // newest last
	handles map[*pack]*os.File
}

func newFileCache(max int) *fileCache {
	return &fileCache{max: max, handles: map[*pack]*os.File{}}
}

// open returns the open file of a pack; it stays open at least until max other
// packs were asked for.
func (c *fileCache) open(p *pack) (*os.File, error) {
	if f := c.handles[p]; f != nil {
		return f, nil
	}
	f, err := os.Open(p.path)
	if err != nil {
		return nil, err
	}
	c.handles[p] = f
	c.order = append(c.order, p)
	if len(c.order) > c.max {
		old := c.order[0]
		c.order = append(c.order[:0], c.order[1:]...)
		err = c.handles[old].Close()
		delete(c.handles, old)
	}
	return f, err
}

func (c *fileCache) close() error {
	var errs []error
	for _, f := range c.handles {
		errs = append(errs, f.Close())
	}
	clear(c.handles)
	c.order = nil
	return errors.Join(errs...)
}

// reopen returns another descriptor of an open file, which may have lost its
// name by now.
func reopen(f *os.File) (*os.File, error) {
	fd, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		return nil, err
	}
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), f.Name()), nil
}
