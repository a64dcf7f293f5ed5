package api

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/danielgtaylor/huma/v2"

	"robotorq.org/reserve/torq"
)

// Records answers what lies beneath certificates and beside them: reports, the
// proof log, the versions of charter and policy, and the reserve over time. It is
// part of [Reader] and keeps to what is said there.
type Records interface {
	// Report is a report by its digest, with what was checked of it just now.
	Report(ctx context.Context, digest string) (Report, error)
	// Readings lists the readings of a report in their order.
	Readings(ctx context.Context, digest string, page Page) (List[Reading], error)
	// ReportFile is the signed report, DSSE JSON.
	ReportFile(ctx context.Context, digest string) ([]byte, error)

	// RobotReports lists a robot's reports that the log covers, newest first.
	RobotReports(ctx context.Context, robot string, page Page) (List[ReportSummary], error)
	// RobotWork lists the contracts under which a robot worked, by number.
	RobotWork(ctx context.Context, robot string, page Page) (List[RobotWork], error)
	// RobotVersions lists the versions of a robot's enrolment, newest first.
	RobotVersions(ctx context.Context, robot string, page Page) (List[RobotVersion], error)

	// Log is the newest checkpoint and who signed it.
	Log(ctx context.Context) (Log, error)
	// LogEntries lists the log's entries that a filter lets through, newest first.
	LogEntries(ctx context.Context, which EntryFilter, page Page) (List[LogEntry], error)
	LogEntry(ctx context.Context, index uint64) (LogRecord, error)

	// Charters lists the versions of the charter, newest first.
	Charters(ctx context.Context, page Page) (List[CharterVersion], error)
	// Policies lists the versions of the policy, announced ones included, newest
	// first.
	Policies(ctx context.Context, page Page) (List[PolicyVersion], error)
	// PolicyVersion is one version of the policy.
	PolicyVersion(ctx context.Context, version uint64) (Policy, error)

	// History lists the state of the books at the end of each period in which they
	// moved, newest first.
	History(ctx context.Context, every Period, page Page) (List[HistoryPoint], error)
	// Releases is what is to fall due as dividend.
	Releases(ctx context.Context) (Releases, error)
	// ReserveBonds lists the bearer bonds, newest first.
	ReserveBonds(ctx context.Context, page Page) (List[Bond], error)
}

// Report is a robot's signed statement of its work, with what its digger made of it.
type Report struct {
	Digest      string      `json:"digest"`
	Robot       string      `json:"robot"`
	Contract    uint64      `json:"contract"`
	ContractID  string      `json:"contract_id"`
	Enterprise  string      `json:"enterprise,omitempty"`
	Seq         uint64      `json:"seq" doc:"Number in the robot's chain"`
	Previous    string      `json:"previous,omitempty" doc:"Digest of the robot's report before; absent for its first"`
	Start       int64       `json:"start_ms"`
	End         int64       `json:"end_ms"`
	Readings    uint64      `json:"readings" doc:"How many readings it holds"`
	Active      int64       `json:"active_ms" doc:"Length of all readings together"`
	Energy      uint64      `json:"energy_mj"`
	Tokens      uint64      `json:"tokens"`
	Meter       string      `json:"energy_by,omitempty" enum:"metered,rated" doc:"By the enrolment in force"`
	Watts       uint64      `json:"rated_watts,omitempty" doc:"By the enrolment in force"`
	TokenRate   uint64      `json:"rated_tokens_per_second,omitempty" doc:"By the enrolment in force"`
	Version     uint64      `json:"enrolment_version,omitempty" doc:"By which it is judged"`
	Ore         uint64      `json:"ore" doc:"As its batch counts it"`
	Carry       uint64      `json:"carry_micro_ore" doc:"Carried on to the robot's next report under the contract"`
	Rule        string      `json:"rule,omitempty" doc:"Why it counts for less than its readings give; absent when it counts in full"`
	Bytes       uint64      `json:"payload_bytes"`
	Signatures  []Signature `json:"signatures" nullable:"false"`
	Batch       ReportBatch `json:"batch"`
	Samples     []Reading   `json:"samples" nullable:"false" doc:"Its readings, at most 240: neighbours are put together where there are more"`
	PayloadType string      `json:"payload_type"`
	// Checked is set when the node verified the signatures of report and batch and
	// derived the ore again just now.
	Checked bool   `json:"checked"`
	Fault   string `json:"fault,omitempty" doc:"What the check found wrong"`
}

// ReportBatch is the digger's batch that counts a report.
type ReportBatch struct {
	Digger     string      `json:"digger"`
	Seq        uint64      `json:"seq"`
	Digest     string      `json:"digest"`
	Sealed     int64       `json:"sealed_ms"`
	Reports    uint64      `json:"reports" doc:"How many reports it holds"`
	Signatures []Signature `json:"signatures" nullable:"false"`
}

// Signature is one signature of an envelope.
type Signature struct {
	KeyID string `json:"keyid"`
	Name  string `json:"name,omitempty" doc:"Whose key it is; absent when the key is not known"`
	Alg   string `json:"alg,omitempty"`
	Good  bool   `json:"good" doc:"It verifies under that key, which was valid then"`
}

// Reading is what a robot's meter and token counter say of one interval, or the sum
// of several that follow each other.
type Reading struct {
	Start  int64  `json:"start_ms"`
	End    int64  `json:"end_ms"`
	Active int64  `json:"active_ms" doc:"Length of the reading, or of those in the sum"`
	Energy uint64 `json:"energy_mj"`
	Tokens uint64 `json:"tokens"`
}

// ReportSummary is a line in the list of a robot's reports.
type ReportSummary struct {
	Digest   string `json:"digest"`
	Seq      uint64 `json:"seq"`
	Contract uint64 `json:"contract"`
	Start    int64  `json:"start_ms"`
	End      int64  `json:"end_ms"`
	Readings uint64 `json:"readings"`
	Energy   uint64 `json:"energy_mj"`
	Tokens   uint64 `json:"tokens"`
}

// RobotWork is what a robot did under a contract.
type RobotWork struct {
	Contract   uint64 `json:"contract"`
	Enterprise string `json:"enterprise,omitempty"`
	Reports    uint64 `json:"reports"`
	Void       uint64 `json:"void" doc:"Reports that broke a rule"`
	Ore        uint64 `json:"ore" doc:"Accepted by the digger"`
}

// RobotVersion is one version of a robot's enrolment.
type RobotVersion struct {
	Version  uint64 `json:"version"`
	Digest   string `json:"digest"`
	Issued   int64  `json:"issued_ms"`
	Owner    string `json:"owner"`
	Digger   string `json:"digger"`
	Watts    uint64 `json:"watts"`
	Tokens   uint64 `json:"tokens_per_second"`
	Energy   string `json:"energy" enum:"metered,rated"`
	LastSeq  uint64 `json:"last_seq,omitempty" doc:"Last report under the version before"`
	Keys     []Key  `json:"keys" nullable:"false"`
	Logged   bool   `json:"logged"`
	LogEntry uint64 `json:"log_entry,omitempty"`
}

// Log is the proof log at its newest checkpoint.
type Log struct {
	Origin     string         `json:"origin"`
	Size       uint64         `json:"size" doc:"Entries under the checkpoint"`
	Root       string         `json:"root" doc:"RFC 6962 root, hexadecimal"`
	Checkpoint string         `json:"checkpoint" doc:"C2SP tlog-checkpoint, byte for byte"`
	Kinds      []KindCount    `json:"kinds" nullable:"false" doc:"Entries by kind of artefact, most first"`
	Signatures []LogSignature `json:"signatures" nullable:"false" doc:"Lines of the log's own keys"`
	Witnesses  []Cosignature  `json:"witnesses" nullable:"false" doc:"Witnesses of the charter"`
	Checked    bool           `json:"checked" doc:"The node verified every signature just now"`
	Fault      string         `json:"fault,omitempty"`
}

// KindCount is how many entries of a kind the log has.
type KindCount struct {
	Kind  string `json:"kind"`
	Count uint64 `json:"count"`
}

// LogSignature is a signature line of a checkpoint by a key of the log.
type LogSignature struct {
	Name  string `json:"name"`
	KeyID string `json:"keyid"`
	Alg   string `json:"alg"`
	Good  bool   `json:"good"`
}

// Cosignature is what a witness says of a checkpoint.
type Cosignature struct {
	Name  string `json:"name"`
	KeyID string `json:"keyid"`
	Time  int64  `json:"time_ms,omitempty" doc:"When it cosigned; absent when it did not cosign this checkpoint"`
}

// LogEntry is a line of the log.
type LogEntry struct {
	Index  uint64 `json:"index"`
	Kind   string `json:"kind" doc:"pour, run, certificate, charter, enrolment, contract, closing, distribution, bond, solvency, policy, head"`
	Type   string `json:"payload_type"`
	Digest string `json:"digest"`
	// Subject and ID name what it is of, where that has an address here.
	Subject string `json:"subject,omitempty" doc:"certificate, contract, robot, bond, charter, policy"`
	ID      string `json:"id,omitempty" doc:"Of the subject: a serial, a number, a name or a version"`
	About   string `json:"about,omitempty" doc:"What it is of, for people; no members by name"`
}

// EntryFilter says which entries are asked for; empty fields let all through.
type EntryFilter struct {
	Kind   string
	Digest string // 64 hexadecimal digits
}

// LogRecord is an entry with its proof of inclusion.
type LogRecord struct {
	LogEntry
	Envelope json.RawMessage `json:"envelope,omitempty" doc:"DSSE; absent for certificates, which their run signs, for members' enrolments, and for what was pruned"`
	Log      LogProof        `json:"log"`
}

// CharterVersion is one version of the charter and how it differs from the one
// before.
type CharterVersion struct {
	Version   uint64          `json:"version"`
	Digest    string          `json:"digest"`
	Issued    int64           `json:"issued_ms"`
	Threshold uint64          `json:"threshold"`
	Roots     []string        `json:"signed_by" nullable:"false" doc:"Root signers that count"`
	Keys      uint64          `json:"keys" doc:"How many keys it lists"`
	Changes   []CharterChange `json:"changes" nullable:"false"`
	Logged    bool            `json:"logged"`
	LogEntry  uint64          `json:"log_entry,omitempty"`
	Envelope  json.RawMessage `json:"envelope" doc:"DSSE"`
}

// CharterChange is one difference between two versions of a charter.
type CharterChange struct {
	What string `json:"what" enum:"key_added,key_ended,threshold,algorithms"`
	Key  *Key   `json:"key,omitempty"`
	From uint64 `json:"from,omitempty" doc:"Of the threshold"`
	To   uint64 `json:"to,omitempty" doc:"Of the threshold"`

	Role string   `json:"role,omitempty" doc:"Of the algorithms: who signs with them"`
	Was  []string `json:"was,omitempty" doc:"The algorithms before"`
	Is   []string `json:"is,omitempty" doc:"The algorithms from this version on"`
}

// PolicyVersion is one version of the policy and what it changed.
type PolicyVersion struct {
	Version  uint64         `json:"version"`
	Issued   int64          `json:"issued_ms" doc:"When it was announced"`
	Since    int64          `json:"effective_ms" doc:"From when it holds"`
	Digest   string         `json:"digest"`
	State    string         `json:"state" doc:"announced, in force or past"`
	Changes  []PolicyChange `json:"changes" nullable:"false" doc:"Against the version before; none for the first"`
	Logged   bool           `json:"logged"`
	LogEntry uint64         `json:"log_entry,omitempty"`
}

// PolicyChange is a number that a policy changed, as it stands in the document.
type PolicyChange struct {
	Name string `json:"name"`
	From string `json:"from"`
	To   string `json:"to"`
}

// Period is the length of the periods of a history.
type Period string

// Periods, and for how long their points are kept.
const (
	EveryMinute Period = "minute" // three hours
	EveryHour   Period = "hour"   // ten days
	EveryDay    Period = "day"    // eleven years
)

// HistoryPoint is the state of the books after the last posting of a period, and
// what was collected and paid within it.
type HistoryPoint struct {
	Start        int64   `json:"start_ms" doc:"Of the period, UTC"`
	Supply       torq.JT `json:"supply_jt"`
	Wallets      torq.JT `json:"wallets_jt"`
	Savings      torq.JT `json:"savings_jt"`
	Bonds        torq.JT `json:"bonds_jt"`
	Available    torq.JT `json:"stake_available_jt"`
	Deployed     torq.JT `json:"stake_deployed_jt"`
	Invested     torq.JT `json:"stake_invested_jt"`
	Returns      torq.JT `json:"stake_returns_jt"`
	Deposits     torq.JT `json:"deposit_jt"`
	Disto        torq.JT `json:"disto_jt"`
	Demurrage    torq.JT `json:"demurrage_jt" doc:"Not yet split"`
	Capital      torq.JT `json:"capital_jt" doc:"stake.available plus all deployed"`
	Target       torq.JT `json:"stake_target_jt" doc:"By the policy in force then"`
	Paid         torq.JT `json:"dividends_jt" doc:"Paid within the period"`
	Collected    torq.JT `json:"demurrage_collected_jt" doc:"Within the period"`
	Certificates uint64  `json:"certificates" doc:"Minted within the period"`
	Orders       uint64  `json:"orders" doc:"Within the period"`
}

// Releases is what is to fall due as dividend, by what is minted so far.
type Releases struct {
	Every    int64          `json:"every_ms" doc:"From one release tick to the next"`
	Next     int64          `json:"next_ms" doc:"The next release tick"`
	Last     int64          `json:"last_ms" doc:"When all is released"`
	JT       torq.JT        `json:"jt" doc:"To fall due from now on, what is due already included"`
	Due      torq.JT        `json:"due_jt" doc:"Due already and not yet paid"`
	Points   []ReleasePoint `json:"points" nullable:"false" doc:"At most 24 periods of equal length, from now on"`
	Releases []ReleaseShape `json:"releases" nullable:"false" doc:"By shape"`
}

// ReleasePoint is what falls due in a period.
type ReleasePoint struct {
	Start int64   `json:"start_ms"`
	End   int64   `json:"end_ms"`
	JT    torq.JT `json:"jt"`
}

// ReleaseShape sums up the running schedules of one shape.
type ReleaseShape struct {
	Name      string  `json:"name" doc:"uniform, or a preset of the policy"`
	Schedules uint64  `json:"schedules"`
	JT        torq.JT `json:"jt" doc:"Of them together"`
	Released  torq.JT `json:"released_jt" doc:"Of it"`
}

type reportInput struct {
	Digest string `path:"digest" pattern:"^[0-9a-f]{64}$" doc:"Digest of the report"`
}

type readingsInput struct {
	Digest string `path:"digest" pattern:"^[0-9a-f]{64}$" doc:"Digest of the report"`
	Cursor string `query:"cursor" maxLength:"512" doc:"next of the page before"`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"Items on a page"`
}

type robotListInput struct {
	ID     string `path:"id" pattern:"^[a-z0-9][a-z0-9-]{0,62}$" doc:"Id of the robot"`
	Cursor string `query:"cursor" maxLength:"512" doc:"next of the page before"`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"Items on a page"`
}

type entriesInput struct {
	Kind   string `query:"kind" enum:"pour,run,certificate,charter,enrolment,contract,closing,distribution,bond,solvency,policy,head" doc:"Entries of this kind alone"`
	Digest string `query:"digest" pattern:"^[0-9a-f]{64}$" doc:"The entry of this artefact alone"`
	Cursor string `query:"cursor" maxLength:"512" doc:"next of the page before"`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"Items on a page"`
}

type entryInput struct {
	Index uint64 `path:"index" maximum:"9007199254740991" doc:"Index of the entry in the log, from 0"`
}

type versionInput struct {
	Version uint64 `path:"version" minimum:"1" maximum:"9007199254740991" doc:"Version of the policy"`
}

type historyInput struct {
	Every  string `query:"every" enum:"minute,hour,day" default:"hour" doc:"Length of the periods: minutes are kept for three hours, hours for ten days, days for eleven years"`
	Cursor string `query:"cursor" maxLength:"512" doc:"next of the page before"`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"Items on a page"`
}

// records registers what lies beneath certificates and beside them.
func (s *Server) records(api huma.API) {
	r := s.options.Reader
	get(s, api, "get-report", "/reports/{digest}", tagExplorer, "A robot's report, checked by the node",
		func(ctx context.Context, in *reportInput) (Report, error) { return r.Report(ctx, in.Digest) })
	get(s, api, "list-report-readings", "/reports/{digest}/readings", tagExplorer, "The readings of a report in their order",
		func(ctx context.Context, in *readingsInput) (List[Reading], error) {
			return r.Readings(ctx, in.Digest, Page{Cursor: in.Cursor, Limit: in.Limit})
		})
	get(s, api, "list-robot-reports", "/robots/{id}/reports", tagExplorer, "A robot's reports that the log covers, newest first",
		func(ctx context.Context, in *robotListInput) (List[ReportSummary], error) {
			return r.RobotReports(ctx, in.ID, Page{Cursor: in.Cursor, Limit: in.Limit})
		})
	get(s, api, "list-robot-work", "/robots/{id}/work", tagExplorer, "What a robot did, by contract",
		func(ctx context.Context, in *robotListInput) (List[RobotWork], error) {
			return r.RobotWork(ctx, in.ID, Page{Cursor: in.Cursor, Limit: in.Limit})
		})
	get(s, api, "list-robot-enrolments", "/robots/{id}/enrolments", tagExplorer, "The versions of a robot's enrolment, newest first",
		func(ctx context.Context, in *robotListInput) (List[RobotVersion], error) {
			return r.RobotVersions(ctx, in.ID, Page{Cursor: in.Cursor, Limit: in.Limit})
		})
	get(s, api, "get-log", "/log", tagExplorer, "The proof log's newest checkpoint and who signed it",
		func(ctx context.Context, _ *nothing) (Log, error) { return r.Log(ctx) })
	get(s, api, "list-log-entries", "/log/entries", tagExplorer, "Entries of the proof log, newest first",
		func(ctx context.Context, in *entriesInput) (List[LogEntry], error) {
			return r.LogEntries(ctx, EntryFilter{Kind: in.Kind, Digest: in.Digest}, Page{Cursor: in.Cursor, Limit: in.Limit})
		})
	get(s, api, "get-log-entry", "/log/entries/{index}", tagExplorer, "An entry of the proof log with its envelope and proof",
		func(ctx context.Context, in *entryInput) (LogRecord, error) { return r.LogEntry(ctx, in.Index) })
	s.overTime(api)
	s.recordFiles(api)
}

// overTime registers how the reserve came to be what it is, and what is to come.
func (s *Server) overTime(api huma.API) {
	r := s.options.Reader
	get(s, api, "list-charters", "/charters", tagReserve, "The versions of the charter, newest first",
		func(ctx context.Context, in *pageInput) (List[CharterVersion], error) {
			return r.Charters(ctx, in.page())
		})
	get(s, api, "list-policies", "/policies", tagReserve, "The versions of the policy, announced ones included, newest first",
		func(ctx context.Context, in *pageInput) (List[PolicyVersion], error) {
			return r.Policies(ctx, in.page())
		})
	get(s, api, "get-policy-version", "/policies/{version}", tagReserve, "One version of the policy",
		func(ctx context.Context, in *versionInput) (Policy, error) { return r.PolicyVersion(ctx, in.Version) })
	get(s, api, "list-history", "/reserve/history", tagReserve, "The books at the end of each period in which they moved, newest first",
		func(ctx context.Context, in *historyInput) (List[HistoryPoint], error) {
			return r.History(ctx, Period(in.Every), Page{Cursor: in.Cursor, Limit: in.Limit})
		})
	get(s, api, "get-releases", "/reserve/releases", tagReserve, "What is to fall due as dividend",
		func(ctx context.Context, _ *nothing) (Releases, error) { return r.Releases(ctx) })
	get(s, api, "list-bonds", "/reserve/bonds", tagReserve, "Bearer bonds, newest first",
		func(ctx context.Context, in *pageInput) (List[Bond], error) { return r.ReserveBonds(ctx, in.page()) })
}

// recordFiles registers what is downloaded as it was signed. It never changes.
func (s *Server) recordFiles(api huma.API) {
	r := s.options.Reader
	huma.Register(api, download("download-report", "/reports/{digest}/envelope", "The report as its robot signed it, as `robotorq proof derive` takes it"),
		func(ctx context.Context, in *reportInput) (*huma.StreamResponse, error) {
			file, err := r.ReportFile(ctx, in.Digest)
			if err != nil {
				return nil, s.fail(ctx, err)
			}
			return offer(file, "application/json", "report-"+in.Digest[:12]+".json", immutable), nil
		})
	proof := download("download-log-proof", "/log/entries/{index}/proof", "The proof that an entry is in the log, a C2SP tlog-proof file")
	proof.Responses["200"].Content = map[string]*huma.MediaType{"text/plain": {Schema: &huma.Schema{Type: huma.TypeString}}}
	huma.Register(api, proof, func(ctx context.Context, in *entryInput) (*huma.StreamResponse, error) {
		entry, err := r.LogEntry(ctx, in.Index)
		if err != nil {
			return nil, s.fail(ctx, err)
		}
		// It holds the newest checkpoint: the same entry has another proof later.
		return offer([]byte(entry.Log.Proof), "text/plain; charset=utf-8", fmt.Sprintf("entry-%d.tlog-proof", in.Index), "no-cache"), nil
	})
}

// immutable lets whoever has an artefact keep it: its address is its digest.
const immutable = "public, max-age=31536000, immutable"

// offer sends a file.
func offer(file []byte, contentType, name, caching string) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		ctx.SetHeader("Content-Type", contentType)
		ctx.SetHeader("Content-Disposition", `attachment; filename="`+name+`"`)
		ctx.SetHeader("Cache-Control", caching)
		_, _ = ctx.BodyWriter().Write(file) // the client went away: nobody to tell
	}}
}
