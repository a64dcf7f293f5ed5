package seal_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"robotorq.org/reserve/seal"
)

func TestAKeyFileKeepsTheKeysOfOneSigner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "digger-1.json")
	signer := newSigner(t, "digger-1", seal.RoleDigger)
	if err := seal.WriteKeyFile(path, "", signer); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	read, err := seal.ReadKeyFile(path, "")
	if err != nil || read.Name != "digger-1" || read.Role != seal.RoleDigger || len(read.Keys) != 2 {
		t.Fatalf("%+v, %v", read, err)
	}
	env := sign(t, read, "payload")
	if err := seal.VerifyEnvelope(env, signer.PublicKeys(0), seal.RequiredAlgorithms(seal.RoleDigger), 0); err != nil {
		t.Error(err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("%d files are left in the directory, %v", len(left), err)
	}
}

func TestAKeyFileIsNeverReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.json")
	first := newSigner(t, "digger-1", seal.RoleDigger)
	if err := seal.WriteKeyFile(path, "", first); err != nil {
		t.Fatal(err)
	}
	if err := seal.WriteKeyFile(path, "", newSigner(t, "digger-2", seal.RoleDigger)); !seal.HasCode(err, seal.CodeKeyFile) {
		t.Errorf("replaced: %v", err)
	}
	read, err := seal.ReadKeyFile(path, "")
	if err != nil || read.Name != "digger-1" {
		t.Errorf("%+v, %v", read, err)
	}
}

func TestAPassphraseEncryptsAKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.json")
	signer := newSigner(t, "registrar-1", seal.RoleRegistrar)
	if err := seal.WriteKeyFile(path, "correct horse", signer); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil || !strings.HasPrefix(string(data), "-----BEGIN AGE ENCRYPTED FILE-----\n") || bytes.Contains(data, []byte("registrar-1")) {
		t.Errorf("%.60s, %v", data, err)
	}
	if _, err := seal.ReadKeyFile(path, ""); !seal.HasCode(err, seal.CodePassphrase) {
		t.Errorf("without a passphrase: %v", err)
	}
	if _, err := seal.ReadKeyFile(path, "wrong horse"); !seal.HasCode(err, seal.CodePassphrase) {
		t.Errorf("with a wrong one: %v", err)
	}
	read, err := seal.ReadKeyFile(path, "correct horse")
	if err != nil || read.Keys[0].KeyID() != signer.Keys[0].KeyID() {
		t.Errorf("%v", err)
	}
}

func TestAKeyFileThatOthersReadOrThatIsBrokenIsRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key.json")
	if err := seal.WriteKeyFile(path, "", newSigner(t, "digger-1", seal.RoleDigger)); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := seal.ReadKeyFile(path, ""); !seal.HasCode(err, seal.CodeKeyFile) || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("mode 0640: %v", err)
	}
	text := string(good)
	private := strings.Index(text, `"private":"`) + len(`"private":"`) + 40
	for name, bad := range map[string]string{
		"empty":                 "",
		"cut":                   text[:len(text)/2],
		"an unknown member":     strings.Replace(text, `"name"`, `"comment":1,"name"`, 1),
		"no keys":               `{"keys":[],"name":"digger-1","role":"digger"}`,
		"a flipped private key": text[:private] + flip(text[private]) + text[private+1:],
		"another key id":        strings.Replace(text, `"keyid":"`, `"keyid":"0`, 1),
	} {
		file := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		if err := os.WriteFile(file, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := seal.ReadKeyFile(file, ""); !seal.HasCode(err, seal.CodeKeyFile) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := seal.ReadKeyFile(filepath.Join(dir, "absent"), ""); !seal.HasCode(err, seal.CodeKeyFile) || !os.IsNotExist(cause(err)) {
		t.Errorf("absent: %v", err)
	}
}

func flip(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}

// cause unwraps to the last error.
func cause(err error) error {
	for {
		next, ok := err.(interface{ Unwrap() error })
		if !ok || next.Unwrap() == nil {
			return err
		}
		err = next.Unwrap()
	}
}

func FuzzReadKeyFile(f *testing.F) {
	f.Add([]byte(`{"keys":[],"name":"digger-1","role":"digger"}`))
	f.Add([]byte("-----BEGIN AGE ENCRYPTED FILE-----\nYQ==\n-----END AGE ENCRYPTED FILE-----\n"))
	path := filepath.Join(f.TempDir(), "key")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := seal.ReadKeyFile(path, ""); err == nil {
			t.Fatal("fuzzed bytes became keys")
		}
	})
}
