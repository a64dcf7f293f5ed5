package web

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"robotorq.org/reserve/api"
)

// Roles of the marketplace alone. A token of the reserve with role mesh, portal or admin
// has them too; the marketplace's own tokens, which come from the environment, open nothing
// else.
const (
	roleMarketMesh   api.Role = "market.mesh"
	roleMarketPortal api.Role = "market.portal"
	roleMarketAdmin  api.Role = "market.admin"
)

// Holder is who a role token belongs to and what it opens.
type Holder struct {
	Name  string
	Roles []api.Role
}

// HolderOf is what a role token of the reserve opens.
func HolderOf(who api.Principal) Holder {
	h := Holder{Name: who.Name, Roles: []api.Role{who.Role}}
	switch who.Role {
	case api.RoleMesh:
		h.Roles = append(h.Roles, roleMarketMesh)
	case api.RolePortal:
		h.Roles = append(h.Roles, roleMarketPortal)
	case api.RoleAdmin:
		h.Roles = append(h.Roles, roleMarketAdmin)
	}
	return h
}

// MarketHolder is what a token opens that the marketplace alone knows.
func MarketHolder(role api.Role) Holder {
	h := Holder{Name: "the marketplace's " + string(role)}
	switch role {
	case api.RoleMesh:
		h.Roles = []api.Role{roleMarketMesh}
	case api.RolePortal:
		h.Roles = []api.Role{roleMarketPortal}
	case api.RoleAdmin:
		h.Roles = []api.Role{roleMarketAdmin}
	}
	return h
}

// Holders finds who holds the token with a SHA-256. The error of a token that is unknown,
// has expired or was revoked is a [*api.Error] of code [api.CodeTokenInvalid].
type Holders func(ctx context.Context, digest [sha256.Size]byte) (Holder, error)

// Bounds of sessions.
const (
	sessionLife   = 8 * time.Hour
	maxSessions   = 1024 // at once; the oldest makes room
	maxOfOneToken = 16   // of them, of one token
	maxForm       = 1 << 20
	maxToken      = 1024 // characters; longer than any
	secretBytes   = 32   // random bytes of a cookie and of a form token
)

// formField is the name of the hidden field that carries the form token.
const formField = "form"

// session is somebody who signed in with a role token.
type session struct {
	Name  string
	Roles []api.Role
	// Form is what each form that writes carries in its hidden field "form".
	Form string
	Ends time.Time

	token [sha256.Size]byte // SHA-256 of the token, which itself is not kept
}

// may tells whether a session has a role.
func (x session) may(role api.Role) bool { return slices.Contains(x.Roles, role) }

// Operator tells whether the operator's page is open to a session.
func (x session) Operator() bool { return x.may(api.RoleAdmin) }

// sessions is who is signed in. It is kept in memory: a restart of the node ends all.
type sessions struct {
	holders  Holders
	clock    api.Clock
	attempts *attempts

	mu sync.Mutex
	// open has sessions by the SHA-256 of their cookie, so that finding one takes the
	// same time whatever was guessed.
	open map[[sha256.Size]byte]session
}

func newSessions(holders Holders, clock api.Clock) *sessions {
	return &sessions{holders: holders, clock: clock, attempts: newAttempts(clock), open: map[[sha256.Size]byte]session{}}
}

// secret is a random text that nobody can guess.
func secret() string {
	var b [secretBytes]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// begin opens a session for the holder of a token and returns its cookie's value.
func (s *sessions) begin(who Holder, token [sha256.Size]byte) (cookie string, opened session) {
	now := s.clock.Now()
	opened = session{Name: who.Name, Roles: who.Roles, Form: secret(), Ends: now.Add(sessionLife), token: token}
	cookie = secret()
	s.mu.Lock()
	defer s.mu.Unlock()
	of := 0
	for id, x := range s.open {
		if !now.Before(x.Ends) {
			delete(s.open, id)
		} else if x.token == token {
			of++
		}
	}
	if of >= maxOfOneToken {
		s.dropOldest(func(x session) bool { return x.token == token })
	}
	if len(s.open) >= maxSessions {
		s.dropOldest(func(session) bool { return true })
	}
	s.open[sha256.Sum256([]byte(cookie))] = opened
	return cookie, opened
}

func (s *sessions) dropOldest(which func(session) bool) {
	var oldest [sha256.Size]byte
	var at time.Time
	for id, x := range s.open {
		if which(x) && (at.IsZero() || x.Ends.Before(at)) {
			oldest, at = id, x.Ends
		}
	}
	delete(s.open, oldest)
}

// of is the session of a cookie. The token is asked for each time: one that has expired
// or was revoked ends the session at once, and one whose roles changed changes it.
func (s *sessions) of(ctx context.Context, cookie string) (session, bool) {
	id := sha256.Sum256([]byte(cookie))
	s.mu.Lock()
	x, known := s.open[id]
	s.mu.Unlock()
	if !known {
		return session{}, false
	}
	who, err := s.holders(ctx, x.token)
	if s.clock.Now().Before(x.Ends) && err == nil {
		x.Name, x.Roles = who.Name, who.Roles
		return x, true
	}
	if err == nil || api.CodeOf(err) == api.CodeTokenInvalid {
		s.end(cookie)
	}
	return session{}, false
}

func (s *sessions) end(cookie string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, sha256.Sum256([]byte(cookie)))
}

// overTLS tells whether the browser came by TLS, to this node or to a proxy in front.
// Who writes the header without one keeps only himself from signing in.
func overTLS(r *http.Request) bool {
	return r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
}

// cookieName has the port in it, because browsers send cookies to all ports of a host:
// two nodes of one machine must not sign each other out. The prefix __Host- keeps other
// hosts of a domain from setting it.
func cookieName(r *http.Request) string {
	name := "robotorq"
	if _, port, err := net.SplitHostPort(r.Host); err == nil {
		name += "-" + port
	}
	if overTLS(r) {
		name = "__Host-" + name
	}
	return name
}

func setCookie(w http.ResponseWriter, r *http.Request, value string, age time.Duration) {
	c := &http.Cookie{Name: cookieName(r), Value: value, Path: "/", MaxAge: int(age / time.Second), HttpOnly: true, Secure: overTLS(r), SameSite: http.SameSiteStrictMode}
	if age == 0 {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// session is who is signed in, if anybody.
func (s *Site) session(r *http.Request) (session, bool) {
	cookie, err := r.Cookie(cookieName(r))
	if err != nil || s.sessions == nil {
		return session{}, false
	}
	return s.sessions.of(r.Context(), cookie.Value)
}

// authorised lets a POST of a page through: it returns the session of who is signed in,
// has the role and sent the session's form token. Otherwise it has answered. The form is
// parsed then, of at most [maxForm] bytes.
func (s *Site) authorised(w http.ResponseWriter, r *http.Request, role api.Role) (session, bool) {
	x, ok := s.session(r)
	if !ok {
		s.render(w, r, s.failed(r, api.Errorf(api.CodeTokenMissing, "You are not signed in, or no longer. Sign in and send the form again.")))
		return session{}, false
	}
	err := s.formOf(w, r, x)
	if err == nil && !x.may(role) {
		err = forbidden(x, role)
	}
	if err != nil {
		s.render(w, r, s.failed(r, err))
		return session{}, false
	}
	return x, true
}

func forbidden(x session, role api.Role) error {
	return api.Errorf(api.CodeForbidden, "This takes a token of role %s, and yours (%s) does not have it. Sign out, and in with another.", roleName(role), x.Name)
}

// roleName is a role as people know it.
func roleName(role api.Role) string { return strings.TrimPrefix(string(role), "market.") }

// formOf parses a form and compares its token.
func (s *Site) formOf(w http.ResponseWriter, r *http.Request, x session) error {
	if err := parseForm(w, r, maxForm); err != nil {
		return err
	}
	if subtle.ConstantTimeCompare([]byte(r.PostForm.Get(formField)), []byte(x.Form)) != 1 {
		return api.Errorf(api.CodeFormToken, "This form is not one of your present session: perhaps you signed in again since you opened it. Go back, load the page again and send it once more.")
	}
	return nil
}

func parseForm(w http.ResponseWriter, r *http.Request, most int64) error {
	if kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); strings.TrimSpace(kind) != "application/x-www-form-urlencoded" {
		return api.Errorf(api.CodeUnsupportedMedia, "A form is sent as application/x-www-form-urlencoded.")
	}
	r.Body = http.MaxBytesReader(w, r.Body, most)
	err := r.ParseForm()
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return api.Errorf(api.CodeTooLarge, "A form has at most %d bytes.", most)
	case err != nil:
		return api.Errorf(api.CodeMalformed, "The form cannot be read.")
	}
	return nil
}

// only serves a page to sessions with a role, and leads everybody else to the sign-in.
func (s *Site) only(role api.Role, page func(*http.Request, session) (view, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		x, ok := s.session(r)
		if !ok {
			w.Header().Set("Cache-Control", "no-store")
			http.Redirect(w, r, "/sign-in?next="+url.QueryEscape(r.URL.RequestURI()), http.StatusSeeOther)
			return
		}
		s.serve(func(r *http.Request) (view, error) {
			if !x.may(role) {
				return view{}, forbidden(x, role)
			}
			return page(r, x)
		})(w, r)
	}
}

func (s *Site) signRoutes() {
	s.mux.HandleFunc("GET /sign-in", s.serve(s.signInPage))
	s.mux.HandleFunc("POST /sign-in", s.signIn)
	s.mux.HandleFunc("POST /sign-out", s.signOut)
}

// signInData is the page of the form.
type signInData struct {
	Next    string
	Fault   string // beside the field
	Nowhere bool   // this node takes no tokens
}

func (s *Site) signInPage(r *http.Request) (view, error) {
	return s.signInView(r, signInData{Next: localPath(r.URL.Query().Get("next")), Nowhere: s.sessions == nil}, 0), nil
}

func (s *Site) signInView(_ *http.Request, d signInData, status int) view {
	return view{Template: "sign-in", Title: "Sign in", Section: "sign-in", Status: status, Data: d}
}

// signIn answers the form: 303 to where the holder wanted to go, or the form again.
func (s *Site) signIn(w http.ResponseWriter, r *http.Request) {
	const longest = 16 << 10
	if err := parseForm(w, r, longest); err != nil {
		s.render(w, r, s.failed(r, err))
		return
	}
	next := localPath(r.PostForm.Get("next"))
	refuse := func(status int, fault string) {
		s.render(w, r, s.signInView(r, signInData{Next: next, Fault: fault, Nowhere: s.sessions == nil}, status))
	}
	if s.sessions == nil {
		refuse(http.StatusServiceUnavailable, "This node accepts no tokens.")
		return
	}
	address := api.Network(r.RemoteAddr)
	if wait := s.sessions.attempts.take(address); wait > 0 {
		setRetryAfter(w, wait)
		refuse(http.StatusTooManyRequests, "Too many tokens from this address were wrong. Try again in "+durationText(wait.Milliseconds())+"; commands and programs with a token are not hindered.")
		return
	}
	token := strings.TrimSpace(r.PostForm.Get("token"))
	if token == "" || len(token) > maxToken {
		s.sessions.attempts.giveBack(address) // nothing was guessed
		refuse(http.StatusUnprocessableEntity, "Paste the token here. "+s.tokenWords().whence)
		return
	}
	digest := sha256.Sum256([]byte(token))
	who, err := s.sessions.holders(r.Context(), digest)
	switch {
	case err == nil:
	case api.CodeOf(err) == api.CodeTokenInvalid:
		refuse(http.StatusUnauthorized, "This token is not valid: it is unknown, has expired or was revoked. "+s.tokenWords().which)
		return
	default:
		s.render(w, r, s.failed(r, err))
		return
	}
	s.sessions.attempts.giveBack(address)
	if old, err := r.Cookie(cookieName(r)); err == nil {
		s.sessions.end(old.Value)
	}
	cookie, opened := s.sessions.begin(who, digest)
	setCookie(w, r, cookie, sessionLife)
	if next == "" {
		next = s.home(opened)
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, next, http.StatusSeeOther)
}

// home is where a session begins that wanted nothing in particular.
func (s *Site) home(x session) string {
	switch {
	case s.alone:
		return "/market"
	case x.may(api.RoleAdmin):
		return "/operator"
	case x.may(roleMarketPortal), x.may(roleMarketAdmin), x.may(roleMarketMesh):
		return "/market"
	}
	return "/"
}

// signOut ends a session. One that has ended before is no fault.
func (s *Site) signOut(w http.ResponseWriter, r *http.Request) {
	if x, ok := s.session(r); ok {
		if err := s.formOf(w, r, x); err != nil {
			s.render(w, r, s.failed(r, err))
			return
		}
		if cookie, err := r.Cookie(cookieName(r)); err == nil {
			s.sessions.end(cookie.Value)
		}
	}
	setCookie(w, r, "", 0)
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// localPath is an address of this site, or "": nobody is sent elsewhere.
func localPath(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(u.Path, "/") || strings.HasPrefix(u.Path, "//") || strings.ContainsAny(text, "\\\r\n\t") {
		return ""
	}
	return u.RequestURI()
}
