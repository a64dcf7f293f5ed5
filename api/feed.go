package api

import (
	"strconv"
	"strings"
	"sync"
	"time"
)

// Windows of the rates that a feed keeps.
const (
	bucketWidth  = 10 * time.Second
	bucketCount  = 60 // ten minutes
	secondsKept  = 60
	minutesKept  = 60
	feedCapacity = 4096
)

// Event is something that happened, as the feed numbered it. Numbers count
// from 1 without gaps within one life of the process.
type Event struct {
	Number uint64
	Time   int64 // Unix milliseconds
	Data   EventData
}

// Feed numbers what happens, keeps the newest of it, and counts the rates.
// Stations publish into it after they have committed; it never blocks them:
// a reader that is too slow finds its place gone and starts afresh.
// All methods may be called concurrently.
type Feed struct {
	clock Clock
	epoch string

	mu      sync.Mutex
	ring    []Event // event n lies at n % len(ring)
	last    uint64
	changed chan struct{} // closed at the next event
	reports counter
	ore     counter
	ingots  counter
	chart   counter
	minted  counter
}

// NewFeed makes an empty feed; its epoch is the time of its making.
func NewFeed(clock Clock) *Feed {
	return &Feed{
		clock:   clock,
		epoch:   strconv.FormatInt(clock.Now().UnixMilli(), 36),
		ring:    make([]Event, feedCapacity),
		changed: make(chan struct{}),
		reports: newCounter(time.Second, secondsKept),
		ore:     newCounter(time.Second, secondsKept),
		ingots:  newCounter(time.Second, secondsKept),
		chart:   newCounter(bucketWidth, bucketCount),
		minted:  newCounter(time.Minute, minutesKept),
	}
}

// Publish appends an event and wakes everybody who waits for one.
func (f *Feed) Publish(data EventData) {
	now := f.clock.Now().UnixMilli()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count(now, data)
	f.last++
	f.ring[f.last%uint64(len(f.ring))] = Event{Number: f.last, Time: now, Data: data}
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *Feed) count(now int64, data EventData) {
	switch e := data.(type) {
	case ReportEvent:
		f.reports.add(now, 1)
		f.ore.add(now, e.Ore)
		f.chart.add(now, e.Ore)
	case PourEvent:
		f.ingots.add(now, e.Ingots)
	case CertificateEvent:
		f.minted.add(now, 1)
	}
}

// Rates is what the feed counted lately.
func (f *Feed) Rates() Rates {
	now := f.clock.Now().UnixMilli()
	f.mu.Lock()
	defer f.mu.Unlock()
	points := make([]OrePoint, 0, bucketCount)
	f.chart.each(now, func(start int64, n uint64) {
		points = append(points, OrePoint{Start: start, Ore: n})
	})
	return Rates{
		MinuteReports: f.reports.sum(now),
		MinuteOre:     f.ore.sum(now),
		MinuteIngots:  f.ingots.sum(now),
		HourMinted:    f.minted.sum(now),
		Ore:           points,
	}
}

// Last is the number of the newest event, 0 when there is none.
func (f *Feed) Last() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// After returns at most limit events numbered above n, in order, and a channel
// that is closed at the next event. lost says that events above n are no
// longer kept; the events returned are then the oldest that are.
func (f *Feed) After(n uint64, limit int) (events []Event, lost bool, changed <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n > f.last {
		n, lost = f.last, true
	}
	if kept := uint64(len(f.ring)); f.last-n > kept {
		n, lost = f.last-kept, true
	}
	for n < f.last && len(events) < limit {
		n++
		events = append(events, f.ring[n%uint64(len(f.ring))])
	}
	return events, lost, f.changed
}

// ID is the id of an event on the wire: epoch and number.
func (f *Feed) ID(number uint64) string {
	return f.epoch + "-" + strconv.FormatUint(number, 10)
}

// Parse reads an id of this feed; ok is false for one of an earlier life.
func (f *Feed) Parse(id string) (number uint64, ok bool) {
	epoch, digits, found := strings.Cut(id, "-")
	if !found || epoch != f.epoch {
		return 0, false
	}
	number, err := strconv.ParseUint(digits, 10, 64)
	return number, err == nil
}

// counter counts in buckets of time; old buckets are reused.
type counter struct {
	width   int64 // ms
	starts  []int64
	buckets []uint64
}

func newCounter(width time.Duration, n int) counter {
	return counter{width: width.Milliseconds(), starts: make([]int64, n), buckets: make([]uint64, n)}
}

func (c *counter) add(now int64, n uint64) {
	i := int(now / c.width % int64(len(c.buckets)))
	if start := now - now%c.width; c.starts[i] != start {
		c.starts[i], c.buckets[i] = start, 0
	}
	c.buckets[i] += n
}

// each visits the buckets up to the one of now, oldest first.
func (c *counter) each(now int64, visit func(start int64, n uint64)) {
	current := now - now%c.width
	for k := int64(len(c.buckets)) - 1; k >= 0; k-- {
		start := current - k*c.width
		if start < 0 {
			continue
		}
		n := uint64(0)
		if i := int(start / c.width % int64(len(c.buckets))); c.starts[i] == start {
			n = c.buckets[i]
		}
		visit(start, n)
	}
}

func (c *counter) sum(now int64) (total uint64) {
	c.each(now, func(_ int64, n uint64) { total += n })
	return total
}
