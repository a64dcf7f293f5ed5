package node

// AsProblem is asProblem, for tests.
func AsProblem(err error) error { return asProblem(err) }
