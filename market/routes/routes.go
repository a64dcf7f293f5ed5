package routes

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/coordinator"
	"robotorq.org/reserve/market/signature"
)

// Tokens are the bearer tokens of the environment. An empty one opens nothing.
type Tokens struct{ Mesh, Portal, Admin string }

// Options is what the routes are handed. Desk is required.
type Options struct {
	Desk   *coordinator.Desk
	Tokens Tokens
	Store  api.Tokens // tokens beside those of the environment; nil: none
	Log    *slog.Logger
}

// Routes answers everything under /robot.
type Routes struct {
	o      Options
	mux    *http.ServeMux
	hashes map[[32]byte]api.Role
	limit  *limiter
	keys   *keyring
}

// New builds the interface.
func New(o Options) (*Routes, error) {
	if o.Desk == nil {
		return nil, errors.New("routes: a desk is required")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Routes{o: o, mux: http.NewServeMux(), hashes: map[[32]byte]api.Role{}, limit: newLimiter(), keys: newKeyring()}
	for _, t := range []struct {
		name, token string
		role        api.Role
	}{{"ROBOT_MESH_TOKEN", o.Tokens.Mesh, api.RoleMesh}, {"ROBOT_PORTAL_TOKEN", o.Tokens.Portal, api.RolePortal}, {"ROBOT_ADMIN_TOKEN", o.Tokens.Admin, api.RoleAdmin}} {
		if t.token == "" {
			continue
		}
		hash := sha256.Sum256([]byte(t.token))
		if role, twice := s.hashes[hash]; twice {
			return nil, fmt.Errorf("routes: %s is the same as the token of role %s: give each role its own", t.name, role)
		}
		s.hashes[hash] = t.role
	}
	for _, route := range table {
		s.mux.HandleFunc(route.method+" "+route.path, s.handler(route))
	}
	s.mux.HandleFunc("/robot/", s.unknown)
	return s, nil
}

// ServeHTTP implements http.Handler.
func (s *Routes) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

func (s *Routes) unknown(w http.ResponseWriter, r *http.Request) {
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		probe := r.Clone(r.Context())
		probe.Method = method
		if _, pattern := s.mux.Handler(probe); strings.HasPrefix(pattern, method+" ") {
			w.Header().Set("Allow", method)
			s.fail(w, r, api.Errorf(api.CodeMethodNotAllowed, "%s takes %s.", r.URL.Path, method))
			return
		}
	}
	s.fail(w, r, api.Errorf(api.CodeNotFound, "There is nothing at %s.", r.URL.Path))
}

// call is a request on its way through.
type call struct {
	http *http.Request
	desk *coordinator.Desk
	role api.Role
	body []byte
	once coordinator.Once
	sign coordinator.Signed
}

// handler answers one route: who, what, is it signed, do it.
func (s *Routes) handler(route route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		answer, err := s.answer(w, r, route)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		body, err := json.Marshal(answer)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write(append(body, '\n')) // the client went away: nobody to tell
	}
}

func (s *Routes) answer(w http.ResponseWriter, r *http.Request, route route) (any, error) {
	role, err := s.authorize(r, route.roles)
	if err != nil {
		return nil, err
	}
	if err := checkNames(r); err != nil {
		return nil, err
	}
	c := &call{http: r, desk: s.o.Desk, role: role}
	if route.method == http.MethodPost {
		most := int64(maxBody)
		if route.most > 0 {
			most = route.most
		}
		if c.body, err = readBody(w, r, most); err != nil {
			return nil, err
		}
		key := r.Header.Get("Idempotency-Key")
		if len(key) > 128 || strings.ContainsFunc(key, func(c rune) bool { return c < ' ' || c > '~' }) {
			return nil, api.Errorf(api.CodeMalformed, "An Idempotency-Key has at most 128 characters of ASCII.")
		}
		c.once = coordinator.Once{Route: string(role) + " " + r.URL.Path, Key: key, Digest: sha256.Sum256(c.body)}
	}
	if route.signed {
		if err := s.signed(c); err != nil {
			return nil, err
		}
	}
	return route.do(c)
}

// checkNames refuses what cannot be the name of anything before the books are asked for it.
func checkNames(r *http.Request) error {
	for _, path := range []struct {
		name string
		code market.Code
	}{{"taskId", market.CodeTaskNotFound}, {"agentId", market.CodeAgentNotFound}, {"id", market.CodeAccountNotFound}} {
		if value := r.PathValue(path.name); value != "" && !market.ValidID(value) {
			return market.Refuse(path.code, "There is no %.128q.", value)
		}
	}
	for _, name := range []string{"clientAccountId", "agentId", "status"} {
		if value := r.URL.Query().Get(name); value != "" && !market.ValidID(value) {
			return api.Errorf(api.CodeMalformed, "%s cannot be %.128q.", name, value)
		}
	}
	return nil
}

// authorize finds the role of a request's token among those that may.
func (s *Routes) authorize(r *http.Request, roles []api.Role) (api.Role, error) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return "", api.Errorf(api.CodeTokenMissing, "Say who you are: Authorization: Bearer TOKEN, of role %s.", names(roles))
	}
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > 1024 {
		return "", api.Errorf(api.CodeTokenInvalid, "The Authorization header must be `Bearer TOKEN`.")
	}
	role, err := s.roleOf(r.Context(), token)
	if err != nil {
		return "", err
	}
	for _, may := range roles {
		if role == may {
			return role, nil
		}
	}
	return "", api.Errorf(api.CodeForbidden, "A token of role %s may not do that; it takes %s.", role, names(roles))
}

// OwnRole is the role of one of the marketplace's own tokens, by its SHA-256: those of
// the environment, not those of the store.
func (s *Routes) OwnRole(hash [sha256.Size]byte) (role api.Role, known bool) {
	for own, of := range s.hashes {
		if subtle.ConstantTimeCompare(own[:], hash[:]) == 1 {
			role, known = of, true
		}
	}
	return role, known
}

func (s *Routes) roleOf(ctx context.Context, token string) (api.Role, error) {
	if role, known := s.OwnRole(sha256.Sum256([]byte(token))); known {
		return role, nil
	}
	if s.o.Store == nil {
		return "", api.Errorf(api.CodeTokenInvalid, "This token is not valid here.")
	}
	who, err := s.o.Store.Check(ctx, token)
	return who.Role, err
}

func names(roles []api.Role) string {
	out := make([]string, len(roles))
	for i, r := range roles {
		out[i] = string(r)
	}
	return strings.Join(out, " or ")
}

// signed checks a robot's signature: with the key of its registration, or with the key in the
// body when it registers for the first time. A robot that is not registered goes on without a
// key, to be refused in the order of the other checks.
func (s *Routes) signed(c *call) error {
	var body struct {
		AgentID   string `json:"agentId"`
		PublicKey []byte `json:"publicKey"`
	}
	claim, err := signature.Parse(c.http, c.body, c.desk.Now()/1000)
	if err != nil {
		return err
	}
	if err := checkJSON(c.body); err != nil {
		return err
	}
	if err := json.Unmarshal(c.body, &body); err != nil {
		return decode(c.body, new(market.Registration))
	}
	if body.AgentID != claim.KeyID {
		return market.Refuse(market.CodeNotYourAgent, "The request is signed by %.128q and about agent %.128q.", claim.KeyID, body.AgentID)
	}
	c.sign = coordinator.Signed{AgentID: claim.KeyID, Nonce: claim.Nonce, ExpiresMs: (claim.Expires + 1) * 1000}
	key, known, err := s.keys.of(c.http.Context(), c.desk, claim.KeyID)
	if err != nil {
		return err
	}
	registers := strings.HasSuffix(c.http.URL.Path, "/register")
	switch {
	case !known && !registers:
		c.sign = coordinator.Signed{}
		return nil
	case !known:
		key = body.PublicKey
	case registers && string(key) != string(body.PublicKey):
		return market.Refuse(market.CodeNotYourAgent, "Agent %s belongs to another key.", claim.KeyID)
	}
	if err := claim.Verify(key); err != nil {
		return err
	}
	return s.limit.take(claim.KeyID, c.desk.Now())
}
