package meter

// Event is what a counter did between two values.
type Event uint8

// Events of [Differ.Advance].
const (
	First       Event = iota // the first value; nothing to compare it with
	Still                    // the same value as before
	Moved                    // counted on
	Reset                    // fell: reset, rolled over or replaced
	Implausible              // rose by more than the machine can have used
)

// String names the event.
func (e Event) String() string {
	switch e {
	case First:
		return "first"
	case Still:
		return "still"
	case Moved:
		return "moved"
	case Reset:
		return "reset"
	case Implausible:
		return "implausible"
	}
	return "unknown"
}

// Differ turns the values of a counter into differences. The zero Differ is
// ready; it is not safe for concurrent use.
type Differ struct {
	known bool
	last  uint64
}

// Advance takes the counter's next value and returns how far it moved, never
// more than limit. A counter that fell (reset, rollover, another meter) or
// rose by more than limit counts nothing for that step and is the new base:
// what it really measured in between is unknown, and unknown is not work.
func (d *Differ) Advance(value, limit uint64) (uint64, Event) {
	previous, known := d.last, d.known
	d.last, d.known = value, true
	switch {
	case !known:
		return 0, First
	case value == previous:
		return 0, Still
	case value < previous:
		return 0, Reset
	case value-previous > limit:
		return 0, Implausible
	}
	return value - previous, Moved
}

// Known reports whether there is a base to compare with.
func (d *Differ) Known() bool { return d.known }

// Forget drops the base: the next value is a first one. For use when what
// happened since the last value must not count.
func (d *Differ) Forget() { d.known = false }
