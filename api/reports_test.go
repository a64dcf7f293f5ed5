package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/apitest"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
)

// judge stands for the digger: it takes the next report of a chain and refuses
// all others. That the real one is asked is tested with a node.
type judge struct {
	mu    sync.Mutex
	mark  uint64
	taken int
	hang  chan struct{}
}

func (j *judge) Take(_ context.Context, robot string, envelopes [][]byte, _ time.Duration) (api.ReportAnswer, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	answer := api.ReportAnswer{Robot: robot, Digger: "digger-1"}
	for _, raw := range envelopes {
		env, err := seal.DecodeEnvelope(raw)
		if err != nil {
			return answer, err
		}
		report, err := proof.DecodeReport(env.Payload)
		if err != nil {
			return answer, err
		}
		if report.Seq != j.mark+1 {
			answer.Refusals = append(answer.Refusals, api.ReportRefusal{Seq: report.Seq, Digest: env.Digest().String(), Code: "bad_link", Detail: "not the next"})
			continue
		}
		j.mark, j.taken = report.Seq, j.taken+1
	}
	answer.Mark = api.ReportMark{Seq: j.mark, Digest: merkle.Hash{}.String()}
	return answer, nil
}

func (j *judge) Mark(ctx context.Context, robot, cursor string, wait time.Duration) (api.ReportAnswer, error) {
	if robot != "robot-a" {
		return api.ReportAnswer{}, api.NotFound("robot", robot)
	}
	if cursor != "" && wait > 0 {
		if j.hang != nil {
			close(j.hang)
		}
		<-ctx.Done()
	}
	return api.ReportAnswer{Robot: robot, Mark: api.ReportMark{Seq: j.mark}, Cursor: "c-1"}, nil
}

// deskOf is a server with a desk, and reports for it.
func deskOf(t *testing.T, clock api.Clock) (*judge, *api.Server, []seal.Envelope) {
	t.Helper()
	r := prooftest.New(t, prooftest.Tiny())
	robot := r.Enrol("robot-a", 1000, 10)
	c := r.Contract(1600, robot)
	var reports []seal.Envelope
	for range 3 {
		reports = append(reports, robot.Report(c.ID, robot.Readings(10)))
	}
	j := &judge{}
	server, err := api.New(api.Options{Reader: apitest.New(1, noon), Feed: api.NewFeed(fixedClock{}), Clock: clock, Reports: j})
	if err != nil {
		t.Fatal(err)
	}
	return j, server, reports
}

func inCBOR(t *testing.T, envelopes ...seal.Envelope) string {
	t.Helper()
	var all bytes.Buffer
	for _, env := range envelopes {
		raw, err := env.EncodeCBOR()
		if err != nil {
			t.Fatal(err)
		}
		all.Write(raw)
	}
	return all.String()
}

func inJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestReportsComeInEveryFormOneOrSeveral(t *testing.T) {
	for name, form := range map[string]func(t *testing.T, all []seal.Envelope) (contentType string, bodies []string){
		"CBOR": func(t *testing.T, all []seal.Envelope) (string, []string) {
			return api.TypeCBOR, []string{inCBOR(t, all[0]), inCBOR(t, all[1]), inCBOR(t, all[2])}
		},
		"a sequence": func(t *testing.T, all []seal.Envelope) (string, []string) {
			return api.TypeCBORSeq, []string{inCBOR(t, all...)}
		},
		"DSSE JSON": func(t *testing.T, all []seal.Envelope) (string, []string) {
			return "application/json", []string{inJSON(t, all[0]), inJSON(t, all[1]), inJSON(t, all[2])}
		},
		"a list": func(t *testing.T, all []seal.Envelope) (string, []string) {
			return "application/json; charset=utf-8", []string{inJSON(t, all)}
		},
	} {
		j, server, reports := deskOf(t, fixedClock{})
		h := server.Handler(nil)
		contentType, bodies := form(t, reports)
		for _, body := range bodies {
			answer, text := request(t, h, "POST", "/api/v1/reports", body, "Content-Type", contentType)
			var said api.ReportAnswer
			if answer.StatusCode != http.StatusOK || json.Unmarshal([]byte(text), &said) != nil || said.Robot != "robot-a" || said.Refusals == nil {
				t.Fatalf("%s: %s %s", name, answer.Status, text)
			}
		}
		if j.taken != 3 {
			t.Errorf("%s: %d reports were handed on", name, j.taken)
		}
	}
}

func TestARefusedReportIsAProblemThatNamesTheReasonAndTheMark(t *testing.T) {
	_, server, reports := deskOf(t, fixedClock{})
	answer, text := request(t, server.Handler(nil), "POST", "/api/v1/reports", inCBOR(t, reports[2]), "Content-Type", api.TypeCBOR)
	var problem api.ReportProblem
	if err := json.Unmarshal([]byte(text), &problem); err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != 422 || answer.Header.Get("Content-Type") != api.ProblemType || problem.Code != "bad_link" || problem.Status != 422 ||
		len(problem.Answer.Refusals) != 1 || problem.Answer.Refusals[0].Digest != reports[2].Digest().String() || problem.Answer.Mark.Digest == "" {
		t.Errorf("%s %s", answer.Status, text)
	}
}

func TestWhatIsNoReportIsRefusedAtTheDoor(t *testing.T) {
	j, server, reports := deskOf(t, fixedClock{})
	h := server.Handler(nil)
	other := prooftest.New(t, prooftest.Tiny())
	stranger := other.Enrol("robot-b", 1000, 10)
	foreign := stranger.Report(other.Contract(1600, stranger).ID, stranger.Readings(10))
	many := make([]seal.Envelope, api.MaxReports+1)
	for i := range many {
		many[i] = reports[0]
	}
	batch := seal.Envelope{PayloadType: proof.TypeBatch, Payload: reports[0].Payload, Signatures: reports[0].Signatures}
	for name, c := range map[string]struct {
		contentType, body string
		status            int
		code              api.Code
	}{
		"nothing":              {api.TypeCBOR, "", 400, api.CodeMalformed},
		"an empty list":        {"application/json", "[]", 400, api.CodeMalformed},
		"an empty sequence":    {api.TypeCBORSeq, "", 400, api.CodeMalformed},
		"noise":                {api.TypeCBOR, "\xff\xff\xff", 400, api.CodeMalformed},
		"two where one goes":   {api.TypeCBOR, inCBOR(t, reports[0], reports[1]), 400, api.CodeMalformed},
		"too many":             {api.TypeCBORSeq, inCBOR(t, many...), 400, api.CodeMalformed},
		"too many in a list":   {"application/json", inJSON(t, many), 400, api.CodeMalformed},
		"two robots":           {api.TypeCBORSeq, inCBOR(t, reports[0], foreign), 400, api.CodeMalformed},
		"another artefact":     {api.TypeCBOR, inCBOR(t, batch), 400, api.CodeMalformed},
		"JSON with more":       {"application/json", inJSON(t, reports[0]) + "x", 400, api.CodeMalformed},
		"an unknown member":    {"application/json", strings.Replace(inJSON(t, reports[0]), "{", `{"more":1,`, 1), 400, api.CodeMalformed},
		"a form":               {"application/x-www-form-urlencoded", "a=b", 415, api.CodeUnsupportedMedia},
		"no media type":        {";", "a=b", 415, api.CodeUnsupportedMedia},
		"more than a message":  {api.TypeCBOR, strings.Repeat("x", api.MaxReportsBody+1), 413, api.CodeTooLarge},
		"a CBOR of great size": {api.TypeCBOR, "\x9b\xff\xff\xff\xff\xff\xff\xff\xff", 400, api.CodeMalformed},
	} {
		answer, text := request(t, h, "POST", "/api/v1/reports", c.body, "Content-Type", c.contentType)
		var problem api.Problem
		if err := json.Unmarshal([]byte(text), &problem); err != nil || answer.StatusCode != c.status || problem.Code != c.code || answer.Header.Get("Content-Type") != api.ProblemType {
			t.Errorf("%s: %s %.300s", name, answer.Status, text)
		}
	}
	if j.taken != 0 {
		t.Errorf("%d reports came through", j.taken)
	}
	for path, want := range map[string]int{"?wait=31": 422, "?wait=-1": 422, "?hurry=1": 422} {
		if answer, text := request(t, h, "POST", "/api/v1/reports"+path, inCBOR(t, reports[0]), "Content-Type", api.TypeCBOR); answer.StatusCode != want {
			t.Errorf("%s: %s %s", path, answer.Status, text)
		}
	}
}

// movingClock moves when told to.
type movingClock struct {
	fixedClock
	mu    sync.Mutex
	ahead time.Duration
}

func (c *movingClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fixedClock.Now().Add(c.ahead)
}

func (c *movingClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

func TestAnAddressThatSendsTooMuchIsAskedToWait(t *testing.T) {
	clock := &movingClock{}
	_, server, reports := deskOf(t, clock)
	h := server.Handler(nil)
	body := inCBOR(t, reports...)
	send := func(from string) *http.Response {
		r := httptest.NewRequest("POST", "/api/v1/reports", strings.NewReader(body))
		r.Host, r.RemoteAddr = "127.0.0.1:8080", from
		r.Header.Set("Content-Type", api.TypeCBORSeq)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Result()
	}
	refused := 0
	for i := range 700 { // three reports each
		answer := send(fmt.Sprintf("192.0.2.7:%d", 1000+i))
		if answer.StatusCode == http.StatusTooManyRequests {
			if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err != nil || seconds < 1 {
				t.Fatalf("Retry-After %q", answer.Header.Get("Retry-After"))
			}
			refused++
		}
	}
	// The first three are the robot's own. The others it sent before: anybody may
	// have a copy. What one request brings too many of is owed.
	if refused != 700-668 {
		t.Errorf("%d of 700 requests were refused", refused)
	}
	if answer := send("192.0.2.8:1"); answer.StatusCode == http.StatusTooManyRequests {
		t.Error("another address waits too")
	}
	unread := &countingBody{}
	late := httptest.NewRequest("POST", "/api/v1/reports", unread)
	late.Host, late.RemoteAddr = "127.0.0.1:8080", "192.0.2.7:5"
	late.Header.Set("Content-Type", api.TypeCBORSeq)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, late)
	if w.Code != http.StatusTooManyRequests || unread.read != 0 {
		t.Errorf("%d; %d bytes of a body were read that cannot be taken", w.Code, unread.read)
	}
	clock.pass(time.Second)
	if answer := send("192.0.2.7:1"); answer.StatusCode == http.StatusTooManyRequests {
		t.Error("after a second it still waits")
	}
}

func TestAWaitingQuestionEndsWithTheServer(t *testing.T) {
	j, server, _ := deskOf(t, fixedClock{})
	j.hang = make(chan struct{})
	done := make(chan int)
	go func() {
		answer, _ := request(t, server.Handler(nil), "GET", "/api/v1/robots/robot-a/mark?cursor=c-1&wait=30", "")
		done <- answer.StatusCode
	}()
	<-j.hang
	server.Close()
	select {
	case status := <-done:
		if status != http.StatusOK {
			t.Errorf("it was answered %d", status)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it still waits")
	}
	if answer, text := request(t, server.Handler(nil), "GET", "/api/v1/robots/robot-b/mark", ""); answer.StatusCode != 404 {
		t.Errorf("%s %s", answer.Status, text)
	}
}

func TestTheDeskIsDescribed(t *testing.T) {
	_, server, _ := deskOf(t, fixedClock{})
	_, text := request(t, server.Handler(nil), "GET", "/api/openapi.json", "")
	var document struct {
		Paths map[string]map[string]struct {
			RequestBody struct {
				Content map[string]any `json:"content"`
			} `json:"requestBody"`
		} `json:"paths"`
	}
	if err := json.Unmarshal([]byte(text), &document); err != nil {
		t.Fatal(err)
	}
	if n := len(document.Paths["/api/v1/reports"]["post"].RequestBody.Content); n != 3 {
		t.Errorf("%d media types are described", n)
	}
	if _, ok := document.Paths["/api/v1/robots/{id}/mark"]["get"]; !ok {
		t.Error("the mark is not described")
	}
}

func FuzzReports(f *testing.F) {
	f.Add(api.TypeCBOR, []byte("\x83\x60\x40\x80"))
	f.Add(api.TypeCBORSeq, []byte("\x83\x60\x40\x80\x83\x60\x40\x80"))
	f.Add("application/json", []byte(`[{"payloadType":"","payload":"","signatures":[]}]`))
	server, err := api.New(api.Options{Reader: apitest.New(1, noon), Feed: api.NewFeed(fixedClock{}), Clock: fixedClock{}, Reports: &judge{}})
	if err != nil {
		f.Fatal(err)
	}
	h := server.Handler(nil)
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		if strings.ContainsAny(contentType, "\r\n\x00") {
			return
		}
		if answer, text := request(t, h, "POST", "/api/v1/reports", string(body), "Content-Type", contentType); answer.StatusCode >= 500 {
			t.Fatalf("%s %s", answer.Status, text)
		}
	})
}
