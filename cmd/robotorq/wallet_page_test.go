package main

import (
	"context"
	"net/http"
	"net/http/cookiejar"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAWalletsPageIsServedUntilItsTimeIsUp(t *testing.T) {
	r, _ := dataOf(t)
	c := openCounter(t, r)
	file, _ := newWallet(t, "ada")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out, errs safeBuffer
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"wallet", "page", "--wallet", file, "--url", c.url, "--for", "4s", "--json"}, streams{In: strings.NewReader(""), Out: &out, Err: &errs})
	}()
	for !strings.Contains(out.String(), "}") {
		select {
		case n := <-code:
			t.Fatalf("it ended with %d: %s", n, errs.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
	page := read[openedPage](t, outcome{out: out.String()})
	if page.Account != "member:ada" || page.WatchOnly || !strings.HasPrefix(page.Link, "http://127.0.0.1:") {
		t.Errorf("%+v", page)
	}
	jar, err := cookiejar.New(nil)
	must(t, err)
	browser := &http.Client{Jar: jar}
	for _, want := range []bool{true, false} {
		answer, err := browser.Get(page.Link)
		must(t, err)
		answer.Body.Close()
		if opened := answer.StatusCode != http.StatusForbidden; opened != want {
			t.Errorf("the link: %s", answer.Status)
		}
	}
	if n := <-code; n != exitOK || ctx.Err() != nil {
		t.Errorf("it ended with %d: %s", n, errs.String())
	}
	if _, err := browser.Get(page.Link); err == nil {
		t.Error("the page is still there")
	}
	fails(t, exitUsage, "--idle", "wallet", "page", "--wallet", file, "--idle", "0s")
	fails(t, exitUsage, "HOST", "wallet", "page", "--wallet", file, "--url", "reserve")
	fails(t, exitUsage, "there is no wallet", "wallet", "page", "--wallet", filepath.Join(t.TempDir(), "none.json"))
	t.Setenv(passphraseVariable, "correct horse")
	closed, _ := newWallet(t, "bob")
	t.Setenv(passphraseVariable, "")
	fails(t, exitFailed, "set ROBOTORQ_PASSPHRASE", "wallet", "page", "--wallet", closed, "--url", c.url)
}
