package conform_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"robotorq.org/reserve/api/conform"
)

const small = `{"openapi":"3.1.0","info":{"title":"x","version":"1"},"paths":{"/things/{id}":{"get":{"operationId":"get-thing",
	"parameters":[{"name":"id","in":"path","required":true,"schema":{"type":"integer","minimum":1}}],
	"responses":{"200":{"description":"It","content":{"application/json":{"schema":{"$ref":"#/components/schemas/Thing"}}}},
	"default":{"description":"No","content":{"application/problem+json":{"schema":{"type":"object"}}}}}}}},
	"components":{"schemas":{"Thing":{"type":"object","required":["id"],"properties":{"id":{"type":"integer"}}}}}}`

func TestADocumentThatIsNotValidIsRefused(t *testing.T) {
	if _, err := conform.Parse([]byte(small)); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"no title":                           {`"title":"x",`, ``},
		"another version of OpenAPI":         {`"3.1.0"`, `"3.0.3"`},
		"a schema that is none":              {`"type":"integer","minimum":1`, `"type":"whole"`},
		"a reference that leads nowhere":     {`schemas/Thing"`, `schemas/Thong"`},
		"a place without parameter":          {`/things/{id}`, `/things/{id}/{other}`},
		"a parameter without a place":        {`/things/{id}`, `/things`},
		"a field that OpenAPI does not have": {`"operationId"`, `"verb":"get","operationId"`},
		"no JSON":                            {`{"openapi"`, `{"openapi`},
	} {
		changed := strings.Replace(small, change[0], change[1], 1)
		if _, err := conform.Parse([]byte(changed)); changed == small || err == nil {
			t.Errorf("%s passes", name)
		}
	}
}

type answers func(*http.Request) (int, string, string)

// RoundTrip implements http.RoundTripper.
func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	status, media, body := a(r)
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: http.Header{"Content-Type": {media}}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func TestAnAnswerThatIsNotAsTheDocumentSaysIsAFault(t *testing.T) {
	document, err := conform.Parse([]byte(small))
	if err != nil {
		t.Fatal(err)
	}
	const problem = `{"type":"urn:x","title":"No","status":404,"code":"not_found"}`
	for _, c := range []struct {
		name   string
		status int
		media  string
		body   string
		good   bool
	}{
		{"as declared", 200, "application/json; charset=utf-8", `{"id":1}`, true},
		{"a problem", 404, "application/problem+json", problem, true},
		{"a failure of the node", 500, "application/problem+json", `{"type":"urn:x","title":"No","status":500,"code":"internal"}`, false},
		{"another body", 200, "application/json", `{"id":"1"}`, false},
		{"no body", 200, "application/json", ``, false},
		{"another media type", 200, "text/html", `{"id":1}`, false},
		{"another status", 201, "application/json", `{"id":1}`, false},
		{"a problem without code", 404, "application/problem+json", `{"type":"urn:x","title":"No","status":404}`, false},
		{"a problem of another status", 403, "application/problem+json", problem, false},
		{"an error that is no problem", 404, "application/json", `{}`, false},
	} {
		out := document.Run(t.Context(), conform.Fuzz{Base: "http://127.0.0.1", Each: 1, Send: answers(func(*http.Request) (int, string, string) { return c.status, c.media, c.body })})
		if (len(out.Faults) == 0) != c.good || out.Requests != 1 {
			t.Errorf("%s: %+v", c.name, out)
		}
	}
}

func TestTheSameSeedGivesTheSameRequests(t *testing.T) {
	document, err := conform.Parse([]byte(small))
	if err != nil {
		t.Fatal(err)
	}
	run := func(seed uint64) (all []string) {
		document.Run(t.Context(), conform.Fuzz{Base: "http://127.0.0.1", Seed: seed, Each: 30, Known: map[string][]string{"id": {"7"}}, Tokens: []string{"t"},
			Send: answers(func(r *http.Request) (int, string, string) {
				all = append(all, r.URL.String()+" "+r.Header.Get("Authorization"))
				return 200, "application/json", `{"id":1}`
			})})
		return all
	}
	first, second := strings.Join(run(1), "\n"), strings.Join(run(1), "\n")
	if first != second {
		t.Errorf("%s\nbut then\n%s", first, second)
	}
	for _, want := range []string{"/things/7", "/things/0", "Bearer t", "Bearer rtq_wrong"} {
		if !strings.Contains(first, want) {
			t.Errorf("30 requests have no %s:\n%s", want, first)
		}
	}
	if strings.Join(run(2), "\n") == first {
		t.Error("another seed gives the same")
	}
}
