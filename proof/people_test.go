package proof_test

import (
	"testing"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// version is a version of an enrolment in short.
type version struct {
	issued uint64
	keys   map[string][2]uint64 // not before, not after (0: open)
}

func history(versions ...version) (all []proof.SignedEnrolment) {
	for i, v := range versions {
		e := &seal.Enrolment{Version: uint64(i + 1), IssuedMS: v.issued}
		for id, span := range v.keys {
			k := seal.Key{KeyID: id, NotBeforeMS: span[0]}
			if span[1] > 0 {
				k.NotAfterMS = &span[1]
			}
			e.Keys = append(e.Keys, k)
		}
		all = append(all, proof.SignedEnrolment{Enrolment: e, Digest: merkle.Hash{byte(i + 1)}})
	}
	return all
}

func TestARebindingCountsWhenItsTimeHasComeAndNobodyObjected(t *testing.T) {
	first := version{10, map[string][2]uint64{"old": {10, 0}}}
	rebound := version{100, map[string][2]uint64{"old": {10, 800}, "new": {800, 0}}}
	frozen := version{200, map[string][2]uint64{"old": {10, 800}, "new": {800, 0}}}
	again := version{1000, map[string][2]uint64{"old": {10, 800}, "new": {800, 1000}, "third": {1700, 0}}}
	ended := version{300, map[string][2]uint64{"old": {10, 300}, "new": {800, 0}}}
	for name, c := range map[string]struct {
		versions []version
		objected byte // version
		at       uint64
		valid    string
	}{
		"before":                               {[]version{first}, 0, 50, "old"},
		"waiting":                              {[]version{first, rebound}, 0, 799, "old"},
		"counting":                             {[]version{first, rebound}, 0, 800, "new"},
		"waiting, frozen meanwhile":            {[]version{first, rebound, frozen}, 0, 700, "old"},
		"counting, frozen meanwhile":           {[]version{first, rebound, frozen}, 0, 900, "new"},
		"waiting, the old key ended meanwhile": {[]version{first, rebound, ended}, 0, 400, ""},
		"objected":                             {[]version{first, rebound}, 2, 900, "old"},
		"objected, frozen later":               {[]version{first, rebound, frozen}, 2, 900, "old"},
		"objected, rebound again, waiting":     {[]version{first, rebound, again}, 2, 1600, "old"},
		"objected, rebound again":              {[]version{first, rebound, again}, 2, 1700, "third"},
		"rebound twice":                        {[]version{first, rebound, again}, 0, 1800, "third"},
	} {
		valid := ""
		for _, k := range proof.KeysAt(history(c.versions...), c.at, func(d merkle.Hash) bool { return c.objected > 0 && d == merkle.Hash{c.objected} }) {
			if k.ValidAt(c.at) {
				valid += k.KeyID
			}
		}
		if valid != c.valid {
			t.Errorf("%s: %q counts, want %q", name, valid, c.valid)
		}
	}
	if keys := proof.KeysAt(nil, 1, nil); keys != nil {
		t.Error(keys)
	}
}
