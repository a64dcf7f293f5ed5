package checkpoint_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"os"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/seal"
)

const origin = "reserve.example/log"

// logKeys is a log's signer with its note signers and verifiers.
type logKeys struct {
	signer    *seal.Signer
	signers   []note.Signer
	verifiers []note.Verifier
}

func newLogKeys(t testing.TB, name string) logKeys {
	t.Helper()
	s, err := seal.NewSigner(name, seal.RoleLog)
	if err != nil {
		t.Fatal(err)
	}
	signers, err := checkpoint.Signers(s)
	if err != nil {
		t.Fatal(err)
	}
	verifiers, err := checkpoint.Verifiers(s.PublicKeys(0), 0)
	if err != nil {
		t.Fatal(err)
	}
	return logKeys{s, signers, verifiers}
}

func expect(t *testing.T, what string, err error, code checkpoint.Code) {
	t.Helper()
	if code == "" && err != nil || code != "" && !checkpoint.HasCode(err, code) {
		t.Errorf("%s: %v, want %q", what, err, code)
	}
}

func head(size uint64) checkpoint.Checkpoint {
	c := checkpoint.Checkpoint{Origin: origin, Size: size, Root: merkle.LeafHash([]byte("root"))}
	if size == 0 {
		c.Root = merkle.EmptyRoot()
	}
	return c
}

func signed(t testing.TB, c checkpoint.Checkpoint, k logKeys) []byte {
	t.Helper()
	out, err := checkpoint.Sign(c, k.signers...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTheTextOfACheckpointIsThatOfC2SP(t *testing.T) {
	const text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
	c, err := checkpoint.Parse(text)
	if err != nil || c.Origin != "example.com/behind-the-sofa" || c.Size != 20852163 {
		t.Fatalf("%+v, %v", c, err)
	}
	if again, err := c.Text(); err != nil || again != text {
		t.Errorf("%q, %v", again, err)
	}
	extended, err := checkpoint.Parse(text + "an extension\n")
	if err != nil || len(extended.Extensions) != 1 {
		t.Errorf("%+v, %v", extended, err)
	}
	for name, bad := range map[string]string{
		"nothing":                   "",
		"no newline":                strings.TrimSuffix(text, "\n"),
		"two lines":                 "a\n1\n",
		"no origin":                 text[strings.Index(text, "\n"):],
		"a leading zero":            strings.Replace(text, "20852163", "020852163", 1),
		"a sign":                    strings.Replace(text, "20852163", "+20852163", 1),
		"a size beyond all logs":    strings.Replace(text, "20852163", "9223372036854775807", 1),
		"an empty log with a root":  strings.Replace(text, "20852163", "0", 1),
		"a short root":              strings.Replace(text, "CsUY", "", 1),
		"spare bits in the root":    strings.Replace(text, "q2I=", "q2J=", 1),
		"an empty extension":        text + "\n",
		"a control character":       strings.Replace(text, "sofa", "so\rfa", 1),
		"an origin that is no text": strings.Replace(text, "sofa", "so\xfffa", 1),
	} {
		_, err := checkpoint.Parse(bad)
		expect(t, name, err, checkpoint.CodeMalformed)
	}
}

func TestACheckpointCarriesAnEd25519AndAFalconLine(t *testing.T) {
	k := newLogKeys(t, origin)
	for _, size := range []uint64{0, 1, 1 << 40} {
		out := signed(t, head(size), k)
		c, err := checkpoint.Open(out, origin, k.verifiers...)
		if err != nil || c.Size != size {
			t.Errorf("size %d: %+v, %v", size, c, err)
		}
		if lines := bytes.Count(out, []byte("— "+origin+" ")); lines != 2 {
			t.Errorf("%d signature lines:\n%s", lines, out)
		}
	}
}

func TestKeyIDsOfSignatureLinesAreThoseOfTheSpecification(t *testing.T) {
	k := newLogKeys(t, origin)
	for alg, kind := range map[string]string{seal.Ed25519: "\x01", seal.Falcon512Padded: "\xffrobotorq.org/falcon-512-padded"} {
		key, _ := k.signer.Key(alg)
		sum := sha256.Sum256([]byte(origin + "\n" + kind + string(key.Public)))
		got, err := checkpoint.KeyHash(origin, alg, key.Public)
		if err != nil || got != binary.BigEndian.Uint32(sum[:]) {
			t.Errorf("%s: %08x, %v", alg, got, err)
		}
	}
	if _, err := checkpoint.KeyHash(origin, seal.SLHDSA128s, nil); !checkpoint.HasCode(err, checkpoint.CodeKey) {
		t.Errorf("slh-dsa: %v", err)
	}
}

func TestTheEd25519LineIsThatOfTheNotePackage(t *testing.T) {
	k := newLogKeys(t, origin)
	key, _ := k.signer.Key(seal.Ed25519)
	want, err := note.NewEd25519VerifierKey(origin, ed25519.PublicKey(key.Public))
	if err != nil {
		t.Fatal(err)
	}
	got, err := checkpoint.VerifierKey(origin, seal.Ed25519, key.Public)
	if err != nil || got != want {
		t.Errorf("%s, want %s, %v", got, want, err)
	}
	theirs, err := note.NewVerifier(want)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := note.Open(signed(t, head(3), k), note.VerifierList(theirs))
	if err != nil || len(opened.Sigs) != 1 || len(opened.UnverifiedSigs) != 1 {
		t.Errorf("%+v, %v", opened, err)
	}
}

func TestVerifierKeysAreReadBack(t *testing.T) {
	k := newLogKeys(t, origin)
	for _, key := range k.signer.Keys {
		text, err := checkpoint.VerifierKey(origin, key.Alg, key.Public)
		if err != nil {
			t.Fatal(err)
		}
		v, err := checkpoint.ParseVerifierKey(text)
		if err != nil || v.Name() != origin {
			t.Errorf("%s: %v", key.Alg, err)
			continue
		}
		if _, err := checkpoint.Open(signed(t, head(3), k), origin, v); err != nil {
			t.Errorf("%s: %v", key.Alg, err)
		}
		for name, bad := range map[string]string{
			"another name": "x" + text, "cut": text[:len(text)-4], "no hash": origin, "empty": "",
			"another hash": strings.Replace(text, "+", "+0", 1),
		} {
			if _, err := checkpoint.ParseVerifierKey(bad); !checkpoint.HasCode(err, checkpoint.CodeKey) {
				t.Errorf("%s, %s: %v", key.Alg, name, err)
			}
		}
	}
}

func TestACheckpointWithoutOneOfItsLinesIsRefused(t *testing.T) {
	k, other := newLogKeys(t, origin), newLogKeys(t, origin)
	out := signed(t, head(5), k)
	lines := bytes.SplitAfter(out, []byte("\n"))
	without := func(i int) []byte {
		return bytes.Join(append(append([][]byte{}, lines[:i]...), lines[i+1:]...), nil)
	}
	for name, test := range map[string]struct {
		signed    []byte
		origin    string
		verifiers []note.Verifier
		want      checkpoint.Code
	}{
		"whole":                   {out, origin, k.verifiers, ""},
		"for Ed25519 alone":       {without(5), origin, k.verifiers[:1], ""},
		"without Ed25519":         {without(4), origin, k.verifiers, checkpoint.CodeUnsigned},
		"without Falcon":          {without(5), origin, k.verifiers, checkpoint.CodeUnsigned},
		"other keys":              {out, origin, other.verifiers, checkpoint.CodeUnsigned},
		"one key of another":      {out, origin, append(k.verifiers[:2:2], other.verifiers[0]), checkpoint.CodeUnsigned},
		"no keys":                 {out, origin, nil, checkpoint.CodeUnsigned},
		"another log":             {out, "other.example/log", k.verifiers, checkpoint.CodeOrigin},
		"a line twice":            {append(out[:len(out):len(out)], lines[4]...), origin, k.verifiers, checkpoint.CodeMalformed},
		"another size":            {bytes.Replace(out, []byte("\n5\n"), []byte("\n6\n"), 1), origin, k.verifiers, checkpoint.CodeSignature},
		"a line that is no line":  {append(out[:len(out):len(out)], "— x\n"...), origin, k.verifiers, checkpoint.CodeMalformed},
		"no newline at the end":   {out[:len(out)-1], origin, k.verifiers, checkpoint.CodeMalformed},
		"not even a blank line":   {[]byte("x\n"), origin, k.verifiers, checkpoint.CodeMalformed},
		"a witness's line beside": {append(out[:len(out):len(out)], "— witness.example AAAAAAAAAA==\n"...), origin, k.verifiers, ""},
	} {
		_, err := checkpoint.Open(test.signed, test.origin, test.verifiers...)
		expect(t, name, err, test.want)
	}
}

func TestEveryBitOfACheckpointMatters(t *testing.T) {
	k := newLogKeys(t, origin)
	out := signed(t, head(5), k)
	for i := range out {
		for _, mask := range []byte{1, 4, 0x20, 0x80} {
			bad := bytes.Clone(out)
			bad[i] ^= mask
			if _, err := checkpoint.Open(bad, origin, k.verifiers...); err == nil {
				t.Fatalf("byte %d (%q) ^ %#x is not noticed", i, out[i], mask)
			}
		}
	}
}

func TestOnlyTheLogSignsItsCheckpoints(t *testing.T) {
	k := newLogKeys(t, "other.example/log")
	_, err := checkpoint.Sign(head(1), k.signers...)
	expect(t, "another name", err, checkpoint.CodeOrigin)
	_, err = checkpoint.Sign(head(1))
	expect(t, "no signer", err, checkpoint.CodeUnsigned)
	mint, err := seal.NewSigner("mint-1", seal.RoleMint)
	if err != nil {
		t.Fatal(err)
	}
	_, err = checkpoint.Signers(mint)
	expect(t, "a mint's keys", err, checkpoint.CodeKey)
	_, err = checkpoint.NewSigner("a name", k.signer.Keys[0])
	expect(t, "a name with a space", err, checkpoint.CodeKey)
	_, err = checkpoint.NewVerifier("a+b", seal.Ed25519, k.signer.Keys[0].Public)
	expect(t, "a name with a plus", err, checkpoint.CodeKey)
	_, err = checkpoint.NewVerifier(origin, seal.Ed25519, []byte("short"))
	expect(t, "a short key", err, checkpoint.CodeKey)
}

func TestVerifiersTakesTheKeysThatAreValid(t *testing.T) {
	k := newLogKeys(t, origin)
	keys := k.signer.PublicKeys(100)
	end := uint64(200)
	keys[0].NotAfterMS = &end
	for at, want := range map[uint64]int{99: 0, 100: 2, 199: 2, 200: 1} {
		verifiers, err := checkpoint.Verifiers(keys, at)
		if err != nil || len(verifiers) != want {
			t.Errorf("at %d: %d, %v", at, len(verifiers), err)
		}
	}
}

func TestAnEntryIsATypeANewlineAndADigest(t *testing.T) {
	digest := merkle.LeafHash([]byte("artefact"))
	entry, err := checkpoint.Entry(seal.TypeCharter, digest)
	if err != nil || string(entry) != seal.TypeCharter+"\n"+string(digest[:]) {
		t.Errorf("%q, %v", entry, err)
	}
	for name, bad := range map[string]string{
		"nothing": "", "no type": "\n" + string(digest[:]), "no newline": "type " + string(digest[:]),
		"a short digest": "type\n" + string(digest[1:]), "a long digest": "type\n" + string(digest[:]) + "x",
		"a space in the type": "ty pe\n" + string(digest[:]), "a newline in the type": "ty\npe\n" + string(digest[:]),
		"a long type": strings.Repeat("x", 256) + "\n" + string(digest[:]), "no ASCII": "typé\n" + string(digest[:]),
	} {
		_, _, err := checkpoint.ParseEntry([]byte(bad))
		expect(t, name, err, checkpoint.CodeMalformed)
	}
	_, err = checkpoint.Entry("", digest)
	expect(t, "an empty type", err, checkpoint.CodeMalformed)
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.StringMatching(`[!-~]{1,80}`).Draw(t, "type")
		h := merkle.Hash(rapid.SliceOfN(rapid.SampledFrom([]byte("\n\x00x")), 32, 32).Draw(t, "digest"))
		entry, err := checkpoint.Entry(kind, h)
		if err != nil {
			t.Fatal(err)
		}
		gotKind, got, err := checkpoint.ParseEntry(entry)
		if err != nil || gotKind != kind || got != h {
			t.Fatalf("%q: %q, %s, %v", entry, gotKind, got, err)
		}
	})
}

// store is a log of entries in memory.
type store struct {
	entries [][]byte
	hashes  []tlog.Hash
}

func (s *store) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		out[i] = s.hashes[index]
	}
	return out, nil
}

func (s *store) add(t testing.TB, entry []byte) {
	t.Helper()
	more, err := tlog.StoredHashes(int64(len(s.entries)), entry, s)
	if err != nil {
		t.Fatal(err)
	}
	s.entries, s.hashes = append(s.entries, entry), append(s.hashes, more...)
}

func (s *store) head(t testing.TB, size int) checkpoint.Checkpoint {
	t.Helper()
	root, err := tlog.TreeHash(int64(size), s)
	if err != nil {
		t.Fatal(err)
	}
	return checkpoint.Checkpoint{Origin: origin, Size: uint64(size), Root: merkle.Hash(root)}
}

func newStore(t testing.TB, entries int) *store {
	t.Helper()
	s := new(store)
	for i := range entries {
		entry, err := checkpoint.Entry("application/example", merkle.LeafHash([]byte{byte(i)}))
		if err != nil {
			t.Fatal(err)
		}
		s.add(t, entry)
	}
	return s
}

func TestATlogProofProvesAnEntryOffline(t *testing.T) {
	k, s := newLogKeys(t, origin), newStore(t, 7)
	out := signed(t, s.head(t, 7), k)
	for index := range 7 {
		path, err := checkpoint.ProveInclusion(7, uint64(index), s)
		if err != nil {
			t.Fatal(err)
		}
		file := checkpoint.Proof{Index: uint64(index), Path: path, Checkpoint: out}.Marshal()
		p, err := checkpoint.ParseProof(file)
		if err != nil || !bytes.Equal(p.Marshal(), file) {
			t.Fatalf("%v\n%s", err, file)
		}
		if c, err := p.Verify(s.entries[index], origin, k.verifiers...); err != nil || c.Size != 7 {
			t.Errorf("entry %d: %+v, %v", index, c, err)
		}
		_, err = p.Verify(s.entries[(index+1)%7], origin, k.verifiers...)
		expect(t, "another entry", err, checkpoint.CodeInclusion)
		p.Index++
		_, err = p.Verify(s.entries[index], origin, k.verifiers...)
		expect(t, "another index", err, checkpoint.CodeInclusion)
		_, err = p.Verify(s.entries[index], origin, newLogKeys(t, origin).verifiers...)
		expect(t, "other keys", err, checkpoint.CodeUnsigned)
	}
	_, err := checkpoint.ProveInclusion(7, 7, s)
	expect(t, "an index outside", err, checkpoint.CodeInclusion)
}

// The example of the C2SP specification, with a whole checkpoint.
func TestTheTlogProofFormatIsThatOfC2SP(t *testing.T) {
	const text = "c2sp.org/tlog-proof@v1\n" +
		"extra YWdl\n" +
		"index 73894\n" +
		"gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=\n" +
		"B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=\n" +
		"\n" +
		"example.com/fancylog\n109482\nsFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=\n\n— example.com/fancylog hI2DJw==\n"
	p, err := checkpoint.ParseProof([]byte(text))
	if err != nil || p.Index != 73894 || string(p.Extra) != "age" || len(p.Path) != 2 || !bytes.HasPrefix(p.Checkpoint, []byte("example.com/fancylog\n")) {
		t.Fatalf("%+v, %v", p, err)
	}
	if string(p.Marshal()) != text {
		t.Errorf("%s", p.Marshal())
	}
	if base64.StdEncoding.EncodeToString(p.Path[0][:]) != "gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=" {
		t.Error("path")
	}
	for name, bad := range map[string]string{
		"nothing":               "",
		"another version":       strings.Replace(text, "@v1", "@v2", 1),
		"no index":              strings.Replace(text, "index 73894\n", "", 1),
		"a leading zero":        strings.Replace(text, "73894", "073894", 1),
		"a negative index":      strings.Replace(text, "73894", "-1", 1),
		"an index over 63 bits": strings.Replace(text, "73894", "9223372036854775808", 1),
		"an empty extra line":   strings.Replace(text, "YWdl", "", 1),
		"extra behind index":    strings.Replace(text, "extra YWdl\nindex 73894\n", "index 73894\nextra YWdl\n", 1),
		"a short hash":          strings.Replace(text, "gSKy", "", 1),
		"spare bits in a hash":  strings.Replace(text, "PlQ=", "PlR=", 1),
		"a carriage return":     strings.Replace(text, "index 73894\n", "index 73894\r\n", 1),
		"no blank line":         text[:strings.Index(text, "\n\n")] + "\n",
		"a path without end":    strings.Replace(text, "gSKy", strings.Repeat("gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=\n", 70)+"gSKy", 1),
	} {
		_, err := checkpoint.ParseProof([]byte(bad))
		expect(t, name, err, checkpoint.CodeMalformed)
	}
}

func TestALogOnlyGrows(t *testing.T) {
	const sizes = 40
	s := newStore(t, sizes)
	for after := range sizes + 1 {
		for before := range after + 1 {
			proof, err := checkpoint.ProveConsistency(uint64(before), uint64(after), s)
			if err != nil {
				t.Fatal(err)
			}
			old, fresh := s.head(t, before), s.head(t, after)
			if err := checkpoint.VerifyConsistency(old, fresh, proof); err != nil {
				t.Fatalf("%d to %d: %v", before, after, err)
			}
			if before == 0 {
				continue
			}
			old.Root[7] ^= 1
			expect(t, "a fork", checkpoint.VerifyConsistency(old, fresh, proof), checkpoint.CodeInconsistent)
		}
	}
	expect(t, "a log that shrank", checkpoint.VerifyConsistency(s.head(t, 9), s.head(t, 8), nil), checkpoint.CodeInconsistent)
	expect(t, "a proof too much", checkpoint.VerifyConsistency(s.head(t, 9), s.head(t, 9), []merkle.Hash{{}}), checkpoint.CodeInconsistent)
	expect(t, "a proof too short", checkpoint.VerifyConsistency(s.head(t, 7), s.head(t, 9), nil), checkpoint.CodeInconsistent)
	other := s.head(t, 9)
	other.Origin = "other.example/log"
	expect(t, "another log", checkpoint.VerifyConsistency(s.head(t, 9), other, nil), checkpoint.CodeOrigin)
	_, err := checkpoint.ProveConsistency(9, 8, s)
	expect(t, "a proof backwards", err, checkpoint.CodeInconsistent)
}

func FuzzParseCheckpoint(f *testing.F) {
	f.Add("example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n")
	f.Add("a\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\nextension\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := checkpoint.Parse(text)
		if err != nil {
			if !checkpoint.HasCode(err, checkpoint.CodeMalformed) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if again, err := c.Text(); err != nil || again != text {
			t.Fatalf("%q became %q, %v", text, again, err)
		}
	})
}

func FuzzOpen(f *testing.F) {
	k := newLogKeys(f, origin)
	good, err := checkpoint.Sign(head(5), k.signers...)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("a\n\n— b AAAAAAAAAA==\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := checkpoint.Open(data, origin, k.verifiers...)
		if err == nil && (c.Size != 5 || !bytes.HasPrefix(data, good[:bytes.Index(good, []byte("\n\n"))])) {
			t.Fatalf("a forged checkpoint:\n%s", data)
		}
	})
}

func FuzzParseProof(f *testing.F) {
	f.Add([]byte("c2sp.org/tlog-proof@v1\nindex 0\n\nx\n"))
	f.Add([]byte("c2sp.org/tlog-proof@v1\nextra YWdl\nindex 7\ngSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=\n\nx"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := checkpoint.ParseProof(data)
		if err != nil {
			if !checkpoint.HasCode(err, checkpoint.CodeMalformed) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if !bytes.Equal(p.Marshal(), data) {
			t.Fatalf("%q became %q", data, p.Marshal())
		}
	})
}

func FuzzParseEntry(f *testing.F) {
	f.Add([]byte("type\n01234567890123456789012345678901"))
	f.Fuzz(func(t *testing.T, data []byte) {
		kind, digest, err := checkpoint.ParseEntry(data)
		if err != nil {
			return
		}
		if again, err := checkpoint.Entry(kind, digest); err != nil || !bytes.Equal(again, data) {
			t.Fatalf("%q became %q, %v", data, again, err)
		}
	})
}

func FuzzParseVerifierKey(f *testing.F) {
	key, err := os.ReadFile("testdata/verifier-keys.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, line := range strings.Fields(string(key)) {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := checkpoint.ParseVerifierKey(text)
		if err != nil {
			if !checkpoint.HasCode(err, checkpoint.CodeKey) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if v.Name() == "" {
			t.Fatal("a verifier without a name")
		}
	})
}

// A proof made once by this package; formats never change under it.
func TestTheFrozenProofVerifies(t *testing.T) {
	keys, err := os.ReadFile("testdata/verifier-keys.txt")
	if err != nil {
		t.Fatal(err)
	}
	var verifiers []note.Verifier
	for _, line := range strings.Fields(string(keys)) {
		v, err := checkpoint.ParseVerifierKey(line)
		if err != nil {
			t.Fatal(err)
		}
		verifiers = append(verifiers, v)
	}
	file, err := os.ReadFile("testdata/frozen.tlog-proof")
	if err != nil {
		t.Fatal(err)
	}
	p, err := checkpoint.ParseProof(file)
	if err != nil {
		t.Fatal(err)
	}
	entry, err := checkpoint.Entry(seal.TypeCharter, merkle.LeafHash([]byte("b")))
	if err != nil {
		t.Fatal(err)
	}
	if c, err := p.Verify(entry, origin, verifiers...); err != nil || c.Size != 3 || p.Index != 1 {
		t.Errorf("%+v, %v", c, err)
	}
}
