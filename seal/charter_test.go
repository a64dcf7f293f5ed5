package seal_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/gowebpki/jcs"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/seal"
)

const (
	origin = "reserve.example/log"
	day    = 86_400_000
	t0     = 1_800_000_000_000
)

// house is the signers of a test: SLH-DSA is slow, so each test makes them once.
type house struct {
	a, b, c, digger *seal.Signer
}

func newHouse(t testing.TB) house {
	t.Helper()
	return house{
		a: newSigner(t, "root-a", seal.RoleRoot), b: newSigner(t, "root-b", seal.RoleRoot), c: newSigner(t, "root-c", seal.RoleRoot),
		digger: newSigner(t, "digger-1", seal.RoleDigger),
	}
}

// first is version 1 with roots a and b, threshold 1.
func (h house) first() *seal.Charter {
	c := &seal.Charter{Name: origin, Version: 1, IssuedMS: t0, Threshold: 1}
	for _, s := range []*seal.Signer{h.a, h.b, h.digger} {
		c.Keys = append(c.Keys, s.PublicKeys(t0)...)
	}
	return c
}

func signCharter(t testing.TB, c *seal.Charter, roots ...*seal.Signer) seal.Envelope {
	t.Helper()
	env, err := c.Sign(roots...)
	if err != nil {
		t.Fatal(err)
	}
	return env
}

// signIf leaves out the slow signature where the link is refused before it counts.
func signIf(t testing.TB, needed bool, c *seal.Charter, root *seal.Signer) seal.Envelope {
	t.Helper()
	if needed {
		return signCharter(t, c, root)
	}
	return signCharter(t, c)
}

// trimmed keeps the first signatures of an envelope.
func trimmed(env seal.Envelope, n int) seal.Envelope {
	env.Signatures = env.Signatures[:n]
	return env
}

func pin(s *seal.Signer) merkle.Hash {
	key, _ := s.Key(seal.SLHDSA128s)
	return seal.KeyHash(key.Alg, key.Public)
}

func expect(t *testing.T, what string, err error, code seal.Code) {
	t.Helper()
	if code == "" && err != nil || code != "" && !seal.HasCode(err, code) {
		t.Errorf("%s: %v, want %q", what, err, code)
	}
}

func TestACharterIsCanonicalJSON(t *testing.T) {
	c := newHouse(t).first()
	payload, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	canonical, err := jcs.Transform(payload)
	if err != nil || !bytes.Equal(canonical, payload) {
		t.Errorf("not in RFC 8785 form: %v", err)
	}
	if !strings.HasPrefix(string(payload), `{"issued_ms":1800000000000,"keys":[{"alg":"slh-dsa-sha2-128s","keyid":"`) ||
		!strings.Contains(string(payload), `"not_after_ms":null,"not_before_ms":1800000000000,"public":"`) ||
		!strings.HasSuffix(string(payload), `"name":"reserve.example/log","previous":"`+strings.Repeat("0", 64)+`","threshold":1,"version":1}`) {
		t.Errorf("%s", payload)
	}
	again, err := seal.DecodeCharter(payload)
	if err != nil || again.Name != origin || len(again.Keys) != len(c.Keys) || len(again.KeysOf(seal.RoleRoot)) != 4 || len(again.KeysOf(seal.RoleRoot, "root-b")) != 2 {
		t.Errorf("%+v, %v", again, err)
	}
}

func TestCharterBytesThatAreNotCanonicalAreRefused(t *testing.T) {
	payload, err := newHouse(t).first().Encode()
	if err != nil {
		t.Fatal(err)
	}
	text := string(payload)
	var loose bytes.Buffer
	if err := json.Indent(&loose, payload, "", " "); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"white space":                loose.String(),
		"a newline behind":           text + "\n",
		"trailing data":              text + "{}",
		"an unknown member":          strings.Replace(text, `"name"`, `"mame":1,"name"`, 1),
		"an unknown member of a key": strings.Replace(text, `"keyid"`, `"comment":"","keyid"`, 1),
		"a repeated member":          strings.Replace(text, `"threshold":1`, `"threshold":1,"threshold":1`, 1),
		"a missing member":           strings.Replace(text, `"threshold":1,`, ``, 1),
		"another order":              strings.Replace(text, `"threshold":1,"version":1`, `"version":1,"threshold":1`, 1),
		"a fraction":                 strings.Replace(text, `"version":1`, `"version":1.0`, 1),
		"an exponent":                strings.Replace(text, `1800000000000`, `18e11`, 1),
		"a negative number":          strings.Replace(text, `"version":1`, `"version":-1`, 1),
		"an escape":                  strings.Replace(text, `"root-a"`, `"\u0072oot-a"`, 1),
		"keys null":                  text[:strings.Index(text, `"keys"`)] + `"keys":null` + text[strings.Index(text, `,"name":"reserve`):],
		"empty":                      "",
		"null":                       "null",
		"an array":                   "[]",
	} {
		if _, err := seal.DecodeCharter([]byte(bad)); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestACharterKeepsItsOwnRules(t *testing.T) {
	h := newHouse(t)
	soon, past := uint64(t0+day), uint64(t0-1)
	robot := newSigner(t, "robot-1", seal.RoleRobot)
	for name, test := range map[string]struct {
		change func(c *seal.Charter)
		want   seal.Code
	}{
		"sound":                     {func(c *seal.Charter) {}, ""},
		"a key that ends later":     {func(c *seal.Charter) { c.Keys[4].NotAfterMS = &soon }, ""},
		"a key that ended before":   {func(c *seal.Charter) { c.Keys[4].NotAfterMS = &past }, seal.CodeCharterLink},
		"no name":                   {func(c *seal.Charter) { c.Name = "" }, seal.CodeCharter},
		"a name with a number sign": {func(c *seal.Charter) { c.Name = "reserve#1" }, seal.CodeCharter},
		"a name with a space":       {func(c *seal.Charter) { c.Name = "my reserve" }, seal.CodeCharter},
		"version 0":                 {func(c *seal.Charter) { c.Version = 0 }, seal.CodeCharter},
		"version 2 without a link":  {func(c *seal.Charter) { c.Version = 2 }, seal.CodeCharter},
		"version 1 with a link":     {func(c *seal.Charter) { c.Previous[0] = 1 }, seal.CodeCharter},
		"issued beyond all time":    {func(c *seal.Charter) { c.IssuedMS = 1 << 48 }, seal.CodeCharter},
		"threshold 0":               {func(c *seal.Charter) { c.Threshold = 0 }, seal.CodeCharter},
		"no keys":                   {func(c *seal.Charter) { c.Keys = nil }, seal.CodeCharter},
		"a key twice":               {func(c *seal.Charter) { c.Keys = append(c.Keys, c.Keys[0]) }, seal.CodeKey},
		"a key under two names":     {func(c *seal.Charter) { c.Keys = append(c.Keys, rename(c.Keys[5], "digger-2")) }, seal.CodeKey},
		"a wrong key id":            {func(c *seal.Charter) { c.Keys[0].KeyID = c.Keys[1].KeyID }, seal.CodeKey},
		"a short key":               {func(c *seal.Charter) { c.Keys[0].Public = c.Keys[0].Public[1:] }, seal.CodeKey},
		"an unknown algorithm":      {func(c *seal.Charter) { c.Keys[0].Alg = "rsa" }, seal.CodeUnknownAlgorithm},
		"a robot":                   {func(c *seal.Charter) { c.Keys = append(c.Keys, robot.PublicKeys(t0)...) }, seal.CodeCharter},
		"an unknown role":           {func(c *seal.Charter) { c.Keys[0].Role = "king" }, seal.CodeCharter},
		"a name that is no id":      {func(c *seal.Charter) { c.Keys[4].Name = "Digger" }, seal.CodeCharter},
		"a log key of another origin": {func(c *seal.Charter) {
			c.Keys = append(c.Keys, newSigner(t, "other.example/log", seal.RoleLog).PublicKeys(t0)...)
		}, seal.CodeCharter},
		"a log key of this origin": {func(c *seal.Charter) { c.Keys = append(c.Keys, newSigner(t, origin, seal.RoleLog).PublicKeys(t0)...) }, ""},
	} {
		c := h.first()
		test.change(c)
		_, err := c.Encode()
		expect(t, name, err, test.want)
	}
}

func rename(k seal.Key, name string) seal.Key {
	k.Name = name
	return k
}

func TestVersionsOfACharterFollowEachOther(t *testing.T) {
	h := newHouse(t)
	v1 := signCharter(t, h.first(), h.a)
	base := seal.NewCharterChain(nil)
	one, err := base.Add(v1)
	if err != nil {
		t.Fatal(err)
	}
	early, later := uint64(t0+day-1), uint64(t0+2*day)
	for name, test := range map[string]struct {
		change func(c *seal.Charter)
		want   seal.Code
	}{
		"sound": {func(c *seal.Charter) {}, ""},
		"a new key": {func(c *seal.Charter) {
			c.Keys = append(c.Keys, newSigner(t, "digger-2", seal.RoleDigger).PublicKeys(t0)...)
		}, ""},
		"keys in another order":   {func(c *seal.Charter) { slices.Reverse(c.Keys) }, ""},
		"an ended key":            {func(c *seal.Charter) { c.Keys[5].NotAfterMS = &later }, ""},
		"a key ended in the past": {func(c *seal.Charter) { c.Keys[5].NotAfterMS = &early }, seal.CodeCharterLink},
		"a dropped key":           {func(c *seal.Charter) { c.Keys = c.Keys[:5] }, seal.CodeCharterLink},
		"a renamed key":           {func(c *seal.Charter) { c.Keys[5].Name = "digger-9" }, seal.CodeCharterLink},
		"a key of another role":   {func(c *seal.Charter) { c.Keys[5].Role = seal.RoleRefinery }, seal.CodeCharterLink},
		"a key that began before": {func(c *seal.Charter) { c.Keys[5].NotBeforeMS = 0 }, seal.CodeCharterLink},
		"a skipped version":       {func(c *seal.Charter) { c.Version = 3 }, seal.CodeCharterLink},
		"another predecessor":     {func(c *seal.Charter) { c.Previous[31] ^= 1 }, seal.CodeCharterLink},
		"another log":             {func(c *seal.Charter) { c.Name = "other.example/log" }, seal.CodeCharterLink},
		"an earlier issue":        {func(c *seal.Charter) { c.IssuedMS = t0 - 1 }, seal.CodeCharterLink},
	} {
		c := one.Next(one.Digest, t0+day)
		test.change(c)
		chain, err := seal.VerifyCharterChain([]seal.Envelope{v1, signIf(t, test.want == "", c, h.b)}, nil)
		expect(t, name, err, test.want)
		if err == nil && (chain.Latest().Version != 2 || len(chain.Versions()) != 2 || chain.Pinned()) {
			t.Errorf("%s: version %d", name, chain.Latest().Version)
		}
	}
	wrong := v1
	wrong.PayloadType = seal.TypeEnrolment
	_, err = seal.NewCharterChain(nil).Add(wrong)
	expect(t, "another payload type", err, seal.CodeMalformed)
	_, err = seal.VerifyCharterChain(nil, nil)
	expect(t, "no charter", err, seal.CodeCharterLink)
}

func TestAnEndOfAKeyIsNeverTakenBackOrPutOff(t *testing.T) {
	h := newHouse(t)
	v1 := h.first()
	end := uint64(t0 + 10*day)
	v1.Keys[5].NotAfterMS = &end
	first := signCharter(t, v1, h.a)
	chain := seal.NewCharterChain(nil)
	one, err := chain.Add(first)
	if err != nil {
		t.Fatal(err)
	}
	sooner, later := end-day, end+1
	for name, test := range map[string]struct {
		end  *uint64
		want seal.Code
	}{"the same": {&end, ""}, "sooner": {&sooner, ""}, "later": {&later, seal.CodeCharterLink}, "open again": {nil, seal.CodeCharterLink}} {
		c := one.Next(one.Digest, t0+day)
		c.Keys[5].NotAfterMS = test.end
		_, err := seal.VerifyCharterChain([]seal.Envelope{first, signIf(t, test.want == "", c, h.a)}, nil)
		expect(t, name, err, test.want)
	}
}

func TestANewVersionNeedsTheOldThresholdAndItsOwn(t *testing.T) {
	h := newHouse(t)
	first := h.first()
	first.Threshold = 2
	v1 := signCharter(t, first, h.a, h.b)
	if _, err := seal.VerifyCharterChain([]seal.Envelope{trimmed(v1, 2)}, nil); !seal.HasCode(err, seal.CodeThreshold) {
		t.Errorf("one of two roots: %v", err)
	}
	one, err := seal.NewCharterChain(nil).Add(v1)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Join(one.Roots, " ") != "root-a root-b" {
		t.Errorf("roots %v", one.Roots)
	}
	// b leaves, c comes: the old threshold is a and b, the new one a and c.
	swap := one.Next(one.Digest, t0+day)
	swap.Keys = append(swap.Keys, h.c.PublicKeys(t0+day)...)
	for _, k := range h.b.PublicKeys(0) {
		if err := swap.EndKey(k.KeyID, t0+day); err != nil {
			t.Fatal(err)
		}
	}
	whole := signCharter(t, swap, h.a, h.b, h.c, h.digger) // signed once, put together below
	by := func(roots ...int) seal.Envelope {
		env := whole
		env.Signatures = nil
		for _, i := range roots {
			env.Signatures = append(env.Signatures, whole.Signatures[2*i:2*i+2]...)
		}
		return env
	}
	const a, b, c, digger = 0, 1, 2, 3
	for name, test := range map[string]struct {
		env  seal.Envelope
		want seal.Code
	}{
		"all three":    {by(a, b, c), ""},
		"the old ones": {by(a, b), seal.CodeThreshold},
		"the new ones": {by(a, c), seal.CodeThreshold},
		"a alone":      {by(a), seal.CodeThreshold},
		"no root":      {by(a, b, c, digger), seal.CodeUnknownKey},
		"a twice":      {by(a, a), seal.CodeRepeated},
	} {
		_, err := seal.VerifyCharterChain([]seal.Envelope{v1, test.env}, nil)
		expect(t, name, err, test.want)
	}
	half := by(a, b, c)
	half.Signatures = half.Signatures[:5] // c's Ed25519 signature is missing
	_, err = seal.VerifyCharterChain([]seal.Envelope{v1, half}, nil)
	expect(t, "half of c", err, seal.CodeThreshold)
	if err := swap.EndKey("0000000000000000", t0+day); !seal.HasCode(err, seal.CodeUnknownKey) {
		t.Errorf("end of an unknown key: %v", err)
	}
}

func TestARootCountsOnceHoweverManyKeysItHas(t *testing.T) {
	h := newHouse(t)
	again := newSigner(t, "root-a", seal.RoleRoot)
	c := h.first()
	c.Threshold = 2
	c.Keys = append(c.Keys, again.PublicKeys(t0)...)
	_, err := seal.VerifyCharterChain([]seal.Envelope{signCharter(t, c, h.a, again)}, nil)
	expect(t, "two pairs of one root", err, seal.CodeRepeated)
}

func TestARootPinHoldsTheWholeChain(t *testing.T) {
	h := newHouse(t)
	v1 := signCharter(t, h.first(), h.a)
	chain := seal.NewCharterChain([]merkle.Hash{pin(h.a)})
	one, err := chain.Add(v1)
	if err != nil || !chain.Pinned() {
		t.Fatal(err)
	}
	two := signCharter(t, one.Next(one.Digest, t0+day), h.b)
	envs := []seal.Envelope{v1, two}
	for name, test := range map[string]struct {
		pins []merkle.Hash
		want seal.Code
	}{
		"none":                {nil, ""},
		"a, who signed 1":     {[]merkle.Hash{pin(h.a)}, ""},
		"b, who signed 2":     {[]merkle.Hash{pin(h.b)}, ""},
		"both":                {[]merkle.Hash{pin(h.b), pin(h.a)}, ""},
		"c, who signed none":  {[]merkle.Hash{pin(h.c)}, seal.CodeUnpinned},
		"a's Ed25519 key":     {[]merkle.Hash{seal.KeyHash(h.a.Keys[1].Alg, h.a.Keys[1].Public)}, seal.CodeUnpinned},
		"a key's id, stuffed": {[]merkle.Hash{{}}, seal.CodeUnpinned},
	} {
		_, err := seal.VerifyCharterChain(envs, test.pins)
		expect(t, name, err, test.want)
	}
	// A threshold of two is not met by one pinned root beside one that is not.
	strict := h.first()
	strict.Threshold = 2
	both := []seal.Envelope{signCharter(t, strict, h.a, h.b)}
	_, err = seal.VerifyCharterChain(both, []merkle.Hash{pin(h.a)})
	expect(t, "one pin of two", err, seal.CodeUnpinned)
	_, err = seal.VerifyCharterChain(both, []merkle.Hash{pin(h.a), pin(h.b)})
	expect(t, "both pins of two", err, "")
	// An impostor's chain that lists a's key without its signature.
	forged := h.first()
	forged.Keys = append(forged.Keys, h.c.PublicKeys(t0)...)
	_, err = seal.VerifyCharterChain([]seal.Envelope{signCharter(t, forged, h.c)}, []merkle.Hash{pin(h.a)})
	expect(t, "a's key listed, not used", err, seal.CodeUnpinned)
}

func FuzzDecodeCharter(f *testing.F) {
	signer, err := seal.NewSigner("digger-1", seal.RoleDigger)
	if err != nil {
		f.Fatal(err)
	}
	c := &seal.Charter{Name: origin, Version: 1, IssuedMS: t0, Threshold: 1, Keys: signer.PublicKeys(t0)[1:]}
	payload, err := c.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(payload)
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := seal.DecodeCharter(data)
		if err != nil {
			return
		}
		again, err := c.Encode()
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("%s re-encodes to %s, %v", data, again, err)
		}
	})
}

func TestACharterChoosesAlgorithmsOfTheRegistryInPairs(t *testing.T) {
	for what, x := range map[string]struct {
		algorithms map[string][]string
		code       seal.Code
	}{
		"one alone":             {map[string][]string{seal.RoleDigger: {seal.Ed25519}}, seal.CodeCharter},
		"one twice":             {map[string][]string{seal.RoleDigger: {seal.Ed25519, seal.Ed25519}}, seal.CodeCharter},
		"not sorted":            {map[string][]string{seal.RoleDigger: {seal.MLDSA65, seal.Ed25519}}, seal.CodeCharter},
		"of the log":            {map[string][]string{seal.RoleLog: {seal.Ed25519, seal.MLDSA65}}, seal.CodeCharter},
		"of the roots":          {map[string][]string{seal.RoleRoot: {seal.Ed25519, seal.MLDSA65}}, seal.CodeCharter},
		"outside the registry":  {map[string][]string{seal.RoleDigger: {seal.Ed25519, "rsa"}}, seal.CodeUnknownAlgorithm},
		"an empty list of them": {map[string][]string{}, seal.CodeCharter},
	} {
		t.Run(what+" is refused", func(t *testing.T) {
			root, err := seal.NewSignerWith("root-1", seal.RoleRoot, []string{seal.Ed25519})
			if err != nil {
				t.Fatal(err)
			}
			c := &seal.Charter{Name: "reserve.example/log", Version: 1, IssuedMS: 1, Threshold: 1, Keys: root.PublicKeys(1), Algorithms: x.algorithms}
			if _, err := c.Encode(); !seal.HasCode(err, x.code) {
				t.Fatalf("got %v, want %s", err, x.code)
			}
		})
	}
}
