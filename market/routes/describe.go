package routes

import (
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"regexp"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"robotorq.org/reserve/api"
)

const tag = "marketplace"

var placeholder = regexp.MustCompile(`\{([a-zA-Z]+)\}`)

// Describe adds the routes to an OpenAPI document.
func (s *Routes) Describe(o *huma.OpenAPI) {
	o.Tags = append(o.Tags, &huma.Tag{Name: tag, Description: "Bitcoin-funded tasks for robots. Sats only; a ledger of its own."})
	if o.Components.SecuritySchemes == nil {
		o.Components.SecuritySchemes = map[string]*huma.SecurityScheme{}
	}
	o.Components.SecuritySchemes["marketToken"] = &huma.SecurityScheme{Type: "http", Scheme: "bearer", Description: "Token of role mesh, portal or admin"}
	o.Components.SecuritySchemes["robotSignature"] = &huma.SecurityScheme{Type: "apiKey", In: "header", Name: "Signature",
		Description: `HTTP Message Signature (RFC 9421), label sig1, alg="ed25519", keyid = agent id, over "@method" "@path" "content-digest" (SHA-256, RFC 9530), with created, expires (at most 300 s later) and a nonce that is used once`}
	// Names of their own, so that they meet no others in the document.
	registry := huma.NewMapRegistry("#/components/schemas/", func(t reflect.Type, hint string) string {
		return "Market" + huma.DefaultSchemaNamer(t, hint)
	})
	for _, route := range table {
		o.AddOperation(operation(registry, route))
	}
	sweep := registry.Map()["MarketSweepAnswer"].Properties // null when nobody was paid, which a reference cannot say
	sweep["sweep"] = &huma.Schema{AnyOf: []*huma.Schema{sweep["sweep"], {Type: "null"}}}
	maps.Copy(o.Components.Schemas.Map(), registry.Map())
}

// Document is an OpenAPI document of the marketplace alone.
func (s *Routes) Document(version string) ([]byte, error) {
	o := &huma.OpenAPI{
		OpenAPI: "3.1.0", Info: &huma.Info{Title: "RoboTorq robot work marketplace", Version: version, License: &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"}},
		Components: &huma.Components{Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)},
	}
	s.Describe(o)
	return json.Marshal(o)
}

func operation(registry huma.Registry, route route) *huma.Operation {
	security := map[string][]string{"marketToken": {}}
	if route.signed {
		security["robotSignature"] = []string{}
	}
	op := &huma.Operation{
		OperationID: operationID(route), Method: route.method, Path: route.path, Tags: []string{tag}, Summary: route.summary,
		Description: "Token of role " + names(route.roles) + ".", Security: []map[string][]string{security},
		Responses: map[string]*huma.Response{
			"200":     {Description: "Done", Content: map[string]*huma.MediaType{"application/json": {Schema: schemaOf(registry, route.out)}}},
			"default": {Description: "A problem (RFC 9457) with a stable code", Content: map[string]*huma.MediaType{api.ProblemType: {Schema: schemaOf(registry, api.Problem{})}}},
		},
	}
	for _, m := range placeholder.FindAllStringSubmatch(route.path, -1) {
		op.Parameters = append(op.Parameters, &huma.Param{Name: m[1], In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}})
	}
	for _, q := range route.query {
		op.Parameters = append(op.Parameters, &huma.Param{Name: q, In: "query", Schema: &huma.Schema{Type: huma.TypeString}})
	}
	if route.method == http.MethodPost {
		op.Parameters = append(op.Parameters, &huma.Param{Name: "Idempotency-Key", In: "header", Description: "On create, settle, resolve, sweep and withdraw: the same key answers the same, once",
			Schema: &huma.Schema{Type: huma.TypeString}})
		op.RequestBody = &huma.RequestBody{Required: route.path != "/robot/sweep", Content: map[string]*huma.MediaType{"application/json": {Schema: schemaOf(registry, route.in)}}}
	}
	return op
}

func schemaOf(registry huma.Registry, v any) *huma.Schema {
	t := reflect.TypeOf(v)
	if t.Name() == "" {
		return &huma.Schema{Type: huma.TypeObject}
	}
	return registry.Schema(t, true, t.Name())
}

func operationID(r route) string {
	path := placeholder.ReplaceAllString(strings.TrimPrefix(r.path, "/robot/"), "$1")
	return "market-" + strings.ToLower(r.method) + "-" + strings.ReplaceAll(path, "/", "-")
}
