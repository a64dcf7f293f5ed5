//go:build browser

// Package chromium looks at pages as people do, for the tests: it leads Debian's Chromium
// by mouse and keys, hears what it complains about and what it asks for, and has axe-core
// say whether everybody can use what they see. No request may leave the machine, and no
// page may complain. Build tag browser, because it needs Chromium.
//
// It trusts Chromium and nothing that a page says. Nothing survives: profiles are removed
// with their tabs.
package chromium

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

// StrangerHost is a name that the browser takes for this machine, as after DNS
// rebinding. Every other name but localhost is not found.
const StrangerHost = "stranger.example"

// Browser is one Chromium for all tests of a package, each of which has a profile of its
// own in it. It starts with the first tab.
type Browser struct {
	once sync.Once
	ctx  context.Context
	err  error
	ends []context.CancelFunc
}

func (b *Browser) start() {
	path, err := exec.LookPath("chromium")
	if err != nil {
		b.err = fmt.Errorf("chromium, Debian's, is not on the path (test/all.sh installs it): %w", err)
		return
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.DisableGPU, chromedp.WSURLReadTimeout(time.Minute),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("no-proxy-server", true), chromedp.Flag("hide-scrollbars", true),
		chromedp.Flag("host-resolver-rules", "MAP "+StrangerHost+" 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium refuses its sandbox to root
	}
	allocator, end := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, close := chromedp.NewContext(allocator)
	b.ends = []context.CancelFunc{close, end}
	b.ctx, b.err = ctx, chromedp.Run(ctx)
}

// Close ends the browser, if it was started.
func (b *Browser) Close() {
	for _, end := range b.ends {
		end()
	}
}

// Tab is a page of the browser, with all that it asked for and complained about.
type Tab struct {
	T       *testing.T      // whose test fails; subtests may take the tab over
	Context context.Context // of chromedp
	profile cdp.BrowserContextID
	instead []string // pairs for pictures: what is there, what is shown
	mu      sync.Mutex
	faults  []string // complaints and requests that leave the machine
	asked   []string // methods and addresses of requests
	allowed []string // parts of complaints that are meant to come
}

// MustOpen opens an empty tab with cookies of its own. When the test ends, what the
// tab has complained about fails it. A missing Chromium fails the test too.
func (b *Browser) MustOpen(t *testing.T) *Tab {
	t.Helper()
	b.once.Do(b.start)
	if b.err != nil {
		t.Fatal(b.err)
	}
	// A profile of its own begins with a window: Chromium opens no tab without one.
	executor := cdp.WithExecutor(b.ctx, chromedp.FromContext(b.ctx).Browser)
	profile, err := target.CreateBrowserContext().Do(executor)
	if err != nil {
		t.Fatal(err)
	}
	id, err := target.CreateTarget("about:blank").WithBrowserContextID(profile).WithNewWindow(true).Do(executor)
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := chromedp.NewContext(b.ctx, chromedp.WithTargetID(id))
	t.Cleanup(func() {
		end()
		if err := target.DisposeBrowserContext(profile).Do(executor); err != nil {
			t.Errorf("the browser does not forget a profile: %v", err)
		}
	})
	ctx, stop := context.WithTimeout(ctx, 10*time.Minute)
	t.Cleanup(stop)
	tab := &Tab{T: t, Context: ctx, profile: profile}
	chromedp.ListenTarget(ctx, tab.hear)
	if err := chromedp.Run(ctx); err != nil { // without a limit of its own: the tab lives as long as this context
		t.Fatal(err)
	}
	// Several tabs are in use at once: each behaves as the one in front does.
	tab.Must(network.Enable(), cdplog.Enable(), runtime.Enable(), page.Enable(), emulation.SetFocusEmulationEnabled(true))
	t.Cleanup(func() {
		for _, fault := range tab.Faults() {
			t.Errorf("the browser complains: %s", fault)
		}
	})
	return tab
}

// Must does what it is told within a minute.
func (tab *Tab) Must(actions ...chromedp.Action) {
	tab.T.Helper()
	ctx, stop := context.WithTimeout(tab.Context, time.Minute)
	defer stop()
	if err := chromedp.Run(ctx, actions...); err != nil {
		tab.T.Fatalf("browser: %v", err)
	}
}

// Allow says that complaints with this in them are meant to come.
func (tab *Tab) Allow(part string) {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	tab.allowed = append(tab.allowed, part)
}

// Faults are the complaints so far; they are told once.
func (tab *Tab) Faults() []string {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	faults := slices.DeleteFunc(tab.faults, func(fault string) bool {
		return slices.ContainsFunc(tab.allowed, func(part string) bool { return strings.Contains(fault, part) })
	})
	tab.faults = nil
	return faults
}

// Asked is how often the tab has asked so, such as "POST http://…".
func (tab *Tab) Asked(method, address string) (times int) {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	for _, asked := range tab.asked {
		if asked == method+" "+address {
			times++
		}
	}
	return times
}

func (tab *Tab) hear(event any) {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	fault := func(format string, args ...any) { tab.faults = append(tab.faults, fmt.Sprintf(format, args...)) }
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		fault("exception: %s", e.ExceptionDetails.Error())
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.APITypeError || e.Type == runtime.APITypeWarning || e.Type == runtime.APITypeAssert {
			text, _ := json.Marshal(e.Args)
			fault("console %s: %s", e.Type, text)
		}
	case *cdplog.EventEntryAdded:
		if e.Entry.Level == cdplog.LevelError || e.Entry.Level == cdplog.LevelWarning {
			fault("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	case *network.EventRequestWillBeSent:
		tab.asked = append(tab.asked, e.Request.Method+" "+e.Request.URL)
		if !staysHere(e.Request.URL) {
			fault("a request leaves the machine: %s", e.Request.URL)
		}
	}
}

// staysHere tells whether an address is of this machine.
func staysHere(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	switch u.Scheme {
	case "data", "blob", "about", "file":
		return true
	}
	return u.Hostname() == "127.0.0.1" || u.Hostname() == "localhost" || u.Hostname() == StrangerHost
}

// Look is how a page is looked at.
type Look struct {
	Name   string
	Scheme string // prefers-color-scheme
	Width  int64  // CSS pixels
}

// Looks are those in which every page is looked at; the first one is the usual.
var Looks = []Look{{"light", "light", 1280}, {"dark", "dark", 1280}, {"phone", "light", 360}}

const lookHeight = 900

// Set makes the tab look so. Motion is reduced, so that pictures are the same.
func (tab *Tab) Set(l Look) {
	tab.T.Helper()
	tab.SetMotion(l, "reduce")
}

// SetMotion is Set with the motion that the reader prefers: "reduce" or "no-preference".
func (tab *Tab) SetMotion(l Look, motion string) {
	tab.T.Helper()
	tab.Must(
		emulation.SetDeviceMetricsOverride(l.Width, lookHeight, 1, l.Width < 500),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: l.Scheme}, {Name: "prefers-reduced-motion", Value: motion}}),
	)
}

// Eval runs an expression, awaits it and decodes its value.
func (tab *Tab) Eval(expression string, into any) {
	tab.T.Helper()
	tab.Must(chromedp.Evaluate(expression, into, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
}

// Await waits until an expression is true.
func (tab *Tab) Await(what, expression string, within time.Duration) {
	tab.T.Helper()
	for until := time.Now().Add(within); ; time.Sleep(100 * time.Millisecond) {
		var yes bool
		ctx, stop := context.WithTimeout(tab.Context, time.Minute)
		err := chromedp.Run(ctx, chromedp.Evaluate("!!("+expression+")", &yes))
		stop()
		if yes && err == nil { // a fault may be that the page before goes just now
			return
		}
		if time.Now().After(until) {
			var text string
			tab.Eval("document.body.innerText.slice(0, 1500)", &text)
			tab.T.Fatalf("not within %s: %s (%v)\n%s", within, what, err, text)
		}
	}
}

// Downloads has the tab put what it downloads into a directory.
func (tab *Tab) Downloads(dir string) {
	tab.T.Helper()
	tab.Must(browser.SetDownloadBehavior(browser.SetDownloadBehaviorBehaviorAllow).WithDownloadPath(dir).WithBrowserContextID(tab.profile))
}
