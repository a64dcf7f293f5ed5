package web

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/client"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/wallet"
	"robotorq.org/reserve/wallet/purse"
)

// orderLife is how long a prepared order may be thought about.
const orderLife = 10 * time.Minute

// deliverWithin bounds sending an order: three attempts of a minute each, and a little.
const deliverWithin = 4 * time.Minute

// prepared is an order that was made from a form. It is signed when it is confirmed, once;
// what then became of it stays the answer to the same confirmation.
type prepared struct {
	order ledger.Order
	form  payFields          // what was typed, to type it again
	bond  *wallet.KeptSecret // of an order that issues a bond

	mu      sync.Mutex
	state   orderState
	receipt api.Receipt
	issued  purse.Issued
	why     *memberFault // a no, or what came instead of an answer
}

type orderState string

const (
	orderPrepared orderState = "prepared"
	orderDone     orderState = "done"
	orderRefused  orderState = "refused"
	orderDoubt    orderState = "doubt"
	orderVoid     orderState = "void"
)

// deed is one operation in words.
type deed struct {
	Verb string // "Send", "Move into savings", …
	JT   torq.JT
	To   string // account
	Name string // of the address book
	Memo string
	Key  string // hash that a bond is bound to
}

// deeds says what an order does, read from the order itself.
func (m *Member) deeds(o ledger.Order) (list []deed) {
	names := m.names()
	for _, op := range o.Operations {
		d := deed{JT: torq.JT(op.Amount), Memo: op.Memo}
		switch op.Kind {
		case ledger.OpSend:
			d.Verb, d.To, d.Name = "Send", op.To, names[op.To]
		case ledger.OpSave:
			d.Verb = "Move into savings"
		case ledger.OpLeave:
			d.Verb = "Give notice for savings of"
		case ledger.OpBond:
			d.Verb, d.JT, d.Key = "Lock in a bearer bond", torq.JT(op.Amount)*torq.OrePerRT, op.Hash.String()
		case ledger.OpInvest:
			d.Verb, d.To = "Invest", op.To
		default:
			d.Verb = string(op.Kind)
		}
		list = append(list, d)
	}
	return list
}

// payFields are the fields of the form that pays.
type payFields struct{ To, Amount, Memo string }

// payData is the form with what is wrong beside each field.
type payData struct {
	payFields
	Faults   map[string]string // by field
	Contacts []wallet.Contact
	Balance  torq.JT
}

func (m *Member) payForm(r *http.Request) (memberView, error) {
	d := payData{}
	if p, ok := m.orders.get(r.URL.Query().Get("again")); ok {
		d.payFields = p.form
	}
	d.To = firstOf(d.To, r.URL.Query().Get("to"))
	return m.payView(r, d)
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

func (m *Member) payView(r *http.Request, d payData) (memberView, error) {
	b, err := m.purse.Client().Balance(r.Context(), m.purse.Account())
	if err != nil {
		return memberView{}, err
	}
	if d.Contacts, err = m.purse.Contacts(); err != nil {
		return memberView{}, err
	}
	d.Balance = b.JT
	v := memberView{Template: "pay", Title: "Pay", Section: "pay", Data: d}
	if len(d.Faults) > 0 {
		v.Status, v.Title = http.StatusUnprocessableEntity, "Pay: something is wrong"
	}
	return v, nil
}

// beside is an error as it stands beside a field: a sentence, without what the field itself
// shows.
func beside(err error) string {
	var own *wallet.Error
	if errors.As(err, &own) && own.Code == wallet.CodeAmount && own.Err != nil {
		err = own.Err
	}
	return sentence(err.Error())
}

func sentence(text string) string {
	if text == "" {
		return ""
	}
	first, size := utf8.DecodeRuneInString(text)
	if word, _, _ := strings.Cut(text, " "); !strings.Contains(strings.TrimSuffix(word, ":"), ":") { // no account
		first = unicode.ToUpper(first)
	}
	return string(first) + strings.TrimSuffix(text[size:], ".") + "."
}

// pay makes an order of what was typed, or says beside each field what is wrong with it.
func (m *Member) pay(r *http.Request) (memberView, error) {
	if err := m.signing(); err != nil {
		return memberView{}, err
	}
	d := payData{payFields: payFields{r.PostFormValue("to"), r.PostFormValue("amount"), strings.TrimSpace(r.PostFormValue("memo"))}, Faults: map[string]string{}}
	d.To = strings.TrimSpace(d.To)
	to, err := m.payee(r.Context(), d.To)
	if err != nil {
		d.Faults["to"] = beside(err)
	}
	amount, fault, err := m.affordable(r.Context(), d.Amount)
	if err != nil {
		return memberView{}, err
	}
	if fault != "" {
		d.Faults["amount"] = fault
	}
	var op ledger.Operation
	if len(d.Faults) == 0 {
		if op, err = wallet.Send(to, amount, d.Memo); err != nil {
			d.Faults["memo"] = beside(err)
		}
	}
	if len(d.Faults) > 0 {
		return m.payView(r, d)
	}
	return m.prepare(r, &prepared{form: d.payFields}, op)
}

// payee is the account that is meant; the error is for the field.
func (m *Member) payee(ctx context.Context, typed string) (string, error) {
	if typed == "" {
		return "", errors.New("say who gets it: a name of the address book, member:ID or org:ID")
	}
	to, err := m.purse.Resolve(typed)
	if err != nil {
		return "", fmt.Errorf("%w. Write member:%s or org:%[2]s if you mean an account", err, typed)
	}
	if _, err = m.purse.Client().Person(ctx, to); err == nil {
		return to, nil
	}
	if code, _, answered := nodeSaid(err); answered && (code == api.CodeUnknownAccount || code == api.CodeNotFound) {
		return "", fmt.Errorf("%s is not enrolled in this reserve", to)
	}
	return to, nil // the reserve will say
}

// affordable reads an amount and compares it with what is at hand; fault is for the field.
func (m *Member) affordable(ctx context.Context, typed string) (amount torq.JT, fault string, err error) {
	amount, wrong := wallet.ParseAmount(typed)
	if wrong != nil {
		return 0, beside(wrong), nil
	}
	b, err := m.purse.Client().Balance(ctx, m.purse.Account())
	if err != nil {
		return 0, "", err
	}
	if amount > b.JT {
		return 0, fmt.Sprintf("There are %s at hand (%s JT).", rtText(b.JT), number(b.JT)), nil
	}
	return amount, "", nil
}

// prepare puts an order where its owner looks at it before it is signed.
func (m *Member) prepare(r *http.Request, p *prepared, op ledger.Operation) (memberView, error) {
	if _, err := m.purse.Meet(r.Context()); err != nil {
		return memberView{}, err
	}
	var err error
	if p.order, err = m.purse.Order(orderLife, op); err != nil {
		return memberView{}, err
	}
	p.state = orderPrepared
	return memberView{Go: "/orders/" + m.orders.put(p)}, nil
}

// orderData is an order on its page.
type orderData struct {
	ID      string
	State   orderState
	Expired bool
	Deeds   []deed
	From    string
	Origin  string
	Created int64
	Expires int64
	Payload string // what is signed, hex
	Receipt api.Receipt
	Issued  purse.Issued
	Why     *memberFault
	Balance *api.Balance
	Pay     bool // may be typed again at the form that pays
}

func (m *Member) orderOf(r *http.Request) (*prepared, string, error) {
	id := r.PathValue("id")
	if p, ok := m.orders.get(id); ok {
		return p, id, nil
	}
	kept, err := m.purse.KeptOrders()
	if err != nil {
		return nil, id, err
	}
	for _, k := range kept {
		if hex.EncodeToString(k.Order.ID[:]) == id {
			p := &prepared{order: k.Order, state: orderDoubt, why: &memberFault{Text: "No answer came when it was sent."}}
			m.orders.put(p)
			return p, id, nil
		}
	}
	return nil, id, &memberFault{Title: "No such order", Text: "This order is not among those that were prepared since the page was opened. What was done stands in the statement.", Status: http.StatusNotFound}
}

func (m *Member) orderPage(r *http.Request) (memberView, error) {
	p, id, err := m.orderOf(r)
	if err != nil {
		return memberView{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.order
	payload := o.Encode()
	now := uint64(m.options.Clock.Now().UnixMilli())
	d := orderData{
		ID: id, State: p.state, Expired: now >= o.Expires, Deeds: m.deeds(o), From: o.From, Origin: o.Origin, Created: int64(o.Created), Expires: int64(o.Expires),
		Payload: hex.EncodeToString(payload), Receipt: p.receipt, Issued: p.issued, Why: p.why, Pay: p.form != payFields{},
	}
	titles := map[orderState]string{
		orderPrepared: "Look at it, then sign", orderDone: "Done", orderRefused: "Not done", orderDoubt: "No answer came", orderVoid: "Not done",
	}
	if p.state == orderDone {
		if b, err := m.purse.Client().Balance(r.Context(), m.purse.Account()); err == nil {
			d.Balance = &b
		}
	}
	return memberView{Template: "order", Title: titles[p.state], Section: sectionOf(o), Data: d}, nil
}

func sectionOf(o ledger.Order) string {
	switch o.Operations[0].Kind {
	case ledger.OpSave, ledger.OpLeave:
		return "savings"
	case ledger.OpBond:
		return "bonds"
	}
	return "pay"
}

// confirm signs a prepared order and sends it. A second confirmation of the same one, while
// the first is under way or later, gets the first one's outcome.
func (m *Member) confirm(r *http.Request) (memberView, error) {
	return m.signed(r, orderPrepared, m.deliverPrepared)
}

// signed lets do act on an order that is in a state, one request at a time, and leads to the
// order's page. In another state nothing is done: its page says how it stands.
func (m *Member) signed(r *http.Request, state orderState, do func(context.Context, *prepared) error) (memberView, error) {
	if err := m.signing(); err != nil {
		return memberView{}, err
	}
	p, id, err := m.orderOf(r)
	if err != nil {
		return memberView{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == state {
		// What was begun is finished, also when the browser goes away.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), deliverWithin)
		defer cancel()
		err = do(ctx, p)
	}
	return memberView{Go: "/orders/" + id}, err
}

func (m *Member) deliverPrepared(ctx context.Context, p *prepared) (err error) {
	if uint64(m.options.Clock.Now().UnixMilli()) >= p.order.Expires {
		return nil // its page says so
	}
	if p.bond != nil {
		p.issued, p.receipt, err = m.purse.Issue(ctx, m.options.Bonds, m.options.Passphrase, *p.bond, p.order)
	} else {
		p.receipt, err = m.deliver(ctx, p.order)
	}
	p.settle(m, ctx, err)
	return nil
}

func (m *Member) deliver(ctx context.Context, o ledger.Order) (api.Receipt, error) {
	env, err := m.purse.Sign(o)
	if err != nil {
		return api.Receipt{}, err
	}
	return m.purse.Deliver(ctx, env, o)
}

// settle writes down what became of an order that was sent.
func (p *prepared) settle(m *Member, ctx context.Context, err error) {
	var doubt *purse.Doubt
	switch {
	case err == nil:
		p.state, p.why = orderDone, nil
		if p.bond != nil {
			m.bonds.expect(p.issued)
		}
	case errors.As(err, &doubt):
		p.state, p.why = orderDoubt, &memberFault{Text: doubt.Err.Error()}
	case purse.WasRefused(err):
		p.state, p.why = orderRefused, m.fault(ctx, err)
		p.why.Text = refusedInWords(err, p.why.Text)
	case p.receipt.Posting > 0:
		p.state, p.why = orderDone, &memberFault{Text: err.Error()}
	default: // it never left this machine
		p.state, p.why = orderRefused, m.fault(ctx, err)
	}
}

// refusedInWords says what to do about a no.
func refusedInWords(err error, text string) string {
	next := map[api.Code]string{
		api.CodeExpired:           "It waited too long. Prepare it again.",
		api.CodeInsufficientFunds: "Demurrage may have taken the last of it since the form was filled in.",
		api.CodeAccountFrozen:     "A registrar has frozen the account; it receives, but pays nothing.",
		api.CodeUnknownAccount:    "Look at the account's name.",
		api.CodeBadSignature:      "Are these keys enrolled in this reserve?",
	}
	for code, words := range next {
		if client.Is(err, code) {
			return strings.TrimSuffix(text, ".") + ". " + words
		}
	}
	return text
}

// again asks what became of an order that was not answered, by sending the very same one.
func (m *Member) again(r *http.Request) (memberView, error) {
	return m.signed(r, orderDoubt, m.askAgain)
}

func (m *Member) askAgain(ctx context.Context, p *prepared) error {
	kept, err := m.purse.KeptOrders()
	if err != nil {
		return err
	}
	at := slices.IndexFunc(kept, func(k purse.KeptOrder) bool { return k.Order.ID == p.order.ID })
	if at < 0 {
		return &memberFault{Title: "The order is gone", Text: "Its file no longer lies beside the wallet. Whether it was done, the statement shows.", Status: http.StatusGone}
	}
	if _, err := m.purse.Meet(ctx); err != nil {
		p.why = &memberFault{Text: err.Error()}
		return nil
	}
	receipt, outcome, err := m.purse.Settle(ctx, kept[at])
	switch {
	case outcome == purse.OutcomeDone:
		p.state, p.receipt, p.why = orderDone, receipt, nil
		if err != nil {
			p.why = &memberFault{Text: err.Error()}
		}
	case outcome == purse.OutcomeVoid:
		p.state, p.why = orderVoid, m.fault(ctx, err)
	default:
		p.why = &memberFault{Text: err.Error()}
	}
	return nil
}

func (m *Member) receiptFile(r *http.Request) (attachment, error) {
	p, id, err := m.orderOf(r)
	if err != nil {
		return attachment{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.receipt.Envelope) == 0 {
		return attachment{}, &memberFault{Title: "No receipt", Text: "There is no receipt of this order.", Status: http.StatusNotFound}
	}
	return attachment{name: "receipt-" + id + ".json", kind: "application/json", data: p.receipt.Envelope}, nil
}

// savingsData is the page of the savings.
type savingsData struct {
	Balance api.Balance
	Notice  int64 // ms
	Faults  map[string]string
	Save    string // typed
	Leave   string
}

func (m *Member) savingsForm(r *http.Request) (memberView, error) {
	return m.savingsView(r, savingsData{})
}

func (m *Member) savingsView(r *http.Request, d savingsData) (memberView, error) {
	var err error
	if d.Balance, err = m.purse.Client().Balance(r.Context(), m.purse.Account()); err != nil {
		return memberView{}, err
	}
	document, err := m.policy(r.Context())
	if err != nil {
		return memberView{}, err
	}
	d.Notice = int64(document.SavingsNotice)
	v := memberView{Template: "savings", Title: "Savings", Section: "savings", Live: len(d.Faults) == 0, Data: d}
	if len(d.Faults) > 0 {
		v.Status, v.Title = http.StatusUnprocessableEntity, "Savings: something is wrong"
	}
	return v, nil
}

func (m *Member) save(r *http.Request) (memberView, error) {
	if err := m.signing(); err != nil {
		return memberView{}, err
	}
	typed := r.PostFormValue("amount")
	amount, fault, err := m.affordable(r.Context(), typed)
	if err != nil {
		return memberView{}, err
	}
	if fault != "" {
		return m.savingsView(r, savingsData{Save: typed, Faults: map[string]string{"save": fault}})
	}
	op, err := wallet.SaveUp(amount)
	if err != nil {
		return memberView{}, err
	}
	return m.prepare(r, &prepared{}, op)
}

func (m *Member) leave(r *http.Request) (memberView, error) {
	if err := m.signing(); err != nil {
		return memberView{}, err
	}
	typed := r.PostFormValue("amount")
	wrong := func(text string) (memberView, error) {
		return m.savingsView(r, savingsData{Leave: typed, Faults: map[string]string{"leave": text}})
	}
	amount, err := wallet.ParseAmount(typed)
	if err != nil {
		return wrong(beside(err))
	}
	b, err := m.purse.Client().Balance(r.Context(), m.purse.Account())
	if err != nil {
		return memberView{}, err
	}
	if amount > b.Savings {
		return wrong(fmt.Sprintf("There are %s saved (%s JT).", rtText(b.Savings), number(b.Savings)))
	}
	op, err := wallet.Leave(amount)
	if err != nil {
		return memberView{}, err
	}
	return m.prepare(r, &prepared{}, op)
}
