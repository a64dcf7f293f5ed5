package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/client"
	"robotorq.org/reserve/node"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/strictjson"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/wallet/purse"
)

type contractCmd struct {
	Propose     contractProposeCmd     `cmd:"" help:"Propose work as an enterprise."`
	Countersign contractCountersignCmd `cmd:"" help:"Approve a proposal with a trust key that is no party's."`
	Reject      contractRejectCmd      `cmd:"" help:"Refuse a proposal."`
	Award       contractAwardCmd       `cmd:"" help:"Make the vault check, lock the deposit and open it to investors."`
	Fund        contractFundCmd        `cmd:"" help:"Commit the vault's part of the stake; the robots may begin."`
	Cancel      contractCancelCmd      `cmd:"" help:"End a contract early, as Trust or as its enterprise."`
	Show        contractShowCmd        `cmd:"" help:"A contract, its state and its figures."`
	List        contractListCmd        `cmd:"" help:"Contracts, newest first."`
}

type contractProposeCmd struct {
	walletFlags
	File      string   `arg:"" optional:"" help:"JSON with the terms; - for standard input. Flags win."`
	Owner     string   `placeholder:"ORG" help:"Organisation that owns the robots."`
	Robot     []string `placeholder:"ID" help:"Robot that works (repeatable)."`
	Work      string   `placeholder:"AMOUNT" help:"W: \"2 RT\", or ore; a multiple of an ingot (3,600)."`
	Stake     string   `placeholder:"AMOUNT" help:"S: what the work costs, \"0.5 RT\"; 0 for donated labour."`
	VaultPart string   `name:"vault-part" placeholder:"AMOUNT" help:"What of S the StakeVault is asked for; the rest is left to investors (default: all of it)."`
	Release   string   `placeholder:"NAME" help:"How the markup reaches the members: \"uniform 10h\" or a preset of the policy."`
	ToMarket  string   `name:"to-market" placeholder:"DURATION" help:"From minting to market, for a preset: 720h."`
	Deadline  string   `placeholder:"TIME" help:"When the work must be done: a duration from now, 240h, or 2027-01-31T12:00:00Z."`
	Digger    string   `default:"digger-1" help:"Digger of the robots."`
	Refinery  string   `default:"refinery-1" help:"Refinery of the contract."`
	Again     string   `placeholder:"FILE" type:"existingfile" help:"Send a proposal again whose answer did not come; it is one contract."`
}

// Help is the long help with examples.
func (contractProposeCmd) Help() string {
	return `The enterprise is the organisation whose wallet signs. It pays the robots' owner by its
own orders out of what the contract pays it as the work is proven. The terms may stand
in a file: {"owner", "robots": […], "work", "stake", "vault_part", "release",
"date_to_market", "deadline"}, all texts as in the flags.

When no answer comes the signed proposal is kept beside the wallet; --again sends the
very same one: however often it comes, it is one contract.

Examples:
  robotorq contract propose --wallet works.json --owner printer-guild --robot forge-7 --work "2 RT" --stake "0.5 RT" --release "uniform 10h" --deadline 240h
  robotorq contract propose terms.json --wallet works.json --json`
}

// contractTerms are the terms as people write them.
type contractTerms struct {
	Owner     string   `json:"owner"`
	Robots    []string `json:"robots"`
	Work      string   `json:"work"`
	Stake     string   `json:"stake"`
	VaultPart string   `json:"vault_part"`
	Release   string   `json:"release"`
	ToMarket  string   `json:"date_to_market"`
	Deadline  string   `json:"deadline"`
}

func (c *contractProposeCmd) Run(ctx context.Context, std streams, g *global) error {
	if c.Again != "" {
		return c.again(ctx, std, g)
	}
	p, err := c.proposal(std, time.Now())
	if err != nil {
		return &exitError{exitUsage, err}
	}
	w, err := openWallet(std, c.walletFlags)
	if err != nil {
		return err
	}
	if w.Keys().Role != seal.RoleOrg {
		return &exitError{exitUsage, fmt.Errorf("%s is the wallet of a member: an enterprise proposes with the wallet of an organisation", w.Path())}
	}
	if err := meet(ctx, std, w); err != nil {
		return err
	}
	p.Origin, p.Enterprise = w.Origin(), w.Keys().Name
	if _, err := proof.DecodeProposal(p.Encode()); err != nil {
		return &exitError{exitUsage, err}
	}
	env, err := w.Keys().Sign(proof.TypeProposal, p.Encode())
	if err != nil {
		return err
	}
	body, err := json.Marshal(env)
	if err != nil {
		return err
	}
	kept := filepath.Join(filepath.Dir(w.Path()), "proposal-"+hex.EncodeToString(p.ID[:])+".json")
	return sendProposal(ctx, std, g, w.Client(), w.URL(), body, kept)
}

// sendProposal sends a signed proposal; kept is where it is left when no answer comes.
func sendProposal(ctx context.Context, std streams, g *global, cl *client.Client, url string, body []byte, kept string) error {
	done, err := patiently(ctx, "the proposal was taken", func() (api.Contract, error) { return cl.Propose(ctx, body) },
		keeping(kept, body, "robotorq contract propose --url "+url+" --again"))
	if purse.WasRefused(err) {
		return purse.Explain(err)
	}
	if err != nil {
		return err
	}
	return printContract(std, g, done)
}

// again sends a proposal that was kept: it is one contract however often it comes.
func (c *contractProposeCmd) again(ctx context.Context, std streams, g *global) error {
	data, err := readInput(std, c.Again)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	if _, err := signedDocument(data, c.Again, proof.TypeProposal); err != nil {
		return &exitError{exitUsage, err}
	}
	cl, err := client.New(c.URL, nil, node.Clock{})
	if err != nil {
		return &exitError{exitUsage, err}
	}
	return sendProposal(ctx, std, g, cl, c.URL, bytes.TrimSpace(data), c.Again)
}

// proposal reads the terms from file and flags.
func (c *contractProposeCmd) proposal(std streams, now time.Time) (p proof.Proposal, err error) {
	var t contractTerms
	if c.File != "" {
		data, err := readInput(std, c.File)
		if err != nil {
			return p, err
		}
		if err := strictjson.Decode(data, &t); err != nil {
			return p, fmt.Errorf("%s: %w", c.File, err)
		}
	}
	for _, f := range []struct {
		into *string
		flag string
	}{{&t.Owner, c.Owner}, {&t.Work, c.Work}, {&t.Stake, c.Stake}, {&t.VaultPart, c.VaultPart}, {&t.Release, c.Release}, {&t.ToMarket, c.ToMarket}, {&t.Deadline, c.Deadline}} {
		if f.flag != "" {
			*f.into = f.flag
		}
	}
	if len(c.Robot) > 0 {
		t.Robots = c.Robot
	}
	p = proof.Proposal{Owner: t.Owner, Robots: slices.Sorted(slices.Values(t.Robots)), Digger: c.Digger, Refinery: c.Refinery, Created: uint64(now.UnixMilli())}
	rand.Read(p.ID[:]) // never fails (crypto/rand)
	return p, t.into(&p, now)
}

// into reads what is written in words.
func (t contractTerms) into(p *proof.Proposal, now time.Time) (err error) {
	if t.Owner == "" || len(t.Robots) == 0 || t.Work == "" || t.Deadline == "" {
		return errors.New("a contract needs an owner, robots, work and a deadline: --owner, --robot, --work, --deadline, or a file with them")
	}
	if p.Work, err = amountOf("work", t.Work); err != nil {
		return err
	}
	if p.Stake, err = amountOf("stake", orZero(t.Stake)); err != nil {
		return err
	}
	if p.VaultPart = p.Stake; t.VaultPart != "" {
		if p.VaultPart, err = amountOf("vault part", t.VaultPart); err != nil {
			return err
		}
	}
	if p.Release, err = releaseOf(t.Release); err != nil {
		return err
	}
	if t.ToMarket != "" {
		if p.DateToMarket, err = durationOf("date to market", t.ToMarket); err != nil {
			return err
		}
	}
	if err := releasable(p); err != nil {
		return err
	}
	p.Deadline, err = timeOf("deadline", t.Deadline, now)
	return err
}

// releasable refuses a release that would be over before its first tick: the whole markup
// would fall due at once, which nobody means who leaves a figure out.
func releasable(p *proof.Proposal) error {
	switch {
	case p.Release.Name == policy.Uniform && p.Release.Parameter == 0:
		return errors.New(`release "uniform" needs how long it lasts: --release "uniform 10h"`)
	case p.Release.Name != policy.Uniform && p.DateToMarket == 0:
		return fmt.Errorf("release %q has its peak at the date to market: say it with --to-market 720h, or --release \"uniform 10h\"", p.Release.Name)
	}
	return nil
}

func orZero(text string) string {
	if text == "" {
		return "0"
	}
	return text
}

// amountOf reads "1.25 RT", "4500000 JT", or JT (which is ore) without a unit.
func amountOf(what, text string) (uint64, error) {
	if n, err := strconv.ParseUint(strings.ReplaceAll(text, "_", ""), 10, 53); err == nil {
		return n, nil
	}
	a, err := torq.ParseRT(text)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	return uint64(a), nil
}

// releaseOf reads "uniform 10h" or a preset's name; "default" when there is none.
func releaseOf(text string) (proof.Release, error) {
	name, parameter, _ := strings.Cut(strings.TrimSpace(text), " ")
	switch {
	case name == "":
		return proof.Release{Name: "default"}, nil
	case name != policy.Uniform && parameter != "":
		return proof.Release{}, fmt.Errorf("release %q: only uniform takes a duration", text)
	case name != policy.Uniform:
		return proof.Release{Name: name}, nil
	}
	ms, err := durationOf("release", strings.TrimSpace(parameter))
	return proof.Release{Name: name, Parameter: ms}, err
}

func durationOf(what, text string) (uint64, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%s %q is not a duration such as 10h or 90m", what, text)
	}
	return uint64(d.Milliseconds()), nil
}

// timeOf reads a duration from now or a time.
func timeOf(what, text string, now time.Time) (uint64, error) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return uint64(at.UnixMilli()), nil
	}
	ms, err := durationOf(what, text)
	if err != nil {
		return 0, fmt.Errorf("%s %q is neither a duration such as 240h nor a time such as 2027-01-31T12:00:00Z", what, text)
	}
	return uint64(now.UnixMilli()) + ms, nil
}

// operatorFlags say by which trust key something is signed.
type operatorFlags struct {
	URL   string `name:"url" placeholder:"URL" default:"http://127.0.0.1:8080" help:"The reserve's node."`
	Data  string `placeholder:"DIR" help:"Data directory with the trust key (default: ${data})."`
	Key   string `placeholder:"FILE" help:"Key file of the trust key, instead of --data."`
	Token string `placeholder:"TOKEN" help:"Have the node sign with its trust key, with a token of role admin."`
}

// leadFlags are what every step of a contract takes.
type leadFlags struct {
	operatorFlags
	Number uint64 `arg:"" help:"Number of the contract."`
	Reason string `help:"Words that are kept with it, at most 200 bytes."`
}

const leadHelp = `The trust key of the data directory (keys/trust.json) or of --key signs; with --token
the node signs with its own. Doing it twice is safe.`

type contractCountersignCmd struct{ leadFlags }

// Help is the long help with an example.
func (contractCountersignCmd) Help() string {
	return `Look at the terms first: what is countersigned may be done for money.
` + leadHelp + `

Example:
  robotorq contract countersign 7 --data /var/lib/robotorq`
}

func (c *contractCountersignCmd) Run(ctx context.Context, std streams, g *global) error {
	return c.lead(ctx, std, g, proof.ActionCountersign)
}

type contractRejectCmd struct{ leadFlags }

// Help is the long help with an example.
func (contractRejectCmd) Help() string {
	return leadHelp + `

Example:
  robotorq contract reject 7 --reason "the robots cannot do this" --data /var/lib/robotorq`
}

func (c *contractRejectCmd) Run(ctx context.Context, std streams, g *global) error {
	return c.lead(ctx, std, g, proof.ActionReject)
}

type contractAwardCmd struct{ leadFlags }

// Help is the long help with an example.
func (contractAwardCmd) Help() string {
	return `The vault checks what it is asked for and names every reason against it with the
figures; then nothing has changed and the award may be tried again.
` + leadHelp + `

Example:
  robotorq contract award 7 --data /var/lib/robotorq`
}

func (c *contractAwardCmd) Run(ctx context.Context, std streams, g *global) error {
	return c.lead(ctx, std, g, proof.ActionAward)
}

type contractFundCmd struct{ leadFlags }

// Help is the long help with an example.
func (contractFundCmd) Help() string {
	return `The vault pays what the investors have left of the stake, whole or not at all. The
contract is signed and logged, and takes ore from then on.
` + leadHelp + `

Example:
  robotorq contract fund 7 --data /var/lib/robotorq`
}

func (c *contractFundCmd) Run(ctx context.Context, std streams, g *global) error {
	return c.lead(ctx, std, g, proof.ActionFund)
}

type contractCancelCmd struct {
	leadFlags
	Wallet         string `placeholder:"FILE" help:"Wallet of the enterprise: it withdraws, and its deposit is forfeit."`
	Account        string `placeholder:"ACCOUNT" help:"Which of the wallet's accounts, where it has several: org:ID."`
	PassphraseFile string `placeholder:"FILE" help:"File with the wallet's passphrase in its first line."`
}

// Help is the long help with examples.
func (contractCancelCmd) Help() string {
	return `By Trust the enterprise's deposit goes back; an enterprise that withdraws with its
wallet loses it. Once funded, acceptance stops by a logged closing after closing_notice:
what is accepted by then is still minted and paid.
` + leadHelp + `

Examples:
  robotorq contract cancel 7 --reason "the robots are needed elsewhere" --data /var/lib/robotorq
  robotorq contract cancel 7 --wallet works.json`
}

func (c *contractCancelCmd) Run(ctx context.Context, std streams, g *global) error {
	if c.Wallet == "" {
		return c.lead(ctx, std, g, proof.ActionCancel)
	}
	w, err := openWallet(std, walletFlags{Wallet: c.Wallet, Account: c.Account, PassphraseFile: c.PassphraseFile, URL: c.URL})
	if err != nil {
		return err
	}
	if err := meet(ctx, std, w); err != nil {
		return err
	}
	done, err := c.instruct(ctx, w.Client(), proof.ActionWithdraw, w.Keys(), w.Origin())
	if err != nil {
		return err
	}
	return printContract(std, g, done)
}

// lead signs an instruction and sends it, or has the node do so.
func (f *leadFlags) lead(ctx context.Context, std streams, g *global, action proof.Action) error {
	cl, err := client.New(f.URL, nil, node.Clock{}, client.WithToken(f.Token))
	if err != nil {
		return &exitError{exitUsage, err}
	}
	var done api.Contract
	if f.Token != "" {
		done, err = patiently(ctx, asked(action, f.Number), func() (api.Contract, error) { return cl.Act(ctx, f.Number, string(action), f.Reason) }, sameAgain)
	} else {
		var keys *seal.Signer
		var origin string
		if keys, origin, err = f.trustKey(std); err != nil {
			return err
		}
		done, err = f.instruct(ctx, cl, action, keys, origin)
	}
	if err != nil {
		return err
	}
	return printContract(std, g, done)
}

// instruct signs an instruction about the proposal that the node shows, which must be of
// the reserve that the keys belong to, if that is known.
func (f *leadFlags) instruct(ctx context.Context, cl *client.Client, action proof.Action, keys *seal.Signer, origin string) (api.Contract, error) {
	evidence, err := cl.Evidence(ctx, f.Number)
	if err != nil {
		return api.Contract{}, err
	}
	var proposal seal.Envelope
	if err := json.Unmarshal(evidence.Proposal, &proposal); err != nil {
		return api.Contract{}, fmt.Errorf("contract %d: its proposal cannot be read: %w", f.Number, err)
	}
	p, err := proof.DecodeProposal(proposal.Payload)
	if err != nil {
		return api.Contract{}, err
	}
	if origin != "" && p.Origin != origin {
		return api.Contract{}, fmt.Errorf("contract %d at %s is of %s, the key belongs to %s: nothing was signed", f.Number, f.URL, p.Origin, origin)
	}
	i := proof.Instruction{
		Contract: proof.ContractID(p.Origin, f.Number), Proposal: proposal.Digest(), Action: action, Reason: strings.ToValidUTF8(f.Reason, "?"), Issued: uint64(time.Now().UnixMilli()),
	}
	if len(f.Reason) > 200 {
		return api.Contract{}, &exitError{exitUsage, errors.New("--reason has at most 200 bytes")}
	}
	env, err := keys.Sign(proof.TypeInstruction, i.Encode())
	if err != nil {
		return api.Contract{}, err
	}
	body, err := json.Marshal(env)
	if err != nil {
		return api.Contract{}, err
	}
	return patiently(ctx, asked(action, f.Number), func() (api.Contract, error) { return cl.Instruct(ctx, f.Number, body) }, sameAgain)
}

func asked(action proof.Action, contract uint64) string {
	return fmt.Sprintf("%q was done to contract %d", action, contract)
}

// trustKey reads the key that signs, and the reserve that it belongs to when that is
// known.
func (f *operatorFlags) trustKey(std streams) (keys *seal.Signer, origin string, err error) {
	if f.Key != "" {
		keys, err = readKeys(std, f.Key)
		return keys, "", err
	}
	r, err := openReserve(dataDir(f.Data), "")
	if err != nil {
		return nil, "", &exitError{exitUsage, fmt.Errorf("%w (the trust key lies in the data directory; --key names another file, --token has the node sign)", err)}
	}
	keys, err = readKeys(std, r.path("keys", seal.RoleTrust+".json"))
	return keys, r.origin, err
}

type contractShowCmd struct {
	Number uint64 `arg:"" help:"Number of the contract."`
	URL    string `name:"url" placeholder:"URL" default:"http://127.0.0.1:8080" help:"The reserve's node."`
}

// Help is the long help with an example.
func (contractShowCmd) Help() string {
	return `Example:
  robotorq contract show 7 --json`
}

func (c *contractShowCmd) Run(ctx context.Context, std streams, g *global) error {
	cl, err := client.New(c.URL, nil, node.Clock{})
	if err != nil {
		return &exitError{exitUsage, err}
	}
	shown, err := cl.Contract(ctx, c.Number)
	if err != nil {
		return err
	}
	return printContract(std, g, shown)
}

func printContract(std streams, g *global, c api.Contract) error {
	if g.JSON {
		return writeJSON(std.Out, c)
	}
	t := table(std.Out)
	state := c.State
	if c.Reason != "" && c.Reason != c.State {
		state += " (" + oneLine(c.Reason) + ")"
	}
	fmt.Fprintf(t, "contract %d\t%s\n", c.Number, state)
	fmt.Fprintf(t, "  enterprise\t%s, robots of %s: %s\n", c.Enterprise, c.Owner, joined(c.Robots))
	fmt.Fprintf(t, "  work\t%s ore, %s accepted, %s minted\n", counted(c.Work), counted(c.Accepted), counted(c.Minted))
	stake := "none: donated labour"
	if c.Stake > 0 {
		stake = fmt.Sprintf("%s (torq factor %s), the vault's part %s", c.Stake.RTGrouped(), c.Torq, c.VaultPart.RTGrouped())
	}
	fmt.Fprintf(t, "  stake\t%s\n", stake)
	fmt.Fprintf(t, "  paid\t%s; deployed %s, invested %s, returns %s, deposit %s\n", c.Paid.RTGrouped(), c.Deployed.RTGrouped(), c.Invested.RTGrouped(), c.Returns.RTGrouped(), c.Deposit.RTGrouped())
	if c.Open > 0 {
		fmt.Fprintf(t, "  open to investors\t%s\n", c.Open.RTGrouped())
	}
	fmt.Fprintf(t, "  release\t%s\n", c.Release)
	fmt.Fprintf(t, "  deadline\t%s\n", localTime(uint64(c.Deadline)))
	if c.Funded > 0 {
		fmt.Fprintf(t, "  funded\t%s\n", localTime(uint64(c.Funded)))
	}
	if c.Closed > 0 {
		fmt.Fprintf(t, "  takes ore until\t%s\n", localTime(uint64(c.Closed)))
	}
	fmt.Fprintf(t, "  proposal\t%s\n", c.Proposal)
	return t.Flush()
}

type contractListCmd struct {
	URL   string `name:"url" placeholder:"URL" default:"http://127.0.0.1:8080" help:"The reserve's node."`
	State string `placeholder:"STATE" help:"Only those in this state."`
	Limit int    `default:"50" help:"Contracts at most; 0 for all."`
}

// Help is the long help with an example.
func (contractListCmd) Help() string {
	return `Example:
  robotorq contract list --state awarded`
}

func (c *contractListCmd) Run(ctx context.Context, std streams, g *global) error {
	cl, err := client.New(c.URL, nil, node.Clock{})
	if err != nil {
		return &exitError{exitUsage, err}
	}
	all := []api.Contract{}
	for page := (api.Page{Limit: api.MaxPage}); ; {
		list, err := cl.Contracts(ctx, page)
		if err != nil {
			return err
		}
		for _, x := range list.Items {
			if c.State == "" || c.State == x.State {
				all = append(all, x)
			}
		}
		if page.Cursor = list.Next; page.Cursor == "" || c.Limit > 0 && len(all) >= c.Limit {
			break
		}
	}
	if c.Limit > 0 {
		all = all[:min(len(all), c.Limit)]
	}
	if g.JSON {
		return writeJSON(std.Out, map[string]any{"contracts": all})
	}
	t := table(std.Out)
	fmt.Fprintln(t, "contract\tstate\tenterprise\twork\tminted\tstake\topen\tdeadline")
	for _, x := range all {
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", x.Number, x.State, x.Enterprise, torq.JT(x.Work).RTGrouped(), torq.JT(x.Minted).RTGrouped(),
			x.Stake.RTGrouped(), x.Open.RTGrouped(), localTime(uint64(x.Deadline)))
	}
	return t.Flush()
}
