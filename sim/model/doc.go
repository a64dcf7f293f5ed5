// Package model is the simulator itself: the actors of the seed as columns, its flows,
// and two engines that move them.
//
// The tick engine executes every flow of every tick in ascending flow id, as the text
// says. The step engine uses that Giskard's tick rate is constant inside a step: it
// moves each stream through a whole window in shards that share nothing, then walks
// through the few events that touch what is shared (darts, ends of streams, the
// distribution) in their exact order. Both leave the same columns, to the bit; see
// [World.Hash].
//
// Money is int64 JT, tokens are int64 micro-tokens, production is int64 in units of
// 10⁻¹²; floats appear in the mining formula only, where they are rounded to 10⁻¹²
// before use. There is no I/O, no clock and no map in a tick. A [World] is not safe
// for concurrent use. What survives is what [World.Save] wrote; the package trusts its
// own checkpoints only after their checksum.
//
// It implements sections 1 to 12 of the simulator's specification; resolutions that
// the sources leave open are parameters, see [Params].
package model
