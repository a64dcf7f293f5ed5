package web

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/wallet"
	"robotorq.org/reserve/wallet/purse"
)

// period is days of a statement, in UTC, both included; an empty end is open.
type period struct {
	From, To   string // as typed
	begin, end time.Time
}

func periodOf(q url.Values) (p period, err error) {
	p.From, p.To = q.Get("from"), q.Get("to")
	for _, d := range []struct {
		typed string
		into  *time.Time
		days  int
	}{{p.From, &p.begin, 0}, {p.To, &p.end, 1}} {
		if d.typed == "" {
			continue
		}
		at, err := time.Parse(time.DateOnly, d.typed)
		if err != nil {
			return p, errors.New("a day is written 2026-01-31")
		}
		*d.into = at.AddDate(0, 0, d.days)
	}
	if p.To != "" && p.From != "" && !p.begin.Before(p.end) {
		return p, errors.New("the first day is after the last")
	}
	return p, nil
}

func (p period) after(at time.Time) bool  { return !p.end.IsZero() && !at.Before(p.end) }
func (p period) before(at time.Time) bool { return at.Before(p.begin) }

// statementData is the page of the movements.
type statementData struct {
	period
	Savings bool
	Lines   []memberLine
	Query   string // of the downloads
	First   string
	Next    string
	Fault   string
}

// Bounds of one page of a statement: how many lines are read at once, and how often.
const (
	statementLines = 50
	statementReads = 100
)

func (m *Member) statementPage(r *http.Request) (memberView, error) {
	q := r.URL.Query()
	d := statementData{Savings: q.Get("of") == "savings"}
	v := memberView{Template: "statement", Title: "Statement", Section: "statement", Live: q.Get("cursor") == ""}
	var err error
	if d.period, err = periodOf(q); err != nil {
		d.Fault = beside(err)
		v.Status, v.Live, v.Data = http.StatusUnprocessableEntity, false, d
		return v, nil
	}
	keep := url.Values{}
	for _, name := range []string{"of", "from", "to"} {
		if text := q.Get(name); text != "" {
			keep.Set(name, text)
		}
	}
	d.Query = keep.Encode()
	read := m.purse.Client().Statement
	if d.Savings {
		read = m.purse.Client().SavingsStatement
	}
	at := api.Page{Cursor: q.Get("cursor"), Limit: statementLines}
	var lines []api.StatementLine
	for range statementReads {
		list, err := read(r.Context(), m.purse.Account(), at)
		if err != nil {
			return memberView{}, err
		}
		past := false
		for _, l := range list.Items {
			when := time.UnixMilli(l.Time)
			past = past || d.before(when)
			if !past && !d.after(when) {
				lines = append(lines, l)
			}
		}
		if at.Cursor = list.Next; past {
			at.Cursor = ""
		}
		if at.Cursor == "" || len(lines) > 0 {
			break
		}
	}
	d.Lines = m.named(lines)
	page := func(cursor string) string {
		link := url.Values{}
		for name := range keep {
			link.Set(name, keep.Get(name))
		}
		if cursor != "" {
			link.Set("cursor", cursor)
		}
		return m.door.base + "/statement?" + link.Encode()
	}
	if at.Cursor != "" {
		d.Next = page(at.Cursor)
	}
	if q.Get("cursor") != "" {
		d.First = page("")
	}
	v.Data = d
	return v, nil
}

func (m *Member) statementName(savings bool, p period, extension string) string {
	name := strings.ReplaceAll(m.purse.Account(), ":", "-")
	if savings {
		name += "-savings"
	}
	for _, day := range []string{p.From, p.To} {
		if day != "" {
			name += "-" + day
		}
	}
	return name + extension
}

// statementCSV is the reserve's own CSV, of the period alone.
func (m *Member) statementCSV(r *http.Request) (attachment, error) {
	p, err := periodOf(r.URL.Query())
	if err != nil {
		return attachment{}, &memberFault{Title: "No such period", Text: beside(err), Status: http.StatusUnprocessableEntity}
	}
	savings := r.URL.Query().Get("of") == "savings"
	var whole bytes.Buffer
	if err := purse.WriteCSV(r.Context(), m.purse.Client(), m.purse.Account(), savings, &whole); err != nil {
		return attachment{}, err
	}
	a := attachment{name: m.statementName(savings, p, ".csv"), kind: "text/csv; charset=utf-8", data: whole.Bytes()}
	if p.From == "" && p.To == "" {
		return a, nil
	}
	rows, err := csv.NewReader(&whole).ReadAll()
	if err != nil {
		return a, err
	}
	var part bytes.Buffer
	out := csv.NewWriter(&part)
	const timeColumn = 1
	for i, row := range rows {
		at, err := time.Parse(time.RFC3339, row[timeColumn])
		if i > 0 && (err != nil || p.before(at) || p.after(at)) {
			continue
		}
		_ = out.Write(row) // its first error stays until it is asked for
	}
	out.Flush()
	a.data = part.Bytes()
	return a, out.Error()
}

func (m *Member) statementJSON(r *http.Request) (attachment, error) {
	p, err := periodOf(r.URL.Query())
	if err != nil {
		return attachment{}, &memberFault{Title: "No such period", Text: beside(err), Status: http.StatusUnprocessableEntity}
	}
	savings := r.URL.Query().Get("of") == "savings"
	lines := []api.StatementLine{}
	err = purse.EachLine(r.Context(), m.purse.Client(), m.purse.Account(), savings, 0, func(l api.StatementLine) bool {
		at := time.UnixMilli(l.Time)
		if !p.before(at) && !p.after(at) {
			lines = append(lines, l)
		}
		return !p.before(at)
	})
	if err != nil {
		return attachment{}, err
	}
	data, err := json.MarshalIndent(map[string]any{"account": m.purse.Account(), "lines": lines}, "", "  ")
	return attachment{name: m.statementName(savings, p, ".json"), kind: "application/json", data: append(data, '\n')}, err
}

// checkData is the page of the checks.
type checkData struct {
	Solvency *wallet.SolvencySummary
	Expected *purse.Between
	Receipts []receiptChecked
	Asked    string // solvency or receipts
	Head     uint64
	Fault    string
	None     string // there is nothing to check yet
}

type receiptChecked struct {
	purse.ReceiptState
	Fault string
}

func (m *Member) checkForm(*http.Request) (memberView, error) { return checksView(checkData{}), nil }

func checksView(d checkData) memberView {
	return memberView{Template: "check", Title: "Check the reserve", Section: "check", Data: d}
}

// checkSolvency checks that the account is counted in what the reserve says it owes, with
// what its own movements make it.
func (m *Member) checkSolvency(r *http.Request) (memberView, error) {
	ctx := r.Context()
	d := checkData{Asked: "solvency"}
	data, err := m.purse.Client().SolvencyFile(ctx, m.purse.Account())
	switch code, detail, _ := nodeSaid(err); code {
	case api.CodeUnknownAccount: // enrolled after the newest statement
		d.None = sentence(detail) + " The next one counts it: ask again tomorrow."
		return checksView(d), nil
	case api.CodeNoStatement:
		d.None = "The vault makes the first statement of solvency at the first full day of the reserve. There is none yet."
		return checksView(d), nil
	}
	if err != nil {
		return memberView{}, err
	}
	s, err := m.counted(ctx, data, &d)
	if fault := proof.AsFault(err); fault != nil {
		d.Fault = fault.Error()
	} else if err != nil {
		return memberView{}, err
	} else {
		d.Solvency = &s
	}
	return checksView(d), nil
}

func (m *Member) counted(ctx context.Context, data []byte, d *checkData) (s wallet.SolvencySummary, err error) {
	roots, err := m.purse.Roots()
	if err != nil {
		return s, err
	}
	if d.Expected, err = m.purse.Expect(ctx, data, roots); err != nil {
		return s, err
	}
	return purse.CheckCounted(data, m.purse.Account(), *d.Expected, roots)
}

func (m *Member) solvencyFile(r *http.Request) (attachment, error) {
	data, err := m.purse.Client().SolvencyFile(r.Context(), m.purse.Account())
	return attachment{name: "solvency.json", kind: "application/json", data: data}, err
}

// checkReceipts compares the kept receipts with the books and the newest logged head.
func (m *Member) checkReceipts(r *http.Request) (memberView, error) {
	ctx := r.Context()
	d := checkData{Asked: "receipts"}
	kept, err := m.purse.Receipts()
	if err != nil {
		d.None = "No receipts are kept yet: they are from the first order on."
		return checksView(d), nil
	}
	if _, err := m.purse.Meet(ctx); err != nil {
		return memberView{}, err
	}
	roots, err := m.purse.Roots()
	if err != nil {
		return memberView{}, err
	}
	anchor, head, err := m.purse.NewestHead(ctx, roots)
	if err != nil {
		return memberView{}, err
	}
	d.Head = head.Seq
	for _, k := range kept {
		if k.Account != m.purse.Account() {
			continue
		}
		state, err := m.purse.CheckKept(ctx, anchor, head, k)
		one := receiptChecked{ReceiptState: state}
		if fault := proof.AsFault(err); fault != nil {
			one.Fault, d.Fault = fault.Error(), "A receipt contradicts the books. Keep its file: it is signed evidence."
		} else if err != nil {
			return memberView{}, err
		}
		d.Receipts = append(d.Receipts, one)
	}
	return checksView(d), nil
}

// bookData is the page of the address book.
type bookData struct {
	Contacts []wallet.Contact
	Name, To string
	Fault    string
}

func (m *Member) bookPage(r *http.Request) (memberView, error) {
	return m.bookView(bookData{To: r.URL.Query().Get("account")})
}

func (m *Member) bookView(d bookData) (v memberView, err error) {
	if d.Contacts, err = m.purse.Contacts(); err != nil {
		return v, err
	}
	v = memberView{Template: "book", Title: "Address book", Section: "book", Data: d}
	if d.Fault != "" {
		v.Status, v.Title = http.StatusUnprocessableEntity, "Address book: something is wrong"
	}
	return v, nil
}

func (m *Member) remember(r *http.Request) (memberView, error) {
	d := bookData{Name: strings.TrimSpace(r.PostFormValue("name")), To: strings.TrimSpace(r.PostFormValue("account"))}
	if d.Name == "" || d.To == "" {
		d.Fault = "A name, and the account that it stands for: member:ID or org:ID."
		return m.bookView(d)
	}
	if err := m.purse.Remember(d.Name, d.To); err != nil {
		d.Fault = beside(err)
		return m.bookView(d)
	}
	return memberView{Go: "/book"}, nil
}

func (m *Member) forget(r *http.Request) (memberView, error) {
	if err := m.purse.Remember(r.PostFormValue("name"), ""); err != nil {
		return memberView{}, err
	}
	return memberView{Go: "/book"}, nil
}
