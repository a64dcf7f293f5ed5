package api_test

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/apitest"
	"robotorq.org/reserve/api/conform"
	"robotorq.org/reserve/market/coordinator"
	"robotorq.org/reserve/market/routes"
	"robotorq.org/reserve/sim/queue"
	"robotorq.org/reserve/sim/watch"
)

// wholeServer has every operation that a node can have. It is described, never asked:
// what it lacks of the stations is nil.
func wholeServer(t *testing.T) *api.Server {
	t.Helper()
	type (
		bonds   interface{ api.Bonds }
		solvent interface{ api.Solvent }
		people  interface{ api.People }
		wallets struct {
			api.Wallets
			bonds
			solvent
			people
		}
		desk    struct{ api.Desk }
		reports struct{ api.Reports }
		node    struct{ api.Operations }
	)
	market, err := routes.New(routes.Options{Desk: &coordinator.Desk{}})
	if err != nil {
		t.Fatal(err)
	}
	fake := apitest.New(3, noon)
	server, err := api.New(api.Options{
		Reader: fake, Tokens: fake, Feed: api.NewFeed(fixedClock{}), Clock: fixedClock{}, Version: "1",
		Wallets: wallets{Wallets: fake}, Desk: desk{}, Reports: reports{}, Node: node{}, Market: market, Simulator: watch.New(queue.New(queue.Options{Clock: fixedClock{}})),
	})
	if err != nil {
		t.Fatal(err)
	}
	return server
}

func TestTheWholeDocumentIsValid(t *testing.T) {
	_, text := request(t, wholeServer(t).Handler(nil), "GET", "/api/openapi.json", "")
	document, err := conform.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(document.Operations) < 60 {
		t.Errorf("only %d operations", len(document.Operations))
	}
}

const (
	referencePage  = "../docs/api.md"
	updateVariable = "ROBOTORQ_UPDATE"
)

// The page docs/api.md is made from the handlers.
func TestTheReferenceIsAsTheHandlersAre(t *testing.T) {
	want := reference(wholeServer(t).OpenAPI())
	if os.Getenv(updateVariable) != "" {
		if err := os.WriteFile(referencePage, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(referencePage)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is stale: %s=1 go test -run TheReference ./api writes it", referencePage, updateVariable)
	}
}

func TestEveryOperationHasAnExample(t *testing.T) {
	for path, item := range wholeServer(t).OpenAPI().Paths {
		for method, op := range map[string]*huma.Operation{"GET": item.Get, "POST": item.Post} {
			if op == nil {
				continue
			}
			example := api.Example(op)
			if !strings.HasPrefix(example, "curl -s") || strings.ContainsAny(example, "{}") && !strings.Contains(example, "data") || strings.Contains(example, "@body.json") {
				t.Errorf("%s %s (%s): %s", method, path, op.OperationID, example)
			}
		}
	}
}

// reference is the page of an OpenAPI document.
func reference(o *huma.OpenAPI) []byte {
	var out bytes.Buffer
	p := func(format string, args ...any) { fmt.Fprintf(&out, format+"\n", args...) }
	p("# Interface for programs\n")
	p("This page is made from the handlers (`%s=1 go test -run TheReference ./api`); a running node", updateVariable)
	p("shows the same at `/interface`, and as an OpenAPI 3.1 document at `/api/openapi.json`.\n")
	p("%s\n", o.Info.Description)
	p("In the examples `$TOKEN` is a bearer token (`robotorq tokens new --help`), and a file such as")
	p("`order.json` holds what a key has signed: the commands make and send those (`robotorq wallet")
	p("--help`, `contract`, `policy`, `bond`, `robot`), so that nobody has to write them by hand.\n")
	for _, tag := range o.Tags {
		p("## %s\n\n%s.\n", strings.ToUpper(tag.Name[:1])+tag.Name[1:], strings.TrimSuffix(tag.Description, "."))
		for _, one := range operationsOf(o, tag.Name) {
			operationPage(p, o, one)
		}
	}
	return append(bytes.TrimSpace(out.Bytes()), '\n')
}

type described struct {
	method, path string
	*huma.Operation
}

func operationsOf(o *huma.OpenAPI, tag string) (all []described) {
	for path, item := range o.Paths {
		for method, op := range map[string]*huma.Operation{http.MethodGet: item.Get, http.MethodPost: item.Post} {
			if op != nil && slices.Contains(op.Tags, tag) {
				all = append(all, described{method, path, op})
			}
		}
	}
	slices.SortFunc(all, func(a, b described) int { return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.method, b.method)) })
	return all
}

func operationPage(p func(string, ...any), o *huma.OpenAPI, op described) {
	p("### %s %s\n", op.method, op.path)
	p("%s. %s\n", strings.TrimSuffix(op.Summary, "."), op.Description)
	if len(op.Security) > 0 {
		var ways []string
		for _, way := range op.Security {
			ways = append(ways, strings.Join(slices.Sorted(maps.Keys(way)), " and "))
		}
		p("Needs authority: %s.\n", strings.Join(ways, ", or "))
	}
	if len(op.Parameters) > 0 {
		p("| parameter | in | |\n|---|---|---|")
		for _, q := range op.Parameters {
			p("| `%s` | %s | %s |", q.Name, q.In, cell(q.Description))
		}
		p("")
	}
	if op.RequestBody != nil {
		p("Takes %s.\n", contents(op.RequestBody.Content))
	}
	if ok := cmp.Or(op.Responses["200"], op.Responses["201"], op.Responses["202"]); ok != nil {
		p("Answers with %s.\n", contents(ok.Content))
	}
	p("    %s\n", api.Example(op.Operation))
}

func cell(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, "\n", " "), "|", "\\|")
}

// contents names the media types with their schemas.
func contents(of map[string]*huma.MediaType) string {
	var all []string
	for _, media := range slices.Sorted(maps.Keys(of)) {
		name := ""
		if s := of[media].Schema; s != nil && s.Ref != "" {
			name = " (" + s.Ref[strings.LastIndex(s.Ref, "/")+1:] + ")"
		}
		all = append(all, "`"+media+"`"+name)
	}
	if len(all) == 0 {
		return "nothing"
	}
	return strings.Join(all, ", ")
}
