//go:build whole && unix

package reserve_test

import (
	"syscall"
	"testing"
	"time"

	"robotorq.org/reserve/sim/reserve"
)

// processor is the time that the test has had on processors: what a machine shared with
// others makes it wait is not its own.
func processor(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Ten years of 2,000 members and a thousand contracts, by the reserve's own code.
func TestTenYearsOfAThousandContractsTakeLessThanFiveMinutes(t *testing.T) {
	s, err := reserve.Preset("reserve-decade")
	if err != nil {
		t.Fatal(err)
	}
	began, before := time.Now(), processor(t)
	r := run(t, s, reserve.Options{})
	wall, took := time.Since(began), processor(t)-before
	f := r.Document.Figures
	t.Logf("%d hours, %d postings, %.0f orders, %.0f contracts funded, %.0f certificates, %.0f bonds in %s, %s of them on a processor",
		r.Document.Hours, r.Document.Postings, f["total_orders"], f["total_funded"], f["total_minted"], f["total_bonds_taken"], wall.Round(time.Second), took.Round(time.Second))
	if r.Document.Hours != 87_600 || f["total_funded"] < 1000 {
		t.Errorf("%d hours, %.0f contracts", r.Document.Hours, f["total_funded"])
	}
	if took > 5*time.Minute {
		t.Errorf("it took %s", took)
	}
}
