package vault

// LeaveBooks puts the station into the state of one whose books could not be read again
// after a failed transaction; back puts it back.
func (s *Station) LeaveBooks() (back func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	registry, book, each := s.registry, s.book, s.each
	s.leave()
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.registry, s.book, s.each, s.away = registry, book, each, false
	}
}
