package web

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"robotorq.org/reserve/api"
)

const (
	memberCookie  = "robotorq-wallet"
	memberFormMax = 1 << 20
	memberFileMax = 32 << 20 // of a bond's file that is checked
)

// door lets one browser in. The session has a path of its own, because cookies of a host
// go to all its ports: other servers of this machine do not know the path, so browsers do
// not show them the cookie.
type door struct {
	hosts []string // that the page answers to
	base  string   // "/" and a random word
	token string   // of forms
	idle  time.Duration
	clock api.Clock

	mu     sync.Mutex
	code   [sha256.Size]byte // of the link, hashed
	text   string            // of the link, until it is used
	cookie [sha256.Size]byte // zero before the code was exchanged
	seen   time.Time         // when somebody last asked for something
}

func newDoor(address string, idle time.Duration, clock api.Clock) *door {
	d := &door{base: "/" + memberSecret(12), token: memberSecret(32), text: memberSecret(32), idle: idle, clock: clock, seen: clock.Now()}
	d.code = sha256.Sum256([]byte(d.text))
	d.hosts = []string{address}
	if _, port, err := net.SplitHostPort(address); err == nil {
		d.hosts = append(d.hosts, net.JoinHostPort("localhost", port))
	}
	return d
}

// memberSecret is n random bytes as text that may stand in an address.
func memberSecret(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b)
}

// Link is the address that opens the page, once.
func (m *Member) Link() string {
	return "http://" + m.options.Address + "/open/" + m.door.text
}

// guard refuses what another name or another page sends: DNS rebinding shows in Host, a
// foreign form in Origin or Sec-Fetch-Site.
func (d *door) guard(r *http.Request) error {
	known := false
	for _, host := range d.hosts {
		known = known || strings.EqualFold(r.Host, host)
	}
	if !known {
		return &memberFault{Title: "Not known by that name", Text: "This page answers at " + d.hosts[0] + " alone.", Code: string(api.CodeHostRefused), Status: http.StatusForbidden}
	}
	foreign := &memberFault{Title: "From another page", Text: "This came from another page, and that may do nothing here. If you followed the link from somewhere, copy it into the address bar.", Code: string(api.CodeOriginRefused), Status: http.StatusForbidden}
	if origin := r.Header.Get("Origin"); origin != "" && !strings.EqualFold(origin, "http://"+r.Host) {
		return foreign
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
		return nil
	}
	return foreign
}

// enter exchanges the link's code for the cookie. The answer leads on, so that the code
// does not stay in the address bar.
func (m *Member) enter(w http.ResponseWriter, r *http.Request) {
	cookie, ok := "", false
	// What a browser fetches ahead is nobody opening the page.
	if r.Method == http.MethodGet && r.Header.Get("Sec-Purpose") == "" {
		cookie, ok = m.door.exchange(r.PathValue("code"))
	}
	if !ok {
		m.render(w, r, m.failed(r, &memberFault{
			Title: "This link opens nothing", Status: http.StatusForbidden, Code: "code_used",
			Text: "It opens the page once, and was used, or is of a page that has ended. If it was not you who used it, stop the command with Ctrl-C now. `robotorq wallet page` makes another.",
		}))
		return
	}
	http.SetCookie(w, &http.Cookie{Name: memberCookie, Value: cookie, Path: m.door.base, HttpOnly: true, SameSite: http.SameSiteStrictMode})
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(w, r, m.door.base+"/", http.StatusSeeOther)
}

func (d *door) exchange(code string) (cookie string, ok bool) {
	given := sha256.Sum256([]byte(code))
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cookie != [sha256.Size]byte{} || subtle.ConstantTimeCompare(given[:], d.code[:]) != 1 {
		return "", false
	}
	cookie = memberSecret(32)
	d.cookie, d.text, d.seen = sha256.Sum256([]byte(cookie)), "", d.clock.Now()
	return cookie, true
}

// admit tells whether the browser is the one that the code let in. What a page asks for by
// itself, to stay up to date, keeps nothing awake.
func (d *door) admit(r *http.Request) error {
	var given [sha256.Size]byte
	if c, err := r.Cookie(memberCookie); err == nil {
		given = sha256.Sum256([]byte(c.Value))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cookie == [sha256.Size]byte{} || subtle.ConstantTimeCompare(given[:], d.cookie[:]) != 1 {
		return &memberFault{Title: "Not your page", Text: "Open it with the link that `robotorq wallet page` printed; it works once, in one browser.", Code: "not_signed_in", Status: http.StatusForbidden}
	}
	if r.Header.Get("Sec-Fetch-Dest") != "empty" {
		d.seen = d.clock.Now()
	}
	return nil
}

// form checks the token that each form of the session carries.
func (d *door) form(r *http.Request) error {
	limit := int64(memberFormMax)
	multipart := strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/form-data")
	if multipart {
		limit = memberFileMax
	}
	r.Body = http.MaxBytesReader(nil, r.Body, limit)
	var err error
	if multipart {
		err = r.ParseMultipartForm(memberFileMax)
	} else {
		err = r.ParseForm()
	}
	if err != nil {
		return &memberFault{Title: "This cannot be read", Text: "The form is malformed, or longer than it may be.", Code: string(api.CodeMalformed), Status: http.StatusBadRequest}
	}
	if subtle.ConstantTimeCompare([]byte(r.PostFormValue("form")), []byte(d.token)) != 1 {
		return &memberFault{Title: "From another page", Text: "The form does not carry this page's token: it is of another session. Go back, load the page again and repeat it.", Code: "form_token", Status: http.StatusForbidden}
	}
	return nil
}

// Wait returns when ctx ends, or when nobody has asked for anything for the idle time.
func (m *Member) Wait(ctx context.Context) {
	for {
		left := m.door.left()
		if left <= 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-m.options.Clock.After(left):
		}
	}
}

func (d *door) left() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.seen.Add(d.idle).Sub(d.clock.Now())
}
