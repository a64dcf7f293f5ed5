package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAFileThatIsNotThereIsWrongUsageInEveryCommand(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	for _, line := range []string{
		"verify NONE", "proof derive NONE", "proof ingot NONE", "proof records NONE", "ledger replay NONE",
		"proof export 1 --data NONE", "proof ore 1 1 --data NONE", "audit --data NONE", "keys --data NONE", "keys encrypt --data NONE",
		"charter show --data NONE", "tokens list --data NONE", "contract countersign 1 --data NONE", "contract award 1 --key NONE",
		"wallet balance --wallet NONE", "wallet statement --wallet NONE", "wallet send org:x 1RT --wallet NONE", "invest 1 1RT --wallet NONE",
		"contract propose NONE --wallet NONE", "contract propose --owner a --robot b --work 3600 --deadline 1h --wallet NONE",
		"members enrol NONE", "members rebind org:x NONE", "bond check NONE", "bond print NONE", "bond reissue NONE",
		"backup --check NONE", "backup NONE.copy --data NONE", "restore NONE --data NONE.new", "robot status r --dir NONE", "robot run --id r --virtual --dir NONE",
		"config --config NONE", "up --policy NONE", "up --tls-cert NONE --tls-key NONE --port 0 --data NONE",
	} {
		args := strings.Fields(strings.ReplaceAll(line, "NONE", none))
		if o := command(t, args...); o.code != exitUsage {
			t.Errorf("%s: exit %d, want %d: %s", line, o.code, exitUsage, o.err)
		}
	}
}

func TestAFlippedByteInTheIdentityIsFound(t *testing.T) {
	_, dir := dataOf(t)
	path := filepath.Join(dir, "reserve.json")
	data, err := os.ReadFile(path)
	must(t, err)
	for at := range data {
		for _, bit := range []byte{0x01, 0x20} {
			b := bytes.Clone(data)
			b[at] ^= bit
			must(t, os.WriteFile(path, b, 0o600))
			if o := command(t, "verify", dir); o.code != exitFailed {
				t.Errorf("byte %d of reserve.json as %q: exit %d: %s", at, b[at], o.code, o.err)
			}
		}
	}
	must(t, os.WriteFile(path, data, 0o600))
	ok(t, "verify", dir)
}
