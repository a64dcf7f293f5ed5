package purse

import (
	"context"
	"fmt"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/client"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/wallet"
)

// Between is where a balance must lie, both ends included.
type Between struct {
	Low  torq.JT `json:"low_jt"`
	High torq.JT `json:"high_jt"`
}

// CheckCounted checks a solvency file against what a balance must be; account "" is the
// one that it names. The error is a *proof.Fault.
func CheckCounted(data []byte, account string, expected Between, roots []merkle.Hash) (s wallet.SolvencySummary, err error) {
	f, err := wallet.DecodeSolvencyFile(data)
	if err != nil {
		return s, &proof.Fault{Artefact: "solvency file", Rule: "form", Detail: err.Error(), Err: err}
	}
	if account == "" {
		account = f.Inclusion.Account
	}
	counts := torq.JT(f.Inclusion.Balance)
	if f.Inclusion.Balance > torq.MaxInteger || counts < expected.Low || counts > expected.High {
		return s, &proof.Fault{Artefact: "statement of solvency", Digest: f.Statement.Digest(), Rule: "solvency_balance",
			Detail: fmt.Sprintf("%s is counted with %s; by its own movements it is owed %s to %s", account, counts, expected.Low, expected.High)}
	}
	return wallet.CheckSolvency(f, account, counts, wallet.CheckOptions{Roots: roots})
}

// Expect is what the account is owed at a statement's posting, from what it is owed now
// and its movements since. Dividends, demurrage and yield that reach over the posting
// are known only to lie on either side of it.
func (p *Purse) Expect(ctx context.Context, document []byte) (*Between, error) {
	f, err := wallet.DecodeSolvencyFile(document)
	if err != nil {
		return nil, err
	}
	s, err := proof.DecodeSolvency(f.Statement.Payload)
	if err != nil {
		return nil, err
	}
	now, err := p.client.Balance(ctx, p.account)
	if err != nil {
		return nil, err
	}
	own, err := movementsSince(ctx, p.client, p.account, false, s.Seq)
	if err != nil {
		return nil, err
	}
	if now.Saved > 0 {
		saved, err := movementsSince(ctx, p.client, p.account, true, s.Seq)
		if err != nil {
			return nil, err
		}
		own.add(saved)
	}
	total := now.JT + now.Savings
	for _, l := range now.Leaving {
		total += l.JT
		own.noticed += l.JT
	}
	return own.before(total), nil
}

// movements is how an owner's wealth has changed since a posting.
type movements struct {
	certain torq.JT // came in, or went out
	low     torq.JT // of what is certain only within bounds: at least
	high    torq.JT // at most
	noticed torq.JT // was under notice, where demurrage is not listed
	lines   torq.JT
}

func (m *movements) add(o movements) {
	m.certain, m.low, m.high = m.certain+o.certain, m.low+o.low, m.high+o.high
	m.noticed, m.lines = m.noticed+o.noticed, m.lines+o.lines
}

// before is where the wealth before the movements lies when it is total after them. A
// hundredth of what was under notice is more than it lost since yesterday's statement;
// each line may hide one JT.
func (m movements) before(total torq.JT) *Between {
	spare := m.lines + 2
	return &Between{Low: max(0, total-m.certain-m.high-spare), High: total - m.certain - m.low + m.noticed/100 + spare}
}

// movementsSince reads what has moved since a posting.
func movementsSince(ctx context.Context, c *client.Client, account string, savings bool, since uint64) (m movements, err error) {
	read := c.Statement
	if savings {
		read = c.SavingsStatement
	}
	var spans []api.StatementLine // of the oldest posting so far: they may reach over since
	for page := (api.Page{Limit: api.MaxPage}); ; {
		list, err := read(ctx, account, page)
		if err != nil {
			return m, err
		}
		for _, l := range list.Items {
			if l.Posting <= since {
				return m.spanning(spans), nil
			}
			m.lines++
			switch l.Kind {
			case "saved", "withdrawn":
				m.noticed += max(l.JT, -l.JT)
			case "dividend", "demurrage", "yield":
				if len(spans) > 0 && spans[0].Posting != l.Posting {
					m.settle(spans)
					spans = nil
				}
				spans = append(spans, l)
			default:
				m.certain += l.JT
			}
		}
		if page.Cursor = list.Next; page.Cursor == "" {
			return m.spanning(spans), nil
		}
	}
}

// settle counts lines that lie wholly after the posting.
func (m *movements) settle(lines []api.StatementLine) {
	for _, l := range lines {
		m.certain += l.JT
	}
}

// spanning counts lines that may reach over the posting.
func (m movements) spanning(lines []api.StatementLine) movements {
	for _, l := range lines {
		m.low, m.high = m.low+min(l.JT, 0), m.high+max(l.JT, 0)
	}
	return m
}
