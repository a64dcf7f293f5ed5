package seal

import (
	"slices"
)

// VerifyEnvelope is [VerifySigner] without the name.
func VerifyEnvelope(env Envelope, keys []Key, required []string, at uint64) error {
	_, err := VerifySigner(env, keys, required, at)
	return err
}

// VerifySigner checks that one signer, whose name it returns, signed the envelope
// with all required algorithms under keys valid at the time (Unix ms). keys are
// the keys that may sign this: the caller has chosen them by role and, where the
// payload names its signer, by name.
//
// Nothing else may be in the envelope. In the order in which they are found the
// errors' codes are [CodeUnknownKey], [CodeUnknownAlgorithm], [CodeDowngraded] (an
// algorithm that is not required), [CodeRepeated], [CodeSignature],
// [CodeMixedSigners], [CodeDowngraded] (a required algorithm is missing) and
// [CodeKeyValidity], which therefore means that the envelope is authentic but for
// the time.
func VerifySigner(env Envelope, keys []Key, required []string, at uint64) (name string, err error) {
	used, err := verifyAll(env, keys, required, at)
	if err != nil {
		return "", err
	}
	if len(used) == 0 {
		return "", failf(CodeDowngraded, "%s is not signed", env.PayloadType)
	}
	name = used[0].Name
	for _, k := range used {
		if k.Name != name {
			return "", failf(CodeMixedSigners, "%s is signed by %q and %q, one must sign", env.PayloadType, name, k.Name)
		}
	}
	if missing, ok := missingAlgorithm(used, required); ok {
		return "", failf(CodeDowngraded, "%s by %q lacks the %s signature", env.PayloadType, name, missing)
	}
	for _, k := range used {
		if !k.ValidAt(at) {
			return "", failf(CodeKeyValidity, "%s by %q: key %s is not valid at %d", env.PayloadType, name, k.KeyID, at)
		}
	}
	return name, nil
}

// VerifyThreshold checks that at least threshold signers signed, counted by name:
// a name counts when all required algorithms verify under its keys valid at the
// time. It returns the names that count, sorted. Every signature in the envelope
// must be by one of keys, under a required algorithm, and verify; the error for
// too few names has code [CodeThreshold].
func VerifyThreshold(env Envelope, keys []Key, required []string, threshold, at uint64) ([]string, error) {
	used, err := verifyAll(env, keys, required, at)
	if err != nil {
		return nil, err
	}
	names := countNames(used, required, at)
	if threshold == 0 || uint64(len(names)) < threshold {
		return nil, failf(CodeThreshold, "%s is signed by %d of the %d signers it needs", env.PayloadType, len(names), threshold)
	}
	return names, nil
}

// verifyAll resolves and verifies every signature; the result is in the order of
// the signatures. Of several entries with one key id one that is valid is taken.
func verifyAll(env Envelope, keys []Key, required []string, at uint64) ([]Key, error) {
	if len(required) == 0 {
		return nil, failf(CodeDowngraded, "%s: no algorithm is required of its signer, so nothing would be proven", env.PayloadType)
	}
	if err := env.check(); err != nil {
		return nil, err
	}
	message := PAE(env.PayloadType, env.Payload)
	used := make([]Key, 0, len(env.Signatures))
	for _, s := range env.Signatures {
		key, ok := findKey(keys, s.KeyID, at)
		if !ok {
			return nil, failf(CodeUnknownKey, "%s is signed by key %s, which may not sign it", env.PayloadType, s.KeyID)
		}
		alg, ok := Lookup(key.Alg)
		if !ok {
			return nil, failf(CodeUnknownAlgorithm, "key %s of %q: unknown algorithm %q", key.KeyID, key.Name, key.Alg)
		}
		if !slices.Contains(required, key.Alg) {
			return nil, failf(CodeDowngraded, "%s by %q is signed with %s, which is not among %v", env.PayloadType, key.Name, key.Alg, required)
		}
		if slices.ContainsFunc(used, func(k Key) bool { return k.Name == key.Name && k.Alg == key.Alg }) {
			return nil, failf(CodeRepeated, "%s has two %s signatures of %q", env.PayloadType, key.Alg, key.Name)
		}
		if !alg.Verify(key.Public, message, s.Sig) {
			return nil, failf(CodeSignature, "%s: the %s signature by key %s of %q does not verify", env.PayloadType, key.Alg, key.KeyID, key.Name)
		}
		used = append(used, key)
	}
	return used, nil
}

func findKey(keys []Key, id string, at uint64) (found Key, ok bool) {
	for _, k := range keys {
		if k.KeyID == id && (!ok || !found.ValidAt(at) && k.ValidAt(at)) {
			found, ok = k, true
		}
	}
	return found, ok
}

func missingAlgorithm(used []Key, required []string) (string, bool) {
	for _, alg := range required {
		if !slices.ContainsFunc(used, func(k Key) bool { return k.Alg == alg }) {
			return alg, true
		}
	}
	return "", false
}

// countNames lists the names for which all required algorithms are among the
// used keys valid at the time, sorted.
func countNames(used []Key, required []string, at uint64) []string {
	byName := make(map[string][]Key)
	for _, k := range used {
		if k.ValidAt(at) {
			byName[k.Name] = append(byName[k.Name], k)
		}
	}
	var names []string
	for name, keys := range byName {
		if _, missing := missingAlgorithm(keys, required); !missing {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
