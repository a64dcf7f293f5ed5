package api_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/apitest"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// countingBody is a body without an end.
type countingBody struct{ read int }

func (b *countingBody) Read(p []byte) (int, error) {
	b.read += len(p)
	return len(p), nil
}

// send asks a handler from an address.
func send(h http.Handler, from, method, path, contentType, body string) *http.Response {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Host, r.RemoteAddr = "127.0.0.1:8080", from
	r.Header.Set("Content-Type", contentType)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

// knower stands for a digger that knows every robot: it refuses all reports with
// code, or takes them; who waits for a mark waits until that ends.
type knower struct {
	code    api.Code
	waiting atomic.Int64
}

func (k *knower) Take(_ context.Context, robot string, envelopes [][]byte, _ time.Duration) (api.ReportAnswer, error) {
	answer := api.ReportAnswer{Robot: robot, Mark: api.ReportMark{Digest: merkle.Hash{}.String()}}
	for range envelopes {
		if k.code != "" {
			answer.Refusals = append(answer.Refusals, api.ReportRefusal{Seq: 1, Code: k.code})
		}
	}
	return answer, nil
}

func (k *knower) Mark(ctx context.Context, robot, cursor string, wait time.Duration) (api.ReportAnswer, error) {
	if cursor != "" && wait > 0 {
		k.waiting.Add(1)
		<-ctx.Done()
		k.waiting.Add(-1)
	}
	return api.ReportAnswer{Robot: robot, Cursor: "c-1"}, nil
}

func knowing(t *testing.T, k *knower) (*api.Server, http.Handler) {
	t.Helper()
	server, err := api.New(api.Options{Reader: apitest.New(1, noon), Feed: api.NewFeed(fixedClock{}), Clock: fixedClock{}, Reports: k})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return server, server.Handler(nil)
}

// claimed is a report in a robot's name that nobody has signed.
func claimed(t *testing.T, robot string) string {
	t.Helper()
	r := proof.Report{Robot: robot, Contract: "test.robotorq.org/desk#1", Seq: 1, Readings: []proof.Reading{{Start: 1000, End: 2000, Energy: 1_000_000, Tokens: 10}}}
	return inCBOR(t, seal.Envelope{PayloadType: proof.TypeReport, Payload: r.Encode(), Signatures: []seal.Signature{{KeyID: strings.Repeat("0", 16), Sig: []byte{1}}}})
}

func TestAuthenticReportsCountForTheirRobotAndOthersForTheirAddress(t *testing.T) {
	_, honest := knowing(t, &knower{})
	robots := []string{claimed(t, "robot-a"), claimed(t, "robot-b"), claimed(t, "robot-c")}
	for name, body := range robots { // three times a robot's burst, from one address
		for i := range 1000 {
			if answer := send(honest, "192.0.2.7:1", "POST", "/api/v1/reports", api.TypeCBOR, body); answer.StatusCode != http.StatusAccepted {
				t.Fatalf("report %d of robot %d: %s", i, name, answer.Status)
			}
		}
	}
	if answer := send(honest, "192.0.2.7:1", "POST", "/api/v1/reports", api.TypeCBOR, robots[0]); answer.StatusCode != http.StatusTooManyRequests || answer.Header.Get("Retry-After") != "1" {
		t.Errorf("a robot that sends without end: %s", answer.Status)
	}
	if answer := send(honest, "192.0.2.7:1", "POST", "/api/v1/reports", api.TypeCBOR, claimed(t, "robot-d")); answer.StatusCode != http.StatusAccepted {
		t.Errorf("the robot beside it: %s", answer.Status)
	}

	_, strict := knowing(t, &knower{code: "bad_signature"})
	for i := range 2000 {
		from := fmt.Sprintf("[2001:db8:1:2:%x::1]:443", i) // all of one subscriber
		if answer := send(strict, from, "POST", "/api/v1/reports", api.TypeCBOR, robots[0]); answer.StatusCode != http.StatusUnprocessableEntity {
			t.Fatalf("forged report %d: %s", i, answer.Status)
		}
	}
	for from, status := range map[string]int{"[2001:db8:1:2::9]:1": http.StatusTooManyRequests, "[2001:db8:1:3::9]:1": http.StatusUnprocessableEntity} {
		if answer := send(strict, from, "POST", "/api/v1/reports", api.TypeCBOR, robots[0]); answer.StatusCode != status {
			t.Errorf("from %s: %s", from, answer.Status)
		}
	}
}

func TestWhoWaitsForMarksDoesNotShutOutReports(t *testing.T) {
	k := &knower{}
	server, h := knowing(t, k)
	var group sync.WaitGroup
	poll := func(address, robot int, done func(int)) {
		from, path := fmt.Sprintf("192.0.2.%d:1", address), fmt.Sprintf("/api/v1/robots/robot-%d/mark?cursor=c-1&wait=30", robot)
		group.Go(func() { done(send(h, from, "GET", path, "", "").StatusCode) })
	}
	ignore := func(int) {}
	const addresses, each = 8, 512
	for robot := range each {
		poll(0, robot, ignore)
	}
	eventually(t, func() bool { return k.waiting.Load() == each })
	if answer := send(h, "192.0.2.0:9", "GET", "/api/v1/robots/robot-9999/mark?cursor=c-1&wait=30", "", ""); answer.StatusCode != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") != "5" {
		t.Errorf("one more of the same address: %s", answer.Status)
	}
	// The same robot again takes the place of its former question.
	ended := make(chan int, 1)
	poll(1, 0, func(status int) { ended <- status })
	eventually(t, func() bool { return k.waiting.Load() == each+1 })
	poll(1, 0, ignore)
	select {
	case status := <-ended:
		if status != http.StatusOK {
			t.Errorf("the former question: %d", status)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the former question still waits")
	}
	for address := 1; address < addresses; address++ {
		for robot := range each {
			if address > 1 || robot > 0 {
				poll(address, robot, ignore)
			}
		}
	}
	eventually(t, func() bool { return k.waiting.Load() == addresses*each })
	if answer := send(h, "192.0.2.99:9", "GET", "/api/v1/robots/robot-1/mark?cursor=c-1&wait=30", "", ""); answer.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("one more than can wait: %s", answer.Status)
	}
	if answer := send(h, "192.0.2.99:9", "POST", "/api/v1/reports", api.TypeCBOR, claimed(t, "robot-1")); answer.StatusCode != http.StatusAccepted {
		t.Errorf("a report while as many wait as can: %s", answer.Status)
	}
	server.Close()
	group.Wait()
	if n := k.waiting.Load(); n != 0 {
		t.Errorf("%d still wait", n)
	}
}

func eventually(t *testing.T, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain")
		}
	}
}

// registrar is slow at enrolling.
type registrar struct {
	*apitest.Fake
	api.Desk
	api.Bonds
	now, most atomic.Int64
	free      chan struct{}
}

func (r *registrar) slowly() error {
	if n := r.now.Add(1); n > r.most.Load() {
		r.most.Store(n)
	}
	defer r.now.Add(-1)
	<-r.free
	return api.Errorf(api.CodeMalformed, "no")
}

func (r *registrar) Enrol(context.Context, []byte) (api.Enrolled, error) {
	return api.Enrolled{}, r.slowly()
}

func (r *registrar) Propose(context.Context, []byte) (api.Contract, error) {
	return api.Contract{}, r.slowly()
}

func (r *registrar) Announce(context.Context, []byte) (api.Policy, error) {
	return api.Policy{}, r.slowly()
}

func (r *registrar) Recall(context.Context, []byte) (api.Recalled, error) {
	return api.Recalled{}, r.slowly()
}

func (r *registrar) Instruct(context.Context, uint64, []byte) (api.Contract, error) {
	return api.Contract{}, r.slowly()
}

func (r *registrar) Redeem(context.Context, []byte) (api.Claimed, error) {
	return api.Claimed{}, r.slowly()
}

func (r *registrar) Reissue(context.Context, []byte) (api.Claimed, error) {
	return api.Claimed{}, r.slowly()
}

func TestSignedWritesAreVerifiedByAFewAtOnceAndBoundedByAddress(t *testing.T) {
	slow := &registrar{Fake: apitest.New(1, noon), free: make(chan struct{})}
	server, err := api.New(api.Options{Reader: slow.Fake, Wallets: slow, Desk: slow, Feed: api.NewFeed(fixedClock{}), Clock: fixedClock{}})
	if err != nil {
		t.Fatal(err)
	}
	h := server.Handler(nil)
	envelope := func(kind string) string {
		return `{"payloadType":"` + kind + `","payload":"AA==","signatures":[{"keyid":"","sig":"AA=="}]}`
	}
	bodies := map[string]string{
		"/enrolments": envelope(api.EnrolmentType), "/contracts": envelope(api.ProposalType), "/policies": envelope(api.PolicyType),
		"/recalls": envelope(api.RecallType), "/contracts/1/instructions": envelope(api.InstructionType),
		"/redemptions": `{"envelope":` + envelope("x") + `,"public":"AA=="}`, "/reissues": `{"envelope":` + envelope("x") + `,"public":"AA=="}`,
	}
	ask := func(from, path string) *http.Response {
		return send(h, from, "POST", "/api/v1"+path, "application/json", bodies[path])
	}
	var group sync.WaitGroup
	var line, turned atomic.Int64
	odd := make(chan string, 100*len(bodies))
	for path := range bodies {
		for range 100 {
			group.Go(func() {
				line.Add(1)
				switch answer := ask("192.0.2.1:1", path); answer.StatusCode {
				case http.StatusServiceUnavailable:
					turned.Add(1)
				case http.StatusBadRequest: // the station's word
				default:
					text, _ := io.ReadAll(answer.Body) // in memory
					odd <- fmt.Sprintf("%s: %s %s", path, answer.Status, text)
				}
			})
		}
	}
	const kept = 256
	eventually(t, func() bool {
		return len(odd) > 0 || line.Load() == int64(100*len(bodies)) && turned.Load() == line.Load()-kept
	})
	if len(odd) > 0 {
		t.Fatal(<-odd)
	}
	close(slow.free)
	group.Wait()
	if most := int(slow.most.Load()); most > runtime.GOMAXPROCS(0) {
		t.Errorf("%d were verified at once", most)
	}
	for i := 100 * len(bodies); i < 2000; i++ {
		if answer := ask("192.0.2.1:1", "/recalls"); answer.StatusCode != http.StatusBadRequest {
			t.Fatalf("write %d: %s", i, answer.Status)
		}
	}
	for path := range bodies {
		if answer := ask("192.0.2.1:1", path); answer.StatusCode != http.StatusTooManyRequests || answer.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %s", path, answer.Status)
		}
		if answer := ask("192.0.2.2:1", path); answer.StatusCode != http.StatusBadRequest {
			t.Errorf("%s from another address: %s", path, answer.Status)
		}
	}
}
