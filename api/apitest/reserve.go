// Package apitest is an invented reserve in memory, for tests of the HTTP
// interface and for looking at the pages: its figures are made up but add up,
// its ore trees are real, its signatures are not checked. No station runs
// behind it and no program uses it.
package apitest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/torq"
)

const (
	orePerIngot = 3600
	ingots      = 1000
	orePerCert  = orePerIngot * ingots
	contracts   = 5
	minute      = 60_000
)

// Fake is the invented reserve. Its fields may be set before it is used.
type Fake struct {
	Certs    uint64 // certificates minted
	Now      int64  // Unix ms of everything that is "now"
	Fleet    []string
	Fault    string // makes every ore proof fail with this
	Accounts map[string]*Account
	orders   map[string]api.Receipt
	policy   func() ([]byte, error)
}

// Account is a wallet with the key that may read it.
type Account struct {
	KeyID  string
	Public []byte
	JT     torq.JT
	Lines  []api.StatementLine
}

// New makes a reserve with that many certificates at the time now.
func New(certificates uint64, now int64) *Fake {
	r := &Fake{Certs: certificates, Now: now, Accounts: map[string]*Account{}, orders: map[string]api.Receipt{}}
	r.policy = sync.OnceValues(func() ([]byte, error) { return defaultPolicy(now - 60*minute) })
	if certificates > 0 {
		r.Fleet = []string{"alba", "bruna", "corvo", "dente", "elmo", "fusa", "gru", "hedra"}
	}
	return r
}

func digest(parts ...any) merkle.Hash { return sha256.Sum256([]byte(fmt.Sprintln(parts...))) }

func number(bound uint64, parts ...any) uint64 {
	d := digest(parts...)
	return binary.BigEndian.Uint64(d[:8]) % bound
}

func paged[T any](page api.Page, total uint64, item func(i uint64) T) (api.List[T], error) {
	first := uint64(0)
	if page.Cursor != "" {
		n, err := strconv.ParseUint(page.Cursor, 10, 64)
		if err != nil || n > total {
			return api.List[T]{}, api.Errorf(api.CodeCursorInvalid, "The cursor is not one of this list. Start at its first page.")
		}
		first = n
	}
	list := api.List[T]{Items: []T{}}
	for i := first; i < total && len(list.Items) < page.Limit; i++ {
		list.Items = append(list.Items, item(i))
	}
	if next := first + uint64(len(list.Items)); next < total {
		list.Next = strconv.FormatUint(next, 10)
	}
	return list, nil
}

func (r *Fake) supply() torq.JT { return torq.JT(r.Certs * orePerCert) }

func (r *Fake) holdings() []api.Holding {
	if r.Certs == 0 {
		return nil
	}
	s := r.supply()
	parts := []api.Holding{
		{Class: "wallets", JT: s * 31 / 100}, {Class: "savings", JT: s * 7 / 100}, {Class: "leaving", JT: s / 200},
		{Class: "stake.available", JT: s * 22 / 100}, {Class: "stake.deployed", JT: s * 11 / 100},
		{Class: "stake.returns", JT: s / 100}, {Class: "disto", JT: 0}, {Class: "demurrage", JT: 211},
	}
	rest := s
	for _, p := range parts {
		rest -= p.JT
	}
	parts[6].JT = rest
	return parts
}

func (r *Fake) issued(serial uint64) int64 { return r.Now - int64(r.Certs-serial)*41_000 - 17_000 }

func (r *Fake) dividend(i uint64) api.Dividend {
	per := torq.JT(1200 + number(900, "dividend", i))
	return api.Dividend{Posting: 9000 + i*7, Time: r.Now - int64(r.dividends()-i)*minute + 22_000, JT: per * 12, Members: 12, PerMember: per}
}

func (r *Fake) dividends() uint64 { return min(r.Certs*2, 500) }

// Overview implements api.Reader.
func (r *Fake) Overview(context.Context) (api.Overview, error) {
	o := api.Overview{
		Origin: "demo.robotorq.org", OrePerIngot: orePerIngot, IngotsPerCertificate: ingots,
		Now: r.Now, Started: r.Now - 40*minute,
		Vault:    api.VaultStation{Supply: r.supply(), Holdings: r.holdings(), Postings: r.Certs * 40},
		Dividend: api.DividendState{Next: r.Now + 38_000, Unit: minute, Required: 3},
	}
	if r.Certs == 0 {
		return o, nil
	}
	last := r.dividend(r.dividends() - 1)
	o.Robots = api.RobotStation{Enrolled: uint64(len(r.Fleet)), Working: uint64(len(r.Fleet)) - 1, Watts: 9_600}
	o.Digger = api.DiggerStation{Reports: r.Certs*181 + 31, Ore: r.Certs*orePerCert + 2_310_443, Batches: r.Certs*22 + 4, Pending: 3, LastBatch: r.Now - 900}
	o.Refinery = api.RefineryStation{Ingots: r.Certs*ingots + 641, Pours: r.Certs*21 + 4, OpenOre: 2_411, LastPour: r.Now - 1_500}
	o.Mint = api.MintStation{Certificates: r.Certs, WaitingIngots: 641, LastSerial: r.Certs, LastCertificate: r.issued(r.Certs), LogSize: r.Certs*24 + 33}
	o.Wallets = api.WalletStation{Members: 12, Accounts: 19, Orders: r.Certs * 35}
	o.Dividend.Last, o.Dividend.Due = &last, last.JT+411
	o.Refusals = []api.RuleCount{{Rule: "rating_energy", Count: 14}, {Rule: "too_short", Count: 5}, {Rule: "reading_overlap", Count: 2}, {Rule: "bad_signature", Count: 1}}
	return o, nil
}

func (r *Fake) summary(serial uint64) api.CertificateSummary {
	first := serial%contracts + 1
	part := (200 + number(600, "work", serial)) * orePerIngot
	work := []api.Work{{Contract: first, Enterprise: enterprise(first), Ore: part}, {Contract: first%contracts + 1, Enterprise: enterprise(first%contracts + 1), Ore: orePerCert - part}}
	if work[0].Contract > work[1].Contract {
		work[0], work[1] = work[1], work[0]
	}
	return api.CertificateSummary{Serial: serial, Digest: digest("certificate", serial).String(), Issued: r.issued(serial), Work: work}
}

// Certificates implements api.Reader.
func (r *Fake) Certificates(_ context.Context, page api.Page) (api.List[api.CertificateSummary], error) {
	return paged(page, r.Certs, func(i uint64) api.CertificateSummary { return r.summary(r.Certs - i) })
}

func (r *Fake) exists(serial uint64) error {
	if serial < 1 || serial > r.Certs {
		return api.NotFound("certificate", serial)
	}
	return nil
}

// Certificate implements api.Reader.
func (r *Fake) Certificate(_ context.Context, serial uint64) (api.Certificate, error) {
	if err := r.exists(serial); err != nil {
		return api.Certificate{}, err
	}
	c := api.Certificate{
		CertificateSummary: r.summary(serial), Mint: "mint", Previous: strings.Repeat("0", 64), Root: merkle.Root(r.records(serial)).String(),
		Ingots: ingots, Ore: orePerCert, FirstReading: r.issued(serial) - 95_000, LastReading: r.issued(serial) - 4_000,
		Run: api.Run{Seq: serial, Digest: digest("run", serial).String(), Sealed: r.issued(serial) + 300}, LogIndex: serial*24 + 9,
		Posting: serial * 40, Paid: 900_000, Growth: 0, Returns: 22_500, Disto: 2_677_500,
	}
	if serial > 1 {
		c.Previous = digest("certificate", serial-1).String()
	}
	left := uint64(orePerCert)
	for i, robot := range r.Fleet {
		part := left * (30 + number(20, "share", serial, i)) / 100
		if i == len(r.Fleet)-1 {
			part = left
		}
		c.Robots = append(c.Robots, api.Share{Robot: robot, Ore: part})
		left -= part
	}
	return c, nil
}

func (r *Fake) records(serial uint64) []merkle.Hash {
	leaves := make([]merkle.Hash, ingots)
	for i := range leaves {
		leaves[i] = merkle.LeafHash(fmt.Appendf(nil, "record %d %d", serial, i))
	}
	return leaves
}

func (r *Fake) spans(seq uint64) []api.Span {
	var spans []api.Span
	left, start := uint64(orePerIngot), r.issued((seq-1)/ingots+1)-60_000
	for i := uint64(0); left > 0; i++ {
		count := min(left, 700+number(2600, "count", seq, i))
		robot := r.Fleet[number(uint64(len(r.Fleet)), "robot", seq, i)]
		report := 40 + seq/9 + i
		derived := 20_000 + number(4_000, "ore", seq, i)
		spans = append(spans, api.Span{
			Report: digest("report", robot, report).String(), Robot: robot, Seq: report,
			First: number(15_000, "first", seq, i), Count: count, Start: start - 10_000, End: start,
			Energy: 12_000_000 + number(900_000, "energy", seq, i), Tokens: 180, Derived: derived,
		})
		left -= count
	}
	return spans
}

// Ingots implements api.Reader.
func (r *Fake) Ingots(_ context.Context, serial uint64, page api.Page) (api.List[api.IngotSummary], error) {
	if err := r.exists(serial); err != nil {
		return api.List[api.IngotSummary]{}, err
	}
	work := r.summary(serial).Work
	return paged(page, ingots, func(i uint64) api.IngotSummary {
		seq := (serial-1)*ingots + i + 1
		contract := work[0].Contract
		if i*orePerIngot >= work[0].Ore {
			contract = work[1].Contract
		}
		return api.IngotSummary{Position: i, Refinery: "refinery", Seq: seq, Contract: contract,
			Root: merkle.OreRoot(merkleSpans(r.spans(seq))).String(), Spans: uint64(len(r.spans(seq)))}
	})
}

func merkleSpans(spans []api.Span) []merkle.Span {
	out := make([]merkle.Span, len(spans))
	for i, s := range spans {
		report, err := merkle.ParseHash(s.Report)
		if err != nil {
			panic(err) // our own digest
		}
		out[i] = merkle.Span{Report: report, First: s.First, Count: s.Count}
	}
	return out
}

// Ingot implements api.Reader.
func (r *Fake) Ingot(ctx context.Context, refinery string, seq uint64) (api.Ingot, error) {
	serial := (seq-1)/ingots + 1
	if refinery != "refinery" || seq < 1 || serial > r.Certs {
		return api.Ingot{}, api.NotFound("ingot", fmt.Sprint(refinery, "/", seq))
	}
	position := (seq - 1) % ingots
	list, err := r.Ingots(ctx, serial, api.Page{Cursor: strconv.FormatUint(position, 10), Limit: 1})
	if err != nil {
		return api.Ingot{}, err
	}
	return api.Ingot{
		Refinery: refinery, Seq: seq, Contract: list.Items[0].Contract, Root: list.Items[0].Root,
		Pour:   api.Pour{Seq: seq/48 + 1, Digest: digest("pour", seq/48).String(), Sealed: r.issued(serial) - 2_000},
		Serial: serial, Position: position, Spans: r.spans(seq), FirstUnit: position * orePerIngot,
	}, nil
}

// Ore implements api.Reader.
func (r *Fake) Ore(_ context.Context, serial, index uint64) (api.Ore, error) {
	if err := r.exists(serial); err != nil {
		return api.Ore{}, err
	}
	if index >= orePerCert {
		return api.Ore{}, api.Errorf(api.CodeNotFound, "Certificate %d has units 0 to %d; there is no unit %d.", serial, orePerCert-1, index)
	}
	position, unit := index/orePerIngot, index%orePerIngot
	seq := (serial-1)*ingots + position + 1
	spans := r.spans(seq)
	leaf, path, root, err := merkle.OrePath(merkleSpans(spans), unit)
	if err != nil {
		return api.Ore{}, err
	}
	records := r.records(serial)
	o := api.Ore{
		Serial: serial, Index: index, Refinery: "refinery", Ingot: seq, Unit: unit, Position: position,
		Leaf: leaf.String(), OrePath: texts(path), OreRoot: root.String(),
		Record: records[position].String(), Path: texts(merkle.Path(records, int(position))), Root: merkle.Root(records).String(),
		Checked: r.Fault == "", Fault: r.Fault,
	}
	for _, s := range spans {
		if unit < s.Count {
			o.Span, o.Offset = s, s.First+unit
			break
		}
		unit -= s.Count
	}
	o.File, err = json.Marshal(map[string]any{"certificate": serial, "unit": index, "leaf": o.Leaf, "ore_path": o.OrePath, "path": o.Path})
	return o, err
}

func texts(path []merkle.Hash) []string {
	out := make([]string, len(path))
	for i, h := range path {
		out[i] = h.String()
	}
	return out
}

// Export implements api.Reader.
func (r *Fake) Export(_ context.Context, serial uint64) (io.ReadCloser, error) {
	if err := r.exists(serial); err != nil {
		return nil, err
	}
	return io.NopCloser(strings.NewReader(fmt.Sprintf(`{"certificate":{"serial":%d},"ingots":[]}`, serial))), nil
}
