package routes_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"robotorq.org/reserve/market/routes"
)

// FuzzRequests: whatever comes is answered, and never by an error of ours.
func FuzzRequests(f *testing.F) {
	f.Add("/robot/tasks", "", `{"clientAccountId":"alice","title":"t","description":"","taskKind":"compute","resourceRequirements":[],"amountSats":1000}`)
	f.Add("/robot/tasks/x/settle", "", `{"clientAccountId":"alice"}`)
	f.Add("/robot/accounts/alice/withdraw", "", `{"bolt11":"lnsimulated1n1"}`)
	f.Add("/robot/accounts/alice/withdraw", "", `{"address":"bcrt1","amountSats":1}`)
	f.Add("/robot/tasks", "MSB4", `[]`)
	f.Add("/robot/agents/register", "", `{"agentId":null}`)
	r := newRig(f, place(f))
	s, err := routes.New(routes.Options{Desk: r.desk, Tokens: routes.Tokens{Mesh: meshToken, Portal: portalToken, Admin: adminToken}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path, cursor, body string) {
		for _, method := range []string{http.MethodPost, http.MethodGet} {
			for _, token := range []string{meshToken, portalToken, adminToken} {
				q, err := http.NewRequest(method, "http://market.example", strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				q.URL.Path, q.URL.RawQuery = "/"+strings.TrimPrefix(path, "/"), "cursor="+cursor
				q.Header.Set("Authorization", "Bearer "+token)
				q.Header.Set("Content-Type", "application/json")
				w := httptest.NewRecorder()
				s.ServeHTTP(w, q)
				if w.Code == http.StatusInternalServerError {
					t.Fatalf("%s %q with %q: %s", method, path, body, w.Body)
				}
			}
		}
	})
}
