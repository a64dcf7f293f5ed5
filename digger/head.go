package digger

import "robotorq.org/reserve/proof"

// Head is a robot's last report that is sealed in a batch on disk; ok is false
// while the digger cannot say. Seq 0 when there is none.
func (s *Station) Head(robot string) (head proof.Link, ok bool) {
	s.knowing.RLock()
	defer s.knowing.RUnlock()
	if s.stale {
		return proof.Link{}, false
	}
	return s.assay.Head(robot), true
}
