package api

import (
	"context"
	"encoding/json"
	"io"
	"time"

	"robotorq.org/reserve/torq"
)

// Clock is the time of the process, handed in by the node.
type Clock interface {
	Now() time.Time
	// After sends once when d has passed on this clock.
	After(d time.Duration) <-chan time.Time
}

// Reader answers everything that the explorer shows. It is public and
// read-only. Every method may be called concurrently, answers from committed
// state only, and keeps to ctx. What does not exist is a [*Error] of code
// [CodeNotFound]; a cursor that the reader did not issue is
// [CodeCursorInvalid]; what a retention level has pruned is [CodePruned].
// Other errors are the node's own and are shown as internal.
//
// Digests, roots and hashes are 64 lower hexadecimal digits throughout, times
// Unix milliseconds, money JT, and contracts are named by their number (the
// part after "#" of a contract id).
type Reader interface {
	// Overview is the state of the whole way at this moment. It is asked at most
	// once per [OverviewInterval] however many look at it. Rates may be left
	// zero: the API fills them from its feed.
	Overview(ctx context.Context) (Overview, error)

	// Certificates lists certificates, newest first.
	Certificates(ctx context.Context, page Page) (List[CertificateSummary], error)
	Certificate(ctx context.Context, serial uint64) (Certificate, error)
	// Ingots lists the ingots of a certificate in the order of its tree.
	Ingots(ctx context.Context, serial uint64, page Page) (List[IngotSummary], error)
	Ingot(ctx context.Context, refinery string, seq uint64) (Ingot, error)
	// Ore is unit index (from 0) of a certificate with its whole way to the
	// certificate's root, checked by the reader (Ore.Checked, Ore.Fault).
	Ore(ctx context.Context, serial, index uint64) (Ore, error)
	// Export is the document of `proof export SERIAL`. The caller closes it. An
	// error after the first byte breaks the connection off.
	Export(ctx context.Context, serial uint64) (io.ReadCloser, error)

	// Contracts lists contracts, newest (highest number) first.
	Contracts(ctx context.Context, page Page) (List[Contract], error)
	Contract(ctx context.Context, number uint64) (Contract, error)
	// Robots lists robots by id, without their refusals and enrolments.
	Robots(ctx context.Context, page Page) (List[Robot], error)
	Robot(ctx context.Context, id string) (Robot, error)

	// Reserve is supply, where it lies, and the numbers of the ledger.
	Reserve(ctx context.Context) (Reserve, error)
	// Dividends lists the dividends paid, newest first.
	Dividends(ctx context.Context, page Page) (List[Dividend], error)
	// Refusals lists what was refused or voided, newest first.
	Refusals(ctx context.Context, page Page) (List[Refusal], error)

	Charter(ctx context.Context) (Charter, error)
	Policy(ctx context.Context) (Policy, error)

	Records
}

// Wallets is a member's side of the vault and the registrar's desk. Errors are
// [*Error] with the codes of the ledger specification ("Errors are typed and stable").
type Wallets interface {
	// Order verifies and executes a signed order (DSSE JSON, payload type
	// application/vnd.robotorq.order.v1+cbor) and returns when it is durable. A
	// repeated order id returns the first receipt with Repeated set.
	Order(ctx context.Context, envelope []byte) (Receipt, error)
	// Balance is what an account holds now; account is `member:<id>` or
	// `org:<id>`. The caller has been authorised.
	Balance(ctx context.Context, account string) (Balance, error)
	// Statement lists an account's movements, newest first.
	Statement(ctx context.Context, account string, page Page) (List[StatementLine], error)
	// Key returns the Ed25519 public key (32 bytes) with that key id of an
	// account's owner, valid now; CodeBadSignature when there is none.
	Key(ctx context.Context, account, keyID string) ([]byte, error)
	// Enrol admits a member or organisation by an enrolment that a registrar has
	// signed (DSSE JSON, application/vnd.robotorq.enrolment.v1+json).
	Enrol(ctx context.Context, envelope []byte) (Enrolled, error)
	// Admit enrols with a registrar key that this node holds. The caller held a
	// token of role registrar; registrar is that token's name.
	Admit(ctx context.Context, registrar string, request Admission) (Enrolled, error)
}

// Role says what a bearer token may do.
type Role string

// The roles of interface.md.
const (
	RoleMesh      Role = "mesh"
	RolePortal    Role = "portal"
	RoleAdmin     Role = "admin"
	RoleRegistrar Role = "registrar"
)

// Tokens knows bearer tokens by their hashes. A token that is unknown, expired
// or revoked is a [*Error] of code [CodeTokenInvalid].
type Tokens interface {
	Check(ctx context.Context, token string) (Principal, error)
}

// Principal is who holds a token.
type Principal struct {
	Name string
	Role Role
}

// Page asks for one page of a list.
type Page struct {
	Cursor string // empty for the first page; else List.Next of the one before
	Limit  int    // 1 to MaxPage; the reader may return fewer
}

// MaxPage is the largest page that the API asks for.
const MaxPage = 200

// List is one page of a list; Next is the cursor of the next page, empty at
// the end. Cursors are the reader's own and opaque to everybody else.
type List[T any] struct {
	Items []T    `json:"items" nullable:"false" doc:"This page, in the list's order"`
	Next  string `json:"next,omitempty" doc:"Cursor of the next page; absent at the end"`
}

// Overview is the whole way at one moment.
type Overview struct {
	Origin               string `json:"origin" doc:"Name of the reserve's log"`
	OrePerIngot          uint64 `json:"ore_per_ingot"`
	IngotsPerCertificate uint64 `json:"ingots_per_certificate"`
	Now                  int64  `json:"now_ms"`
	Started              int64  `json:"started_ms" doc:"When this process started"`

	Robots   RobotStation    `json:"robots"`
	Digger   DiggerStation   `json:"digger"`
	Refinery RefineryStation `json:"refinery"`
	Mint     MintStation     `json:"mint"`
	Vault    VaultStation    `json:"vault"`
	Wallets  WalletStation   `json:"wallets"`

	Dividend DividendState `json:"dividend"`
	Refusals []RuleCount   `json:"refusals" nullable:"false" doc:"Refused and void reports by rule, most frequent first"`
	Rates    Rates         `json:"rates"`
}

// RobotStation is the fleet.
type RobotStation struct {
	Enrolled uint64 `json:"enrolled"`
	Working  uint64 `json:"working" doc:"Robots with a report in the last report period"`
	Watts    uint64 `json:"watts" doc:"Sum of the certified ratings, watts"`
}

// DiggerStation counts what the diggers accepted.
type DiggerStation struct {
	Reports   uint64 `json:"reports" doc:"Reports accepted, void ones included"`
	Ore       uint64 `json:"ore" doc:"Ore accepted, JT"`
	Batches   uint64 `json:"batches"`
	Pending   uint64 `json:"pending" doc:"Reports received and not yet sealed in a batch"`
	LastBatch int64  `json:"last_batch_ms,omitempty"`
}

// RefineryStation counts what the refineries poured.
type RefineryStation struct {
	Ingots   uint64 `json:"ingots"`
	Pours    uint64 `json:"pours"`
	OpenOre  uint64 `json:"open_ore" doc:"Ore in ingots that are not full yet"`
	LastPour int64  `json:"last_pour_ms,omitempty"`
}

// MintStation counts certificates and what waits to become one.
type MintStation struct {
	Certificates    uint64 `json:"certificates" doc:"Minted and not recalled"`
	Recalled        uint64 `json:"recalled"`
	WaitingIngots   uint64 `json:"waiting_ingots" doc:"Ingots poured and not yet in a certificate"`
	LastSerial      uint64 `json:"last_serial"`
	LastCertificate int64  `json:"last_certificate_ms,omitempty"`
	LogSize         uint64 `json:"log_size" doc:"Entries in the proof log"`
}

// VaultStation is the reserve's money.
type VaultStation struct {
	Supply   torq.JT   `json:"supply_jt" doc:"Money in existence: 3,600,000 JT for each certificate"`
	Holdings []Holding `json:"holdings" nullable:"false" doc:"Supply by class of account; the sum is the supply"`
	Postings uint64    `json:"postings"`
}

// WalletStation counts wallets and what moves between them.
type WalletStation struct {
	Members  uint64 `json:"members" doc:"Members eligible for the dividend"`
	Accounts uint64 `json:"accounts" doc:"Wallets of any kind"`
	Orders   uint64 `json:"orders" doc:"Orders executed"`
}

// Holding is what all accounts of one class hold together. Classes, in the
// order in which they are shown: wallets, savings, leaving, bonds,
// stake.available, stake.deployed, stake.invested, stake.returns, deposit,
// disto, demurrage. Empty classes may be left out; wallets includes leaving
// when the node does not tell them apart.
type Holding struct {
	Class string  `json:"class"`
	JT    torq.JT `json:"jt"`
}

// DividendState is the dividend that was and the one to come.
type DividendState struct {
	Last     *Dividend `json:"last,omitempty"`
	Next     int64     `json:"next_ms,omitempty" doc:"Time of the next release tick"`
	Due      torq.JT   `json:"due_jt" doc:"What falls due then, as known now"`
	Unit     int64     `json:"every_ms" doc:"Length of a release tick"`
	Required uint64    `json:"min_members" doc:"Members that a dividend needs"`
}

// Dividend is one that was paid.
type Dividend struct {
	Posting   uint64  `json:"posting"`
	Time      int64   `json:"time_ms"`
	JT        torq.JT `json:"jt" doc:"Paid to all together"`
	Members   uint64  `json:"members"`
	PerMember torq.JT `json:"per_member_jt"`
}

// RuleCount is how often a rule was broken.
type RuleCount struct {
	Rule  string `json:"rule"`
	Count uint64 `json:"count"`
}

// Rates is what the feed saw lately.
type Rates struct {
	MinuteReports uint64     `json:"minute_reports" doc:"Reports accepted in the last 60 seconds"`
	MinuteOre     uint64     `json:"minute_ore" doc:"Ore accepted in the last 60 seconds"`
	MinuteIngots  uint64     `json:"minute_ingots"`
	HourMinted    uint64     `json:"hour_certificates" doc:"Certificates of the last 60 minutes"`
	Ore           []OrePoint `json:"ore" nullable:"false" doc:"Ore accepted per ten seconds of the last ten minutes, oldest first"`
}

// OrePoint is the ore accepted in [Start, Start+10 s).
type OrePoint struct {
	Start int64  `json:"start_ms"`
	Ore   uint64 `json:"ore"`
}

// Work is a contract's part in a certificate.
type Work struct {
	Contract   uint64 `json:"contract"`
	Enterprise string `json:"enterprise,omitempty"`
	Ore        uint64 `json:"ore"`
}

// CertificateSummary is a line in the list of certificates.
type CertificateSummary struct {
	Serial   uint64 `json:"serial"`
	Digest   string `json:"digest"`
	Issued   int64  `json:"issued_ms"`
	Work     []Work `json:"work" nullable:"false"`
	Recalled bool   `json:"recalled,omitempty"`
	Disputed bool   `json:"disputed,omitempty" doc:"Proven wrong and not recalled yet"`
}

// Certificate is a certificate with its place in the log.
type Certificate struct {
	CertificateSummary
	Mint         string  `json:"mint"`
	Previous     string  `json:"previous"`
	Root         string  `json:"root" doc:"RFC 6962 root over its ingot records"`
	Ingots       uint64  `json:"ingots"`
	Ore          uint64  `json:"ore"`
	FirstReading int64   `json:"first_reading_ms"`
	LastReading  int64   `json:"last_reading_ms"`
	Run          Run     `json:"run"`
	LogIndex     uint64  `json:"log_index"`
	Posting      uint64  `json:"posting,omitempty" doc:"Posting that minted it; 0 while it waits for the vault"`
	Paid         torq.JT `json:"paid_jt" doc:"Paid to enterprises out of the stake, and replenished"`
	Growth       torq.JT `json:"growth_jt" doc:"Kept by the StakeVault"`
	Returns      torq.JT `json:"returns_jt" doc:"Yield of investors"`
	Disto        torq.JT `json:"disto_jt" doc:"To the DistoVault, for the dividend"`
	Robots       []Share `json:"robots" nullable:"false" doc:"Ore by robot, largest first"`
}

// Run is the sealed run of certificates that a certificate is part of.
type Run struct {
	Seq    uint64 `json:"seq"`
	Digest string `json:"digest"`
	Sealed int64  `json:"sealed_ms"`
}

// Share is a robot's part.
type Share struct {
	Robot string `json:"robot"`
	Ore   uint64 `json:"ore"`
}

// IngotSummary is a line in the list of a certificate's ingots.
type IngotSummary struct {
	Position uint64 `json:"position" doc:"Place in the certificate's tree, from 0"`
	Refinery string `json:"refinery"`
	Seq      uint64 `json:"seq"`
	Contract uint64 `json:"contract"`
	Root     string `json:"root" doc:"RFC 6962 root over its units of ore"`
	Spans    uint64 `json:"spans" doc:"Spans of reports that it is made of"`
}

// Ingot is an ingot with the spans that it is made of.
type Ingot struct {
	Refinery  string `json:"refinery"`
	Seq       uint64 `json:"seq"`
	Contract  uint64 `json:"contract"`
	Root      string `json:"root"`
	Pour      Pour   `json:"pour"`
	Serial    uint64 `json:"serial,omitempty" doc:"Certificate that it is part of; 0 while it waits"`
	Position  uint64 `json:"position" doc:"Place in that certificate's tree, from 0"`
	Spans     []Span `json:"spans" nullable:"false"`
	FirstUnit uint64 `json:"first_unit" doc:"Index in the certificate of its first unit of ore"`
}

// Pour is the sealed pour of ingots that an ingot is part of.
type Pour struct {
	Seq    uint64 `json:"seq"`
	Digest string `json:"digest"`
	Sealed int64  `json:"sealed_ms"`
}

// Span is a run of units of one report; the time and figures are the report's.
type Span struct {
	Report  string `json:"report" doc:"Digest of the report"`
	Robot   string `json:"robot"`
	Seq     uint64 `json:"seq" doc:"Number of the report in the robot's chain"`
	First   uint64 `json:"first" doc:"Index in the report of the first unit"`
	Count   uint64 `json:"count"`
	Start   int64  `json:"start_ms" doc:"Start of the report's first reading"`
	End     int64  `json:"end_ms" doc:"End of the report's last reading"`
	Energy  uint64 `json:"energy_mj" doc:"Energy of the whole report, millijoules"`
	Tokens  uint64 `json:"tokens" doc:"Tokens of the whole report"`
	Derived uint64 `json:"ore" doc:"Ore of the whole report"`
}

// Ore is one unit of ore and its way to the certificate.
type Ore struct {
	Serial   uint64   `json:"serial"`
	Index    uint64   `json:"index" doc:"Unit in the certificate, from 0"`
	Refinery string   `json:"refinery"`
	Ingot    uint64   `json:"ingot"`
	Unit     uint64   `json:"unit" doc:"Unit in the ingot, from 0"`
	Position uint64   `json:"position" doc:"Ingot in the certificate's tree, from 0"`
	Span     Span     `json:"span"`
	Offset   uint64   `json:"offset" doc:"Index of the unit in its report"`
	Leaf     string   `json:"leaf" doc:"SHA-256(00 || report digest || uint64be(offset))"`
	OrePath  []string `json:"ore_path" nullable:"false" doc:"RFC 6962 path, leaf to ingot root"`
	OreRoot  string   `json:"ore_root"`
	Record   string   `json:"record" doc:"Leaf hash of the ingot's record in the certificate's tree"`
	Path     []string `json:"path" nullable:"false" doc:"RFC 6962 path, ingot record to certificate root"`
	Root     string   `json:"root"`
	// Checked is set when the node verified the whole proof file (signatures,
	// derivation, trees and log) against the charter's roots just now.
	Checked bool   `json:"checked"`
	Fault   string `json:"fault,omitempty" doc:"What the check found wrong"`
	// File is the document of `proof ore SERIAL K`.
	File json.RawMessage `json:"file" doc:"The offline proof, as robotorq verify takes it"`
}

// Contract is a contract and how far it is.
type Contract struct {
	Number     uint64   `json:"number"`
	Enterprise string   `json:"enterprise"`
	Owner      string   `json:"owner"`
	Robots     []string `json:"robots" nullable:"false"`
	Digger     string   `json:"digger"`
	Refinery   string   `json:"refinery"`
	Work       uint64   `json:"work_ore" doc:"W, ore"`
	Stake      torq.JT  `json:"stake_jt" doc:"S"`
	VaultPart  torq.JT  `json:"vault_part_jt"`
	Release    string   `json:"release" doc:"Release schedule of the markup"`
	ToMarket   int64    `json:"date_to_market_ms" doc:"From minting to market, milliseconds"`
	Funded     int64    `json:"funded_ms"`
	Deadline   int64    `json:"deadline_ms"`
	Closed     int64    `json:"closed_ms,omitempty"`
	State      string   `json:"state" doc:"proposed, countersigned, awarded, funded, active, closing, completed, rejected, cancelled, defaulted"`
	Reason     string   `json:"reason,omitempty" doc:"Why it was rejected or closed"`
	Digest     string   `json:"digest,omitempty" doc:"Of the signed contract, once it is funded"`
	Accepted   uint64   `json:"accepted_ore"`
	Minted     uint64   `json:"minted_ore"`
	Paid       torq.JT  `json:"paid_jt"`
	ID         string   `json:"id" doc:"Contract id, <origin>#<number>"`
	Proposal   string   `json:"proposal,omitempty" doc:"Digest of the enterprise's proposal"`
	Changed    int64    `json:"changed_ms,omitempty" doc:"When the state was entered"`
	Torq       string   `json:"torq_factor,omitempty" doc:"W / S, two decimals, cut"`
	Deposit    torq.JT  `json:"deposit_jt" doc:"Locked"`
	Deployed   torq.JT  `json:"deployed_jt" doc:"Of the vault's part, not yet paid"`
	Invested   torq.JT  `json:"invested_jt" doc:"Of the investors' part, not yet paid"`
	Returns    torq.JT  `json:"returns_jt" doc:"To be paid to the investors at the end"`
	Investors  uint64   `json:"investments" doc:"How many investments there are"`
	Open       torq.JT  `json:"open_jt" doc:"What may still be invested"`
}

// Robot is an enrolled robot and what it did.
type Robot struct {
	ID          string   `json:"id"`
	Owner       string   `json:"owner"`
	Digger      string   `json:"digger"`
	Version     uint64   `json:"version" doc:"Version of its enrolment"`
	Watts       uint64   `json:"watts"`
	Tokens      uint64   `json:"tokens_per_second"`
	Energy      string   `json:"energy" enum:"metered,rated"`
	Enrolled    int64    `json:"enrolled_ms"`
	Retired     bool     `json:"retired,omitempty" doc:"All its keys have ended: it works no more"`
	Keys        []Key    `json:"keys" nullable:"false"`
	Contracts   []uint64 `json:"contracts" nullable:"false"`
	Reports     uint64   `json:"reports"`
	Ore         uint64   `json:"ore"`
	Void        uint64   `json:"void" doc:"Reports that broke a rule"`
	LastSeq     uint64   `json:"last_seq"`
	LastDigest  string   `json:"last_digest,omitempty"`
	LastReading int64    `json:"last_reading_ms,omitempty"`
	Working     bool     `json:"working"`
	// RecentRefusals and Enrolment are left out of lists.
	RecentRefusals []Refusal       `json:"recent_refusals" nullable:"false" doc:"The newest ten; in lists none"`
	Enrolment      json.RawMessage `json:"enrolment,omitempty" doc:"The newest version of its enrolment, DSSE JSON; not in lists"`
}

// Key is a public key of the charter or of an enrolment.
type Key struct {
	ID        string `json:"keyid"`
	Name      string `json:"name"`
	Role      string `json:"role"`
	Alg       string `json:"alg"`
	NotBefore int64  `json:"not_before_ms"`
	NotAfter  int64  `json:"not_after_ms,omitempty"`
	Pin       string `json:"pin,omitempty" doc:"For --root: 64 hexadecimal digits, root SLH-DSA keys only"`
}

// Reserve is the ledger at one moment.
type Reserve struct {
	Supply       torq.JT       `json:"supply_jt"`
	Certificates uint64        `json:"certificates" doc:"Minted and not recalled"`
	Holdings     []Holding     `json:"holdings" nullable:"false"`
	Capital      torq.JT       `json:"capital_jt" doc:"stake.available plus all deployed; never falls"`
	StakeTarget  torq.JT       `json:"stake_target_jt"`
	Members      uint64        `json:"members" doc:"That receive the dividend"`
	Orgs         uint64        `json:"organisations" doc:"Ever enrolled"`
	BondCount    uint64        `json:"bonds_issued" doc:"Bearer bonds, redeemed ones included"`
	Postings     uint64        `json:"postings"`
	Head         string        `json:"head" doc:"Hash of the last posting"`
	HeadTime     int64         `json:"head_ms"`
	D            string        `json:"demurrage_factor" doc:"D, Q1.63, decimal"`
	Y            string        `json:"savings_index" doc:"Y, Q1.63, decimal"`
	Demurrage    string        `json:"demurrage_per_year" doc:"Yearly rate as the policy writes it, for example 0.06"`
	NextTick     int64         `json:"next_tick_ms" doc:"Next demurrage tick"`
	Collected    torq.JT       `json:"demurrage_total_jt" doc:"Demurrage collected since genesis"`
	Paid         torq.JT       `json:"dividend_total_jt" doc:"Dividends paid since genesis"`
	SupplyOver   []SupplyPoint `json:"supply_over_time" nullable:"false" doc:"Supply after minting, oldest first, at most 200 points, thinned"`
}

// SupplyPoint is the supply at a time.
type SupplyPoint struct {
	Time int64   `json:"time_ms"`
	JT   torq.JT `json:"jt"`
}

// Refusal is something that did not count, and why.
type Refusal struct {
	Time     int64  `json:"time_ms"`
	Station  string `json:"station" doc:"Where: digger, refinery, mint, vault"`
	Robot    string `json:"robot,omitempty"`
	Contract uint64 `json:"contract,omitempty"`
	Seq      uint64 `json:"seq,omitempty"`
	Report   string `json:"report,omitempty" doc:"Digest"`
	Rule     string `json:"rule" doc:"The rule broken, as named in the specification"`
	Void     bool   `json:"void" doc:"True: batched with ore 0 and the chain goes on. False: refused, the number stays free"`
	Detail   string `json:"detail,omitempty" doc:"With the figures"`
}

// Charter is who may sign.
type Charter struct {
	Origin    string            `json:"origin"`
	Version   uint64            `json:"version"`
	Issued    int64             `json:"issued_ms"`
	Threshold uint64            `json:"threshold"`
	Digest    string            `json:"digest"`
	Keys      []Key             `json:"keys" nullable:"false"`
	Envelopes []json.RawMessage `json:"envelopes" nullable:"false" doc:"All versions, DSSE, from version 1 on"`
}

// Policy is the numbers of the reserve.
type Policy struct {
	Version  uint64          `json:"version"`
	Since    int64           `json:"effective_ms"`
	Digest   string          `json:"digest"`
	Document json.RawMessage `json:"document" doc:"The policy, as signed"`
	Envelope json.RawMessage `json:"envelope,omitempty" doc:"DSSE"`
}

// Receipt answers an order.
type Receipt struct {
	Envelope json.RawMessage `json:"receipt" doc:"Signed receipt, DSSE JSON, application/vnd.robotorq.receipt.v1+cbor"`
	OrderID  string          `json:"order_id" doc:"32 hexadecimal digits"`
	Posting  uint64          `json:"posting"`
	Hash     string          `json:"posting_hash"`
	Repeated bool            `json:"repeated" doc:"The order had been executed before; this is the first receipt"`
}

// Balance is what an account holds.
type Balance struct {
	Account  string    `json:"account"`
	Status   string    `json:"status" doc:"active, left or frozen"`
	JT       torq.JT   `json:"jt" doc:"Spendable now"`
	Savings  torq.JT   `json:"savings_jt"`
	Leaving  []Leaving `json:"leaving" nullable:"false" doc:"Savings under notice"`
	Eligible bool      `json:"eligible" doc:"Receives the dividend"`
	Posting  uint64    `json:"posting" doc:"Last posting that this balance includes"`
	Time     int64     `json:"time_ms"`
	Received torq.JT   `json:"received_jt"`
	Sent     torq.JT   `json:"sent_jt"`
	Dividend torq.JT   `json:"dividend_jt"`
	Decayed  torq.JT   `json:"demurrage_jt"`
	Saved    torq.JT   `json:"saved_jt" doc:"Of the savings: moved into them"`
	Left     torq.JT   `json:"left_jt" doc:"Of the savings: put under notice"`
	Yield    torq.JT   `json:"yield_jt" doc:"Of the savings: what they gained"`
}

// Leaving is a notice on savings.
type Leaving struct {
	JT  torq.JT `json:"jt"`
	Due int64   `json:"due_ms"`
}

// StatementLine is one movement of an account. Demurrage and dividends appear
// when they were settled into it.
type StatementLine struct {
	Posting uint64  `json:"posting"`
	Time    int64   `json:"time_ms"`
	Kind    string  `json:"kind" doc:"received, sent, dividend, demurrage, saved, withdrawn, bond, invested, returned; of savings: saved, withdrawn, yield"`
	JT      torq.JT `json:"jt" doc:"Signed: positive comes in"`
	Balance torq.JT `json:"balance_jt" doc:"Afterwards"`
	Other   string  `json:"other,omitempty" doc:"The other account"`
	Memo    string  `json:"memo,omitempty"`
	OrderID string  `json:"order_id,omitempty"`
	// Unsettled lines go on until the account's next movement settles them.
	Unsettled bool `json:"unsettled,omitempty" doc:"Counted up to the newest posting, in no posting of the account yet"`
}

// Admission asks a registrar to enrol somebody.
type Admission struct {
	Member  string         `json:"member,omitempty" doc:"Id of the member; either this or org" pattern:"^[a-z0-9][a-z0-9-]{0,62}$"`
	Org     string         `json:"org,omitempty" doc:"Id of the organisation" pattern:"^[a-z0-9][a-z0-9-]{0,62}$"`
	Subject string         `json:"subject,omitempty" maxLength:"256" doc:"What makes the person one, for the registrar's keyed hash; never stored"`
	Keys    []AdmissionKey `json:"keys" minItems:"1" maxItems:"8" nullable:"false"`
}

// AdmissionKey is a public key to be enrolled.
type AdmissionKey struct {
	Alg    string `json:"alg" maxLength:"64"`
	Public []byte `json:"public" doc:"Standard padded base64"`
}

// Enrolled answers an enrolment.
type Enrolled struct {
	Account  string          `json:"account"`
	Version  uint64          `json:"version"`
	Digest   string          `json:"digest"`
	Envelope json.RawMessage `json:"envelope" doc:"The enrolment as logged, DSSE JSON"`
}
