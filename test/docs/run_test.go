//go:build whole

package docs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"robotorq.org/reserve/test/docs"
	"robotorq.org/reserve/test/running"
)

func TestMain(m *testing.M) { os.Exit(running.Main(m)) }

// The commands of each page are run as they stand there, in their order, in one shell
// with an empty home; "sh background" in a terminal of its own.
func TestTheCommandsOfThePagesWork(t *testing.T) {
	demo := filepath.Join(t.TempDir(), "demo")
	p := running.MustStart(t, "--demo", "--data", demo)
	bin := t.TempDir()
	if err := os.Symlink(running.MustBinary(t), filepath.Join(bin, "robotorq")); err != nil {
		t.Fatal(err)
	}
	t.Run("pages", func(t *testing.T) {
		for _, page := range mustRead(t) {
			l := lives[page.Name]
			if len(page.Shell()) == len(page.Reasons()) || l.by != "" || generated[page.Name] != "" {
				continue
			}
			t.Run(page.Name, func(t *testing.T) {
				t.Parallel()
				x := &reading{t: t, page: page, life: l, home: t.TempDir(), bin: bin, demo: demo, url: p.URL}
				x.run()
			})
		}
	})
}

// reading is a reader who does what a page says.
type reading struct {
	t                    *testing.T
	page                 *docs.Page
	life                 life
	home, bin, demo, url string
}

func (x *reading) run() {
	t := x.t
	ctx, cancel := context.WithTimeout(t.Context(), 12*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", x.script())
	cmd.Dir, cmd.Env = filepath.Join(x.home, "here"), x.environment()
	if err := os.Mkdir(cmd.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if x.life.dir == "root" {
		cmd.Dir = root
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if gone := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); gone == nil && err == nil {
		t.Logf("something of the page still ran and was ended")
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	t.Logf("%s", out.String())
	if x.page.Name == "README.md" { // its export lies where its reader was
		if err := os.Remove(filepath.Join(root, "certificate-1.json")); err != nil {
			t.Error(err)
		}
	}
}

// environment is that of somebody who has just signed in. The demo's directory and
// address stand where they would be the default ones.
func (x *reading) environment() []string {
	env := []string{"HOME=" + x.home, "LC_ALL=C.UTF-8", "PATH=" + x.bin + ":" + os.Getenv("PATH")}
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPATH", "GOPROXY", "GOSUMDB"} {
		out, err := exec.Command("go", "env", name).Output()
		if err != nil {
			x.t.Fatal(err)
		}
		env = append(env, name+"="+strings.TrimSpace(string(out)))
	}
	if x.life.demo {
		env = append(env, "ROBOTORQ_DATA="+x.demo, "ROBOTORQ_URL="+x.url)
	}
	return env
}

const prelude = `terminals=()
ended() { code=$?; for p in "${terminals[@]}"; do kill -INT -- "-$p" 2>/dev/null; done; wait
	[ $code = 0 ] || for f in "$HOME"/terminal-*; do [ ! -f "$f" ] || { echo "── $f"; tail -n 20 "$f"; }; done; }
trap ended EXIT
await() { for i in $(seq 960); do eval "$1" >"$HOME/await" 2>&1 && return; sleep 0.5; done; echo "not within eight minutes: $1"; cat "$HOME/await"; exit 1; }
terminal() { set -m; bash -euo pipefail -c "$2" >"$HOME/terminal-$1" 2>&1 </dev/null & terminals+=($!); set +m
	for i in $(seq 60); do grep -qE 'https?://|Stop with' "$HOME/terminal-$1" && return; kill -0 $! 2>/dev/null || { cat "$HOME/terminal-$1"; exit 1; }; sleep 0.5; done; }
`

// script makes one script of a page's blocks, by the rules of its life.
func (x *reading) script() string {
	var s strings.Builder
	s.WriteString(prelude)
	used := make([]bool, len(x.life.rules))
	asked := make([]bool, len(x.life.await))
	places := strings.NewReplacer("{PORT2}", freePort(x.t), "{PORT}", freePort(x.t), "{DEMO}", x.url, "{DATA}", x.demo)
	for _, b := range x.page.Shell() {
		if b.Reason != "" {
			continue
		}
		text := b.Text
		for i, rule := range x.life.rules {
			if strings.Contains(text, rule[0]) {
				text, used[i] = strings.ReplaceAll(text, rule[0], places.Replace(rule[1])), true
			}
		}
		for i, a := range x.life.await {
			if strings.Contains(b.Text, a[0]) {
				asked[i] = true
				fmt.Fprintf(&s, "await %s\n", quoted(places.Replace(a[1])))
			}
		}
		fmt.Fprintf(&s, "echo %s\n", quoted(fmt.Sprintf("── line %d\n%s", b.Line, text)))
		if b.Terminal {
			fmt.Fprintf(&s, "terminal %d %s\n", b.Line, quoted(text))
		} else {
			s.WriteString(text)
		}
	}
	if i := slices.Index(used, false); i >= 0 {
		x.t.Fatalf("%s does not say %q: the rule is of no use", x.page.Name, x.life.rules[i][0])
	}
	if i := slices.Index(asked, false); i >= 0 {
		x.t.Fatalf("%s does not say %q: nothing waits for it", x.page.Name, x.life.await[i][0])
	}
	return s.String()
}

func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

var taken sync.Map

// freePort is one that no other page has been given.
func freePort(t *testing.T) string {
	t.Helper()
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
		l.Close()
		if _, again := taken.LoadOrStore(port, true); !again {
			return port
		}
	}
}

var (
	listed = regexp.MustCompile(`(?m)^  ([a-z]+(?:-[a-z]+)?(?: [a-z]+(?:-[a-z]+)*)?)(?:   *[A-Z]|$)`)
	flag   = regexp.MustCompile(`^--[a-z][a-z-]*`)
	sets   = regexp.MustCompile(`^[A-Z_]+=`)
)

// A command that a page names in passing, or in a block that is not run, is there, and
// so is each flag that it is given.
func TestEveryCommandThatIsNamedIsThereWithItsFlags(t *testing.T) {
	known := map[string]string{} // command: its help
	for _, found := range listed.FindAllStringSubmatch(running.MustPass(t, "--help").Out, -1) {
		known[found[1]] = ""
	}
	if len(known) < 70 {
		t.Fatalf("only %d commands are listed", len(known))
	}
	named := 0
	for _, p := range mustRead(t) {
		texts := slices.Clone(p.Inline)
		for _, b := range p.Shell() {
			if b.Reason != "" {
				texts = append(texts, strings.Split(strings.ReplaceAll(b.Text, "\\\n", " "), "\n")...)
			}
		}
		for _, text := range texts {
			words := strings.Fields(text)
			for len(words) > 0 && sets.MatchString(words[0]) {
				words = words[1:]
			}
			if len(words) < 2 || words[0] != "robotorq" || words[1] == "help" || strings.HasPrefix(words[1], "<") {
				continue
			}
			named++
			if err := checkNamed(t, known, words[1:]); err != nil {
				t.Errorf("%s: `%s`: %v", p.Name, text, err)
			}
		}
	}
	if named < 40 {
		t.Errorf("found only %d commands", named)
	}
}

func checkNamed(t *testing.T, known map[string]string, words []string) error {
	t.Helper()
	if strings.HasPrefix(words[0], "--") {
		return nil
	}
	name := words[0]
	if len(words) > 1 {
		if _, two := known[name+" "+words[1]]; two {
			name += " " + words[1]
		}
	}
	help, ok := known[name]
	if !ok {
		for other := range known {
			if strings.HasPrefix(other, words[0]+" ") && (len(words) == 1 || strings.HasPrefix(words[1], "--")) {
				return nil // a group
			}
		}
		return errors.New("there is no such command")
	}
	if help == "" {
		help = running.MustPass(t, append(strings.Fields(name), "--help")...).Out
		known[name] = help
	}
	for _, word := range words {
		if f := flag.FindString(word); f != "" && !strings.Contains(help, f) {
			return fmt.Errorf("%s has no flag %s", name, f)
		}
	}
	return nil
}
