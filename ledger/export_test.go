package ledger

// Corrupt changes the books behind the invariants' back, as a fault in the code or
// in memory would, inside a command that posts the given entries.
func Corrupt(b *Book, entries []Entry, change func(*State)) error {
	_, err := b.perform(false, func() error {
		for _, e := range entries {
			if err := b.enter(e.Account, e.Amount); err != nil {
				return err
			}
		}
		change(&b.state)
		return nil
	})
	return err
}
