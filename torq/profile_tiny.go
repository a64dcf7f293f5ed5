//go:build tiny

package torq

func tinyProfile() (Profile, error) { return Tiny(), nil }

// Tiny is the profile of exhaustive tests: 16 ore an ingot, 4 ingots a
// certificate. It exists only under the build tag `tiny`.
func Tiny() Profile { return Profile{OrePerIngot: 16, IngotsPerCertificate: 4} }
