//go:build whole

package whole_test

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/robot"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
)

func TestKillingTheDemoAtAnyMomentLosesNothingAndCountsNothingTwice(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	acknowledged := map[string]bool{} // "robot seq"
	var certificates uint64
	for kill := range 10 {
		p := MustStart(t, "--demo", "--data", dir)
		// Every second kill comes while the start still goes on.
		wait := time.Duration(random.Int64N(int64(12 * time.Second)))
		if kill%2 == 1 {
			wait = time.Duration(random.Int64N(int64(25 * time.Second)))
		}
		time.Sleep(wait)
		p.Kill()
		t.Logf("kill %d after %s", kill+1, wait.Round(time.Millisecond))
		for id, mark := range MustMarks(t, dir) {
			acknowledged[fmt.Sprintf("%s %d", id, mark)] = true
		}
	}
	p := MustStart(t, "--demo", "--data", dir)
	before := minted(p.URL)
	awaitCertificates(t, p, before+2)
	certificates = minted(p.URL)
	p.MustStop()
	MustPass(t, "verify", dir)
	MustPass(t, "audit", "--data", dir)
	if len(acknowledged) == 0 {
		t.Fatal("no report was ever acknowledged: the test has shown nothing")
	}
	reports := MustReports(t, dir)
	for report := range acknowledged {
		if !reports[report] {
			t.Errorf("report %s was acknowledged and is in no batch", report)
		}
	}
	t.Logf("%d certificates, %d reports in batches, %d marks checked", certificates, len(reports), len(acknowledged))
}

// MustMarks reads up to which report each robot knows to be acknowledged.
func MustMarks(t *testing.T, dir string) map[string]uint64 {
	t.Helper()
	marks := map[string]uint64{}
	entries, err := os.ReadDir(filepath.Join(dir, "robots"))
	if err != nil {
		return marks // killed before there was a robot
	}
	for _, e := range entries {
		path := filepath.Join(dir, "robots", e.Name(), "spool.db")
		if _, err := os.Stat(path); err != nil {
			continue
		}
		spool, err := robot.OpenSpool(t.Context(), path, e.Name())
		if err != nil {
			t.Fatalf("spool of %s: %v", e.Name(), err)
		}
		head, err := spool.Head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if head.Mark > 0 {
			marks[e.Name()] = head.Mark
		}
		spool.Close()
	}
	return marks
}

// MustReports lists all reports that are in a batch, as "robot seq": in the packs,
// or on their way there in the digger's outbox or the mint's book. A report that
// is in the packs twice fails the test.
func MustReports(t *testing.T, dir string) map[string]bool {
	t.Helper()
	reports := map[string]bool{}
	packs, err := archive.OpenReader(filepath.Join(dir, "packs"))
	if err != nil {
		t.Fatal(err)
	}
	defer packs.Close()
	for record, err := range packs.All(archive.Work) {
		if err != nil {
			t.Fatal(err)
		}
		env, err := seal.DecodeEnvelope(record.Data)
		if err != nil {
			t.Fatal(err)
		}
		if env.PayloadType != proof.TypeReport {
			continue
		}
		name := reportName(t, env)
		if reports[name] {
			t.Errorf("report %s is in the packs twice", name)
		}
		reports[name] = true
	}
	for file, query := range map[string]string{
		"mint.db":   "SELECT message FROM mint_batch",
		"digger.db": "SELECT body FROM bus_outbox WHERE producer = 'digger-1'",
	} {
		for _, body := range MustBodies(t, filepath.Join(dir, file), query) {
			msg, err := proof.DecodeBatchMessage(body)
			if err != nil {
				t.Fatal(err)
			}
			for _, env := range msg.Reports {
				reports[reportName(t, env)] = true
			}
		}
	}
	return reports
}

func reportName(t *testing.T, env seal.Envelope) string {
	t.Helper()
	r, err := proof.DecodeReport(env.Payload)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s %d", r.Robot, r.Seq)
}

// MustBodies reads a column of bytes.
func MustBodies(t *testing.T, path, query string) (bodies [][]byte) {
	t.Helper()
	db, err := store.OpenReadOnly(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, query)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var body []byte
			if err := rows.Scan(&body); err != nil {
				return err
			}
			bodies = append(bodies, body)
		}
		return rows.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	return bodies
}
