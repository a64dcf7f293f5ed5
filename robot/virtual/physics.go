package virtual

import "time"

// slot is the time for which the noise of the power stays the same.
const slot = time.Second

// State is what the printer is doing, in Klipper's words.
type State string

// States of print_stats.
const (
	Standby   State = "standby"
	Printing  State = "printing"
	Paused    State = "paused"
	Complete  State = "complete"
	Cancelled State = "cancelled"
	Failed    State = "error"
)

// machine is the printer without its server: what it does and draws at each
// instant since it was made. It is a state machine over elapsed time, has no
// clock and no lock.
type machine struct {
	watts    uint64 // rated
	load     uint64 // mean load while printing, in thousandths of the rating
	noise    uint64 // largest deviation from it, in thousandths of the rating
	idle     uint64 // milliwatts in standby
	seed     uint64
	rate     uint64 // tokens per second while printing
	now      time.Duration
	energy   uint64 // microjoules since the start
	offset   uint64 // of energy, at which the plug's counter was last reset
	worked   time.Duration
	state    State
	message  string
	file     string
	size     int64
	length   time.Duration // of the job
	printed  time.Duration // printing time of the job
	started  time.Duration
	ended    time.Duration // when the job left printing and paused
	repeat   bool
	breather time.Duration // between a finished job and its repetition
}

// power is the draw in milliwatts during the slot that contains t.
func (m *machine) power(t time.Duration) uint64 {
	rated := m.watts * 1000
	switch m.state {
	case Printing:
		swing := rated / 1000 * m.noise
		low := rated/1000*m.load - min(swing, rated/1000*m.load)
		draw := low + scatter(m.seed, uint64(t/slot))%(2*swing+1)
		return min(draw, rated)
	case Paused:
		return max(m.idle, rated/5) // heaters are kept warm
	default:
		return m.idle
	}
}

// advance lets time pass until to, in whole milliseconds; a job that ends on
// the way ends exactly when its length is reached.
func (m *machine) advance(to time.Duration) {
	to = to.Truncate(time.Millisecond)
	for m.now < to {
		next := min(to, (m.now/slot+1)*slot)
		if m.state == Printing {
			next = min(next, m.now+m.length-m.printed)
		}
		if m.repeat && m.state == Complete {
			next = min(next, max(m.now, m.ended+m.breather))
		}
		m.step(next)
		if m.state == Printing && m.printed >= m.length {
			m.finish(Complete, "")
		}
		if m.repeat && m.state == Complete && m.now >= m.ended+m.breather {
			m.begin(m.file, m.size, m.length)
		}
	}
}

// step adds up power over [now, next), which lies within one slot.
func (m *machine) step(next time.Duration) {
	passed := next - m.now
	m.energy += m.power(m.now) * uint64(passed/time.Millisecond) // 1 mW for 1 ms is 1 µJ
	if m.state == Printing {
		m.printed += passed
		m.worked += passed
	}
	m.now = next
}

// begin starts a job now.
func (m *machine) begin(file string, size int64, length time.Duration) {
	m.state, m.message = Printing, ""
	m.file, m.size, m.length = file, size, max(length.Truncate(time.Millisecond), time.Millisecond)
	m.printed, m.started = 0, m.now
}

// finish leaves the job.
func (m *machine) finish(state State, message string) {
	m.state, m.message, m.ended = state, message, m.now
}

// busy reports whether a job is printing or paused.
func (m *machine) busy() bool { return m.state == Printing || m.state == Paused }

// total is the time since the job began, pauses included.
func (m *machine) total() time.Duration {
	switch {
	case m.busy():
		return m.now - m.started
	case m.state == Standby:
		return 0
	}
	return m.ended - m.started
}

// tokens is how many the machine has used since it was made.
func (m *machine) tokens() uint64 {
	return m.rate * uint64(m.worked/time.Millisecond) / 1000
}

// counted is what the plug's counter shows, in microjoules.
func (m *machine) counted() uint64 { return m.energy - m.offset }

// scatter is a hash of the seed and a slot number (splitmix64).
func scatter(seed, n uint64) uint64 {
	z := seed + (n+1)*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
