package explorer

import (
	"cmp"
	"context"
	"math/bits"
	"slices"
	"sync"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
)

// maxReleases bounds the periods in which what is to come is shown.
const maxReleases = 24

// coming keeps what is to be released until the books have moved on.
type coming struct {
	mu     sync.Mutex
	of     uint64 // posting
	minute uint64 // of the clock
	kept   api.Releases
}

// Releases implements [api.Records].
func (e *Explorer) Releases(context.Context) (api.Releases, error) {
	s, err := e.attached()
	if err != nil {
		return api.Releases{}, err
	}
	now := e.now()
	e.coming.mu.Lock()
	defer e.coming.mu.Unlock()
	var schedules []ledger.Schedule
	var state ledger.State
	var p *policy.Document
	s.Vault.With(func(b *ledger.Book, _ *proof.Registry) {
		state = b.State()
		if state.Seq == e.coming.of && now/60_000 == e.coming.minute {
			return
		}
		p = b.Policy(now)
		for _, schedule := range b.Schedules() {
			schedules = append(schedules, schedule)
		}
	})
	if p == nil && state.Seq == e.coming.of {
		return e.coming.kept, nil // as it was counted, or nothing yet
	}
	e.coming.kept = releases(schedules, &state, p, now)
	e.coming.of, e.coming.minute = state.Seq, now/60_000
	return e.coming.kept, nil
}

// releases sums up what running schedules release from now on.
func releases(schedules []ledger.Schedule, state *ledger.State, p *policy.Document, now uint64) api.Releases {
	r := api.Releases{Points: []api.ReleasePoint{}, Releases: []api.ReleaseShape{}}
	if p == nil {
		return r
	}
	from := max(now, state.Released)
	r.Every, r.Next = int64(p.ReleaseEvery), int64((from/p.ReleaseEvery+1)*p.ReleaseEvery)
	r.Due = max(0, state.Due)
	r.JT = r.Due
	last := uint64(r.Next)
	shapes := map[string]*api.ReleaseShape{}
	for i := range schedules {
		s := &schedules[i]
		shape := shapes[s.Name]
		if shape == nil {
			shape = &api.ReleaseShape{Name: s.Name}
			shapes[s.Name] = shape
		}
		shape.Schedules++
		shape.JT += s.Amount
		shape.Released += s.Released
		r.JT += s.Amount - s.Released
		last = max(last, endOf(s, p))
	}
	last = (last + p.ReleaseEvery - 1) / p.ReleaseEvery * p.ReleaseEvery
	r.Last = int64(last)
	for _, shape := range shapes {
		r.Releases = append(r.Releases, *shape)
	}
	slices.SortFunc(r.Releases, func(a, b api.ReleaseShape) int { return cmp.Compare(a.Name, b.Name) })
	r.Points = points(schedules, p, uint64(r.Next), last)
	return r
}

// points splits the time until the last release into periods of whole ticks.
func points(schedules []ledger.Schedule, p *policy.Document, next, last uint64) []api.ReleasePoint {
	ticks := (last-next)/p.ReleaseEvery + 1
	each := (ticks + maxReleases - 1) / maxReleases * p.ReleaseEvery
	list := []api.ReleasePoint{}
	start := next - p.ReleaseEvery
	for start < last {
		end := start + each
		point := api.ReleasePoint{Start: int64(start), End: int64(end)}
		for i := range schedules {
			s := &schedules[i]
			before := s.Released
			if len(list) > 0 {
				before = max(before, released(s, start, p))
			}
			point.JT += max(0, released(s, end, p)-before)
		}
		list = append(list, point)
		start = end
	}
	return list
}

// endOf is when all of a schedule is released.
func endOf(s *ledger.Schedule, p *policy.Document) uint64 {
	if s.Name == policy.Uniform {
		return s.Start + s.Span
	}
	preset, ok := p.Preset(s.Name)
	if !ok {
		return s.Start
	}
	// End is a multiple of the date to market over 2³²; a date is below 2⁴⁸.
	hi, lo := bits.Mul64(s.Span, preset.End)
	return s.Start + (hi<<32 | lo>>32) + 1
}
