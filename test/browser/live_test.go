//go:build browser

package browser_test

import (
	"context"
	"fmt"
	"net"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/cdproto/performance"
	"github.com/chromedp/chromedp"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/apitest"
	"robotorq.org/reserve/node"
	"robotorq.org/reserve/test/chromium"
	"robotorq.org/reserve/test/running"
	"robotorq.org/reserve/web"
)

// The node is killed and comes back at the same address: the page says so both times,
// and goes on without being loaded again.
func TestTheLivePageGoesOnWhenTheNodeComesBack(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := fmt.Sprint(listener.Addr().(*net.TCPAddr).Port)
	listener.Close()
	data := filepath.Join(t.TempDir(), "demo")
	start := func() *running.Process {
		return running.MustServe(t, "up", "--demo", "--data", data, "--port", port)
	}
	p := start()
	tab := MustOpen(t)
	for _, meant := range []string{"ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_EMPTY_RESPONSE", "ERR_NETWORK", "ERR_FAILED", "503"} {
		tab.Allow(meant)
	}
	tab.Visit(p.URL + "/")
	tab.Eval("window.loadedOnce = true", nil)
	const told = `document.querySelectorAll("#ticker p").length`
	tab.Await("that the line is live and something comes", `document.querySelector("#line.on") && `+told+` > 0 && `+oreShown+` > 0`, 2*time.Minute)

	p.Kill()
	tab.Await("that the page waits for the node", `document.querySelector("#line.off")?.innerText.includes("waiting for the node")`, time.Minute)
	var ore, newest int64
	tab.Eval(oreShown, &ore)
	tab.Eval(`Date.parse(document.querySelector("#ticker p time").dateTime)`, &newest)

	if again := start(); again.URL != p.URL {
		t.Fatalf("it was at %s and is now at %s", p.URL, again.URL)
	}
	began := time.Now()
	tab.Await("that the line is live again", `window.loadedOnce && document.querySelector("#line.on")`, time.Minute)
	t.Logf("live again %s after the node said where it is", time.Since(began).Round(100*time.Millisecond))
	tab.Await("what comes after, in words and figures", fmt.Sprintf(`window.loadedOnce && Date.parse(document.querySelector("#ticker p time").dateTime) > %d && %s > %d`, newest, oreShown, ore), 2*time.Minute)
}

const oreShown = `parseInt(document.querySelector("#w-digger b").textContent.replaceAll(",", ""))`

func TestWhoWantsNoMotionSeesNone(t *testing.T) {
	t.Parallel()
	p := mustYoungDemo(t)
	tab := MustOpen(t)
	tab.Visit(p.URL + "/")
	tab.SetMotion(chromium.Looks[0], "no-preference")
	tab.Await("movement", `document.getAnimations().length > 0 && document.querySelector(".bit")`, time.Minute)
	tab.SetMotion(chromium.Looks[0], "reduce")
	time.Sleep(4 * time.Second) // what is on its way arrives
	var seen struct{ Lines, Moving int }
	tab.Eval(`new Promise(done => {
		let lines = 0, moving = 0;
		new MutationObserver(all => { for (const m of all) lines += m.addedNodes.length; }).observe(document.getElementById("ticker"), {childList: true});
		const look = setInterval(() => { moving = Math.max(moving, document.getAnimations().length + document.querySelectorAll(".bit").length); }, 30);
		setTimeout(() => { clearInterval(look); done({Lines: lines, Moving: moving}); }, 12000);
	})`, &seen)
	if seen.Moving != 0 || seen.Lines == 0 {
		t.Errorf("without motion %d things move while %d lines come", seen.Moving, seen.Lines)
	}
}

// busyPage counts on a page for a while: how long it was not to be spoken to, and how
// often it speaks to those who hear it.
const busyPage = `new Promise(done => {
	const for_ms = %d, step = 50, late = [], spoken = {};
	let nodes = 0, bits = 0, lines = 0, last = performance.now();
	const loud = [...document.querySelectorAll("[aria-live], [role=status], [role=alert], [role=log]")].filter(e => e.getAttribute("aria-live") !== "off");
	for (const e of loud) {
		spoken[e.id] = 0;
		new MutationObserver(() => { if (e.textContent) spoken[e.id]++; }).observe(e, {childList: true, subtree: true, characterData: true});
	}
	const look = setInterval(() => {
		const now = performance.now();
		late.push(now - last - step);
		last = now;
		nodes = Math.max(nodes, document.querySelectorAll("*").length);
		bits = Math.max(bits, document.querySelectorAll(".bit").length);
		lines = Math.max(lines, document.querySelectorAll("#ticker p").length);
	}, step);
	setTimeout(() => {
		clearInterval(look);
		late.sort((a, b) => a - b);
		done({Late: late[Math.floor(late.length * .95)], Worst: late.at(-1), Spoken: spoken, Words: document.getElementById("calm").textContent, Nodes: nodes, Bits: bits, Lines: lines});
	}, for_ms);
})`

// A hundred reports come every second, through the interface that the node uses: the
// page answers to the hand, does not grow, and tells those who hear it two sentences a
// minute.
func TestAHundredReportsASecondLeaveThePageUsable(t *testing.T) {
	t.Parallel()
	reserve := apitest.New(3, time.Now().UnixMilli())
	feed := api.NewFeed(node.Clock{})
	server, err := api.New(api.Options{Reader: reserve, Feed: feed, Clock: node.Clock{}})
	if err != nil {
		t.Fatal(err)
	}
	site, err := web.New(web.Options{Reader: reserve, Overview: server.Overview, OpenAPI: server.OpenAPI(), Clock: node.Clock{}})
	if err != nil {
		t.Fatal(err)
	}
	listening := httptest.NewServer(server.Handler(site))
	t.Cleanup(func() { server.Close(); listening.Close() })

	ctx, stop := context.WithCancel(t.Context())
	published := make(chan uint64, 1)
	go func() { published <- publishReports(ctx, feed, reserve.Fleet) }()
	tab := MustOpen(t)
	tab.Visit(listening.URL + "/")
	tab.SetMotion(chromium.Looks[0], "no-preference")
	tab.Await("what comes", `document.querySelectorAll("#ticker p").length > 5`, time.Minute)

	const watched = 64 * time.Second // two sentences
	var seen struct {
		Late, Worst        float64
		Spoken             map[string]int
		Words              string
		Nodes, Bits, Lines int
	}
	tab.Must(performance.Enable().WithTimeDomain(performance.EnableTimeDomainThreadTicks))
	began, before := time.Now(), tab.worked()
	tab.Eval(`window.watching = `+fmt.Sprintf(busyPage, watched.Milliseconds())+`; 0`, nil)
	var slowest time.Duration
	for time.Since(began) < watched {
		at := time.Now()
		tab.Click("#d-ore summary")
		slowest = max(slowest, time.Since(at))
		time.Sleep(2 * time.Second)
	}
	tab.Eval("window.watching", &seen)
	busy := (tab.worked() - before) / time.Since(began).Seconds()
	stop()
	n := <-published
	t.Logf("%d reports in %s: it computes for %.0f %% of the time, 95 of 100 turns at most %.0f ms late, the worst %.0f ms; a click at most %s; %d elements, %d pieces under way; %q",
		n, time.Since(began).Round(time.Second), 100*busy, seen.Late, seen.Worst, slowest.Round(time.Millisecond), seen.Nodes, seen.Bits, seen.Words)
	// How late turns are says more about the machine than about the page; how much it
	// computes does not.
	if busy > 0.3 || busy == 0 || seen.Late > 1000 {
		t.Errorf("the page computes for %.0f %% of the time, turns are %.0f ms late", 100*busy, seen.Late)
	}
	if seen.Nodes > 2500 || seen.Bits > 61 || seen.Lines > 60 {
		t.Errorf("the page grows: %+v", seen)
	}
	for id, times := range seen.Spoken {
		if times > 3 {
			t.Errorf("#%s speaks %d times in %s", id, times, watched)
		}
	}
	if seen.Spoken["calm"] == 0 || seen.Words == "" {
		t.Errorf("those who hear the page hear nothing: %v %q", seen.Spoken, seen.Words)
	}
}

// worked is for how many seconds of a processor the page's main thread has worked.
func (tab *Tab) worked() (seconds float64) {
	tab.T.Helper()
	tab.Must(chromedp.ActionFunc(func(ctx context.Context) error {
		metrics, err := performance.GetMetrics().Do(ctx)
		for _, m := range metrics {
			if m.Name == "TaskDuration" {
				seconds = m.Value
			}
		}
		return err
	}))
	return seconds
}

// publishReports hands a hundred reports a second to the feed, as stations do, and what
// comes of them.
func publishReports(ctx context.Context, feed *api.Feed, fleet []string) (n uint64) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return n
		case <-tick.C:
			n++
			feed.Publish(api.ReportEvent{Robot: fleet[n%uint64(len(fleet))], Contract: n%5 + 1, Seq: n, Ore: 40_000 + n%7000})
			if n%20 == 0 {
				feed.Publish(api.BatchEvent{Digger: "digger", Seq: n / 20, Reports: 20, Ore: 800_000})
				feed.Publish(api.PostingEvent{Seq: n / 20, Posting: "order", JT: 36_000, Orders: 4})
			}
			if n%50 == 0 {
				feed.Publish(api.PourEvent{Refinery: "refinery", Seq: n / 50, First: n, Ingots: 48})
			}
			if n%500 == 0 {
				feed.Publish(api.CertificateEvent{CertificateSummary: api.CertificateSummary{Serial: n / 500}})
			}
		}
	}
}
