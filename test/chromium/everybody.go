//go:build browser

package chromium

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// Still keeps an open page from renewing itself.
const Still = `document.querySelectorAll("[data-part]").forEach(e => e.removeAttribute("data-part"))`

// CheckForEverybody Looks at an open page in every look, and goes through it by
// keyboard.
func (tab *Tab) CheckForEverybody(axe, name string) {
	tab.T.Helper()
	tab.Must(chromedp.Evaluate(axe, nil))
	for _, l := range Looks {
		tab.Set(l)
		tab.checkAxe(l)
		tab.checkWidth(l)
		tab.Picture(name, l)
	}
	tab.Set(Looks[0])
	tab.checkKeyboard()
}

// MustAxe is the source of axe-core, out of a directory of node modules.
func MustAxe(t *testing.T, modules string) string {
	t.Helper()
	if set := os.Getenv("ROBOTORQ_NODE_MODULES"); set != "" {
		modules = set
	}
	source, err := os.ReadFile(filepath.Join(modules, "axe-core", "axe.min.js"))
	if err != nil {
		t.Fatalf("axe-core is not installed (npm ci in test/peers): %v", err)
	}
	return string(source)
}

// checkAxe asks axe-core for faults against WCAG 2.2 A and AA, contrast included.
func (tab *Tab) checkAxe(l Look) {
	tab.T.Helper()
	for _, fault := range tab.AxeFaults() {
		tab.T.Errorf("%s: %s", l.Name, fault)
	}
}

// AxeFaults are the faults that axe-core finds on the open page; its source was evaluated
// there before.
func (tab *Tab) AxeFaults() (faults []string) {
	tab.T.Helper()
	tab.Eval(`axe.run({runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}).then(r => {
		if (!r.passes.some(p => p.id === "color-contrast")) return ["contrast was not looked at"];
		return r.violations.map(v => v.id + " (" + v.impact + "): " + v.nodes.slice(0, 4).map(n => n.target + " " + n.any.concat(n.all).map(a => a.message).join("; ").slice(0, 200)).join(" | "));
	})`, &faults)
	return faults
}

// checkWidth finds what is wider than the window.
func (tab *Tab) checkWidth(l Look) {
	tab.T.Helper()
	var wide string
	tab.Eval(`(() => {
		const d = document.documentElement;
		if (d.scrollWidth <= `+fmt.Sprint(l.Width)+`) return "";
		const out = [...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > `+fmt.Sprint(l.Width)+` + 1 && !e.closest(".scroll, pre")).slice(0, 5);
		return d.scrollWidth + " px: " + out.map(e => e.tagName + "." + e.className + "#" + e.id).join(", ");
	})()`, &wide)
	if wide != "" {
		tab.T.Errorf("%s scrolls sideways at %d px: %s", l.Name, l.Width, wide)
	}
}

// checkKeyboard goes through the page with the Tab key: the skip link comes first and
// leads to the content, all that can be used is reached in the order in which it
// stands, and where one is can be seen.
func (tab *Tab) checkKeyboard() {
	tab.T.Helper()
	// What renews itself must not move under the feet of the test.
	tab.Eval(Still+`; document.activeElement.blur(); scrollTo(0, 0)`, nil)
	var want []string
	tab.Eval(`(() => {
		const usable = [...document.querySelectorAll('a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex="0"]')].filter(e => !e.disabled && e.checkVisibility({visibilityProperty: true}) && e.tabIndex >= 0)
			// A group of choices is one stop: the one chosen, or the first.
			.filter((e, i, all) => e.type !== "radio" || e.checked || !all.some(o => o.type === "radio" && o.name === e.name && o.checked) && all.find(o => o.name === e.name) === e);
		usable.forEach((e, i) => e.dataset.stop = i);
		return usable.map((e, i) => i + " " + e.tagName + " " + (e.textContent || e.name || "").trim().slice(0, 40));
	})()`, &want)
	var got []string
	for range 4*len(want) + 4 {
		tab.Must(chromedp.KeyEvent(kb.Tab))
		var at struct {
			Stop, Ring string
		}
		tab.Eval(`(() => {
			const e = document.activeElement, s = getComputedStyle(e);
			const ring = (s.outlineStyle !== "none" && parseFloat(s.outlineWidth) > 0) || s.boxShadow !== "none" || e.type === "date"; // whose parts the browser marks itself
			return {Stop: e.dataset.stop || "", Ring: ring ? "" : e.outerHTML.slice(0, 80)};
		})()`, &at)
		if at.Stop == "" {
			break
		}
		if at.Ring != "" {
			tab.T.Errorf("the keyboard's place cannot be seen on %s", at.Ring)
		}
		n, err := strconv.Atoi(at.Stop)
		if err != nil || n >= len(want) {
			tab.T.Fatalf("stop %q of %d", at.Stop, len(want))
		}
		if len(got) == 0 || got[len(got)-1] != want[n] { // a date has several stops inside
			got = append(got, want[n])
		}
	}
	if !slices.Equal(got, want) {
		missing := slices.DeleteFunc(slices.Clone(want), func(s string) bool { return slices.Contains(got, s) })
		tab.T.Errorf("the keyboard reaches %d of %d places; not %q; or in another order", len(got), len(want), missing)
	}
	tab.Eval(`document.querySelector("a.skip").focus()`, nil)
	tab.Must(chromedp.KeyEvent(kb.Enter))
	var arrived bool
	tab.Eval(`document.activeElement.id === "main"`, &arrived)
	if len(want) == 0 || !strings.Contains(want[0], "To the content") || !arrived {
		tab.T.Errorf("the first stop is %q, and the way past the navigation arrives: %t", want[:1], arrived)
	}
}
