package archive_test

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
)

func verifyOptions(r *prooftest.Reserve) proof.VerifyOptions {
	return proof.VerifyOptions{Profile: r.Profile, Roots: []merkle.Hash{r.Pin()}, Workers: 2}
}

func openIndex(t testing.TB, dir string, r *prooftest.Reserve) *archive.Index {
	t.Helper()
	x, err := archive.OpenIndex(t.Context(), dir, r.Profile)
	must(t, err)
	t.Cleanup(func() { must(t, x.Close()) })
	return x
}

// checkExports exports every certificate and one unit of ore of each, verifies
// both as a stranger would, and compares them with what the reserve in memory
// says.
func checkExports(t *testing.T, r *prooftest.Reserve, x *archive.Index) {
	t.Helper()
	if x.Certificates() != uint64(len(r.Certs)) {
		t.Fatalf("%d certificates, want %d", x.Certificates(), len(r.Certs))
	}
	for serial := uint64(1); serial <= uint64(len(r.Certs)); serial++ {
		b, err := x.Export(serial)
		if err != nil {
			t.Fatalf("certificate %d: %v", serial, err)
		}
		if _, err := b.Verify(verifyOptions(r)); err != nil {
			t.Fatalf("certificate %d: %v", serial, err)
		}
		data, err := json.Marshal(b)
		must(t, err)
		again, err := proof.DecodeBundle(data)
		must(t, err)
		if s, err := again.Verify(verifyOptions(r)); err != nil || s.Serial != serial || !s.Pinned {
			t.Fatalf("certificate %d read back: %+v %v", serial, s, err)
		}
		k := serial * 7 % r.Profile.CertificateOre()
		p, err := x.Ore(serial, k)
		must(t, err)
		if _, err := p.Verify(verifyOptions(r)); err != nil || p.Unit != k {
			t.Fatalf("unit %d of certificate %d: %v", k, serial, err)
		}
	}
	if _, err := x.Export(uint64(len(r.Certs)) + 1); !archive.IsCode(err, archive.CodeNotFound) {
		t.Errorf("certificate after the last: %v", err)
	}
	if _, err := x.Export(0); !archive.IsCode(err, archive.CodeNotFound) {
		t.Errorf("certificate 0: %v", err)
	}
	if _, err := x.Ore(1, r.Profile.CertificateOre()); !archive.IsCode(err, archive.CodeNotFound) {
		t.Errorf("unit after the last: %v", err)
	}
}

func TestEveryCertificateIsExportedFromTheDirectoryAlone(t *testing.T) {
	t.Parallel() // it waits for the disk
	for _, sealed := range []bool{false, true} {
		r, dir := smallReserve(t), t.TempDir()
		w := openWriter(t, filepath.Join(dir, "packs"), archive.WriterOptions{BlockBytes: 2 << 10})
		keepPacks(t, r, w)
		if sealed {
			for _, c := range archive.Classes() {
				must(t, w.Seal(c))
			}
		}
		must(t, w.Close())
		appendLog(t, r, dir, r.Log)
		checkExports(t, r, openIndex(t, dir, r))
	}
}

func TestTheIndexFollowsALogThatGrows(t *testing.T) {
	t.Parallel() // it waits for the disk
	r, dir := smallReserve(t), t.TempDir()
	keep(t, r, dir)
	x := openIndex(t, dir, r)
	checkExports(t, r, x)
	robot := r.Enrol("robot-c", 5, 2)
	contract := r.Contract(3200, robot)
	logged := len(r.Log) - 2
	for range 3 {
		r.Dig(robot.Report(contract.ID, robot.Readings(20)))
		r.Pour(5)
		r.Mint()
		w := openWriter(t, filepath.Join(dir, "packs"), archive.WriterOptions{})
		keepPacks(t, r, w)
		must(t, w.Close())
		appendLog(t, r, dir, r.Log[logged:])
		logged = len(r.Log)
		must(t, x.Refresh(t.Context()))
		checkExports(t, r, x)
		if _, err := archive.VerifyDir(t.Context(), dir, options(r)); err != nil {
			t.Fatal(err)
		}
	}
}
