//go:build browser

package browser_test

import (
	"context"
	"encoding/json"
	"fmt"
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
	tab.t.Helper()
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

// quoted is a text as JavaScript writes it.
func quoted(text string) string {
	q, _ := json.Marshal(text) // of a string: never fails
	return string(q)
}

// Click clicks in the middle of what a selector finds, so often, once it can be seen.
func (tab *Tab) Click(selector string, times ...int) {
	tab.t.Helper()
	find := `document.querySelector(` + quoted(selector) + `)`
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
	tab.t.Helper()
	tab.Click(selector, 2)
}

// Fill writes into a field instead of what is there.
func (tab *Tab) Fill(selector, text string) {
	tab.t.Helper()
	find := `document.querySelector(` + quoted(selector) + `)`
	tab.Await(selector, `document.readyState === "complete" && `+find+`?.checkVisibility()`, 30*time.Second)
	tab.Eval(`(e => { e.focus(); e.select(); return 0; })(`+find+`)`, nil)
	tab.Must(input.InsertText(text))
}

// Submit sends the form that a field or button is in.
func (tab *Tab) Submit(selector string) {
	tab.t.Helper()
	tab.Must(chromedp.Evaluate(`setTimeout(() => document.querySelector(`+quoted(selector)+`).form.requestSubmit()), 0`, nil))
}

// Text is what a part of the page says.
func (tab *Tab) Text(selector string) (text string) {
	tab.t.Helper()
	tab.Await(selector, `document.readyState === "complete" && document.querySelector(`+quoted(selector)+`)`, 30*time.Second)
	tab.Eval(`document.querySelector(`+quoted(selector)+`).innerText`, &text)
	return text
}
