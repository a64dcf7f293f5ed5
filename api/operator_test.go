package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/apitest"
)

// machine stands for a node that is asked how it stands.
type machine struct {
	o   api.Operator
	err error
}

func (m machine) Operator(context.Context) (api.Operator, error) { return m.o, m.err }

func askOperator(t *testing.T, m machine, token string) (*http.Response, api.Problem, string) {
	t.Helper()
	reserve := apitest.New(1, noon)
	server, err := api.New(api.Options{Reader: reserve, Feed: api.NewFeed(fixedClock{}), Clock: fixedClock{}, Tokens: reserve, Node: m})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:8080/api/v1/operator", nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	server.Handler(nil).ServeHTTP(w, r)
	var problem api.Problem
	if err := json.Unmarshal(w.Body.Bytes(), &problem); err != nil {
		t.Fatal(err)
	}
	return w.Result(), problem, w.Body.String()
}

func TestTheOperatorsFiguresTakeATokenOfRoleAdmin(t *testing.T) {
	secret := machine{o: api.Operator{Data: "/var/lib/robotorq", Version: "0.1.0"}}
	for token, want := range map[string]struct {
		status int
		code   api.Code
	}{
		"": {401, api.CodeTokenMissing}, "guess": {401, api.CodeTokenInvalid}, "portal": {403, api.CodeForbidden}, "mesh": {403, api.CodeForbidden}, "registrar": {403, api.CodeForbidden},
	} {
		answer, problem, text := askOperator(t, secret, token)
		if answer.StatusCode != want.status || problem.Code != want.code || strings.Contains(text, "/var/lib") {
			t.Errorf("token %q: %s %s", token, answer.Status, text)
		}
	}
	answer, _, text := askOperator(t, secret, "admin")
	if answer.StatusCode != http.StatusOK || answer.Header.Get("Cache-Control") != "no-store" || !strings.Contains(text, `"data":"/var/lib/robotorq"`) {
		t.Errorf("%s %s", answer.Status, text)
	}
	if strings.Contains(text, ":null") {
		t.Errorf("a list is null: %s", text)
	}
	answer, problem, _ := askOperator(t, machine{err: api.Errorf(api.CodeUnavailable, "The reserve is starting.")}, "admin")
	if answer.StatusCode != http.StatusServiceUnavailable || problem.Code != api.CodeUnavailable {
		t.Errorf("while it starts: %s", answer.Status)
	}
}

func TestTheOperatorsFiguresAreDescribedWithTheirToken(t *testing.T) {
	reserve := apitest.New(1, noon)
	server, err := api.New(api.Options{Reader: reserve, Feed: api.NewFeed(fixedClock{}), Clock: fixedClock{}, Tokens: reserve, Node: machine{}})
	if err != nil {
		t.Fatal(err)
	}
	path := server.OpenAPI().Paths["/api/v1/operator"]
	if path == nil || path.Get == nil || len(path.Get.Security) != 1 || path.Get.Tags[0] != "operator" {
		t.Fatalf("%+v", path)
	}
}
