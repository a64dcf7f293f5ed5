package slow

import (
	"fmt"

	"robotorq.org/reserve/ledger"
)

// Follow does a command that the fast books have just answered at a time, Unix ms, and
// reports when these would have answered something else. Commands that are due by time
// are not followed: they are lived through.
func (s *Books) Follow(c ledger.Command, at uint64, answer error) error {
	if len(s.policies) > 0 {
		s.live(at)
	}
	s.told = answer
	if code := s.do(c, at); code != ledger.CodeOf(answer) {
		return fmt.Errorf("%s: the books answer %v, the slow ones %q", c.Key(), answer, code)
	}
	return nil
}

// Compare lives until a time, Unix ms, and reports what differs then from the fast books.
func (s *Books) Compare(b *ledger.Book, at uint64) error {
	if len(s.policies) > 0 {
		s.live(at)
	}
	return s.differs(b)
}

// Policies is how many policies were adopted.
func (s *Books) Policies() int { return len(s.policies) }

// Tally is how a comparison has gone so far.
type Tally struct {
	Compared     int // comparisons of everything
	Contradicted int // outcomes that were taken over, within one JT of the funds
	Off          int // comparisons in which a total was one JT off
}

// Tally is how it has gone so far.
func (s *Books) Tally() Tally { return Tally{s.compared, s.contradicted, s.off} }
