package node

import (
	"context"

	"robotorq.org/reserve/market"
	"robotorq.org/reserve/proof"
)

// OreJudge is oreJudge, for tests.
func OreJudge(o proof.VerifyOptions) func(context.Context, []byte) *market.OreVerdict {
	return oreJudge(o)
}
