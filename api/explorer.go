package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
)

type answer[T any] struct {
	CacheControl string `header:"Cache-Control"`
	Body         T
}

type nothing struct{}

type pageInput struct {
	Cursor string `query:"cursor" maxLength:"512" doc:"next of the page before"`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"Items on a page"`
}

func (p pageInput) page() Page { return Page(p) }

type serialInput struct {
	Serial uint64 `path:"serial" minimum:"1" doc:"Serial of the certificate"`
}

type contractInput struct {
	Number uint64 `path:"number" minimum:"1" doc:"Number of the contract"`
}

type robotInput struct {
	ID string `path:"id" pattern:"^[a-z0-9][a-z0-9-]{0,62}$" doc:"Id of the robot"`
}

type ingotInput struct {
	Refinery string `path:"refinery" pattern:"^[a-z0-9][a-z0-9-]{0,62}$"`
	Seq      uint64 `path:"seq" minimum:"1"`
}

// Huma fills exported fields only, and no fields of an embedded type that is
// not exported: what inputs have in common is written out in each.

type ingotsInput struct {
	Serial uint64 `path:"serial" minimum:"1" doc:"Serial of the certificate"`
	Cursor string `query:"cursor" maxLength:"512" doc:"next of the page before"`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"Items on a page"`
}

type oreInput struct {
	Serial uint64 `path:"serial" minimum:"1" doc:"Serial of the certificate"`
	Index  uint64 `path:"index" doc:"Unit of ore in the certificate, from 0"`
}

// explorer registers what is public and read-only.
func (s *Server) explorer(api huma.API) {
	r := s.options.Reader
	get(s, api, "overview", "/overview", tagLive, "The whole way at this moment",
		func(ctx context.Context, _ *nothing) (Overview, error) { return s.Overview(ctx) })
	get(s, api, "list-certificates", "/certificates", tagExplorer, "Certificates, newest first",
		func(ctx context.Context, in *pageInput) (List[CertificateSummary], error) {
			return r.Certificates(ctx, in.page())
		})
	get(s, api, "get-certificate", "/certificates/{serial}", tagExplorer, "A certificate and its place in the log",
		func(ctx context.Context, in *serialInput) (Certificate, error) {
			return r.Certificate(ctx, in.Serial)
		})
	get(s, api, "list-certificate-ingots", "/certificates/{serial}/ingots", tagExplorer, "The ingots of a certificate in the order of its tree",
		func(ctx context.Context, in *ingotsInput) (List[IngotSummary], error) {
			return r.Ingots(ctx, in.Serial, Page{Cursor: in.Cursor, Limit: in.Limit})
		})
	get(s, api, "get-ingot", "/ingots/{refinery}/{seq}", tagExplorer, "An ingot and the spans that it is made of",
		func(ctx context.Context, in *ingotInput) (Ingot, error) {
			return r.Ingot(ctx, in.Refinery, in.Seq)
		})
	get(s, api, "get-ore", "/certificates/{serial}/ore/{index}", tagExplorer, "One unit of ore, its way to the certificate, and its offline proof",
		func(ctx context.Context, in *oreInput) (Ore, error) {
			return r.Ore(ctx, in.Serial, in.Index)
		})
	get(s, api, "list-contracts", "/contracts", tagExplorer, "Contracts, newest first",
		func(ctx context.Context, in *pageInput) (List[Contract], error) {
			return r.Contracts(ctx, in.page())
		})
	get(s, api, "get-contract", "/contracts/{number}", tagExplorer, "A contract and how far it is",
		func(ctx context.Context, in *contractInput) (Contract, error) {
			return r.Contract(ctx, in.Number)
		})
	get(s, api, "list-robots", "/robots", tagExplorer, "Robots by id",
		func(ctx context.Context, in *pageInput) (List[Robot], error) {
			return r.Robots(ctx, in.page())
		})
	get(s, api, "get-robot", "/robots/{id}", tagExplorer, "A robot, its rating and what it did",
		func(ctx context.Context, in *robotInput) (Robot, error) { return r.Robot(ctx, in.ID) })
	get(s, api, "list-refusals", "/refusals", tagExplorer, "What was refused or void, with the rule, newest first",
		func(ctx context.Context, in *pageInput) (List[Refusal], error) {
			return r.Refusals(ctx, in.page())
		})
	get(s, api, "get-reserve", "/reserve", tagReserve, "Supply, where it lies, and the numbers of the ledger",
		func(ctx context.Context, _ *nothing) (Reserve, error) { return r.Reserve(ctx) })
	get(s, api, "list-dividends", "/dividends", tagReserve, "Dividends paid, newest first",
		func(ctx context.Context, in *pageInput) (List[Dividend], error) {
			return r.Dividends(ctx, in.page())
		})
	get(s, api, "get-charter", "/charter", tagReserve, "Who may sign",
		func(ctx context.Context, _ *nothing) (Charter, error) { return r.Charter(ctx) })
	get(s, api, "get-policy", "/policy", tagReserve, "The numbers of the reserve",
		func(ctx context.Context, _ *nothing) (Policy, error) { return r.Policy(ctx) })
	s.records(api)
	s.files(api)
}

// files registers the documents that are made to be downloaded and verified.
func (s *Server) files(api huma.API) {
	r := s.options.Reader
	huma.Register(api, download("export-certificate", "/certificates/{serial}/export",
		"All that backs a certificate, as `robotorq verify` takes it"),
		func(ctx context.Context, in *serialInput) (*huma.StreamResponse, error) {
			document, err := r.Export(ctx, in.Serial)
			if err != nil {
				return nil, s.fail(ctx, err)
			}
			return s.stream(document, fmt.Sprintf("certificate-%d.json", in.Serial)), nil
		})
	huma.Register(api, download("download-ore-proof", "/certificates/{serial}/ore/{index}/proof",
		"The offline proof of one unit of ore, as `robotorq verify` takes it"),
		func(ctx context.Context, in *oreInput) (*huma.StreamResponse, error) {
			ore, err := r.Ore(ctx, in.Serial, in.Index)
			if err != nil {
				return nil, s.fail(ctx, err)
			}
			return s.stream(io.NopCloser(bytes.NewReader(ore.File)), fmt.Sprintf("ore-%d-%d.json", in.Serial, in.Index)), nil
		})
}

func download(id, path, summary string) huma.Operation {
	return huma.Operation{
		OperationID: id, Method: http.MethodGet, Path: "/api/v1" + path, Summary: summary, Tags: []string{tagExplorer},
		Responses: map[string]*huma.Response{"200": {
			Description: "The document, offered as a file",
			Content:     map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}}},
		}},
	}
}

// stream sends a document as a file. One that breaks off in the middle breaks
// the connection, so that nobody takes a part for the whole.
func (s *Server) stream(document io.ReadCloser, name string) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		defer document.Close()
		ctx.SetHeader("Content-Type", "application/json")
		ctx.SetHeader("Content-Disposition", `attachment; filename="`+name+`"`)
		ctx.SetHeader("Cache-Control", "no-cache")
		if _, err := io.Copy(ctx.BodyWriter(), document); err != nil {
			s.options.Log.WarnContext(ctx.Context(), "download broke off", "file", name, "error", err)
			panic(http.ErrAbortHandler)
		}
	}}
}

// get registers a handler of the explorer.
func get[I, T any](s *Server, api huma.API, id, path, tag, summary string, read func(context.Context, *I) (T, error)) {
	huma.Register(api, huma.Operation{
		OperationID: id, Method: http.MethodGet, Path: "/api/v1" + path, Summary: summary, Tags: []string{tag},
	}, func(ctx context.Context, in *I) (*answer[T], error) {
		body, err := read(ctx, in)
		if err != nil {
			return nil, s.fail(ctx, err)
		}
		fillSlices(reflect.ValueOf(&body).Elem())
		return &answer[T]{CacheControl: "no-cache", Body: body}, nil
	})
}

// fillSlices makes every slice that is nil an empty one, so that a list is
// never null in JSON. Bytes are left alone.
func fillSlices(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fillSlices(v.Field(i))
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return
		}
		if v.IsNil() {
			v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		}
		for i := range v.Len() {
			fillSlices(v.Index(i))
		}
	}
}
