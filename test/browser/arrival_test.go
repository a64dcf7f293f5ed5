//go:build browser

package browser_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"robotorq.org/reserve/test/chromium"
	"robotorq.org/reserve/test/running"
)

func TestTheFirstCertificateAppearsOnTheLivePageByItself(t *testing.T) {
	t.Parallel()
	p := mustYoungDemo(t)
	before := running.Minted(p.URL)
	tab := MustOpen(t)
	tab.Set(chromium.Looks[0])
	tab.Go(p.URL + "/")
	tab.Eval("window.loadedOnce = true", nil)
	began := time.Now()
	tab.Await("a certificate more than there was", certificatesShown(before+1), 4*time.Minute)
	var same bool
	tab.Eval("window.loadedOnce === true", &same)
	if !same {
		t.Error("the page was loaded anew")
	}
	t.Logf("certificate %d is on the page %s after it was opened", before+1, time.Since(began).Round(time.Second))
	var lines int
	tab.Eval(`document.querySelectorAll("#ticker p").length`, &lines)
	if lines == 0 {
		t.Error("nothing of what came is told in words")
	}
}

// certificatesShown is an expression that tells whether the live page shows so many.
func certificatesShown(n uint64) string {
	return `parseInt(document.querySelector("#w-mint b").textContent.replaceAll(",", "")) >= ` + number(n) + ` && document.querySelector(".certs a.serial")`
}

// A reader follows the links from a certificate down to one unit of ore, takes its
// proof away, and the command says that it holds.
func TestAUnitOfOreIsFoundDownloadedAndVerified(t *testing.T) {
	t.Parallel()
	p := MustDemo(t)
	tab := MustOpen(t)
	tab.Set(chromium.Looks[0])
	tab.Go(p.URL + "/certificates")
	for _, step := range []struct{ link, arrived string }{
		{`main a[href^="/certificates/"]`, `location.pathname.startsWith("/certificates/")`},
		{`main a[href^="/ingots/"]`, `location.pathname.startsWith("/ingots/")`},
		{`main table a[href*="/ore/"]`, `location.pathname.includes("/ore/")`},
	} {
		tab.Click(step.link)
		tab.Await("the page behind "+step.link, step.arrived+` && document.readyState === "complete"`, 30*time.Second)
	}
	verdict, command := tab.Text(".verdict"), tab.Text(".check pre code")
	if !strings.Contains(verdict, "Checked by this node just now") {
		t.Fatalf("the page says: %s", verdict)
	}
	file := tab.MustDownload(".check a.button[download]")
	args := strings.Fields(strings.ReplaceAll(command, "\\\n", " "))
	if len(args) != 5 || args[0] != "robotorq" || args[2] != filepath.Base(file) {
		t.Fatalf("the page tells to run %q on %s", args, filepath.Base(file))
	}
	args[2] = file
	r := running.MustPass(t, args[1:]...)
	t.Logf("%s", strings.TrimSpace(r.Out))

	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(data), `"sig":"`, `"sig":"AAAA`, 1)
	if changed == string(data) {
		changed = strings.Replace(changed, `"sig": "`, `"sig": "AAAA`, 1)
	}
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := running.Robotorq(t, args[1:]...); r.Code != 1 {
		t.Errorf("a changed proof: exit %d, %s%s", r.Code, r.Out, r.Err)
	}
}
