package web_test

import (
	"context"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/apitest"
)

// forger is a reader whose proofs of ore were tampered with.
type forger struct {
	*apitest.Fake
	forge func(*api.Ore)
}

func (f forger) Ore(ctx context.Context, serial, index uint64) (api.Ore, error) {
	o, err := f.Fake.Ore(ctx, serial, index)
	f.forge(&o)
	return o, err
}
