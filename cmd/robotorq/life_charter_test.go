//go:build whole

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/seal"
)

// opens starts the reserve of a town, which is stopped by hand.
func (x *town) opens() *background {
	x.t.Helper()
	b := inBackground(x.t, "up", "--data", x.data, "--port", "0", "--nats", x.bus, "--policy", filepath.Join(x.dir, "policy.json"), "--json")
	var started struct{ URL string }
	eventually(x.t, time.Minute, "the reserve", func() bool { return json.Unmarshal([]byte(b.out.String()), &started) == nil })
	x.url = started.URL
	return b
}

// certificate has the robot work for one more RT, and waits for its certificate.
func (x *town) certificate(serial uint64) {
	x.t.Helper()
	var c uint64
	eventually(x.t, time.Minute, "the robot to be free", func() bool {
		return command(x.t, x.proposing("--work", "1 RT", "--stake", "0", "--release", "uniform 2s", "--deadline", "240h")...).code == exitOK
	})
	var list struct{ Contracts []api.Contract }
	must(x.t, json.Unmarshal([]byte(ok(x.t, "contract", "list", "--url", x.url, "--json").out), &list))
	for _, shown := range list.Contracts {
		c = max(c, shown.Number)
	}
	x.lead(c, "countersign", "award", "fund")
	x.works(fmt.Sprintf("contract %d is complete", c), x.state(c, "completed"))
	x.until("the certificate is paid out", func() bool {
		return command(x.t, "proof", "export", fmt.Sprint(serial), "--data", x.data, "--out", x.bundle(serial, "now")).code == exitOK
	})
}

func (x *town) bundle(serial uint64, when string) string {
	return filepath.Join(x.dir, fmt.Sprintf("certificate-%d-%s.json", serial, when))
}

// A reserve makes certificates, its refinery's, mint's, vault's and registrar's keys leak,
// all are replaced while it is stopped, a crash comes between the book and the key files,
// and it goes on; what was proven before stays proven, for those too who knew version 1.
func TestAReserveLivesTheReplacementOfItsKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	x := &town{t: t, dir: dir, data: filepath.Join(dir, "data"), bus: "127.0.0.1:" + freePort(t)}
	must(t, os.WriteFile(filepath.Join(dir, "policy.json"), []byte(`{"min_members": 2, "demurrage_per_year": "0", "genesis_growth": "0.1", "stake_target": 36000000, "bond_cap": "0.5",
		"release_every": 1000, "backlog_over": 1000}`), 0o600))
	reserve := x.opens()
	for _, member := range []string{"ada", "bob"} {
		x.admit(member, "--subject", member)
	}
	x.admit("works")
	x.admit("guild")
	ok(t, "robot", "enrol", "forge-7", "--owner", "guild", "--watts", "20000", "--tokens", "100", "--admit", "--data", x.data, "--url", x.url)
	x.certificate(1)
	pin := x.pin()
	before := x.bundle(1, "before")
	ok(t, "proof", "export", "1", "--data", x.data, "--out", before)
	eventually(t, time.Minute, "the dividend", func() bool { return x.balance("ada").JT >= 720_000 })
	ok(t, x.as("ada", "wallet", "send", "member:bob", "0.1 RT")...)
	mirror := filepath.Join(dir, "mirror")
	ok(t, "mirror", x.url, mirror, "--root", pin)

	// The reserve stops; the leaked keys end now. A crash cuts the adoption off.
	leak := []string{"charter", "next", "--renew", "refinery", "--renew", "mint", "--renew", "vault", "--renew", "registrar", "--renew", "log", "--leaked", "--data", x.data}
	x.refused("charter_in_use", nil, leak...)
	stopped(t, reserve)
	p := read[passedOn](t, ok(t, append(leak, "--json")...))
	if !p.Complete || p.Version != 2 || p.Adopted || len(p.Changes) != 20 {
		t.Errorf("%+v", p)
	}
	keys := filepath.Join(x.data, "keys")
	aside := filepath.Join(dir, "keys-before")
	must(t, os.CopyFS(aside, os.DirFS(keys)))
	ok(t, "charter", "adopt", "--data", x.data)
	old := filepath.Join(keys, "ended", "registrar-until-version-2.json")
	leaked, err := seal.ReadKeyFile(old, "")
	must(t, err)
	must(t, os.RemoveAll(keys))
	must(t, os.Rename(aside, keys))
	closeKeys(t, keys)
	must(t, os.Remove(filepath.Join(x.data, "at-rest")))

	// The start puts the keys in place and logs the version first.
	reserve = x.opens()
	if _, err := os.Stat(old); err != nil {
		t.Errorf("the start has not put the new keys in place: %v", err)
	}
	x.certificate(2)
	for _, file := range []string{before, x.bundle(1, "now"), x.bundle(2, "now")} {
		if file == x.bundle(1, "now") { // the old certificate, under the charter of today
			ok(t, "proof", "export", "1", "--data", x.data, "--out", file)
		}
		ok(t, "verify", file, "--root", pin)
	}
	ok(t, x.as("ada", "wallet", "check-receipts")...)
	ok(t, x.as("bob", "wallet", "send", "member:ada", "0.05 RT")...)
	ok(t, x.as("bob", "wallet", "check-receipts")...)
	ok(t, "mirror", x.url, mirror, "--root", pin)
	ok(t, "verify", mirror, "--root", pin)
	shown := read[shownCharter](t, ok(t, "charter", "show", "--data", x.data, "--root", pin, "--json"))
	if !shown.Pinned || len(shown.Versions) != 2 {
		t.Errorf("%+v", shown.Versions)
	}
	if page := string(httpGet(t, x.url+"/charter")); !strings.Contains(page, leaked.Keys[0].KeyID()) {
		t.Error("the page does not tell of the ended key")
	}

	// What the leaked key of the registrar signs now is refused.
	thief := filepath.Join(dir, "thief")
	must(t, os.MkdirAll(filepath.Join(thief, "keys"), 0o700))
	must(t, os.Link(filepath.Join(x.data, "reserve.json"), filepath.Join(thief, "reserve.json")))
	must(t, os.Link(old, filepath.Join(thief, "keys", "registrar.json")))
	request := filepath.Join(dir, "eve.request")
	must(t, os.WriteFile(request, []byte(ok(t, "wallet", "new", "eve", "--wallet", x.wallet("eve"), "--json").out), 0o600))
	x.refused("bad_signature", []string{"is not valid at"}, "members", "enrol", request, "--data", thief, "--subject", "eve", "--url", x.url)
	ok(t, "members", "enrol", request, "--data", x.data, "--subject", "eve", "--url", x.url)
	stopped(t, reserve)
	ok(t, "verify", x.data, "--root", pin)
	ok(t, "audit", "--data", x.data, "--root", pin, "--receipts", strings.TrimSuffix(x.wallet("ada"), ".json")+".receipts")
	if o := ok(t, "keys", "--data", x.data); !strings.Contains(o.out, "keys/ended/mint-until-version-2.json") {
		t.Errorf("%s", o.out)
	}
}

// closeKeys takes from others the files that were copied.
func closeKeys(t *testing.T, dir string) {
	t.Helper()
	for _, pattern := range []string{"*.*", "next/*"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		must(t, err)
		for _, file := range files {
			must(t, os.Chmod(file, 0o600))
		}
	}
}
