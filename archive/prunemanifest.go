package archive

import "robotorq.org/reserve/merkle"

// PrunedFile is the name, below the packs directory, of the list of what was
// pruned.
const PrunedFile = "pruned"

// PrunedPack is a pack that was removed, or of which a part was kept.
type PrunedPack struct {
	Class   Class
	Seq     uint64
	Sum     merkle.Hash // of the pack as it was sealed: what its successor names
	Prev    merkle.Hash // what it named as the pack before it
	Kept    merkle.Hash // of the pack that took its place; zero when nothing was kept
	Bytes   uint64      // of the removed file
	Records uint64      // in it
}

// Pruned is the list of what was pruned. Nil is an empty one.
type Pruned struct {
	packs map[Class]map[uint64]PrunedPack
}

// Of returns the packs of a class that were pruned.
func (p *Pruned) Of(c Class) map[uint64]PrunedPack {
	if p == nil {
		return nil
	}
	return p.packs[c]
}

// Find returns what was pruned of a class under a number.
func (p *Pruned) Find(c Class, seq uint64) (PrunedPack, bool) {
	out, ok := p.Of(c)[seq]
	return out, ok
}
