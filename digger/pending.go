package digger

// Pending returns how many reports wait for the next batch.
func (s *Station) Pending() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting)
}
