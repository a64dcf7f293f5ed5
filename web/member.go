package web

import (
	"bytes"
	"context"
	"embed"
	"encoding/hex"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/wallet"
	"robotorq.org/reserve/wallet/purse"
)

//go:embed templates/member/*.html
var memberTemplates embed.FS

// MemberOptions is what the member's own command hands in.
type MemberOptions struct {
	Purse      *purse.Purse
	Address    string // HOST:PORT at which the page listens; no other Host is answered
	Bonds      string // directory of bonds and their secrets
	Passphrase string // encrypts the secrets of new bonds and opens those of old ones; may be ""
	Clock      api.Clock
	Idle       time.Duration // the page ends when nobody has asked for anything for so long
	Log        *slog.Logger  // nil: nothing is logged
	Version    string
}

// Member serves the page of one wallet to its owner, from the owner's own process on the
// owner's own machine. The keys stay in that process: the browser gets balances, forms and
// what an order says, and sends back what was typed. It never sees a key, and of a bond's
// secret only the print that its holder asks for.
//
// Whoever has the link's code, once, gets in; everything else needs the cookie that the
// code was exchanged for, and each form the session's token. It implements http.Handler.
type Member struct {
	options MemberOptions
	purse   *purse.Purse
	pages   map[string]*template.Template
	mux     *http.ServeMux
	assets  string
	door    *door
	orders  *drawer
	bonds   *bondShelf
	streams chan struct{}
}

// maxMemberStreams is how many live pages there are at once. A browser has six connections
// to a host; the rest is for asking.
const maxMemberStreams = 4

// NewMember makes the page. It fails only on a fault of this package or a missing option.
func NewMember(o MemberOptions) (*Member, error) {
	if o.Purse == nil || o.Address == "" || o.Clock == nil || o.Idle <= 0 {
		return nil, errors.New("web: purse, address, clock and idle time are required")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	mux := http.NewServeMux()
	assets, err := mountAssets(mux)
	if err != nil {
		return nil, err
	}
	pages, err := parsePages(memberTemplates, "templates/member", template.FuncMap{"kind": kindText, "moved": movedHTML, "jt": number, "notice": noticeText})
	if err != nil {
		return nil, err
	}
	m := &Member{
		options: o, purse: o.Purse, mux: mux, assets: assets, pages: pages,
		door: newDoor(o.Address, o.Idle, o.Clock), orders: newDrawer(), bonds: newBondShelf(o), streams: make(chan struct{}, maxMemberStreams),
	}
	m.routes()
	return m, nil
}

// routes: everything but the way in and the assets lies below the session's own path.
func (m *Member) routes() {
	m.mux.HandleFunc("GET /open/{code}", m.enter)
	m.mux.HandleFunc("/", m.nowhere)
	for pattern, page := range map[string]memberPage{
		"GET /{$}":                  m.home,
		"GET /pay":                  m.payForm,
		"GET /savings":              m.savingsForm,
		"GET /orders/{id}":          m.orderPage,
		"GET /bonds":                m.bondsPage,
		"GET /bonds/take":           m.takePage,
		"GET /bonds/check":          m.bondCheckForm,
		"GET /bonds/{serial}":       m.bondPage,
		"GET /bonds/{serial}/print": m.printPage,
		"GET /statement":            m.statementPage,
		"GET /check":                m.checkForm,
		"GET /book":                 m.bookPage,
	} {
		m.mux.HandleFunc(m.below(pattern), m.inside(page))
	}
	for pattern, page := range map[string]memberPage{
		"POST /pay":                    m.pay,
		"POST /savings/save":           m.save,
		"POST /savings/leave":          m.leave,
		"POST /orders/{id}":            m.confirm,
		"POST /orders/{id}/again":      m.again,
		"POST /bonds":                  m.issue,
		"POST /bonds/take":             m.take,
		"POST /bonds/find":             m.find,
		"POST /bonds/check":            m.bondCheck,
		"POST /bonds/{serial}/redeem":  m.redeemOwn,
		"POST /bonds/{serial}/reissue": m.reissueOwn,
		"POST /check/solvency":         m.checkSolvency,
		"POST /check/receipts":         m.checkReceipts,
		"POST /book":                   m.remember,
		"POST /book/forget":            m.forget,
	} {
		m.mux.HandleFunc(m.below(pattern), m.inside(m.written(page)))
	}
	for pattern, file := range map[string]memberFile{
		"GET /orders/{id}/receipt":       m.receiptFile,
		"GET /bonds/{serial}/file":       m.bondFile,
		"GET /bonds/{serial}/print/{as}": m.printFile,
		"GET /statement/csv":             m.statementCSV,
		"GET /statement/json":            m.statementJSON,
		"GET /check/solvency.json":       m.solvencyFile,
	} {
		m.mux.HandleFunc(m.below(pattern), m.download(file))
	}
	m.mux.HandleFunc(m.below("GET /events"), m.follow)
}

// below puts a pattern under the session's path.
func (m *Member) below(pattern string) string {
	method, at, _ := strings.Cut(pattern, " ")
	return method + " " + m.door.base + at
}

// ServeHTTP implements http.Handler.
func (m *Member) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	guardPage(w.Header())
	if err := m.door.guard(r); err != nil {
		m.render(w, r, m.failed(r, err))
		return
	}
	m.mux.ServeHTTP(w, r)
}

// memberView is what a page's template gets.
type memberView struct {
	Template string
	Title    string
	Section  string // of the navigation
	Status   int    // 0 is 200
	Live     bool   // parts of the page are renewed when the balance changes
	Go       string // instead of a page: see this one, below the session's path
	Data     any

	Inside  bool // the session's own; else no way is shown
	Base    string
	Assets  string
	Account string
	Origin  string
	Watch   bool // nothing can be signed
	Form    string
	Version string
	Now     int64
}

type memberPage func(*http.Request) (memberView, error)

// memberFile answers with a file to keep.
type memberFile func(*http.Request) (attachment, error)

type attachment struct {
	name   string
	kind   string // media type
	inline bool   // shown in a page
	data   []byte
}

// inside serves a page to who has the cookie.
func (m *Member) inside(page memberPage) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := m.door.admit(r); err != nil {
			m.render(w, r, m.failed(r, err))
			return
		}
		v, err := page(r)
		if err != nil {
			v = m.failed(r, err)
		}
		v.Inside = true
		m.render(w, r, v)
	}
}

// written lets a form through that carries the session's token.
func (m *Member) written(page memberPage) memberPage {
	return func(r *http.Request) (memberView, error) {
		if err := m.door.form(r); err != nil {
			return memberView{}, err
		}
		return page(r)
	}
}

func (m *Member) download(file memberFile) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := m.door.admit(r)
		var a attachment
		if err == nil {
			a, err = file(r)
		}
		if err != nil {
			v := m.failed(r, err)
			v.Inside = m.door.admit(r) == nil
			m.render(w, r, v)
			return
		}
		h := w.Header()
		h.Set("Content-Type", a.kind)
		h.Set("Cache-Control", "no-store")
		if !a.inline {
			h.Set("Content-Disposition", `attachment; filename="`+a.name+`"`)
		}
		_, _ = w.Write(a.data) // the browser went away, and nobody is left to tell
	}
}

func (m *Member) render(w http.ResponseWriter, r *http.Request, v memberView) {
	if v.Go != "" {
		http.Redirect(w, r, m.door.base+v.Go, http.StatusSeeOther)
		return
	}
	v.Assets, v.Version, v.Now, v.Base = m.assets, m.options.Version, m.options.Clock.Now().UnixMilli(), m.door.base
	if v.Inside {
		v.Account, v.Origin, v.Watch, v.Form = m.purse.Account(), m.purse.Origin(), m.purse.WatchOnly(), m.door.token
	}
	var out bytes.Buffer
	if err := m.pages[v.Template].Execute(&out, v); err != nil {
		m.options.Log.ErrorContext(r.Context(), "page failed", "page", v.Template, "error", err)
		http.Error(w, "The page could not be drawn.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if v.Status != 0 {
		w.WriteHeader(v.Status)
	}
	if r.Method != http.MethodHead {
		_, _ = w.Write(out.Bytes()) // the browser went away, and nobody is left to tell
	}
}

// memberFault is what a page says of an error.
type memberFault struct {
	Title  string
	Text   string
	Code   string
	Retry  bool // asking again may help
	Status int
}

// Error implements error.
func (f *memberFault) Error() string { return f.Text }

// failed is the page of an error.
func (m *Member) failed(r *http.Request, err error) memberView {
	f := m.fault(r.Context(), err)
	return memberView{Template: "error", Title: f.Title, Status: f.Status, Data: f}
}

// fault says in words what went wrong and whose fault it is.
func (m *Member) fault(ctx context.Context, err error) *memberFault {
	var f *memberFault
	if errors.As(err, &f) {
		return f
	}
	var own *wallet.Error
	if errors.As(err, &own) {
		return &memberFault{Title: "This did not work", Text: own.Detail, Code: string(own.Code), Status: http.StatusUnprocessableEntity}
	}
	if code, detail, answered := nodeSaid(err); answered {
		f = &memberFault{Title: "The reserve said no", Text: detail, Code: string(code), Status: code.Status()}
		switch code {
		case api.CodeUnknownAccount, api.CodeBadSignature:
			f.Title, f.Retry = "Not enrolled with these keys", true
			f.Text = strings.TrimSuffix(detail, ".") + ". A registrar admits a wallet by its request: `robotorq wallet request` prints it, `robotorq members enrol` admits it."
		case api.CodeTokenMissing:
			f.Text = "This wallet only watches the account. To see it, start the page with --token, a token of role portal or admin."
		}
		return f
	}
	m.options.Log.WarnContext(ctx, "page failed", "error", err)
	return &memberFault{Title: "The reserve does not answer", Text: purse.Explain(err).Error() + ". Nothing was changed by this.", Retry: true, Status: http.StatusBadGateway}
}

func (m *Member) nowhere(w http.ResponseWriter, r *http.Request) {
	err := &memberFault{Title: "Not here", Text: "There is no such page. The wallet's own begins at the link that `robotorq wallet page` printed.", Status: http.StatusNotFound}
	v := m.failed(r, err)
	v.Inside = m.door.admit(r) == nil
	m.render(w, r, v)
}

// signing refuses what a wallet that only watches cannot do.
func (m *Member) signing() error {
	if !m.purse.WatchOnly() {
		return nil
	}
	return &memberFault{Title: "Only watched", Text: m.purse.Account() + " is only watched by this wallet: its keys are elsewhere, and nothing can be signed here.", Code: string(wallet.CodeWatchOnly), Status: http.StatusForbidden}
}

// drawer is the orders that were prepared here, the newest last; the oldest make room.
type drawer struct {
	mu     sync.Mutex
	byID   map[string]*prepared
	inTurn []string
}

const maxPrepared = 256

func newDrawer() *drawer { return &drawer{byID: map[string]*prepared{}} }

func (d *drawer) put(p *prepared) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	id := hex.EncodeToString(p.order.ID[:])
	if _, known := d.byID[id]; !known {
		d.inTurn = append(d.inTurn, id)
	}
	d.byID[id] = p
	if len(d.inTurn) > maxPrepared {
		delete(d.byID, d.inTurn[0])
		d.inTurn = d.inTurn[1:]
	}
	return id
}

func (d *drawer) get(id string) (*prepared, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p, ok := d.byID[id]
	return p, ok
}
