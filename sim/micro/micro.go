// Package micro is the smallest model that other simulators can run too: N robots that
// are trained over and over. It compares engines, not economies.
//
// Each tick: if training_remaining > 0 then token_torq += rate and training_remaining −=
// rate/min, else count a completion and restart, delivering nothing in that tick. Robot i
// has min = 10 + i mod 90; the rate is 1. Three engines: [Model.Tick] executes every tick,
// [Model.Leap] moves each robot through a step in closed form, [Float] repeats the tick
// in float64 as other programs do. It keeps no state outside a [Model] and does no I/O.
// It implements validation item 29 and the goals of section 17 of the simulator's
// specification.
package micro

import (
	"crypto/sha256"
	"encoding/binary"
)

// Model is the state of the robots: a column each.
type Model struct {
	minimum []int32 // tokens of a training
	owed    []int32 // tokens of this training that are not delivered
	tokens  []int64 // delivered since the beginning
	done    []int64 // trainings completed
	inverse []uint32
}

// New makes n robots at tick 0.
func New(n int) *Model {
	m := &Model{make([]int32, n), make([]int32, n), make([]int64, n), make([]int64, n), make([]uint32, n)}
	for i := range n {
		m.minimum[i] = Minimum(i)
		m.owed[i] = m.minimum[i]
		m.inverse[i] = uint32((1<<32 + uint64(m.minimum[i])) / uint64(m.minimum[i]+1))
	}
	return m
}

// Minimum is the tokens that robot i needs.
func Minimum(i int) int32 { return 10 + int32(i%90) }

// Tick executes n ticks, each of them, for the robots from to to. A robot is taken
// through all n before the next: nobody waits for anybody inside a step, and the columns
// are read and written once.
func (m *Model) Tick(from, to, n int) {
	for i := from; i < to; i++ {
		owed, least := m.owed[i], m.minimum[i]
		var tokens, done int64
		for range n {
			if owed > 0 {
				tokens++
				owed--
			} else {
				done++
				owed = least
			}
		}
		m.owed[i] = owed
		m.tokens[i] += tokens
		m.done[i] += done
	}
}

// Leap moves the robots from to to through n ticks in closed form, n < 2¹⁶: a training and
// its tick of rest make a period, and what is past in it plus n is divided by it.
func (m *Model) Leap(from, to, n int) {
	least, owed, done, tokens, inverse := m.minimum[from:to], m.owed[from:to], m.done[from:to], m.tokens[from:to], m.inverse[from:to]
	if len(least) == 0 {
		return
	}
	owed, done, tokens, inverse = owed[:len(least)], done[:len(least)], tokens[:len(least)], inverse[:len(least)]
	for i, l := range least {
		past := uint32(l-owed[i]) + uint32(n)
		turns := uint32(uint64(past) * uint64(inverse[i]) >> 32)
		owed[i] = l - int32(past-turns*uint32(l+1))
		done[i] += int64(turns)
		tokens[i] += int64(n) - int64(turns)
	}
}

// Completions is the number of trainings completed.
func (m *Model) Completions() (sum int64) {
	for _, d := range m.done {
		sum += d
	}
	return sum
}

// Robots is their number.
func (m *Model) Robots() int { return len(m.owed) }

// Bytes is the memory of one robot's columns.
func (m *Model) Bytes() int { return 4 + 4 + 8 + 8 + 4 }

// Hash is the SHA-256 of the columns.
func (m *Model) Hash() [sha256.Size]byte {
	h := sha256.New()
	var b [20]byte
	for i := range m.owed {
		binary.LittleEndian.PutUint32(b[0:], uint32(m.owed[i]))
		binary.LittleEndian.PutUint64(b[4:], uint64(m.tokens[i]))
		binary.LittleEndian.PutUint64(b[12:], uint64(m.done[i]))
		h.Write(b[:])
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// Float runs the same model in float64, with its drift, and returns the completions.
func Float(robots, ticks int) (sum int64) {
	for i := range robots {
		least := float64(Minimum(i))
		remaining, tokens := 1.0, 0.0
		for range ticks {
			if remaining > 0 {
				tokens++
				remaining -= 1 / least
			} else {
				sum++
				remaining = 1
			}
		}
	}
	return sum
}
