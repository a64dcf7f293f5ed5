package proof

import (
	"fmt"
	"slices"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/seal"
)

// SignedEnrolment is a version of an enrolment with its digest.
type SignedEnrolment struct {
	*seal.Enrolment
	Digest merkle.Hash
}

// Rebinding is a version of an enrolment that gives its owner keys which no version
// before it had.
type Rebinding struct {
	Version   uint64
	Digest    merkle.Hash
	Keys      []seal.Key // the new ones
	IssuedMS  uint64
	Effective uint64 // Unix ms: until then the former keys hold, and may object
}

// Rebindings lists the rebindings in an enrolment's history, in order.
func Rebindings(history []SignedEnrolment) (all []Rebinding) {
	known := map[string]bool{}
	for i, v := range history {
		r := Rebinding{Version: v.Version, Digest: v.Digest, IssuedMS: v.IssuedMS}
		for _, k := range v.Keys {
			if known[k.KeyID] {
				continue
			}
			known[k.KeyID] = true
			r.Keys = append(r.Keys, k)
			if r.Effective == 0 || k.NotBeforeMS < r.Effective {
				r.Effective = k.NotBeforeMS
			}
		}
		if i > 0 && len(r.Keys) > 0 {
			all = append(all, r)
		}
	}
	return all
}

// KeysAt are the keys of an enrolment's owner that count at a time (each by its own
// validity): those of the newest version, except that a rebinding counts from the time
// on at which its keys become valid, and never when a former key has objected to it.
func KeysAt(history []SignedEnrolment, at uint64, objected func(enrolment merkle.Hash) bool) []seal.Key {
	if len(history) == 0 {
		return nil
	}
	if len(history) == 1 {
		return history[0].Keys
	}
	rebindings := Rebindings(history)
	keys, waits, void := history[0].Keys, false, map[string]bool{}
	for i, v := range history[1:] {
		rebinds := len(rebindings) > 0 && rebindings[0].Version == v.Version
		if rebinds {
			r := rebindings[0]
			rebindings = rebindings[1:]
			refused := objected(r.Digest)
			for _, k := range r.Keys {
				void[k.KeyID] = refused
			}
			waits = refused || at < r.Effective
		}
		switch {
		case !waits:
			keys = slices.DeleteFunc(slices.Clone(v.Keys), func(k seal.Key) bool { return void[k.KeyID] })
		case !rebinds: // a key that is ended meanwhile is ended
			keys = withEnds(keys, history[i].Keys, v.Keys)
		}
	}
	return keys
}

// withEnds are keys with the ends that a version sets anew beside the one before it.
func withEnds(keys, before, version []seal.Key) []seal.Key {
	end := func(list []seal.Key, id string) *uint64 {
		for _, k := range list {
			if k.KeyID == id {
				return k.NotAfterMS
			}
		}
		return nil
	}
	keys = slices.Clone(keys)
	for i := range keys {
		now, was := end(version, keys[i].KeyID), end(before, keys[i].KeyID)
		if now != nil && (was == nil || *now != *was) {
			keys[i].NotAfterMS = now
		}
	}
	return keys
}

// CheckPerson checks what a new version of a member's or an organisation's enrolment
// may change: never the person. A rebinding brings a key of each algorithm with which
// the role signs, valid delay ms after its issue at the earliest, and ends every other
// key that is still open, not before that. history is what was logged before it.
func CheckPerson(history []SignedEnrolment, next *seal.Enrolment, delay uint64) error {
	if len(history) == 0 {
		return nil
	}
	if before := history[len(history)-1]; next.Member != nil && before.Member != nil && next.Member.Subject != before.Member.Subject {
		return fmt.Errorf("version %d of %s %q is another person than version %d", next.Version, next.Role(), next.ID, before.Version)
	}
	rebindings := Rebindings(append(slices.Clone(history), SignedEnrolment{Enrolment: next}))
	if len(rebindings) == 0 || rebindings[len(rebindings)-1].Version != next.Version {
		return nil
	}
	r := rebindings[len(rebindings)-1]
	if at := next.IssuedMS + delay; r.Effective < at {
		return fmt.Errorf("the new keys of %s %q would count from %d on; a rebinding issued at %d takes effect at %d (rebind_delay)", next.Role(), next.ID, r.Effective, next.IssuedMS, at)
	}
	fresh := map[string]bool{}
	for _, k := range r.Keys {
		fresh[k.KeyID] = true
	}
	for _, alg := range seal.RequiredAlgorithms(next.Role()) {
		if !slices.ContainsFunc(r.Keys, func(k seal.Key) bool { return k.Alg == alg }) {
			return fmt.Errorf("the rebinding of %s %q brings no key of %s", next.Role(), next.ID, alg)
		}
	}
	objected := func(merkle.Hash) bool { return false }
	holding := map[string]bool{}
	for _, k := range KeysAt(history, next.IssuedMS, objected) {
		holding[k.KeyID] = k.ValidAt(next.IssuedMS)
	}
	for _, k := range next.Keys {
		switch {
		case fresh[k.KeyID]:
		case k.NotAfterMS == nil:
			return fmt.Errorf("the rebinding of %s %q leaves its former key %s open", next.Role(), next.ID, k.KeyID)
		case holding[k.KeyID] && *k.NotAfterMS < r.Effective:
			return fmt.Errorf("the rebinding of %s %q ends its former key %s at %d, before it takes effect at %d: nobody could object", next.Role(), next.ID, k.KeyID, *k.NotAfterMS, r.Effective)
		}
	}
	return nil
}
