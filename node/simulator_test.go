package node_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"robotorq.org/reserve/node"
)

// A run of the simulator that works when the node ends does not keep it: Run returns only
// when everything that it started has, so that its return is what is tested.
func TestANodeEndsWhileARunOfItsSimulatorWorks(t *testing.T) {
	var page string
	var asked time.Time
	err := run(t, node.Config{}, func(base string) {
		client := &http.Client{Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		answer, err := client.PostForm(base+"/simulator/runs", url.Values{"preset": {"nation"}})
		if err != nil {
			t.Error(err)
			return
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusSeeOther {
			t.Errorf("starting: %s", answer.Status)
			return
		}
		for range 400 {
			if _, page = get(t, base+answer.Header.Get("Location")); strings.Contains(page, " left<") && strings.Contains(page, `class="sim-chart"`) {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		asked = time.Now()
	})
	if err != nil {
		t.Errorf("ended with %v", err)
	}
	if !strings.Contains(page, ">running") || !strings.Contains(page, "ticks a second") || !strings.Contains(page, " left<") {
		t.Errorf("the run was not seen at work:\n%s", page)
	}
	if took := time.Since(asked); took > 15*time.Second {
		t.Errorf("the node took %s to end", took)
	}
}

// Runs are started without a session only where nobody but this machine can listen in.
func TestOnlyALoopbackAddressOpensTheSimulatorToEverybody(t *testing.T) {
	for listen, want := range map[string]bool{
		"127.0.0.1:8080": true, "127.9.0.1:1": true, "[::1]:8080": true, "localhost:8080": true,
		":8080": false, "0.0.0.0:8080": false, "[::]:8080": false, "192.0.2.1:80": false, "reserve.example:80": false, "127.0.0.1": false, "": false,
	} {
		if got := node.Loopback(listen); got != want {
			t.Errorf("%q: %v", listen, got)
		}
	}
}
