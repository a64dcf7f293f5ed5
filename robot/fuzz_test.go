package robot_test

import (
	"os"
	"path/filepath"
	"testing"

	"robotorq.org/reserve/robot"
)

// FuzzReadTerms: the files of a robot's directory are read, or refused.
func FuzzReadTerms(f *testing.F) {
	f.Add([]byte(`{"robot":"a"}`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		for _, name := range []string{robot.TermsFile, robot.StatusFile} {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if terms, known, err := robot.ReadTerms(dir, "a"); err == nil && known && terms.Robot != "a" {
			t.Fatalf("%+v", terms)
		}
		_, _, _ = robot.ReadStatus(dir)
	})
}
