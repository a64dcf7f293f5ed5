//go:build browser

package browser_test

import (
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// What these tests look for is seen: on a page without fault one is made, found, and
// taken back.
func TestAFaultOfAPageIsSeen(t *testing.T) {
	t.Parallel()
	axe := mustAxe(t)
	p := mustYoungDemo(t)
	tab := MustOpen(t)
	tab.Visit(p.URL + "/interface")
	tab.Must(chromedp.Evaluate(axe, nil))
	if faults := append(tab.AxeFaults(), tab.Faults()...); len(faults) > 0 {
		t.Fatalf("the page has faults before: %q", faults)
	}
	for _, c := range []struct{ name, make, undo, want string }{
		{"contrast", `document.querySelector("main p").style.color = "#999"`, `document.querySelector("main p").removeAttribute("style")`, "color-contrast"},
		{"a field without a label", `document.querySelector("main").append(Object.assign(document.createElement("input"), {id: "nameless"}))`, `document.getElementById("nameless").remove()`, "label"},
	} {
		tab.Eval(c.make+"; 0", nil)
		if faults := tab.AxeFaults(); !strings.Contains(strings.Join(faults, "\n"), c.want) {
			t.Errorf("%s is not seen: %q", c.name, faults)
		}
		tab.Eval(c.undo+"; 0", nil)
		if faults := tab.AxeFaults(); len(faults) > 0 {
			t.Errorf("%s is taken back and still seen: %q", c.name, faults)
		}
	}
	for _, c := range []struct{ name, make, want string }{
		{"an error in the console", `console.error("oh"); 0`, "console error"},
		{"an exception", `setTimeout(() => { throw new Error("oh"); }); 0`, "exception"},
		{"a picture from elsewhere", `new Image().src = "http://elsewhere.example/a.png"; 0`, "elsewhere.example"},
		{"a request elsewhere", `fetch("http://elsewhere.example/").catch(() => 0)`, "elsewhere.example"},
		{"a page elsewhere", `document.body.append(Object.assign(document.createElement("a"), {href: "http://elsewhere.example/", id: "away"})); document.getElementById("away").click(); 0`, "a request leaves the machine"},
	} {
		tab.Eval(c.make, nil)
		var found string
		for until := time.Now().Add(20 * time.Second); !strings.Contains(found, c.want) && time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
			found += strings.Join(tab.Faults(), "\n")
		}
		if !strings.Contains(found, c.want) {
			t.Errorf("%s is not seen: %q", c.name, found)
		}
	}
	// What comes late is of these faults too.
	for _, meant := range []string{"elsewhere.example", "ERR_NAME_NOT_RESOLVED", "chrome-error:"} {
		tab.Allow(meant)
	}
}
