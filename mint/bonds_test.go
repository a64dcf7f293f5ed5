package mint_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/feed/feedtest"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
)

const unsigned = "SELECT count(*) FROM mint_bond WHERE digest IS NULL"

// announce sends the vault's word about a bond.
func (r *rig) announce(edit func(*proof.Bonding), serials ...proof.Serials) error {
	r.t.Helper()
	b := proof.Bonding{Origin: prooftest.Origin, Posting: 1, Serial: 1, Face: 2, KeyHash: merkle.Hash{1}, Certificates: serials, Issued: r.Now}
	if edit != nil {
		edit(&b)
	}
	m := r.document(&r.vault, r.Sign(prooftest.Vault, proof.TypeBonding, b.Encode()))
	return r.s.Documents(context.Background(), []bus.Message{m})
}

// certificate is the digest of a certificate.
func (r *rig) certificate(serial uint64) (h merkle.Hash) {
	r.t.Helper()
	r.must(r.db.View(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
		var raw []byte
		err := tx.QueryRowContext(ctx, "SELECT digest FROM mint_certificate WHERE serial = ?", serial).Scan(&raw)
		copy(h[:], raw)
		return err
	}))
	return h
}

// certified has the mint make certificates.
func (r *rig) certified(n int) {
	r.t.Helper()
	robot, contract := r.robot("robot-a")
	r.run()
	for range n {
		r.work(robot, contract, 4)
	}
	r.settled(n)
}

func TestABondIsSignedOverItsCertificatesAndLogged(t *testing.T) {
	r := newRig(t)
	r.certified(5)
	r.must(r.announce(nil, proof.Serials{First: 1, Last: 1}, proof.Serials{First: 3, Last: 3}))
	r.until(0, unsigned)
	r.until(0, unlogged)
	r.must(r.announce(func(b *proof.Bonding) { b.KeyHash = merkle.Hash{2} }, proof.Serials{First: 1, Last: 1}, proof.Serials{First: 4, Last: 4}))
	r.until(0, unsigned)
	r.until(0, unlogged)
	versions, err := r.s.Bond(t.Context(), 1)
	r.must(err)
	if len(versions) != 2 || versions[1].Bond.Issued <= versions[0].Bond.Issued || versions[1].Bond.KeyHash != (merkle.Hash{2}) {
		t.Fatalf("%+v", versions)
	}
	shelf, err := archive.OpenReader(filepath.Join(r.dir, "packs"))
	r.must(err)
	defer shelf.Close()
	for i, serials := range [][]uint64{{1, 3}, {1, 4}} {
		var digests []merkle.Hash
		for _, s := range serials {
			digests = append(digests, r.certificate(s))
		}
		v := versions[i]
		env, err := shelf.Envelope(archive.Spine, v.Digest)
		r.must(err)
		r.must(r.Registry.VerifySigned(env, seal.RoleMint, prooftest.Mint, v.Bond.Issued))
		if v.Bond.Root != merkle.Root(proof.RunLeaves(digests)) {
			t.Errorf("version %d is over other certificates", i+1)
		}
	}
	// 2 is free, 4 is not, and 3 is free again.
	other := func(b *proof.Bonding) { b.Serial = 2 }
	r.must(r.announce(other, proof.Serials{First: 2, Last: 3}))
	r.until(0, unsigned)
	r.must(r.announce(nil)) // the first is redeemed
	r.must(r.announce(func(b *proof.Bonding) { b.Serial = 3 }, proof.Serials{First: 4, Last: 5}))
	r.until(0, unsigned)
	r.until(0, unlogged)
	r.must(r.stop())
	r.verify(5)
}

func TestNoCertificateStandsBehindTwoBonds(t *testing.T) {
	r := newRig(t)
	r.certified(3)
	r.must(r.announce(nil, proof.Serials{First: 1, Last: 2}))
	for what, bad := range map[string]struct {
		edit    func(*proof.Bonding)
		serials []proof.Serials
		says    string
	}{
		"one that is bound":             {func(b *proof.Bonding) { b.Serial = 2 }, []proof.Serials{{First: 2, Last: 3}}, "certificate 2 is bound to bond 1"},
		"one that was never minted":     {func(b *proof.Bonding) { b.Serial = 2 }, []proof.Serials{{First: 3, Last: 4}}, "never minted"},
		"a bond of another reserve":     {func(b *proof.Bonding) { b.Origin = "other.example/log" }, []proof.Serials{{First: 1, Last: 2}}, "another reserve"},
		"fewer certificates than faces": {func(b *proof.Bonding) { b.Serial, b.Face = 2, 2 }, []proof.Serials{{First: 3, Last: 3}}, "1 certificates for a face"},
	} {
		chain := r.vault
		err := r.announce(bad.edit, bad.serials...)
		if err == nil || !strings.Contains(err.Error(), bad.says) {
			t.Errorf("%s: %v", what, err)
		}
		r.vault = chain
	}
	if n := feedtest.Int(t, r.db, "SELECT count(*) FROM mint_bound"); n != 2 {
		t.Errorf("%d certificates are bound, want 2", n)
	}
	r.until(0, unsigned)
}

func TestABondThatACrashLeftUnsignedIsSignedOnce(t *testing.T) {
	r := newRig(t)
	r.certified(2)
	r.must(r.stop())
	r.must(r.announce(nil, proof.Serials{First: 1, Last: 2}))
	r.restart()
	killed := errors.New("killed")
	r.s.OnStep(func(step string) error {
		if step == "bonded" {
			return killed
		}
		return nil
	})
	if err := r.runOut(); !errors.Is(err, killed) {
		t.Fatal(err)
	}
	r.restart()
	r.run()
	r.until(0, unsigned)
	r.until(0, unlogged)
	versions, err := r.s.Bond(t.Context(), 1)
	r.must(err)
	if len(versions) != 1 {
		t.Errorf("%d versions", len(versions))
	}
	r.must(r.stop())
	r.verify(2)
}
