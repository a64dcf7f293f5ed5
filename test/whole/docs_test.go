//go:build whole

package whole_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The README's commands are run as they stand there, in an empty home; the demo
// is told to end by itself.
func TestTheCommandsOfTheReadmeWork(t *testing.T) {
	home := t.TempDir()
	env := []string{"HOME=" + home}
	for _, name := range []string{"PATH", "GOPROXY", "GOFLAGS", "GONOSUMDB", "GONOSUMCHECK", "GOTOOLCHAIN", "GOSUMDB"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPATH", "GOPROXY", "GOSUMDB"} {
		out, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		env = append(env, name+"="+strings.TrimSpace(string(out)))
	}
	commands := MustCommands(t, "README.md", "go run ./cmd/robotorq ")
	if len(commands) < 5 {
		t.Fatalf("found only %d commands", len(commands))
	}
	for _, command := range commands {
		if strings.Contains(command, " up ") {
			command += " --until certificates=1 --port 0"
		}
		t.Run(command, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, "bash", "-c", command)
			cmd.Dir, cmd.Env = "../..", env
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Logf("%s", out)
		})
	}
	if err := os.Remove("../../certificate-1.json"); err != nil {
		t.Errorf("the export of the README's command is not where it should be: %v", err)
	}
}

// MustCommands lists the indented lines of a document that begin with prefix.
func MustCommands(t *testing.T, file, prefix string) (commands []string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../..", file))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "    "); ok && strings.HasPrefix(rest, prefix) {
			commands = append(commands, strings.TrimSpace(rest))
		}
	}
	return commands
}
