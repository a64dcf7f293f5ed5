//go:build !tiny

package torq

func tinyProfile() (Profile, error) {
	return Profile{}, failf(CodeProfile,
		"profile \"tiny\" is for tests: release builds refuse it; build with -tags tiny to use it")
}
