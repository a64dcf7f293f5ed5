package purse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/client"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
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
// and its movements since. A dividend, demurrage or yield of one line may reach over the
// posting: of dividends, the logged distributions say how much came after it; demurrage
// takes no more than the ceiling of the policy; of yield only both ends are known.
// What the node answers that cannot be so is a *proof.Fault.
func (p *Purse) Expect(ctx context.Context, document []byte, roots []merkle.Hash) (*Between, error) {
	f, err := wallet.DecodeSolvencyFile(document)
	if err != nil {
		return nil, &proof.Fault{Artefact: "solvency file", Rule: "form", Detail: err.Error(), Err: err}
	}
	s, err := proof.DecodeSolvency(f.Statement.Payload)
	if err != nil {
		return nil, &proof.Fault{Artefact: "statement of solvency", Digest: f.Statement.Digest(), Rule: "form", Detail: err.Error(), Err: err}
	}
	const tries = 5
	for try := 1; ; try++ {
		now, own, err := p.wealth(ctx, s)
		if err != nil {
			return nil, err
		}
		again, err := p.client.Balance(ctx, p.account)
		if err != nil {
			return nil, err
		}
		if still := owed(again) == owed(now); still && now.Eligible {
			if err := p.divide(ctx, s, f.Charters, roots, own); err != nil {
				return nil, err
			}
			return own.before(owed(now)), nil
		} else if still || try == tries {
			return own.before(owed(now)), nil
		}
	}
}

func owed(b api.Balance) torq.JT {
	total := b.JT + b.Savings
	for _, l := range b.Leaving {
		total += l.JT
	}
	return total
}

// wealth is what the account has and how that has changed since a statement.
func (p *Purse) wealth(ctx context.Context, s proof.Solvency) (now api.Balance, own *movements, err error) {
	if now, err = p.client.Balance(ctx, p.account); err != nil {
		return now, nil, err
	}
	own = &movements{lasted: p.clock.Now().UnixMilli() - int64(s.Issued)}
	if err := own.since(ctx, p.client, p.account, false, s); err != nil {
		return now, nil, err
	}
	if now.Saved > 0 {
		if err := own.since(ctx, p.client, p.account, true, s); err != nil {
			return now, nil, err
		}
	}
	for _, l := range now.Leaving {
		own.noticed += l.JT
	}
	return now, own, nil
}

// divide finds how much of a dividend that reaches over the statement's posting came
// after it, by the distributions that the vault has signed and logged.
func (p *Purse) divide(ctx context.Context, s proof.Solvency, charters []seal.Envelope, roots []merkle.Hash, m *movements) error {
	if m.dividend.JT == 0 {
		return nil
	}
	anchor, err := wallet.NewAnchor(charters, wallet.CheckOptions{Roots: roots})
	if err != nil {
		return err
	}
	after, count, err := p.dividends(ctx, anchor, s.Seq, m.dividend.Posting)
	if errors.Is(err, errMany) {
		return nil
	}
	if err != nil {
		return err
	}
	m.dividendHigh = min(m.dividendHigh, after+count)
	m.dividendLow = min(max(0, after-count), m.dividendHigh)
	return nil
}

// maxDistributions are asked for one by one: a release an hour of forty contracts since
// yesterday.
const maxDistributions = 1000

var errMany = errors.New("there were too many dividends")

// dividends is what a member got of all dividends after one posting, up to another; each
// may be one JT more or less.
func (p *Purse) dividends(ctx context.Context, anchor *wallet.Anchor, after, until uint64) (sum, count torq.JT, err error) {
	asked := 0
	for page := (api.Page{Limit: api.MaxPage}); ; {
		list, err := p.client.LogEntries(ctx, "distribution", page)
		if err != nil {
			return 0, 0, err
		}
		for _, entry := range list.Items {
			if asked++; asked > maxDistributions {
				return 0, 0, errMany
			}
			d, err := p.distribution(ctx, anchor, entry.Index)
			if err != nil {
				return 0, 0, err
			}
			if d.Seq <= after {
				return sum, count, nil
			}
			if d.Kind == proof.KindDividend && d.Seq <= until && d.Members > 0 {
				sum, count = sum+torq.JT(d.Amount/d.Members), count+1
			}
		}
		if page.Cursor = list.Next; page.Cursor == "" {
			return sum, count, nil
		}
	}
}

func (p *Purse) distribution(ctx context.Context, anchor *wallet.Anchor, index uint64) (d proof.Distribution, err error) {
	record, err := p.client.LogEntry(ctx, index)
	if err != nil {
		return d, err
	}
	var env seal.Envelope
	if err := json.Unmarshal(record.Envelope, &env); err != nil {
		return d, fmt.Errorf("the envelope of the log's entry %d cannot be read: %w", index, err)
	}
	return anchor.Distribution(env, proof.BundleLog(record.Log))
}

// movements is how an owner's wealth has changed since a posting.
type movements struct {
	certain torq.JT // came in, or went out
	low     torq.JT // of what is certain only within bounds, but for dividends: at least
	high    torq.JT // at most
	noticed torq.JT // was under notice, where demurrage is not listed
	lines   torq.JT
	lasted  int64 // ms from the statement until now

	dividend                  api.StatementLine // that reaches over the posting, if one does
	dividendLow, dividendHigh torq.JT
}

// before is where the wealth before the movements lies when it is total after them. What
// was under notice has lost demurrage that no line tells of; each line may hide one JT.
func (m movements) before(total torq.JT) *Between {
	spare := m.lines + 2
	return &Between{
		Low:  max(0, total-m.certain-m.high-m.dividendHigh-spare),
		High: total - m.certain - m.low - m.dividendLow + mostDemurrage(m.noticed, m.lasted) + spare,
	}
}

// since reads what an account or its savings have moved since a statement.
func (m *movements) since(ctx context.Context, c *client.Client, account string, savings bool, s proof.Solvency) error {
	read := c.Statement
	if savings {
		read = c.SavingsStatement
	}
	var spans []api.StatementLine // of the oldest posting so far: they may reach over it
	for page := (api.Page{Limit: api.MaxPage}); ; {
		list, err := read(ctx, account, page)
		if err != nil {
			return err
		}
		for _, l := range list.Items {
			if l.Posting <= s.Seq {
				m.spanning(spans, s)
				return nil
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
			m.spanning(spans, s)
			return nil
		}
	}
}

// settle counts lines that lie wholly after the posting.
func (m *movements) settle(lines []api.StatementLine) {
	for _, l := range lines {
		m.certain += l.JT
	}
}

// spanning counts lines that may reach over the statement's posting.
func (m *movements) spanning(lines []api.StatementLine, s proof.Solvency) {
	var most torq.JT // that there was to lose from
	for _, l := range lines {
		most = max(most, l.Balance, l.Balance-l.JT)
	}
	for _, l := range lines {
		switch l.Kind {
		case "dividend":
			m.dividend, m.dividendHigh = l, l.JT
		case "demurrage":
			m.low -= min(-l.JT, mostDemurrage(most, l.Time-int64(s.Issued)))
		default:
			m.low, m.high = m.low+min(l.JT, 0), m.high+max(l.JT, 0)
		}
	}
}

// mostDemurrage is more than a balance loses in a time at 20 % a year, the ceiling of every
// policy: 26 millionths an hour, of the hours that have begun and one that was under way.
func mostDemurrage(balance torq.JT, ms int64) torq.JT {
	hours := torq.JT(max(ms, 0)/3_600_000 + 2)
	const most = 10_000 // hours, after which the loss is not bounded
	if hours > most {
		return balance
	}
	return (balance/1_000_000 + 1) * 26 * hours
}
