package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAWholeDirectoryIsVerifiedAndItsRootNamed(t *testing.T) {
	r, dir := dataOf(t)
	o := ok(t, "verify", dir)
	for _, part := range []string{"reserve.example/log holds.", "4,000,000 ore", "1 in 1 run", r.Pin().String() + " (as found)"} {
		if !strings.Contains(o.out, part) {
			t.Errorf("no %q in %s", part, o.out)
		}
	}
	if !strings.Contains(o.err, "no --root was given") {
		t.Errorf("no warning: %s", o.err)
	}
	o = ok(t, "verify", dir, "--root", r.Pin().String())
	if !strings.Contains(o.out, "(pinned)") || o.err != "" {
		t.Errorf("pinned: %s%s", o.out, o.err)
	}
	v := read[verified](t, ok(t, "verify", dir, "--json"))
	if !v.OK || v.Kind != "directory" || v.Directory.Replay.Certificates != 1 || len(v.Warnings) != 1 || v.Roots[0].Pin != r.Pin() {
		t.Errorf("%+v", v)
	}
	fails(t, exitFailed, "root", "verify", dir, "--root", strings.Repeat("ab", 32))
}

func TestAMirrorWithLogAndPacksAloneIsVerified(t *testing.T) {
	_, dir := dataOf(t)
	must(t, os.Remove(filepath.Join(dir, "reserve.json")))
	must(t, os.RemoveAll(filepath.Join(dir, "keys")))
	ok(t, "verify", dir)
	ok(t, "proof", "export", "1", "--data", dir)
}

func TestAChangedByteIsNamedWithItsFile(t *testing.T) {
	_, dir := dataOf(t)
	path := filepath.Join(dir, "packs", "work.open")
	data, err := os.ReadFile(path)
	must(t, err)
	data[len(data)/2] ^= 1
	must(t, os.WriteFile(path, data, 0o600))
	o := fails(t, exitFailed, "packs/work.open", "verify", dir, "--json")
	if v := read[verified](t, o); o.err != "" || v.OK || v.Fault == nil || v.Fault.Rule == "" || !strings.Contains(v.Fault.Detail, "bytes ") {
		t.Errorf("%s", o.out)
	}
	must(t, os.WriteFile(filepath.Join(dir, "reserve.json"), []byte(`{"origin": "other.example/log", "profile": "standard"}`), 0o600))
	data[len(data)/2] ^= 1
	must(t, os.WriteFile(path, data, 0o600))
	fails(t, exitFailed, "reserve.json", "verify", dir)
}

func TestWhatCannotBeCheckedExits2(t *testing.T) {
	_, dir := dataOf(t)
	single := filepath.Join(t.TempDir(), "single.json")
	must(t, os.WriteFile(single, []byte(`{"payloadType": "x", "payload": "", "signatures": []}`), 0o600))
	for says, args := range map[string][]string{
		"no such file":        {"verify", filepath.Join(dir, "nothing")},
		"neither reserve":     {"verify", t.TempDir()},
		"64 hex digits":       {"verify", dir, "--root", "abc"},
		"by itself":           {"verify", single},
		"could not be":        {"audit", "--data", dir},
		"did you mean":        {"verify", dir, "--rot", "x"},
		"expected \"<file":    {"verify"},
		"neither reserve.jso": {"audit", "--data", t.TempDir()},
	} {
		fails(t, exitUsage, says, args...)
	}
}

func TestAnExportAndAnOreProofVerifyAndTheirChangesDoNot(t *testing.T) {
	r, dir := dataOf(t)
	export, ore := filepath.Join(t.TempDir(), "c.json"), filepath.Join(t.TempDir(), "ore.json")
	ok(t, "proof", "export", "1", "--data", dir, "--out", export)
	ok(t, "proof", "ore", "1", "3599999", "--data", dir, "-o", ore)
	for _, file := range []string{export, ore} {
		ok(t, "verify", file, "--root", r.Pin().String())
		data, err := os.ReadFile(file)
		must(t, err)
		if o := commandWith(t, string(data), "verify", "-"); o.code != exitOK {
			t.Errorf("from standard input: %s", o.err)
		}
		for _, at := range []int{0, len(data) / 3, len(data) / 2} {
			b := bytes.Clone(data)
			b[at] ^= 1
			if o := commandWith(t, string(b), "verify", "-", "--json"); o.code != exitFailed || read[verified](t, o).Fault.Rule == "" {
				t.Errorf("%s, byte %d: exit %d: %s", file, at, o.code, o.err)
			}
		}
	}
	if o := ok(t, "proof", "export", "1", "--data", dir); commandWith(t, o.out, "verify", "-").code != exitOK {
		t.Error("an export in a pipe does not verify")
	}
	fails(t, exitFailed, "is not minted, or not logged", "proof", "export", "2", "--data", dir)
	fails(t, exitFailed, "", "proof", "ore", "1", "3600000", "--data", dir)
}

func TestTheCharterAndTheKeysAreShownWithoutSecrets(t *testing.T) {
	r, dir := dataOf(t)
	o := ok(t, "charter", "show", "--data", dir)
	if !strings.Contains(o.out, r.Pin().String()) || !strings.Contains(o.out, "slh-dsa-sha2-128s") {
		t.Errorf("%s", o.out)
	}
	if c := read[shownCharter](t, ok(t, "charter", "show", "--data", dir, "--json", "--root", r.Pin().String())); !c.Pinned || len(c.Versions) != 1 || len(c.Keys) != 16 {
		t.Errorf("%+v", c)
	}
	fails(t, exitFailed, "", "charter", "show", "--data", dir, "--root", strings.Repeat("00", 32))

	o = ok(t, "keys", "--data", dir, "--json")
	if list := read[struct{ Keys []keyLine }](t, o); len(list.Keys) != 8 || list.Keys[0].Role != "root" || list.Keys[0].NotBefore == nil {
		t.Errorf("%s", o.out)
	}
	for _, out := range []string{o.out, ok(t, "keys", "--data", dir).out} {
		if strings.Contains(out, "private") {
			t.Errorf("a secret is printed: %s", out)
		}
	}
}

func TestDoctorFindsAKeyThatRootTookFromItsReserve(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file to somebody else")
	}
	_, dir := dataOf(t)
	must(t, os.Chown(filepath.Join(dir, "keys", "mint.json"), 12345, 12345))
	o := fails(t, exitFailed, "1 thing to mend", "doctor", "--data", dir, "--listen", "127.0.0.1:0")
	if !strings.Contains(o.out, "chown --reference="+dir) {
		t.Errorf("%s", o.out)
	}
}

func TestDoctorSaysHowToMendWhatIsWrong(t *testing.T) {
	_, dir := dataOf(t)
	ok(t, "doctor", "--data", dir, "--listen", "127.0.0.1:0")
	key := filepath.Join(dir, "keys", "mint.json")
	must(t, os.Chmod(key, 0o644))
	o := fails(t, exitFailed, "1 thing to mend", "doctor", "--data", dir, "--listen", "127.0.0.1:0")
	if !strings.Contains(o.out, "chmod 600 "+key) {
		t.Errorf("%s", o.out)
	}
	must(t, os.WriteFile(filepath.Join(dir, "mint.db"), []byte("no database"), 0o600))
	if o := fails(t, exitFailed, `"mint.db"`, "doctor", "--data", dir, "--listen", "127.0.0.1:0", "--json"); o.err != "" || strings.Count(o.out, `"fail"`) != 2 {
		t.Errorf("%s", o.out)
	}
	ok(t, "doctor", "--data", filepath.Join(dir, "new"), "--listen", "127.0.0.1:0")
}
