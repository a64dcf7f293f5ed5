package reserve

import (
	"math/bits"

	"robotorq.org/reserve/sim/philox"
	"robotorq.org/reserve/torq"
)

// Purposes of draws; each is a stream of its own.
const (
	drawWork uint32 = iota + 1
	drawFailure
	drawNoise
	drawForge
	drawSpend
	drawShop
	drawFriend
	drawSave
	drawLeave
	drawBond
	drawRedeem
	drawReissue
	drawInvest
	drawEnd
	drawRecall
	drawPeople
)

// dice draws by counter: who and when decide, never the order of asking.
type dice struct{ seed uint64 }

func (d dice) below(n uint64, purpose, actor uint32, counter uint64) uint64 {
	return philox.NewStream(d.seed, purpose).Below(n, actor, counter)
}

// happens is true with a chance in parts per million.
func (d dice) happens(ppm int64, purpose, actor uint32, counter uint64) bool {
	return ppm > 0 && d.below(Micro, purpose, actor, counter) < uint64(ppm)
}

// around is 1 ± spread, in parts per million.
func (d dice) around(spread int64, purpose, actor uint32, counter uint64) uint64 {
	return uint64(Micro-spread) + d.below(uint64(2*spread)+1, purpose, actor, counter)
}

// share is floor(a · ppm / 10⁶) of an amount of at least 0 and a share of at most 4·10⁶.
func share(a torq.JT, ppm uint64) torq.JT {
	hi, lo := bits.Mul64(uint64(a), ppm)
	q, _ := bits.Div64(hi, lo, Micro)
	return torq.JT(q)
}
