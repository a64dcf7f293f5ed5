package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"robotorq.org/reserve/test/docs"
)

const root = "../.."

// life is how the commands of a page are run.
type life struct {
	dir    string      // where they are run: "root" is that of the repository, else an empty directory
	demo   bool        // beside a running demo, whose directory is the default one
	rules  [][2]string // what is put for what, in this order; each must be there
	await  [][2]string // before a block that holds the first, the second is asked until it succeeds
	notRun []string    // reasons of the blocks that are not run, in their order
	by     string      // the test that runs the page's commands instead of this one
}

const (
	tooLong = "measures for minutes on an idle machine"
	whole   = "it is the test of everything, this page too"
	pin     = `$(robotorq charter show | sed -n 's/^ *root root-1 *\([0-9a-f]\{64\}\).*/\1/p')`
)

// lives are the pages with commands. {PORT} and {PORT2} are free ports, {DEMO} is the
// address of the demo, {DATA} its directory. What follows "up" only gives it a port of its own.
var lives = map[string]life{
	"README.md": {dir: "root", notRun: []string{whole},
		rules: [][2]string{{"up --demo\n", "up --demo --port {PORT}\n"}, {"-o robotorq ", "-o ~/robotorq "},
			// The start is as it stands; the others need not be built again.
			{"go run ./cmd/robotorq verify", "robotorq verify"}, {"go run ./cmd/robotorq audit", "robotorq audit"}, {"go run ./cmd/robotorq proof", "robotorq proof"}},
		await: [][2]string{{"go run ./cmd/robotorq verify", "robotorq proof export 1 --out ~/awaited.json"}}},
	"docs/robots.md": {demo: true,
		rules: [][2]string{{"http://127.0.0.1:8080", "{DEMO}"}},
		await: [][2]string{{"robot status forge-7", "robotorq robot status forge-7 | grep '^contract .*#'"}},
		notRun: []string{"needs a printer, a plug and a reserve under a name of its own",
			"needs an inference server and a plug"}},
	"docs/members.md": {demo: true,
		rules: [][2]string{{"http://127.0.0.1:8080", "{DEMO}"}},
		await: [][2]string{{"wallet balance", "robotorq wallet balance --json | grep -E '\"jt\": *[0-9]{7,}'"},
			{"bond issue", "robotorq wallet balance --json | grep -E '\"jt\": *([4-9][0-9]{6}|[0-9]{8,})'"}},
		notRun: []string{"a new wallet is in the next day's statement first"}},
	"docs/contracts.md": {demo: true,
		rules: [][2]string{{"--id anvil --virtual --reserve http://127.0.0.1:8080", "--id anvil --virtual --reserve {DEMO}"}, {"up --data town", "up --data town --port {PORT}"}, {"export ROBOTORQ_DATA=town", "export ROBOTORQ_DATA=town ROBOTORQ_URL=http://127.0.0.1:{PORT}"}, {"http://127.0.0.1:8080", "http://127.0.0.1:{PORT}"}},
		await: [][2]string{{"wallet send org:press", "robotorq wallet balance --json | grep -E '\"jt\": *[0-9]{6,}'"},
			{"contract show $CONTRACT", `robotorq contract show $CONTRACT --json | grep -E '"state": *"completed"'`},
			{"export ROBOTORQ_DATA", "robotorq policy show --url http://127.0.0.1:{PORT}"}, {"contract list", "robotorq contract show 1 --json | grep -E '\"state\": *\"completed\"'"}}},
	"docs/clients.md": {rules: [][2]string{{"8089", "{PORT}"}},
		await: [][2]string{{"market register", `robotorq market show "$TASK" | grep "state  *funded"`},
			{"market cancel", `robotorq market show "$(grep -oE '[0-9a-f-]{36}' task.txt | head -1)" | grep "state  *funded"`}}},
	"docs/operating.md": {
		rules: [][2]string{{"/var/lib/robotorq", "reserve"}, {"/srv/robotorq", "restored"}, {"/backup/", "backup-"},
			{"--origin reserve.example/log", "--origin reserve.example/log --port {PORT}"}, {"127.0.0.1:8080", "127.0.0.1:{PORT}"}, {"8443", "{PORT2}"}},
		notRun: []string{"needs a mirror on another machine, and would be a second reserve of the same keys",
			"stops the reserve of this page; TestAReserveLivesTheReplacementOfItsKeys lives it",
			"stops the reserve of this page; TestAReserveIsCutIntoProcessesAndPutTogetherAgain lives it",
			"needs a server; TestTheVaultsBooksMoveToADatabaseOnceAndForGood lives it"}},
	"docs/auditing.md": {demo: true,
		rules: [][2]string{{"PIN=…", "PIN=" + pin}, {"https://reserve.example", "{DEMO}"}, {"/var/lib/robotorq", "{DATA}"}, {"127.0.0.1:8081", "127.0.0.1:{PORT}"},
			{"witness serve", "witness serve --port {PORT2}"}},
		await:  [][2]string{{"PIN=", "robotorq proof export 1 --out ~/awaited.json"}, {"witness conflicts", "test -f w/witness.db"}},
		notRun: []string{"steps of test/all.sh of their own, of many minutes"}},
	"docs/simulator.md":    {notRun: []string{tooLong}},
	"docs/performance.md":  {notRun: []string{tooLong, tooLong, tooLong, "enrols for minutes", "the step test of test/all.sh runs it", tooLong, tooLong}},
	"docs/attack-book.md":  {notRun: []string{"the steps test and whole-system of test/all.sh run these tests"}},
	"docs/contributing.md": {dir: "root", notRun: []string{whole}},
	"docs/marketplace.md":  {by: "test/bitcoin/market/guide_test.go"},
}

// generated pages have examples that a test of their own runs; their code is indented.
var generated = map[string]string{"docs/api.md": "test/whole/api_test.go"}

func mustRead(t *testing.T) []*docs.Page {
	t.Helper()
	pages, err := docs.Read(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(pages) < 20 {
		t.Fatalf("only %d pages", len(pages))
	}
	return pages
}

var command = regexp.MustCompile(`(?m)^(\$ |(go|curl|bash|docker|git|sudo|apt|systemctl|npm|\./\S+) |robotorq [a-z-]+( |$)|export )`)

// Each block of commands is run by a test, or says why not; nobody adds a reason
// without adding it to the list here.
func TestEveryCommandOfEveryPageIsRunOrSaysWhyNot(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range mustRead(t) {
		if by, ok := generated[p.Name]; ok {
			mustExist(t, by)
			continue
		}
		for _, line := range p.Indented {
			t.Errorf("%s:%d: code that is indented is run by nobody; put it between fences that say its language", p.Name, line)
		}
		for _, b := range p.Blocks {
			switch {
			case b.Language == "":
				t.Errorf("%s:%d: the fence says no language", p.Name, b.Line)
			case b.Language != "sh" && (b.Terminal || b.Reason != "" || command.MatchString(b.Text)):
				t.Errorf("%s:%d: this looks like commands and is marked as %s", p.Name, b.Line, b.Language)
			}
		}
		l, ok := lives[p.Name]
		if len(p.Shell()) > 0 && !ok {
			t.Errorf("%s has commands that no test runs: give it a life in this test", p.Name)
		}
		if !ok {
			continue
		}
		seen[p.Name] = true
		if l.by != "" {
			mustExist(t, l.by)
		}
		if got := p.Reasons(); !slices.Equal(got, l.notRun) {
			t.Errorf("%s: blocks are not run for %q; the list says %q", p.Name, got, l.notRun)
		}
	}
	for name := range lives {
		if !seen[name] {
			t.Errorf("%s is listed and is not there", name)
		}
	}
}

func mustExist(t *testing.T, name string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(root, name)); err != nil {
		t.Error(err)
	}
}

// A link leads to a file of the repository and, behind #, to a heading of it.
func TestEveryLinkLeadsSomewhere(t *testing.T) {
	pages := mustRead(t)
	anchors := map[string][]string{}
	for _, p := range pages {
		anchors[p.Name] = p.Anchors
	}
	links := 0
	for _, p := range pages {
		for _, l := range p.Links {
			if strings.Contains(l.Target, "://") || strings.HasPrefix(l.Target, "mailto:") {
				continue
			}
			links++
			path, anchor, has := strings.Cut(l.Target, "#")
			name := p.Name
			if path != "" {
				name = filepath.ToSlash(filepath.Join(filepath.Dir(p.Name), path))
			}
			if _, err := os.Stat(filepath.Join(root, name)); err != nil || strings.HasPrefix(name, "..") {
				t.Errorf("%s:%d: %s is not there", p.Name, l.Line, l.Target)
			} else if has && !slices.Contains(anchors[name], anchor) {
				t.Errorf("%s:%d: %s has no heading #%s", p.Name, l.Line, name, anchor)
			}
		}
	}
	if links < 60 {
		t.Errorf("found only %d links", links)
	}
}

// The index names every page.
func TestTheIndexLeadsToEveryPage(t *testing.T) {
	pages := mustRead(t)
	i := slices.IndexFunc(pages, func(p *docs.Page) bool { return p.Name == "docs/README.md" })
	for _, p := range pages {
		name, ok := strings.CutPrefix(p.Name, "docs/")
		if !ok || name == "README.md" {
			continue
		}
		if !slices.ContainsFunc(pages[i].Links, func(l docs.Link) bool { return l.Target == name }) {
			t.Errorf("docs/README.md does not lead to %s", name)
		}
	}
}
