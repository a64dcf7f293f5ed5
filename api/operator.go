package api

import (
	"context"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"robotorq.org/reserve/torq"
)

// Operations is how a node stands, for who operates it.
type Operations interface {
	// Operator gathers the figures; it takes as long as a page may.
	Operator(ctx context.Context) (Operator, error)
}

// Operator is everything about a node that its operator has to know. It holds no
// secret, but what strangers need not know.
type Operator struct {
	Now       int64             `json:"now_ms"`
	Version   string            `json:"version"`
	Origin    string            `json:"origin"`
	Demo      bool              `json:"demo"`
	Started   int64             `json:"started_ms"`
	Founded   int64             `json:"founded_ms,omitempty" doc:"Date of the first charter"`
	Data      string            `json:"data" doc:"Data directory"`
	Addresses []OperatorAddress `json:"addresses" nullable:"false"`
	Ready     bool              `json:"ready" doc:"As /readyz"`
	Findings  []Finding         `json:"findings" nullable:"false" doc:"What needs somebody, worst first; empty when nothing does"`
	Stopped   []StoppedProducer `json:"stopped" nullable:"false"`
	Refusals  []RuleRefusals    `json:"refusals" nullable:"false" doc:"By rule, most frequent first, with the latest reports"`
	Queues    []Queue           `json:"queues" nullable:"false" doc:"What waits inside the stations"`
	Outboxes  []Outbox          `json:"outboxes" nullable:"false"`
	Keys      []OperatorKey     `json:"keys" nullable:"false" doc:"Those that end, soonest first, then those without an end"`
	RootHere  bool              `json:"root_key_here" doc:"The root key lies on this machine"`
	Backups   []BackupRecord    `json:"backups" nullable:"false" doc:"Newest first"`
	Witnesses Witnesses         `json:"witnesses"`
	Disk      Disk              `json:"disk"`
	Latencies []Latency         `json:"latencies" nullable:"false" doc:"Since the start of the process"`
	Solvency  OperatorSolvency  `json:"solvency"`
	Tokens    []OperatorToken   `json:"tokens" nullable:"false" doc:"Valid ones first; never the tokens themselves. At most 200"`
}

// Levels of a finding.
const (
	LevelFault   = "fault"
	LevelWarning = "warning"
)

// Finding is something that needs somebody: what is wrong and what to do next.
type Finding struct {
	Level string `json:"level" enum:"fault,warning"`
	About string `json:"about" doc:"ready, stopped, link, key, backup, witness, disk, solvency, token, latency, certificate"`
	Says  string `json:"says"`
	Do    string `json:"do" doc:"What to do next"`
}

// OperatorAddress is where something listens.
type OperatorAddress struct {
	For     string `json:"for" doc:"page, robots"`
	Address string `json:"address"`
	TLS     bool   `json:"tls"`
}

// StoppedProducer is one whose messages a consumer refused: nothing of it is taken
// until somebody has looked and started the node with --resume.
type StoppedProducer struct {
	Producer string `json:"producer"`
	Rule     string `json:"rule"`
	Detail   string `json:"detail"`
}

// RuleRefusals is what broke one rule.
type RuleRefusals struct {
	Rule   string    `json:"rule"`
	Count  uint64    `json:"count" doc:"Since the reserve was founded"`
	Latest []Refusal `json:"latest" nullable:"false" doc:"At most three of those that are kept, newest first"`
}

// Queue is something that waits for the next step.
type Queue struct {
	Station string `json:"station"`
	What    string `json:"what"`
	Depth   uint64 `json:"depth"`
}

// Outbox is what a station has to hand over.
type Outbox struct {
	Producer string `json:"producer"`
	Head     uint64 `json:"head" doc:"Number of its last message"`
	Sent     uint64 `json:"sent" doc:"Up to there the bus has taken everything"`
	Depth    uint64 `json:"depth" doc:"Messages that some consumer has not confirmed"`
	Resent   uint64 `json:"resent" doc:"Sent again since the start"`
	Links    []Link `json:"links" nullable:"false"`
}

// Link is how far one consumer of an outbox is.
type Link struct {
	Consumer string `json:"consumer"`
	Mark     uint64 `json:"mark" doc:"Number of the last message that it has taken"`
	Lag      uint64 `json:"lag" doc:"How far the mark is behind"`
	Refusal  string `json:"refusal,omitempty" doc:"The last message that it refused, and why"`
}

// OperatorKey is a key of the charter, or a certificate, with its end.
type OperatorKey struct {
	Name string `json:"name"`
	Role string `json:"role" doc:"Role of the charter, or tls"`
	Alg  string `json:"alg,omitempty"`
	ID   string `json:"keyid,omitempty"`
	Ends int64  `json:"not_after_ms,omitempty" doc:"Absent: open"`
	Left int64  `json:"left_ms,omitempty" doc:"Until then; negative when it is over"`
}

// BackupRecord is a copy that was taken of the data directory.
type BackupRecord struct {
	Taken   int64  `json:"taken_ms" doc:"The moment that the copy is of"`
	To      string `json:"to"`
	Files   uint64 `json:"files"`
	Bytes   uint64 `json:"bytes"`
	LogSize uint64 `json:"log_size" doc:"Entries of the log in it"`
	Root    bool   `json:"root_keys"`
}

// Witnesses is who cosigns the log's checkpoints.
type Witnesses struct {
	Required bool           `json:"required" doc:"The mint waits for the quorum"`
	List     []WitnessState `json:"list" nullable:"false"`
}

// WitnessState is how one witness stands.
type WitnessState struct {
	Name        string `json:"name"`
	URL         string `json:"url"`
	State       string `json:"state" enum:"cosigned,waiting,behind,contradicts"`
	Cosigned    uint64 `json:"cosigned" doc:"Checkpoints since the start"`
	Failed      uint64 `json:"failed" doc:"Requests without a cosignature since the start"`
	LastFailure string `json:"last_failure,omitempty"`
}

// Disk is what the data directory takes and what is left.
type Disk struct {
	Free     uint64     `json:"free_bytes" doc:"That the node may still write"`
	Size     uint64     `json:"size_bytes" doc:"Of the file system"`
	Measured int64      `json:"measured_ms,omitempty" doc:"When the data directory was measured last; absent: not yet"`
	Used     uint64     `json:"data_bytes"`
	Parts    []DiskPart `json:"parts" nullable:"false"`
	// Growth is over Over; both are 0 while too little is known.
	Growth   int64 `json:"growth_bytes_per_day"`
	Over     int64 `json:"growth_over_ms" doc:"The time over which the growth was measured; 0: not known yet"`
	DaysLeft int64 `json:"days_left" doc:"At this growth; -1: it does not grow, or is not known yet"`
}

// DiskPart is one part of the data directory.
type DiskPart struct {
	Name  string `json:"name" doc:"log, packs, books, bus, other"`
	Bytes uint64 `json:"bytes"`
}

// Latency is how long something took.
type Latency struct {
	What   string `json:"what" doc:"commit, verify, request"`
	Where  string `json:"where" doc:"Book, station, or area of the interface"`
	Count  uint64 `json:"count"`
	Mean   uint64 `json:"mean_us"`
	Median int64  `json:"p50_us" doc:"At most, from the buckets of the histogram; -1: beyond the last"`
	P99    int64  `json:"p99_us" doc:"At most, from the buckets of the histogram; -1: beyond the last"`
}

// OperatorSolvency is the newest statement of what the reserve owes, and the newest
// head of its books.
type OperatorSolvency struct {
	Issued  int64   `json:"issued_ms,omitempty" doc:"Absent: there is none yet"`
	Posting uint64  `json:"posting,omitempty"`
	Sum     torq.JT `json:"sum_jt" doc:"Of all wallets, as stated"`
	Wallets uint64  `json:"wallets"`
	Entry   uint64  `json:"entry,omitempty" doc:"Index in the log"`
	Head    int64   `json:"head_ms,omitempty" doc:"Newest logged head of the books"`
	Supply  torq.JT `json:"supply_jt" doc:"Now"`
	Backed  torq.JT `json:"backed_jt" doc:"By certificates, now"`
}

// OperatorToken is a role token, without the token.
type OperatorToken struct {
	Name    string `json:"name"`
	Role    Role   `json:"role"`
	State   string `json:"state" enum:"valid,expired,revoked"`
	Created int64  `json:"created_ms"`
	Expires int64  `json:"expires_ms"`
	Revoked int64  `json:"revoked_ms,omitempty"`
}

const tagOperator = "operator"

type operatorInput struct {
	Authorization string `header:"Authorization" maxLength:"1024" doc:"Bearer token of role admin"`
}

// operations registers what only the operator reads.
func (s *Server) operations(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "get-operator", Method: http.MethodGet, Path: "/api/v1/operator", Tags: []string{tagOperator},
		Summary:     "How the node stands, and what needs somebody",
		Description: "The figures of the operator's page.",
		Security:    []map[string][]string{{schemeToken: {}}},
	}, func(ctx context.Context, in *operatorInput) (*answer[Operator], error) {
		if in.Authorization == "" {
			return nil, s.fail(ctx, Errorf(CodeTokenMissing, "This takes a token of role admin: `robotorq tokens new NAME --role admin`."))
		}
		if _, err := s.principal(ctx, in.Authorization, RoleAdmin); err != nil {
			return nil, s.fail(ctx, err)
		}
		body, err := s.options.Node.Operator(ctx)
		if err != nil {
			return nil, s.fail(ctx, err)
		}
		fillSlices(reflect.ValueOf(&body).Elem())
		return &answer[Operator]{CacheControl: "no-store", Body: body}, nil
	})
}
