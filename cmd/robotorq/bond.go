package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/client"
	"robotorq.org/reserve/node"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/wallet"
	"robotorq.org/reserve/wallet/bondprint"
	"robotorq.org/reserve/wallet/purse"
)

type bondCmd struct {
	Issue   bondIssueCmd   `cmd:"" help:"Lock whole RT behind a secret."`
	Print   bondPrintCmd   `cmd:"" help:"Make a coin, a note and a chip of an issued bond."`
	Check   bondCheckCmd   `cmd:"" help:"Check a bond's file, offline, and whether it is still good."`
	Redeem  bondRedeemCmd  `cmd:"" help:"Pay a bond into a wallet, once."`
	Reissue bondReissueCmd `cmd:"" help:"Bind a taken bond to a secret of one's own."`
}

// bondFlags name the node.
type bondFlags struct {
	URL string `name:"url" placeholder:"URL" default:"http://127.0.0.1:8080" help:"The reserve's node."`
}

func (f bondFlags) client() (*client.Client, error) {
	c, err := client.New(f.URL, nil, node.Clock{})
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	return c, nil
}

type bondIssueCmd struct {
	walletFlags
	Amount  []string      `arg:"" help:"The bond's face, whole RT: 5 RT."`
	Dir     string        `default:"." placeholder:"DIR" help:"Where the secret and the bond's file go."`
	Expires time.Duration `default:"5m" help:"After this the order is void."`
}

// Help is the long help with an example.
func (bondIssueCmd) Help() string {
	return `The secret is made and written first (DIR/bond-….secret, mode 0600, encrypted with
ROBOTORQ_PASSPHRASE or --passphrase-file when there is one): nobody can make it again. Then
the bond is ordered, and the file that its holders check it by is fetched when the mint has
signed and logged it. A fee (bond_fee in the policy) is paid beside the face.

Example:
  robotorq bond issue 5 RT --dir bonds`
}

// issuedBond is the answer of `bond issue` and `bond reissue`.
type issuedBond struct {
	Serial  uint64 `json:"serial"`
	Face    uint64 `json:"face"`
	KeyHash string `json:"key_hash"`
	Posting uint64 `json:"posting"`
	Secret  string `json:"secret_file"`
	File    string `json:"bond_file"`
}

func (c *bondIssueCmd) Run(ctx context.Context, std streams, g *global) error {
	face, err := wallet.ParseFace(strings.Join(c.Amount, " "))
	if err != nil {
		return &exitError{exitUsage, err}
	}
	w, err := openWallet(std, c.walletFlags)
	if err != nil {
		return err
	}
	if err := meet(ctx, std, w); err != nil {
		return err
	}
	secret, err := wallet.NewSecret()
	if err != nil {
		return err
	}
	text, err := givenPassphrase(c.PassphraseFile)
	if err != nil {
		return err
	}
	operation, err := wallet.Bond(face, secret.KeyHash())
	if err != nil {
		return &exitError{exitUsage, err}
	}
	o, err := order(w, c.Expires, operation)
	if err != nil {
		return err
	}
	b, _, err := w.Issue(ctx, c.Dir, text, wallet.KeptSecret{Origin: w.Origin(), Face: face, Secret: secret}, o)
	if err != nil {
		return err
	}
	answer := issuedOf(b)
	if answer.File, err = fetchBond(ctx, w.Client(), b.Serial, b.Version, c.Dir); err != nil {
		return fmt.Errorf("bond %d is issued, its secret is in %s; its file is not there yet: %w", b.Serial, b.Secret, err)
	}
	return answer.print(std, g, "Issued")
}

func issuedOf(b purse.Issued) issuedBond {
	return issuedBond{Serial: b.Serial, Face: b.Face, KeyHash: b.KeyHash, Posting: b.Posting, Secret: b.Secret}
}

func (b issuedBond) print(std streams, g *global, how string) error {
	if g.JSON {
		return writeJSON(std.Out, b)
	}
	_, err := fmt.Fprintf(std.Out, "%s bond %d over %d RT.\n  secret   %s (whoever has it has the money)\n  bond     %s (for everybody; `robotorq bond check`, `robotorq bond print`)\n", how, b.Serial, b.Face, b.Secret, b.File)
	return err
}

// fetchBond fetches a bond's file when it has so many versions that bind it to its key,
// and writes it.
func fetchBond(ctx context.Context, c *client.Client, serial uint64, versions int, dir string) (string, error) {
	const patience = 60
	for attempt := 0; ; attempt++ {
		path, err := purse.FetchBond(ctx, c, serial, versions, dir)
		if !errors.Is(err, purse.ErrUnlogged) {
			return path, err
		}
		if attempt == patience {
			return "", fmt.Errorf("the mint has not signed and logged it within a minute; `robotorq bond check %d --keep DIR` fetches it later", serial)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// readBond reads a bond's file, or fetches it by its serial.
func readBond(ctx context.Context, std streams, c *client.Client, what string) (*wallet.BondFile, []byte, error) {
	var data []byte
	serial, err := strconv.ParseUint(what, 10, 53)
	if err == nil {
		data, err = c.BondFile(ctx, serial)
	} else {
		data, err = readInput(std, what)
	}
	if err != nil {
		return nil, nil, err
	}
	f, err := wallet.DecodeBondFile(data)
	if err == nil && len(f.Bonds) == 0 {
		err = errors.New("the file holds no bond")
	}
	return f, data, err
}

type bondCheckCmd struct {
	bondFlags
	Bond    string   `arg:"" name:"file|serial" help:"The bond's file, - for standard input, or its serial, which asks the reserve for the file."`
	Online  bool     `help:"Ask the reserve too whether the bond is still good."`
	Keep    string   `placeholder:"DIR" help:"Keep the file that was fetched."`
	Root    []string `sep:"none" placeholder:"HEX" help:"Pin the charter to this root key (64 hex digits, repeatable)."`
	Profile string   `hidden:""`
}

// Help is the long help with examples.
func (bondCheckCmd) Help() string {
	return `Offline: that the mint has signed and logged the bond, and that as many certificates as its
face stand behind it. Whether it was redeemed or reissued since only the reserve knows;
--online asks it.

Examples:
  robotorq bond check bond-12.json --root 3f6c…
  robotorq bond check bond-12.json --online
  robotorq bond check 12 --keep bonds`
}

// bondChecked is the answer of `bond check`.
type bondChecked struct {
	OK       bool                `json:"ok"`
	Summary  *wallet.BondSummary `json:"summary,omitempty"`
	State    string              `json:"state"` // live, redeemed, reissued; unknown when it was not asked for
	Fault    *faultJSON          `json:"fault,omitempty"`
	Warnings []string            `json:"warnings"`
}

func (c *bondCheckCmd) Run(ctx context.Context, std streams, g *global) error {
	roots, err := parseRoots(c.Root)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	profile, err := torq.ProfileByName(orStandard(c.Profile))
	if err != nil {
		return &exitError{exitUsage, err}
	}
	cl, err := c.client()
	if err != nil {
		return err
	}
	_, number := strconv.ParseUint(c.Bond, 10, 53)
	f, data, err := readBond(ctx, std, cl, c.Bond)
	if err != nil {
		return err
	}
	answer := bondChecked{State: "unknown", Warnings: []string{}}
	summary, err := wallet.CheckBond(f, wallet.CheckOptions{Roots: roots, Profile: profile})
	if err == nil {
		answer.Summary = &summary
		if !summary.Pinned {
			answer.Warnings = append(answer.Warnings, unpinned)
		}
		if c.Online || number == nil {
			answer.State, err = purse.BondState(ctx, node.Clock{}, cl, summary)
		}
	}
	if err == nil && c.Keep != "" {
		if err = os.MkdirAll(c.Keep, 0o700); err == nil {
			err = replaceFile(filepath.Join(c.Keep, fmt.Sprintf("bond-%d.json", summary.Serial)), data, 0o644)
		}
	}
	if fault := proof.AsFault(err); fault != nil {
		answer.Fault = faultOf(fault)
	} else if err != nil {
		return err
	}
	answer.OK = err == nil
	if g.JSON {
		if written := writeJSON(std.Out, answer); written != nil {
			return written
		}
	} else if err == nil {
		answer.print(std)
	}
	return err
}

func (b bondChecked) print(std streams) {
	s := b.Summary
	fmt.Fprintf(std.Out, "Bond %d of %s holds: %d RT, bound to %s.\n", s.Serial, s.Origin, s.Face, several(len(s.Certificates), "certificate"))
	t := table(std.Out)
	fmt.Fprintf(t, "  issued\t%s by %s\n", localTime(s.Issued), s.Mint)
	fmt.Fprintf(t, "  key\t%s\n", s.KeyHash)
	fmt.Fprintf(t, "  log\tentry %s of %s\n", counted(s.LogIndex), counted(s.LogSize))
	fmt.Fprintf(t, "  state\t%s\n", b.State)
	t.Flush()
	if b.State == "unknown" {
		fmt.Fprintln(std.Out, "Whether it was redeemed or reissued since only the reserve knows: --online asks it.")
	}
	for _, w := range b.Warnings {
		fmt.Fprintln(std.Err, "Note: "+w+".")
	}
}

// bearerFlags say where a bearer's secret is.
type bearerFlags struct {
	Secret         string `placeholder:"FILE" help:"File with the secret; - for standard input. Without it the secret is asked for."`
	PassphraseFile string `placeholder:"FILE" help:"File with the passphrase of the secret's file (else ROBOTORQ_PASSPHRASE, else it is asked for)."`
}

// secret reads a bearer's secret: from a file of `bond issue`, or as it is printed,
// never from the command line.
func (f bearerFlags) secret(std streams) (wallet.Secret, error) {
	if f.Secret == "" || f.Secret == "-" {
		if f.Secret == "" && !isTerminal(std.In) {
			return wallet.Secret{}, &exitError{exitUsage, errors.New("nobody can be asked for the secret here: name its file with --secret, or - for standard input")}
		}
		if f.Secret == "-" {
			data, err := readInput(std, "-")
			if err != nil {
				return wallet.Secret{}, err
			}
			return wallet.ParseSecret(strings.TrimSpace(string(data)))
		}
		text, err := ask(std, "The bond's secret: ")
		if err != nil {
			return wallet.Secret{}, err
		}
		return wallet.ParseSecret(text)
	}
	text, err := givenPassphrase(f.PassphraseFile)
	if err != nil {
		return wallet.Secret{}, err
	}
	kept, err := wallet.ReadSecret(f.Secret, text)
	if wallet.HasCode(err, wallet.CodePassphrase) && text == "" && isTerminal(std.In) {
		if text, err = ask(std, "Passphrase of "+f.Secret+": "); err != nil {
			return wallet.Secret{}, err
		}
		kept, err = wallet.ReadSecret(f.Secret, text)
	}
	return kept.Secret, err
}

// claimed finds out what is claimed: by the bond's file, or by its serial.
func (f bondFlags) claimed(ctx context.Context, std streams, bond string) (b purse.Bearing, err error) {
	b.Clock = node.Clock{}
	if b.Client, err = f.client(); err != nil {
		return b, err
	}
	if b.Serial, err = strconv.ParseUint(bond, 10, 53); err != nil {
		file, _, err := readBond(ctx, std, b.Client, bond)
		if err != nil {
			return b, err
		}
		s, err := wallet.CheckBond(file, wallet.CheckOptions{})
		b.Origin, b.Serial = s.Origin, s.Serial
		return b, err
	}
	charter, err := insist(ctx, func() (api.Charter, error) { return b.Client.Charter(ctx) })
	b.Origin = charter.Origin
	return b, err
}

type bondRedeemCmd struct {
	bondFlags
	bearerFlags
	Bond    string        `arg:"" name:"file|serial" help:"The bond's file, or the serial that is printed on it."`
	To      string        `required:"" placeholder:"ACCOUNT" help:"Wallet that is paid: member:ID or org:ID."`
	Expires time.Duration `default:"5m" help:"After this the claim is void."`
}

// Help is the long help with examples.
func (bondRedeemCmd) Help() string {
	return `The secret signs here; it never leaves this machine and never stands in an address or on
the command line. A bond is redeemed once.

Examples:
  robotorq bond redeem bond-12.json --secret bond-3f6c….secret --to member:ada
  robotorq bond redeem 12 --to member:ada`
}

func (c *bondRedeemCmd) Run(ctx context.Context, std streams, g *global) error {
	b, err := c.claimed(ctx, std, c.Bond)
	if err != nil {
		return err
	}
	secret, err := c.secret(std)
	if err != nil {
		return err
	}
	if c.Expires <= 0 {
		return &exitError{exitUsage, errors.New("--expires must be longer than nothing")}
	}
	done, err := b.Redeem(ctx, secret, c.To, c.Expires)
	if wallet.HasCode(err, wallet.CodeAccount) || wallet.HasCode(err, wallet.CodeMalformed) {
		return &exitError{exitUsage, err}
	}
	if err != nil {
		return err
	}
	if g.JSON {
		return writeJSON(std.Out, done)
	}
	_, err = fmt.Fprintf(std.Out, "Redeemed bond %d: %s paid to %s by posting %s.\n", b.Serial, done.JT.RTGrouped(), done.Payee, counted(done.Posting))
	return err
}

type bondReissueCmd struct {
	bondFlags
	bearerFlags
	Bond    string        `arg:"" name:"file|serial" help:"The bond's file, or the serial that is printed on it."`
	Dir     string        `default:"." placeholder:"DIR" help:"Where the new secret and the bond's file go."`
	Expires time.Duration `default:"5m" help:"After this the claim is void."`
}

// Help is the long help with an example.
func (bondReissueCmd) Help() string {
	return `Whoever takes a bond in payment has it reissued: then nobody who saw its secret before can
redeem it. The new secret is written first (encrypted with ROBOTORQ_PASSPHRASE or
--passphrase-file when there is one).

Example:
  robotorq bond reissue 12 --dir bonds`
}

func (c *bondReissueCmd) Run(ctx context.Context, std streams, g *global) error {
	b, err := c.claimed(ctx, std, c.Bond)
	if err != nil {
		return err
	}
	secret, err := c.secret(std)
	if err != nil {
		return err
	}
	if c.Expires <= 0 {
		return &exitError{exitUsage, errors.New("--expires must be longer than nothing")}
	}
	text, err := givenPassphrase(c.PassphraseFile)
	if err != nil {
		return err
	}
	done, err := b.Reissue(ctx, secret, c.Dir, text, c.Expires)
	if err != nil {
		return err
	}
	answer := issuedOf(done)
	if answer.File, err = fetchBond(ctx, b.Client, b.Serial, done.Version, c.Dir); err != nil {
		return fmt.Errorf("bond %d is yours, its secret is in %s; its file is not there yet: %w", b.Serial, done.Secret, err)
	}
	return answer.print(std, g, "Reissued")
}

type bondPrintCmd struct {
	bondFlags
	bearerFlags
	Bond    string   `arg:"" name:"file|serial" help:"The bond's file, or its serial, which asks the reserve for the file."`
	Out     string   `default:"." placeholder:"DIR" help:"Where the prints go."`
	Format  []string `enum:"3mf,stl,svg,pdf,tag" default:"3mf,stl,svg,pdf,tag" help:"What to make."`
	Address string   `placeholder:"URL" help:"Where anybody can check the bond, printed and in the QR code (default: URL/bonds/SERIAL)."`
	Profile string   `hidden:""`
}

// Help is the long help with an example.
func (bondPrintCmd) Help() string {
	return `A coin to print in three dimensions (3MF, STL), a note to fold (SVG, PDF), and what an
NTAG215 chip says (504 bytes at most, public). The secret is inside the coin, under a seal,
and on the note, under a fold; the chip and the address do not know it. Printing is not
minting: all of them are one bond. Delete the files when they are printed: all but the chip's
hold the secret.

Example:
  robotorq bond print bond-12.json --secret bond-3f6c….secret --out prints --url https://reserve.example`
}

// printed is the answer of `bond print`.
type printed struct {
	Serial  uint64   `json:"serial"`
	Address string   `json:"address"`
	Files   []string `json:"files"`
}

func (c *bondPrintCmd) Run(ctx context.Context, std streams, g *global) error {
	profile, err := torq.ProfileByName(orStandard(c.Profile))
	if err != nil {
		return &exitError{exitUsage, err}
	}
	cl, err := c.client()
	if err != nil {
		return err
	}
	file, _, err := readBond(ctx, std, cl, c.Bond)
	if err != nil {
		return err
	}
	s, err := wallet.CheckBond(file, wallet.CheckOptions{Profile: profile})
	if err != nil {
		return err
	}
	address := c.Address
	if address == "" {
		address = fmt.Sprintf("%s/bonds/%d", strings.TrimSuffix(c.URL, "/"), s.Serial)
	}
	p, err := bondprint.New(file.Bonds[len(file.Bonds)-1].Envelope, address)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	files, err := c.prints(std, p, s.Serial)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.Out, 0o700); err != nil {
		return err
	}
	answer := printed{Serial: s.Serial, Address: address, Files: []string{}}
	for _, f := range files {
		path := filepath.Join(c.Out, f.name)
		if err := replaceFile(path, f.data, f.mode); err != nil {
			return err
		}
		answer.Files = append(answer.Files, path)
	}
	if g.JSON {
		return writeJSON(std.Out, answer)
	}
	for _, path := range answer.Files {
		fmt.Fprintln(std.Out, path)
	}
	_, err = fmt.Fprintln(std.Err, "All but the chip's file hold the secret: delete them when they are printed.")
	return err
}

type printFile struct {
	name string
	data []byte
	mode fs.FileMode
}

// prints makes the formats that are wanted. The chip's alone needs no secret.
func (c *bondPrintCmd) prints(std streams, p *bondprint.Print, serial uint64) (files []printFile, err error) {
	wanted := map[string]bool{}
	for _, f := range c.Format {
		wanted[f] = true
	}
	add := func(ext string, data []byte, mode fs.FileMode, err error) error {
		files = append(files, printFile{fmt.Sprintf("bond-%d.%s", serial, ext), data, mode})
		return err
	}
	if wanted["tag"] {
		data, err := p.Tag()
		if err := add("ndef", data, 0o644, err); err != nil {
			return nil, err
		}
	}
	if !wanted["3mf"] && !wanted["stl"] && !wanted["svg"] && !wanted["pdf"] {
		return files, nil
	}
	secret, err := c.secret(std)
	if err != nil {
		return nil, err
	}
	if wanted["3mf"] || wanted["stl"] {
		coin, err := p.Coin(secret)
		if err != nil {
			return nil, err
		}
		if wanted["stl"] {
			err = add("stl", coin.STL(), 0o600, nil)
		}
		if wanted["3mf"] && err == nil {
			data, failed := coin.ThreeMF()
			err = add("3mf", data, 0o600, failed)
		}
		if err != nil {
			return nil, err
		}
	}
	if wanted["svg"] || wanted["pdf"] {
		note, err := p.Note(secret)
		if err != nil {
			return nil, err
		}
		if wanted["svg"] {
			err = add("svg", note.SVG(), 0o600, nil)
		}
		if wanted["pdf"] && err == nil {
			data, failed := note.PDF()
			err = add("pdf", data, 0o600, failed)
		}
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}
