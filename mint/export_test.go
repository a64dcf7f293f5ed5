package mint

// OnStep calls f at the named steps of Run: "queued" before artefacts go into the
// packs, "packed" before they go into the log, "appended" before the book knows,
// "settled", "sampled", "sealed", "bonded". An error of f ends Run. Call it before Run.
func (s *Station) OnStep(f func(step string) error) { s.interrupt = f }
