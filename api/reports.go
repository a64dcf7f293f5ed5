package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/fxamacker/cbor/v2"

	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// Reports is the desk at which robots hand in their reports over HTTP and ask
// how far their digger has them. It is the bus's side of the same digger:
// nothing is checked less.
type Reports interface {
	// Take hands reports of one robot, envelopes in CBOR in the order of its
	// chain, to the digger and waits until that has judged the last of them, but
	// no longer than wait. Refusals are part of the answer; an error says that
	// nothing was handed over ([CodeUnavailable]).
	Take(ctx context.Context, robot string, envelopes [][]byte, wait time.Duration) (ReportAnswer, error)
	// Mark tells how far the digger has a robot's chain, and the refusals since
	// cursor. With a cursor of an earlier answer it waits until there is
	// something new, but no longer than wait. A robot that is not enrolled is
	// [CodeNotFound].
	Mark(ctx context.Context, robot, cursor string, wait time.Duration) (ReportAnswer, error)
}

// ReportAnswer is what a digger says about a robot's reports.
type ReportAnswer struct {
	Robot    string          `json:"robot"`
	Digger   string          `json:"digger"`
	Mark     ReportMark      `json:"mark" doc:"The digger has the reports up to here on disk; nothing behind it is needed any more"`
	Want     uint64          `json:"want,omitempty" doc:"The reports after the mark up to this one are missing"`
	Refusals []ReportRefusal `json:"refusals" nullable:"false"`
	Cursor   string          `json:"cursor" doc:"For the next question"`
}

// ReportMark is a robot's last report that is sealed in a batch.
type ReportMark struct {
	Seq    uint64 `json:"seq" doc:"0: none"`
	Digest string `json:"digest" doc:"Of that report; 64 zeros before the first"`
}

// ReportRefusal is a report that was not taken (its seq stays free), or one that
// was and counts nothing (Void; the chain goes on).
type ReportRefusal struct {
	Seq    uint64 `json:"seq"`
	Digest string `json:"digest"`
	Code   Code   `json:"code" doc:"malformed, unknown_robot, wrong_digger, bad_signature or bad_link; for a void report the rule that it broke"`
	Detail string `json:"detail"`
	Void   bool   `json:"void"`
}

// ReportProblem is the problem document of a request whose report was refused.
type ReportProblem struct {
	Problem
	Answer ReportAnswer `json:"answer"`
}

// CodeTooManyRequests asks to send less; Retry-After says when.
const CodeTooManyRequests Code = "too_many_requests"

// Bounds of the desk.
const (
	MaxReportsBody = 900 << 10        // bytes of a request, as of a message on the bus
	MaxReports     = 64               // in a request
	MaxReportWait  = 30 * time.Second // that an answer may be awaited
	maxReportCalls = 4096             // of those who hand in reports, at once
)

// Media types of reports.
const (
	TypeCBOR    = "application/cbor"     // one envelope
	TypeCBORSeq = "application/cbor-seq" // several (RFC 8742)
	typeJSON    = "application/json"     // a DSSE envelope, or a list of them
)

type reportsInput struct {
	ContentType string `header:"Content-Type" required:"true" maxLength:"128"`
	Wait        int    `query:"wait" minimum:"0" maximum:"30" default:"0" doc:"Seconds to wait for the digger's judgement; 0 answers at once"`
	RawBody     []byte
	request     *http.Request
}

// Resolve implements huma.Resolver.
func (in *reportsInput) Resolve(ctx huma.Context) []error {
	in.request, _ = humago.Unwrap(ctx)
	return nil
}

type markInput struct {
	ID     string `path:"id" pattern:"^[a-z0-9][a-z0-9-]{0,62}$" doc:"Id of the robot"`
	Cursor string `query:"cursor" maxLength:"64" doc:"Cursor of the answer before; the next one then waits for something new"`
	Wait   int    `query:"wait" minimum:"0" maximum:"30" default:"0" doc:"Seconds to wait for it"`

	request *http.Request
}

// Resolve implements huma.Resolver.
func (in *markInput) Resolve(ctx huma.Context) []error {
	in.request, _ = humago.Unwrap(ctx)
	return nil
}

type reportsOutput struct {
	Status       int
	CacheControl string `header:"Cache-Control"`
	Body         ReportAnswer
}

// intake is the HTTP side of [Reports].
type intake struct {
	server *Server
	robots *rates        // of authentic reports
	calls  chan struct{} // one token for each call that hands in reports
	polls  *polls
}

// reports registers the desk.
func (s *Server) reports(api huma.API) {
	d := &intake{server: s, robots: newRates(s.options.Clock, robotRate, robotBurst, maxRobots), calls: make(chan struct{}, maxReportCalls), polls: newPolls()}
	huma.Register(api, huma.Operation{
		OperationID: "post-reports", Method: http.MethodPost, Path: "/api/v1/reports", Tags: []string{tagRobots},
		Summary: "Hand in signed reports of a robot",
		Description: fmt.Sprintf("The body is a report's envelope in CBOR (%s), several as a sequence (%s), or DSSE JSON, one or a list; at most %d of one robot, in the order of its chain. "+
			"200: all of them are sealed in a batch. 202: the digger has them and has not judged them yet; ask for the mark. "+
			"422: a report was refused; code names the reason and answer says where the chain stands. Sending a report again is safe.", TypeCBOR, TypeCBORSeq, MaxReports),
		MaxBodyBytes:  MaxReportsBody,
		DefaultStatus: http.StatusAccepted,
		Middlewares:   huma.Middlewares{s.door},
	}, d.post)
	// Written down after the registration: what is in the body is read here, strictly.
	envelope := &huma.Schema{Type: huma.TypeString, Format: "binary"}
	api.OpenAPI().Paths["/api/v1/reports"].Post.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		TypeCBOR: {Schema: envelope}, TypeCBORSeq: {Schema: envelope},
		typeJSON: {Schema: huma.SchemaFromType(api.OpenAPI().Components.Schemas, typeOf[Envelope]())},
	}}
	huma.Register(api, huma.Operation{
		OperationID: "get-mark", Method: http.MethodGet, Path: "/api/v1/robots/{id}/mark", Tags: []string{tagRobots},
		Summary:     "How far the digger has a robot's reports",
		Description: "An agent keeps what is behind the mark no longer. With cursor and wait the answer comes when there is something new, or when the same robot asks again from the same address.",
	}, d.mark)
}

func (d *intake) post(ctx context.Context, in *reportsInput) (*reportsOutput, error) {
	address := Network(in.request.RemoteAddr)
	robot, seqs, envelopes, err := readReports(in.ContentType, in.RawBody)
	if err != nil {
		d.server.addresses.charge(address, len(in.RawBody)/unreadableCost)
		return nil, d.server.fail(ctx, err)
	}
	if after := d.robots.wait(robot); after > 0 {
		return nil, d.server.later(ctx, CodeTooManyRequests, after, "Too many reports come from this robot. Send them again in %d seconds; the spool keeps them.")
	}
	select {
	case d.calls <- struct{}{}:
	default:
		return nil, d.server.later(ctx, CodeUnavailable, 5*time.Second, "Too many robots wait for an answer. Ask again in %d seconds.")
	}
	defer func() { <-d.calls }()
	ctx, done := d.untilClosed(ctx)
	defer done()
	reports := d.server.options.Reports
	sealed := uint64(0)
	if before, err := reports.Mark(ctx, robot, "", 0); err == nil {
		sealed = before.Mark.Seq // else nothing is known of the robot, and the reports say why
	}
	answer, err := reports.Take(ctx, robot, envelopes, time.Duration(in.Wait)*time.Second)
	if err != nil {
		return nil, d.server.fail(ctx, err)
	}
	d.charge(address, robot, sealed, seqs, answer)
	for _, refusal := range answer.Refusals {
		if !refusal.Void {
			return nil, refused(answer, refusal)
		}
	}
	status := http.StatusAccepted
	if answer.Mark.Seq >= seqs[len(seqs)-1] {
		status = http.StatusOK
	}
	return &reportsOutput{Status: status, CacheControl: "no-store", Body: complete(answer)}, nil
}

// charge counts reports for whoever answers for them: authentic ones for the
// robot; those that are not, and those that were sealed before and that anybody
// may have a copy of, for the address, of which the door has taken one.
func (d *intake) charge(address, robot string, sealed uint64, seqs []uint64, answer ReportAnswer) {
	foreign := 0
	for _, seq := range seqs {
		if seq <= sealed {
			foreign++
		}
	}
	for _, r := range answer.Refusals {
		if !r.Void && r.Code != Code(proof.BadLink) && r.Seq > sealed {
			foreign++
		}
	}
	foreign = min(foreign, len(seqs))
	d.server.addresses.charge(address, foreign-1)
	d.robots.charge(robot, len(seqs)-foreign)
}

func (d *intake) mark(ctx context.Context, in *markInput) (*answer[ReportAnswer], error) {
	ctx, done := d.untilClosed(ctx)
	defer done()
	if in.Wait > 0 && in.Cursor != "" {
		waiting, cancel := context.WithCancel(ctx)
		defer cancel()
		leave, ok := d.polls.enter(pollOf{robot: in.ID, address: Network(in.request.RemoteAddr)}, cancel)
		if !ok {
			return nil, d.server.later(ctx, CodeUnavailable, 5*time.Second, "Too many robots wait for an answer. Ask again in %d seconds.")
		}
		defer leave()
		ctx = waiting
	}
	found, err := d.server.options.Reports.Mark(ctx, in.ID, in.Cursor, time.Duration(in.Wait)*time.Second)
	if err != nil {
		return nil, d.server.fail(ctx, err)
	}
	return &answer[ReportAnswer]{CacheControl: "no-store", Body: complete(found)}, nil
}

// untilClosed ends a call when the server closes.
func (d *intake) untilClosed(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-d.server.closed:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel()
		<-ended
	}
}

// later is a refusal with Retry-After.
func (s *Server) later(ctx context.Context, code Code, after time.Duration, format string) error {
	header := http.Header{}
	seconds := retryAfter(header, after)
	return huma.ErrorWithHeaders(s.fail(ctx, Errorf(code, format, seconds)), header)
}

// refused is the problem document of a request with a refused report.
func refused(answer ReportAnswer, r ReportRefusal) error {
	problem := problemOf(&Error{Code: r.Code, Detail: fmt.Sprintf("Report %d of %s was refused: %s", r.Seq, answer.Robot, r.Detail)})
	problem.Status, problem.Title = http.StatusUnprocessableEntity, http.StatusText(http.StatusUnprocessableEntity)
	return &ReportProblem{Problem: problem, Answer: complete(answer)}
}

func complete(a ReportAnswer) ReportAnswer {
	if a.Refusals == nil {
		a.Refusals = []ReportRefusal{}
	}
	return a
}

// readReports reads a body and tells whose reports they are. What is refused
// here could not be put into words by the digger: it is no report at all.
func readReports(contentType string, body []byte) (robot string, seqs []uint64, envelopes [][]byte, err error) {
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil || kind != TypeCBOR && kind != TypeCBORSeq && kind != typeJSON {
		return "", nil, nil, Errorf(CodeUnsupportedMedia, "Reports come as %s, %s or %s.", TypeCBOR, TypeCBORSeq, typeJSON)
	}
	var read []seal.Envelope
	switch kind {
	case typeJSON:
		read, err = jsonEnvelopes(body)
	case TypeCBOR:
		read, err = cborEnvelopes(body, 1)
	default:
		read, err = cborEnvelopes(body, MaxReports)
	}
	if err == nil && len(read) == 0 {
		err = errors.New("there is none")
	}
	if err != nil {
		return "", nil, nil, &Error{Code: CodeMalformed, Detail: fmt.Sprintf("The body is not an envelope of a report: %v.", err), Err: err}
	}
	for i, env := range read {
		signed, refusal := proof.Reopen(env)
		switch {
		case refusal != nil:
			return "", nil, nil, &Error{Code: CodeMalformed, Detail: fmt.Sprintf("Report %d of the request cannot be read: %v.", i+1, refusal), Err: refusal}
		case robot != "" && signed.Report.Robot != robot:
			return "", nil, nil, Errorf(CodeMalformed, "The reports of a request are of one robot; these are of %s and %s.", robot, signed.Report.Robot)
		}
		robot = signed.Report.Robot
		raw, err := env.EncodeCBOR()
		if err != nil {
			return "", nil, nil, &Error{Code: CodeMalformed, Detail: fmt.Sprintf("Report %d of the request cannot be read: %v.", i+1, err), Err: err}
		}
		seqs, envelopes = append(seqs, signed.Report.Seq), append(envelopes, raw)
	}
	return robot, seqs, envelopes, nil
}

func jsonEnvelopes(body []byte) (all []seal.Envelope, err error) {
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); len(trimmed) > 0 && trimmed[0] != '[' {
		all = make([]seal.Envelope, 1)
		return all, json.Unmarshal(body, &all[0])
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(body, &raw); err != nil {
		return nil, err
	}
	if len(raw) > MaxReports {
		return nil, fmt.Errorf("%d are more than %d", len(raw), MaxReports)
	}
	all = make([]seal.Envelope, len(raw))
	for i := range raw {
		if err := json.Unmarshal(raw[i], &all[i]); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func cborEnvelopes(body []byte, most int) (all []seal.Envelope, err error) {
	for len(body) > 0 {
		if len(all) == most {
			return nil, fmt.Errorf("there are more than %d", most)
		}
		var item cbor.RawMessage
		rest, err := cbor.UnmarshalFirst(body, &item)
		if err != nil {
			return nil, err
		}
		env, err := seal.DecodeEnvelope(item)
		if err != nil {
			return nil, err
		}
		all, body = append(all, env), rest
	}
	return all, nil
}
