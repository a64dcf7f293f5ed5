package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

type admissionInput struct {
	Authorization  string `header:"Authorization" maxLength:"1024" doc:"Bearer token of role registrar"`
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"128" doc:"Accepted; repeating an admission with the same id and keys returns the first enrolment anyhow"`
	Body           Admission
}

func (s *Server) enrolments(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "post-enrolment", Method: http.MethodPost, Path: "/api/v1/enrolments", Tags: []string{tagWallet},
		Summary:      "Enrol by an enrolment that a registrar has signed",
		Description:  "The body is a DSSE envelope of type " + EnrolmentType + ", signed by a registrar key of the charter. Repeating it is safe.",
		MaxBodyBytes: maxEnvelope,
		Middlewares:  huma.Middlewares{s.door},
	}, func(ctx context.Context, in *envelopeInput) (*answer[Enrolled], error) {
		if in.Body.PayloadType != EnrolmentType {
			return nil, s.fail(ctx, Errorf(CodeMalformed, "An enrolment has payload type %s, not %q.", EnrolmentType, in.Body.PayloadType))
		}
		done, err := s.write(ctx)
		if err != nil {
			return nil, err
		}
		defer done()
		return s.enrolled(ctx)(s.options.Wallets.Enrol(ctx, in.RawBody))
	})
	huma.Register(api, huma.Operation{
		OperationID: "post-admission", Method: http.MethodPost, Path: "/api/v1/admissions", Tags: []string{tagWallet},
		Summary:      "Enrol with the registrar key of this node",
		Description:  "For registrars who hold a token: the node signs and logs the enrolment.",
		Security:     []map[string][]string{{schemeToken: {}}},
		MaxBodyBytes: maxEnvelope,
	}, func(ctx context.Context, in *admissionInput) (*answer[Enrolled], error) {
		if in.Authorization == "" {
			return nil, s.fail(ctx, Errorf(CodeTokenMissing, "Enrolling takes a token of role registrar."))
		}
		who, err := s.principal(ctx, in.Authorization, RoleRegistrar)
		if err != nil {
			return nil, s.fail(ctx, err)
		}
		if (in.Body.Member == "") == (in.Body.Org == "") {
			return nil, s.fail(ctx, Errorf(CodeMalformed, "Name either a member or an org."))
		}
		return s.enrolled(ctx)(s.options.Wallets.Admit(ctx, who.Name, in.Body))
	})
}

func (s *Server) enrolled(ctx context.Context) func(Enrolled, error) (*answer[Enrolled], error) {
	return func(e Enrolled, err error) (*answer[Enrolled], error) {
		if err != nil {
			return nil, s.fail(ctx, err)
		}
		return &answer[Enrolled]{CacheControl: "no-store", Body: e}, nil
	}
}
