//go:build browser

package chromium

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// Pages are read and used through their own scripts' eyes and by mouse and keys at
// places of the screen: chromedp's copy of the document may be that of the page before
// for ever, when pages follow each other fast.

// Go opens an address and awaits its page, or that to which it leads.
func (tab *Tab) Go(address string) (at string) {
	tab.T.Helper()
	tab.Must(chromedp.ActionFunc(func(ctx context.Context) error {
		_, _, why, _, err := page.Navigate(address).Do(ctx)
		if err == nil && why != "" {
			err = fmt.Errorf("%s: %s", address, why)
		}
		return err
	}))
	tab.Await("the page "+address, `location.href !== "about:blank" && document.readyState === "complete"`, time.Minute)
	tab.Eval("location.href", &at)
	return at
}

// Quoted is a text as JavaScript writes it.
func Quoted(text string) string {
	q, _ := json.Marshal(text) // of a string: never fails
	return string(q)
}

// Click clicks in the middle of what a selector finds, so often, once it can be seen.
func (tab *Tab) Click(selector string, times ...int) {
	tab.T.Helper()
	find := `document.querySelector(` + Quoted(selector) + `)`
	tab.Await(selector, `document.readyState === "complete" && `+find+`?.checkVisibility()`, 30*time.Second)
	var at struct{ X, Y float64 }
	tab.Eval(`(e => { e.scrollIntoView({block: "center", behavior: "instant"}); const b = e.getClientRects()[0]; return {X: b.x + b.width / 2, Y: b.y + b.height / 2}; })(`+find+`)`, &at)
	clicks := []chromedp.Action{chromedp.MouseClickXY(at.X, at.Y)}
	for _, n := range times {
		clicks = append(clicks, chromedp.MouseClickXY(at.X, at.Y, chromedp.ClickCount(n)))
	}
	tab.Must(clicks...)
}

// DoubleClick clicks twice as fast as a hand does.
func (tab *Tab) DoubleClick(selector string) {
	tab.T.Helper()
	tab.Click(selector, 2)
}

// Fill writes into a field instead of what is there.
func (tab *Tab) Fill(selector, text string) {
	tab.T.Helper()
	find := `document.querySelector(` + Quoted(selector) + `)`
	tab.Await(selector, `document.readyState === "complete" && `+find+`?.checkVisibility()`, 30*time.Second)
	tab.Eval(`(e => { e.focus(); e.select(); return 0; })(`+find+`)`, nil)
	tab.Must(input.InsertText(text))
}

// Submit sends the form that a field or button is in.
func (tab *Tab) Submit(selector string) {
	tab.T.Helper()
	tab.Must(chromedp.Evaluate(`setTimeout(() => document.querySelector(`+Quoted(selector)+`).form.requestSubmit()), 0`, nil))
}

// Text is what a part of the page says.
func (tab *Tab) Text(selector string) (text string) {
	tab.T.Helper()
	tab.Await(selector, `document.readyState === "complete" && document.querySelector(`+Quoted(selector)+`)`, 30*time.Second)
	tab.Eval(`document.querySelector(`+Quoted(selector)+`).innerText`, &text)
	return text
}

// Visit opens a page; it must be the one that was asked for.
func (tab *Tab) Visit(address string) {
	tab.T.Helper()
	tab.Set(Looks[0])
	if at := tab.Go(address); at != address {
		tab.T.Fatalf("%s leads to %s", address, at)
	}
}

// SignIn gives a token to the form of a site, and arrives where it leads.
func (tab *Tab) SignIn(base, token string) {
	tab.T.Helper()
	tab.Go(base + "/sign-in")
	tab.Fill("#token", token)
	tab.Submit("#token")
	tab.Await("being signed in", `document.readyState === "complete" && !document.getElementById("token")`, 20*time.Second)
}

// MustDownload clicks on a link to a JSON file and returns where the file is, which is the
// only one in its directory.
func (tab *Tab) MustDownload(selector string) (file string) {
	tab.T.Helper()
	dir := tab.T.TempDir()
	tab.Downloads(dir)
	tab.Click(selector)
	for until := time.Now().Add(30 * time.Second); time.Now().Before(until); time.Sleep(100 * time.Millisecond) {
		files, err := filepath.Glob(filepath.Join(dir, "*.json"))
		if err != nil {
			tab.T.Fatal(err)
		}
		if len(files) == 1 {
			return files[0]
		}
	}
	tab.T.Fatal("no file was downloaded")
	return ""
}
