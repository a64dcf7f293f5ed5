package checkpoint_test

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/seal"
)

// cosigner is a witness with its verifier.
func cosigner(t testing.TB, name string) (*checkpoint.Cosigner, *seal.Signer, note.Verifier) {
	t.Helper()
	s, err := seal.NewSigner(name, seal.RoleWitness)
	if err != nil {
		t.Fatal(err)
	}
	key, _ := s.Key(seal.Ed25519)
	c, err := checkpoint.NewCosigner(name, key)
	if err != nil {
		t.Fatal(err)
	}
	v, public, err := checkpoint.ParseCosignerKey(c.VerifierKey())
	if err != nil || !bytes.Equal(public, key.Public) {
		t.Fatal(err)
	}
	return c, s, v
}

func cosign(t testing.TB, c *checkpoint.Cosigner, signed []byte, seconds uint64) []byte {
	t.Helper()
	line, err := c.Cosign(checkpoint.NoteText(signed), seconds)
	if err != nil {
		t.Fatal(err)
	}
	return []byte(line)
}

func TestCosignaturesOfKnownWitnessesAreAttached(t *testing.T) {
	k := newLogKeys(t, origin)
	bare := signed(t, head(7), k)
	a, _, av := cosigner(t, "witness.example/a")
	b, _, bv := cosigner(t, "witness.example/b")
	lines := append(cosign(t, a, bare, 1_679_315_147), cosign(t, b, bare, 1_679_315_148)...)
	one, err := checkpoint.Attach(bare, lines, av)
	expect(t, "one of two is known", err, "")
	if found, err := checkpoint.Cosignatures(one, av, bv); err != nil || len(found) != 1 || found[0].Seconds != 1_679_315_147 {
		t.Errorf("%+v, %v", found, err)
	}
	both, err := checkpoint.Attach(one, lines, av, bv)
	expect(t, "one is there already", err, "")
	if found, err := checkpoint.Cosignatures(both, av, bv); err != nil || len(found) != 2 {
		t.Errorf("%+v, %v", found, err)
	}
	c, err := checkpoint.Open(both, origin, k.verifiers...)
	expect(t, "the log's own lines", err, "")
	if c.Size != 7 {
		t.Errorf("%+v", c)
	}
	expect(t, "everybody is listed", checkpoint.OnlyBy(both, append(k.verifiers, av, bv)...), "")
	expect(t, "one is not listed", checkpoint.OnlyBy(both, append(k.verifiers, av)...), checkpoint.CodeUnsigned)
	stripped, err := checkpoint.Strip(both, av, bv)
	expect(t, "strip", err, "")
	if !bytes.Equal(stripped, bare) {
		t.Errorf("stripped to %q", stripped)
	}
	_, err = checkpoint.Attach(bare, lines[:len(lines)-1], av, bv)
	expect(t, "no newline at the end", err, checkpoint.CodeMalformed)
	_, err = checkpoint.Attach(bare, nil, av)
	expect(t, "nothing", err, checkpoint.CodeMalformed)
	_, _, other := cosigner(t, "witness.example/c")
	_, err = checkpoint.Attach(bare, lines, other)
	expect(t, "nobody that is known", err, checkpoint.CodeUnsigned)
	_, err = checkpoint.Attach(signed(t, head(8), k), lines, av)
	expect(t, "of another checkpoint", err, checkpoint.CodeSignature)
}

func TestEveryBitOfACosignatureMatters(t *testing.T) {
	k := newLogKeys(t, origin)
	bare := signed(t, head(7), k)
	c, _, v := cosigner(t, "witness.example/a")
	whole, err := checkpoint.Attach(bare, cosign(t, c, bare, 1), v)
	expect(t, "attach", err, "")
	for i := len(bare); i < len(whole); i++ {
		for bit := range 8 {
			bad := bytes.Clone(whole)
			bad[i] ^= 1 << bit
			if checkpoint.OnlyBy(bad, append(k.verifiers, v)...) == nil {
				t.Errorf("bit %d of byte %d", bit, i-len(bare))
			}
		}
	}
}

func TestACosignatureCountsWhileItsKeyIsValid(t *testing.T) {
	k := newLogKeys(t, origin)
	bare := signed(t, head(7), k)
	c, s, _ := cosigner(t, "witness.example/a")
	keys := s.PublicKeys(5_500)
	end := uint64(9_000)
	keys[0].NotAfterMS = &end
	vs, err := checkpoint.WitnessVerifiers(append(keys, k.signer.PublicKeys(0)...))
	if err != nil || len(vs) != 1 {
		t.Fatalf("%d verifiers, %v", len(vs), err)
	}
	for seconds, ok := range map[uint64]bool{4: false, 5: true, 8: true, 9: false, 1 << 62: false} {
		if _, err := checkpoint.Attach(bare, cosign(t, c, bare, seconds), vs...); (err == nil) != ok {
			t.Errorf("at %d: %v", seconds, err)
		}
	}
	if _, err := c.Cosign("x\n", 1<<63); !checkpoint.HasCode(err, checkpoint.CodeKey) {
		t.Errorf("a time over 2^63: %v", err)
	}
}

func TestAWitnessKeyIsReadAsItIsWritten(t *testing.T) {
	c, s, _ := cosigner(t, "witness.example/a")
	key, _ := s.Key(seal.Ed25519)
	text, err := checkpoint.CosignerKey(s.Name, key.Public)
	expect(t, "key", err, "")
	if text != c.VerifierKey() {
		t.Errorf("%s, %s", text, c.VerifierKey())
	}
	logKey, err := checkpoint.VerifierKey(s.Name, key.Alg, key.Public)
	expect(t, "key of a log", err, "")
	for what, bad := range map[string]string{
		"a log's key":       logKey,
		"another name":      strings.Replace(text, "/a", "/b", 1),
		"upper case":        strings.Replace(text, text[len(s.Name)+1:len(s.Name)+9], strings.ToUpper(text[len(s.Name)+1:len(s.Name)+9])+"X", 1),
		"cut off":           text[:len(text)-4],
		"no name":           text[len(s.Name):],
		"nothing":           "",
		"something behind":  text + "A===",
		"not base64":        text[:len(text)-4] + "!!!!",
		"a space in a name": "a " + text,
	} {
		_, _, err := checkpoint.ParseCosignerKey(bad)
		expect(t, what, err, checkpoint.CodeKey)
	}
	_, err = checkpoint.NewCosigner("a b", key)
	expect(t, "a name with a space", err, checkpoint.CodeKey)
	_, err = checkpoint.NewCosigner("a", nil)
	expect(t, "no key", err, checkpoint.CodeKey)
}

func FuzzAttach(f *testing.F) {
	k := newLogKeys(f, origin)
	bare := signed(f, head(7), k)
	c, _, v := cosigner(f, "witness.example/a")
	line := cosign(f, c, bare, 1)
	f.Add(bare, line)
	f.Add(bare, append(bytes.Clone(line), "— else AAAAAAAA\n"...))
	f.Add(append(bytes.Clone(bare), line...), line)
	f.Add([]byte("x\n\n— a AAAAAAA=\n"), []byte("\n"))
	forged := bytes.Clone(line)
	forged[len(forged)-10] ^= 1
	f.Add(append(bytes.Clone(bare), forged...), line)
	f.Fuzz(func(t *testing.T, note, lines []byte) {
		out, err := checkpoint.Attach(note, lines, v)
		if err != nil {
			return
		}
		if found, err := checkpoint.Cosignatures(out, v); err != nil || len(found) != 1 {
			t.Fatalf("%q: %+v, %v", out, found, err)
		}
		bare, err := checkpoint.Strip(out, v)
		if err != nil && len(bare) > 0 || checkpoint.NoteText(out) != checkpoint.NoteText(note) {
			t.Fatalf("%q became %q", note, out)
		}
	})
}

func FuzzParseCosignerKey(f *testing.F) {
	c, _, _ := cosigner(f, "witness.example/a")
	f.Add(c.VerifierKey())
	f.Add("a+00000000+BAAA")
	f.Fuzz(func(t *testing.T, text string) {
		v, public, err := checkpoint.ParseCosignerKey(text)
		if err != nil {
			if !checkpoint.HasCode(err, checkpoint.CodeKey) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if again, err := checkpoint.CosignerKey(v.Name(), public); err != nil || again != text {
			t.Fatalf("%q became %q, %v", text, again, err)
		}
	})
}
