package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/png"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/wallet"
	"robotorq.org/reserve/wallet/bondprint"
	"robotorq.org/reserve/wallet/purse"
)

// claimLife is how long a claim on a bond may take to arrive.
const claimLife = 5 * time.Minute

// askedBonds is how many bonds the reserve is asked about for one page.
const askedBonds = 20

// bondShelf is the directory of the member's bonds, with what is known of them for good.
type bondShelf struct {
	dir, passphrase string
	purse           *purse.Purse
	clock           api.Clock

	mu       sync.Mutex
	spent    map[uint64]string // redeemed: that never changes
	expected map[uint64]int    // serial → versions that the mint is at
}

func newBondShelf(o MemberOptions) *bondShelf {
	return &bondShelf{dir: o.Bonds, passphrase: o.Passphrase, purse: o.Purse, clock: o.Clock, spent: map[uint64]string{}, expected: map[uint64]int{}}
}

// heldBond is a bond of the directory as its page shows it.
type heldBond struct {
	purse.Held
	State string // live, redeemed, reissued, unknown
	Named string // its file's name
}

// expect notes a bond whose file the mint has not signed and logged yet.
func (s *bondShelf) expect(b purse.Issued) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expected[b.Serial] = b.Version
}

// fetch gets the files that are expected, as far as they are there.
func (s *bondShelf) fetch(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for serial, versions := range s.expected {
		if _, err := purse.FetchBond(ctx, s.purse.Client(), serial, versions, s.dir); !errors.Is(err, purse.ErrUnlogged) && err == nil {
			delete(s.expected, serial)
		}
	}
}

// list is the bonds of the directory, the newest first, and how many secrets there are
// that no bond's file belongs to.
func (s *bondShelf) list(ctx context.Context) (list []heldBond, lone int, err error) {
	list, secrets, err := s.all(ctx)
	return list, len(secrets), err
}

func (s *bondShelf) all(ctx context.Context) (list []heldBond, secrets []string, err error) {
	s.fetch(ctx)
	held, secrets, err := purse.HeldBonds(s.dir)
	if err != nil {
		return nil, nil, err
	}
	asked := 0
	for _, h := range held {
		b := heldBond{Held: h, State: s.knownState(h.Serial), Named: filepath.Base(h.File)}
		if b.State == "" {
			b.State = "unknown"
			if asked++; asked <= askedBonds {
				b.State = s.ask(ctx, h)
			}
		}
		list = append(list, b)
	}
	return list, secrets, nil
}

func (s *bondShelf) knownState(serial uint64) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.spent[serial]
}

// ask asks the reserve once; without an answer the state is unknown.
func (s *bondShelf) ask(ctx context.Context, h purse.Held) string {
	b, err := s.purse.Client().Bond(ctx, h.Serial)
	switch {
	case err != nil:
		return "unknown"
	case b.State == "redeemed":
		s.mu.Lock()
		s.spent[h.Serial] = b.State
		s.mu.Unlock()
		return b.State
	case b.KeyHash != h.KeyHash.String():
		return "reissued"
	}
	return b.State
}

// secret opens a bond's secret.
func (s *bondShelf) secret(h purse.Held) (wallet.Secret, error) {
	if h.Secret == "" {
		return wallet.Secret{}, &memberFault{Title: "No secret here", Text: "The bond's secret does not lie in " + s.dir + ". Whoever has it has the money.", Status: http.StatusNotFound}
	}
	kept, err := wallet.ReadSecret(h.Secret, s.passphrase)
	if wallet.HasCode(err, wallet.CodePassphrase) {
		return wallet.Secret{}, &memberFault{Title: "The secret is closed", Status: http.StatusForbidden, Code: string(wallet.CodePassphrase),
			Text: "The passphrase that this page was started with does not open " + shortPath(h.Secret) + ". Start the page with the one that does (--passphrase-file), or use `robotorq bond` in a terminal."}
	}
	return kept.Secret, err
}

func (m *Member) held(r *http.Request) (heldBond, error) {
	serial, err := strconv.ParseUint(r.PathValue("serial"), 10, 53)
	if err == nil {
		list, _, err := m.bonds.list(r.Context())
		if err != nil {
			return heldBond{}, err
		}
		if i := slices.IndexFunc(list, func(b heldBond) bool { return b.Serial == serial }); i >= 0 {
			return list[i], nil
		}
	}
	return heldBond{}, &memberFault{Title: "No such bond here", Text: "No file of bond " + r.PathValue("serial") + " lies in " + m.options.Bonds + ". What the reserve knows of it, its own page shows.", Status: http.StatusNotFound}
}

// bondsData is the page of the bonds.
type bondsData struct {
	Bonds   []heldBond
	Lone    []string // names of files
	Waiting bool     // the mint is at a bond's file
	Dir     string
	Fee     string // rate
	Cap     string // rate
	Balance torq.JT
	Typed   string
	Fault   string
	Sealed  bool // new secrets are encrypted
}

func (m *Member) bondsPage(r *http.Request) (memberView, error) { return m.bondsView(r, bondsData{}) }

func (m *Member) bondsView(r *http.Request, d bondsData) (memberView, error) {
	ctx := r.Context()
	b, err := m.purse.Client().Balance(ctx, m.purse.Account())
	if err != nil {
		return memberView{}, err
	}
	document, err := m.policy(ctx)
	if err != nil {
		return memberView{}, err
	}
	list, secrets, err := m.bonds.all(ctx)
	if err != nil {
		return memberView{}, err
	}
	d.Bonds, d.Dir, d.Balance, d.Sealed = list, m.options.Bonds, b.JT, m.options.Passphrase != ""
	for _, path := range secrets {
		d.Lone = append(d.Lone, filepath.Base(path))
	}
	m.bonds.mu.Lock()
	d.Waiting = len(m.bonds.expected) > 0
	m.bonds.mu.Unlock()
	d.Fee, d.Cap = document.BondFee.String(), document.BondCap.String()
	v := memberView{Template: "bonds", Title: "Bonds", Section: "bonds", Live: d.Fault == "", Data: d}
	if d.Fault != "" {
		v.Status, v.Title = http.StatusUnprocessableEntity, "Bonds: something is wrong"
	}
	return v, nil
}

// issue prepares an order that locks whole RT behind a fresh secret. The secret is written
// when the order is confirmed, before it is sent.
func (m *Member) issue(r *http.Request) (memberView, error) {
	if err := m.signing(); err != nil {
		return memberView{}, err
	}
	d := bondsData{Typed: r.PostFormValue("amount")}
	face, err := wallet.ParseFace(d.Typed)
	if err != nil {
		d.Fault = beside(err)
		return m.bondsView(r, d)
	}
	if _, fault, err := m.affordable(r.Context(), d.Typed); err != nil || fault != "" {
		d.Fault = fault
		if err != nil {
			return memberView{}, err
		}
		return m.bondsView(r, d)
	}
	secret, err := wallet.NewSecret()
	if err != nil {
		return memberView{}, err
	}
	op, err := wallet.Bond(face, secret.KeyHash())
	if err != nil {
		d.Fault = beside(err)
		return m.bondsView(r, d)
	}
	if _, err := m.purse.Meet(r.Context()); err != nil {
		return memberView{}, err
	}
	return m.prepare(r, &prepared{bond: &wallet.KeptSecret{Origin: m.purse.Origin(), Face: face, Secret: secret}}, op)
}

// bondData is a bond's page.
type bondData struct {
	heldBond
	Summary *wallet.BondSummary
	Fault   string // of its file
	Typed   string // an address to print
	Wrong   string // what is wrong with that
	Query   string // of the pictures and the files
	Sealed  bool
}

func (m *Member) bondPage(r *http.Request) (memberView, error) {
	b, err := m.held(r)
	if err != nil {
		return memberView{}, err
	}
	d := bondData{heldBond: b}
	f, err := m.readFile(b.File)
	if err != nil {
		return memberView{}, err
	}
	roots, err := m.purse.Roots()
	if err != nil {
		return memberView{}, err
	}
	if s, err := wallet.CheckBond(f, wallet.CheckOptions{Roots: roots}); err != nil {
		d.Fault = err.Error()
	} else {
		d.Summary = &s
	}
	return memberView{Template: "bond", Title: fmt.Sprintf("Bond %d", b.Serial), Section: "bonds", Live: true, Data: d}, nil
}

func (m *Member) readFile(path string) (*wallet.BondFile, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return wallet.DecodeBondFile(data)
}

func (m *Member) bondFile(r *http.Request) (attachment, error) {
	b, err := m.held(r)
	if err != nil {
		return attachment{}, err
	}
	data, err := os.ReadFile(b.File)
	return attachment{name: b.Named, kind: "application/json", data: data}, err
}

// print is a bond ready to be printed, with its public address.
func (m *Member) print(b heldBond, address string) (*bondprint.Print, string, error) {
	f, err := m.readFile(b.File)
	if err != nil {
		return nil, address, err
	}
	if address == "" {
		address = fmt.Sprintf("%s/bonds/%d", strings.TrimSuffix(m.purse.URL(), "/"), b.Serial)
	}
	p, err := bondprint.New(f.Bonds[len(f.Bonds)-1].Envelope, address)
	return p, address, err
}

func (m *Member) printPage(r *http.Request) (memberView, error) {
	b, err := m.held(r)
	if err != nil {
		return memberView{}, err
	}
	d := bondData{heldBond: b, Typed: r.URL.Query().Get("address"), Sealed: m.options.Passphrase != ""}
	v := memberView{Template: "print", Title: fmt.Sprintf("Print bond %d", b.Serial), Section: "bonds"}
	_, d.Typed, err = m.print(b, d.Typed)
	if bondprint.HasCode(err, bondprint.CodeAddress) {
		d.Wrong, v.Status = beside(err), http.StatusUnprocessableEntity
		v.Data = d
		return v, nil
	}
	if err == nil {
		_, err = m.bonds.secret(b.Held)
	}
	if err != nil {
		return memberView{}, err
	}
	d.Query = "?address=" + url.QueryEscape(d.Typed)
	v.Data = d
	return v, nil
}

// printFile makes one print. All but the chip's hold the secret.
func (m *Member) printFile(r *http.Request) (attachment, error) {
	b, err := m.held(r)
	if err != nil {
		return attachment{}, err
	}
	p, _, err := m.print(b, r.URL.Query().Get("address"))
	if err != nil {
		return attachment{}, &memberFault{Title: "This cannot be printed", Text: err.Error(), Status: http.StatusUnprocessableEntity}
	}
	as := r.PathValue("as")
	a := attachment{name: fmt.Sprintf("bond-%d%s", b.Serial, filepath.Ext(as)), inline: r.URL.Query().Get("show") == "1"}
	if as == "tag.ndef" {
		a.kind = "application/octet-stream"
		a.data, err = p.Tag()
		return a, err
	}
	make, ok := printers[as]
	if !ok {
		return a, &memberFault{Title: "Not made", Text: "Prints are note.svg, note.pdf, coin.png, coin.3mf, coin.stl and tag.ndef.", Status: http.StatusNotFound}
	}
	secret, err := m.bonds.secret(b.Held)
	if err != nil {
		return a, err
	}
	a.kind = make.kind
	a.data, err = make.print(p, secret)
	return a, err
}

// printers make what shows a bond's secret.
var printers = map[string]struct {
	kind  string
	print func(*bondprint.Print, wallet.Secret) ([]byte, error)
}{
	"note.svg": {"image/svg+xml", note(func(n *bondprint.Note) ([]byte, error) { return n.SVG(), nil })},
	"note.pdf": {"application/pdf", note((*bondprint.Note).PDF)},
	"coin.stl": {"model/stl", coin(func(c *bondprint.Coin) ([]byte, error) { return c.STL(), nil })},
	"coin.3mf": {"model/3mf", coin((*bondprint.Coin).ThreeMF)},
	"coin.png": {"image/png", coin(func(c *bondprint.Coin) ([]byte, error) {
		var out bytes.Buffer
		err := png.Encode(&out, c.Picture(1200))
		return out.Bytes(), err
	})},
}

func note(as func(*bondprint.Note) ([]byte, error)) func(*bondprint.Print, wallet.Secret) ([]byte, error) {
	return func(p *bondprint.Print, s wallet.Secret) ([]byte, error) {
		n, err := p.Note(s)
		if err != nil {
			return nil, err
		}
		return as(n)
	}
}

func coin(as func(*bondprint.Coin) ([]byte, error)) func(*bondprint.Print, wallet.Secret) ([]byte, error) {
	return func(p *bondprint.Print, s wallet.Secret) ([]byte, error) {
		c, err := p.Coin(s)
		if err != nil {
			return nil, err
		}
		return as(c)
	}
}

// takeData is the page of a bond that somebody offers.
type takeData struct {
	Serial string
	Faults map[string]string
	Done   string // what was done, in words
	Bond   *purse.Issued
}

func (m *Member) takePage(r *http.Request) (memberView, error) {
	return m.takeView(takeData{Serial: r.URL.Query().Get("serial")}), nil
}

func (m *Member) takeView(d takeData) memberView {
	v := memberView{Template: "take", Title: "Take a bond", Section: "bonds", Data: d}
	if len(d.Faults) > 0 {
		v.Status, v.Title = http.StatusUnprocessableEntity, "Take a bond: something is wrong"
	}
	return v
}

// take claims a bond by its printed secret: bound to a fresh one, or paid out.
func (m *Member) take(r *http.Request) (memberView, error) {
	if err := m.signing(); err != nil {
		return memberView{}, err
	}
	d := takeData{Serial: strings.TrimSpace(r.PostFormValue("serial")), Faults: map[string]string{}}
	serial, err := strconv.ParseUint(d.Serial, 10, 53)
	if err != nil || serial == 0 {
		d.Faults["serial"] = "The serial is the number that is printed on the bond."
	}
	secret, err := wallet.ParseSecret(r.PostFormValue("secret"))
	if err != nil {
		d.Faults["secret"] = beside(err)
	}
	if len(d.Faults) > 0 {
		return m.takeView(d), nil
	}
	if r.PostFormValue("as") == "redeem" {
		return m.redeem(r, serial, secret)
	}
	return m.reissue(r, serial, secret)
}

func (m *Member) redeemOwn(r *http.Request) (memberView, error) { return m.own(r, m.redeem) }

func (m *Member) reissueOwn(r *http.Request) (memberView, error) { return m.own(r, m.reissue) }

// own does something with a bond of the directory.
func (m *Member) own(r *http.Request, do func(*http.Request, uint64, wallet.Secret) (memberView, error)) (memberView, error) {
	if err := m.signing(); err != nil {
		return memberView{}, err
	}
	b, err := m.held(r)
	if err != nil {
		return memberView{}, err
	}
	secret, err := m.bonds.secret(b.Held)
	if err != nil {
		return memberView{}, err
	}
	return do(r, b.Serial, secret)
}

func (m *Member) bearing(ctx context.Context, serial uint64) (purse.Bearing, error) {
	_, err := m.purse.Meet(ctx)
	return purse.Bearing{Origin: m.purse.Origin(), Serial: serial, Client: m.purse.Client(), Clock: m.options.Clock}, err
}

func (m *Member) redeem(r *http.Request, serial uint64, secret wallet.Secret) (memberView, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), deliverWithin)
	defer cancel()
	b, err := m.bearing(ctx, serial)
	if err != nil {
		return memberView{}, err
	}
	done, err := b.Redeem(ctx, secret, m.purse.Account(), claimLife)
	if err != nil {
		return memberView{}, claimFault(m, ctx, err)
	}
	return m.takeView(takeData{Serial: strconv.FormatUint(serial, 10), Done: fmt.Sprintf("Bond %d was redeemed: %s paid to %s by posting %s.", serial, rtText(done.JT), done.Payee, number(done.Posting))}), nil
}

func (m *Member) reissue(r *http.Request, serial uint64, secret wallet.Secret) (memberView, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), deliverWithin)
	defer cancel()
	b, err := m.bearing(ctx, serial)
	if err != nil {
		return memberView{}, err
	}
	done, err := b.Reissue(ctx, secret, m.options.Bonds, m.options.Passphrase, claimLife)
	if err != nil {
		return memberView{}, claimFault(m, ctx, err)
	}
	m.bonds.expect(done)
	return m.takeView(takeData{Serial: strconv.FormatUint(serial, 10), Bond: &done,
		Done: fmt.Sprintf("Bond %d over %d RT is yours: it is bound to a new secret in %s.", serial, done.Face, done.Secret)}), nil
}

// claimFault is a claim that was not done, or of which that is not known.
func claimFault(m *Member, ctx context.Context, err error) error {
	if purse.WasRefused(err) {
		return m.fault(ctx, err)
	}
	return &memberFault{Title: "No answer came", Text: err.Error() + ". Look at the bond's state and the statement before you repeat it: a bond is redeemed once, whatever is sent.", Retry: true, Status: http.StatusBadGateway}
}

// find looks for the bond of a secret that no bond's file belongs to.
func (m *Member) find(r *http.Request) (memberView, error) {
	name := filepath.Base(r.PostFormValue("secret"))
	_, secrets, err := purse.HeldBonds(m.options.Bonds)
	if err != nil {
		return memberView{}, err
	}
	i := slices.IndexFunc(secrets, func(path string) bool { return filepath.Base(path) == name })
	if i < 0 {
		return memberView{}, &memberFault{Title: "No such secret", Text: "There is no lone secret of that name in " + m.options.Bonds + ".", Status: http.StatusNotFound}
	}
	secret, err := m.bonds.secret(purse.Held{Secret: secrets[i]})
	if err != nil {
		return memberView{}, err
	}
	b, err := m.purse.Client().BondOfKey(r.Context(), secret.KeyHash().String())
	if code, _, answered := nodeSaid(err); answered && (code == api.CodeBondUnknown || code == api.CodeNotFound) {
		return memberView{}, &memberFault{Title: "No bond is bound to it", Text: "The reserve knows no bond of the secret " + name + ": it was never issued, or it was bound to another secret since. An order that was not answered may still arrive until it expires.", Status: http.StatusNotFound}
	}
	if err != nil {
		return memberView{}, err
	}
	m.bonds.expect(purse.Issued{Serial: b.Serial, Version: max(1, len(b.Versions))})
	return memberView{Go: "/bonds"}, nil
}

// bondChecked is what the check of a bond's file found.
type bondChecked struct {
	Asked   bool
	Summary *wallet.BondSummary
	State   string
	Fault   string
	Wrong   string // with what was given
	Typed   string
}

func (m *Member) bondCheckForm(*http.Request) (memberView, error) {
	return checkView(bondChecked{}), nil
}

func checkView(d bondChecked) memberView {
	v := memberView{Template: "bond-check", Title: "Check a bond", Section: "bonds", Data: d}
	if d.Wrong != "" {
		v.Status, v.Title = http.StatusUnprocessableEntity, "Check a bond: something is wrong"
	}
	return v
}

// bondCheck checks a bond's file, or the one that the reserve gives for a serial.
func (m *Member) bondCheck(r *http.Request) (memberView, error) {
	d := bondChecked{Asked: true, State: "unknown", Typed: strings.TrimSpace(r.PostFormValue("serial"))}
	data, err := m.offered(r, d.Typed)
	if err != nil {
		var f *memberFault
		if errors.As(err, &f) {
			d.Wrong = f.Text
			return checkView(d), nil
		}
		return memberView{}, err
	}
	f, err := wallet.DecodeBondFile(data)
	if err == nil && len(f.Bonds) == 0 {
		err = errors.New("the file holds no bond")
	}
	if err != nil {
		d.Wrong = beside(err)
		return checkView(d), nil
	}
	roots, err := m.purse.Roots()
	if err != nil {
		return memberView{}, err
	}
	s, err := wallet.CheckBond(f, wallet.CheckOptions{Roots: roots})
	if err == nil {
		d.Summary = &s
		d.State, err = purse.BondState(r.Context(), m.options.Clock, m.purse.Client(), s)
	}
	if fault := proof.AsFault(err); fault != nil {
		d.Fault = fault.Detail
		if d.Fault == "" {
			d.Fault = fault.Error()
		}
	} else if err != nil {
		d.State = "unknown"
	}
	return checkView(d), nil
}

// offered is the bond's file that was chosen, or that of a serial.
func (m *Member) offered(r *http.Request, serial string) ([]byte, error) {
	file, header, err := r.FormFile("file")
	if err == nil && header.Size > 0 {
		defer file.Close()
		return io.ReadAll(file)
	}
	n, err := strconv.ParseUint(serial, 10, 53)
	if err != nil || n == 0 {
		return nil, &memberFault{Text: "Choose the bond's file, or write the serial that is printed on it."}
	}
	data, err := m.purse.Client().BondFile(r.Context(), n)
	if _, detail, answered := nodeSaid(err); answered {
		return nil, &memberFault{Text: detail}
	}
	return data, err
}

// policy is the numbers of the reserve that hold now.
func (m *Member) policy(ctx context.Context) (policy.Document, error) {
	p, err := m.purse.Client().Policy(ctx)
	if err != nil {
		return policy.Document{}, err
	}
	return policy.Decode(p.Document)
}
