package seal_test

import (
	"bytes"
	"strings"
	"testing"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/seal"
)

func robotEnrolment(keys []seal.Key) *seal.Enrolment {
	return &seal.Enrolment{
		Origin: origin, ID: "robot-1", Version: 1, IssuedMS: t0, Keys: keys,
		Robot: &seal.RobotTerms{Owner: "owner-1", Digger: "digger-1", Watts: 350, TokensPerSecond: 10, Energy: seal.EnergyMetered},
	}
}

func TestTheThreeFormsOfAnEnrolment(t *testing.T) {
	digest := merkle.LeafHash([]byte("x"))
	robot := robotEnrolment(newSigner(t, "robot-1", seal.RoleRobot).PublicKeys(t0))
	robot.Version, robot.Previous = 2, digest
	robot.Robot.Last = &seal.LastReport{Seq: 7, Digest: digest}
	member := &seal.Enrolment{Origin: origin, ID: "ada", Version: 1, IssuedMS: t0, Keys: newSigner(t, "ada", seal.RoleMember).PublicKeys(t0),
		Member: &seal.MemberTerms{Subject: digest, Registrar: "registrar-1", Status: seal.StatusActive}}
	org := &seal.Enrolment{Origin: origin, ID: "acme", Version: 1, IssuedMS: t0, Keys: newSigner(t, "acme", seal.RoleOrg).PublicKeys(t0),
		Org: &seal.OrgTerms{Registrar: "registrar-1", Status: seal.StatusFrozen}}
	for _, test := range []struct {
		e      *seal.Enrolment
		role   string
		others []string
	}{
		{robot, seal.RoleRobot, []string{`"digger":"digger-1"`, `"energy":"metered"`, `"last":[7,"` + digest.String() + `"]`, `"owner":"owner-1"`, `"robot":"robot-1"`, `"tokens_per_second":10`, `"watts":350`}},
		{member, seal.RoleMember, []string{`"member":"ada"`, `"registrar":"registrar-1"`, `"status":"active"`, `"subject_hmac":"` + digest.String() + `"`}},
		{org, seal.RoleOrg, []string{`"org":"acme"`, `"registrar":"registrar-1"`, `"status":"frozen"`}},
	} {
		payload, err := test.e.Encode()
		if err != nil {
			t.Errorf("%s: %v", test.role, err)
			continue
		}
		for _, member := range test.others {
			if !strings.Contains(string(payload), member) {
				t.Errorf("%s: %s is not in %s", test.role, member, payload)
			}
		}
		decoded, err := seal.DecodeEnrolment(payload)
		if err != nil || decoded.Role() != test.role || decoded.ID != test.e.ID {
			t.Errorf("%s: %+v, %v", test.role, decoded, err)
			continue
		}
		if again, err := decoded.Encode(); err != nil || !bytes.Equal(again, payload) {
			t.Errorf("%s: %s became %s, %v", test.role, payload, again, err)
		}
	}
}

func TestAFirstEnrolmentOfARobotHasNoLastReport(t *testing.T) {
	payload, err := robotEnrolment(newSigner(t, "robot-1", seal.RoleRobot).PublicKeys(t0)).Encode()
	if err != nil || !strings.Contains(string(payload), `"last":null`) {
		t.Errorf("%s, %v", payload, err)
	}
}

func TestAnEnrolmentKeepsItsOwnRules(t *testing.T) {
	keys := newSigner(t, "robot-1", seal.RoleRobot).PublicKeys(t0)
	other := newSigner(t, "robot-2", seal.RoleRobot).PublicKeys(t0)
	last := &seal.LastReport{Seq: 1, Digest: merkle.Hash{1}}
	for name, test := range map[string]struct {
		change func(e *seal.Enrolment)
		want   seal.Code
	}{
		"sound":             {func(e *seal.Enrolment) {}, ""},
		"no kind":           {func(e *seal.Enrolment) { e.Robot = nil }, seal.CodeEnrolment},
		"two kinds":         {func(e *seal.Enrolment) { e.Org = &seal.OrgTerms{} }, seal.CodeEnrolment},
		"no origin":         {func(e *seal.Enrolment) { e.Origin = "" }, seal.CodeEnrolment},
		"an id in capitals": {func(e *seal.Enrolment) { e.ID = "Robot" }, seal.CodeEnrolment},
		"version 0":         {func(e *seal.Enrolment) { e.Version = 0 }, seal.CodeEnrolment},
		"no link":           {func(e *seal.Enrolment) { e.Version = 2 }, seal.CodeEnrolment},
		"no keys":           {func(e *seal.Enrolment) { e.Keys = nil }, seal.CodeEnrolment},
		"another's keys":    {func(e *seal.Enrolment) { e.Keys = other }, seal.CodeEnrolment},
		"a key twice":       {func(e *seal.Enrolment) { e.Keys = append(keys, keys[0]) }, seal.CodeKey},
		"no owner":          {func(e *seal.Enrolment) { e.Robot.Owner = "" }, seal.CodeEnrolment},
		"no digger":         {func(e *seal.Enrolment) { e.Robot.Digger = "" }, seal.CodeEnrolment},
		"no watts":          {func(e *seal.Enrolment) { e.Robot.Watts = 0 }, seal.CodeEnrolment},
		"no tokens":         {func(e *seal.Enrolment) { e.Robot.TokensPerSecond = 0 }, seal.CodeEnrolment},
		"guessed energy":    {func(e *seal.Enrolment) { e.Robot.Energy = "guessed" }, seal.CodeEnrolment},
		"last in version 1": {func(e *seal.Enrolment) { e.Robot.Last = last }, seal.CodeEnrolment},
		"an unknown status": {func(e *seal.Enrolment) {
			e.Robot, e.Org = nil, &seal.OrgTerms{Registrar: "r", Status: "dead"}
			e.Keys = relabel(keys)
		}, seal.CodeEnrolment},
		"no registrar": {func(e *seal.Enrolment) {
			e.Robot, e.Org = nil, &seal.OrgTerms{Status: seal.StatusActive}
			e.Keys = relabel(keys)
		}, seal.CodeEnrolment},
		"an organisation": {func(e *seal.Enrolment) {
			e.Robot, e.Org = nil, &seal.OrgTerms{Registrar: "r", Status: seal.StatusLeft}
			e.Keys = relabel(keys)
		}, ""},
		"issued beyond time": {func(e *seal.Enrolment) { e.IssuedMS = 1 << 50 }, seal.CodeEnrolment},
	} {
		e := robotEnrolment(keys)
		test.change(e)
		_, err := e.Encode()
		expect(t, name, err, test.want)
	}
}

func relabel(keys []seal.Key) []seal.Key {
	var out []seal.Key
	for _, k := range keys {
		k.Role = seal.RoleOrg
		out = append(out, k)
	}
	return out
}

func TestARegistrarOfTheCharterSignsAnEnrolment(t *testing.T) {
	registrar, other := newSigner(t, "registrar-1", seal.RoleRegistrar), newSigner(t, "registrar-2", seal.RoleRegistrar)
	digger := newSigner(t, "registrar-1", seal.RoleDigger) // the name alone is not enough
	charter := &seal.Charter{Name: origin, Version: 1, IssuedMS: t0, Threshold: 1}
	for _, s := range []*seal.Signer{registrar, other, digger} {
		charter.Keys = append(charter.Keys, s.PublicKeys(t0)...)
	}
	member := &seal.Enrolment{Origin: origin, ID: "ada", Version: 1, IssuedMS: t0, Keys: newSigner(t, "ada", seal.RoleMember).PublicKeys(t0),
		Member: &seal.MemberTerms{Registrar: "registrar-1", Status: seal.StatusActive}}
	envelope := func(e *seal.Enrolment, s *seal.Signer) seal.Envelope {
		payload, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		env, err := s.Sign(seal.TypeEnrolment, payload)
		if err != nil {
			t.Fatal(err)
		}
		return env
	}
	foreign, early := *member, *member
	foreign.Origin = "other.example/log"
	early.IssuedMS = t0 - 1
	wrongType := envelope(member, registrar)
	wrongType.PayloadType = seal.TypeCharter
	robot := robotEnrolment(newSigner(t, "robot-1", seal.RoleRobot).PublicKeys(t0))
	for name, test := range map[string]struct {
		env  seal.Envelope
		want seal.Code
	}{
		"sound":                             {envelope(member, registrar), ""},
		"a robot's, by any registrar":       {envelope(robot, other), ""},
		"a registrar that it does not name": {envelope(member, other), seal.CodeUnknownKey},
		"a digger of that name":             {envelope(member, digger), seal.CodeUnknownKey},
		"of another reserve":                {envelope(&foreign, registrar), seal.CodeEnrolment},
		"before the key":                    {envelope(&early, registrar), seal.CodeKeyValidity},
		"another payload type":              {wrongType, seal.CodeMalformed},
	} {
		_, err := seal.VerifyEnrolment(test.env, charter)
		expect(t, name, err, test.want)
	}
}

func TestVersionsOfAnEnrolmentFollowEachOther(t *testing.T) {
	keys := newSigner(t, "robot-1", seal.RoleRobot).PublicKeys(t0)
	first := robotEnrolment(keys)
	digest := merkle.LeafHash([]byte("first"))
	next := func() *seal.Enrolment {
		e := robotEnrolment(append([]seal.Key{}, keys...))
		e.Version, e.Previous, e.IssuedMS = 2, digest, t0+day
		e.Robot.Last = &seal.LastReport{Seq: 9, Digest: digest}
		return e
	}
	past := uint64(t0)
	for name, test := range map[string]struct {
		change func(e *seal.Enrolment)
		want   seal.Code
	}{
		"sound":                  {func(e *seal.Enrolment) {}, ""},
		"without a report":       {func(e *seal.Enrolment) { e.Robot.Last = nil }, ""},
		"another robot":          {func(e *seal.Enrolment) { e.ID = "robot-2" }, seal.CodeEnrolment},
		"another reserve":        {func(e *seal.Enrolment) { e.Origin = "x" }, seal.CodeEnrolment},
		"a skipped version":      {func(e *seal.Enrolment) { e.Version = 3 }, seal.CodeEnrolment},
		"another predecessor":    {func(e *seal.Enrolment) { e.Previous[0] ^= 1 }, seal.CodeEnrolment},
		"an earlier issue":       {func(e *seal.Enrolment) { e.IssuedMS = t0 - 1 }, seal.CodeEnrolment},
		"a backdated end of key": {func(e *seal.Enrolment) { e.Keys[0].NotAfterMS = &past }, seal.CodeCharterLink},
	} {
		e := next()
		test.change(e)
		expect(t, name, e.Follows(first, digest), test.want)
	}
	third := next()
	third.Version, third.Robot.Last = 3, &seal.LastReport{Seq: 8, Digest: digest}
	expect(t, "a last report that falls", third.Follows(next(), digest), seal.CodeEnrolment)
}

func FuzzDecodeEnrolment(f *testing.F) {
	for _, role := range []string{seal.RoleRobot, seal.RoleMember, seal.RoleOrg} {
		signer, err := seal.NewSigner("robot-1", role)
		if err != nil {
			f.Fatal(err)
		}
		e := robotEnrolment(signer.PublicKeys(t0)[1:])
		switch role {
		case seal.RoleRobot:
			e.Version, e.Previous[0] = 2, 1
			e.Robot.Last = &seal.LastReport{Seq: 1, Digest: merkle.Hash{1}}
		case seal.RoleMember:
			e.Robot, e.Member = nil, &seal.MemberTerms{Registrar: "r", Status: seal.StatusActive}
		case seal.RoleOrg:
			e.Robot, e.Org = nil, &seal.OrgTerms{Registrar: "r", Status: seal.StatusLeft}
		}
		payload, err := e.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := seal.DecodeEnrolment(data)
		if err != nil {
			return
		}
		again, err := e.Encode()
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("%s re-encodes to %s, %v", data, again, err)
		}
	})
}
