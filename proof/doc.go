// Package proof is the proof chain: what robots, diggers, refineries and the
// mint sign, how one artefact follows from another, and how anyone checks it.
//
// It implements the proof chain specification, section 1 (derivation), §2 (artefacts), the roles
// of §3 (who may sign what, and when) and §4 (who checks what):
//
//   - Codecs: one struct per artefact with Encode and a DecodeX that refuses
//     every payload that does not re-encode to itself (artefacts.cddl is the
//     written form).
//   - Registry: what has been logged (charters, enrolments, contracts,
//     closings, policies) and so which key may speak for whom at what time.
//   - Assay: the rules of a report. The digger judges with it, the refinery
//     repeats it, the verifier repeats it again.
//   - IngotBuilder and the assembly helpers: ore → ingots → pours →
//     certificates → runs.
//   - Bundle and OreProof: offline documents about one certificate and one
//     unit of ore. Replay: the verification of a whole reserve.
//
// The package is pure: no I/O, no clock, no goroutine that outlives a call.
// Time is Unix milliseconds, handed in. It trusts nobody; a caller that pins a
// root key trusts that key alone. Nothing here survives a crash: the state
// values (RobotState, Carry, ContractState, ProducerState, OpenSpans) are small, can be
// restored, and say what changed, so that a station persists them in the
// transaction that moves its mark.
package proof

import "robotorq.org/reserve/seal"

// Payload types name an artefact and its version and separate the domains of
// its signatures (proof-chain §2).
const (
	TypeReport       = "application/vnd.robotorq.report.v1+cbor"
	TypeBatch        = "application/vnd.robotorq.batch.v1+cbor"
	TypePour         = "application/vnd.robotorq.pour.v1+cbor"
	TypeCertificate  = "application/vnd.robotorq.certificate.v1+cbor"
	TypeRun          = "application/vnd.robotorq.run.v1+cbor"
	TypeBond         = "application/vnd.robotorq.bond.v1+cbor"
	TypeRedemption   = "application/vnd.robotorq.redemption.v1+cbor"
	TypeReissue      = "application/vnd.robotorq.reissue.v1+cbor"
	TypeReceipt      = "application/vnd.robotorq.receipt.v1+cbor"
	TypeSolvency     = "application/vnd.robotorq.solvency.v1+cbor"
	TypeClosing      = "application/vnd.robotorq.closing.v1+cbor"
	TypeContract     = "application/vnd.robotorq.contract.v1+cbor"
	TypeDistribution = "application/vnd.robotorq.distribution.v1+cbor"
	TypeHead         = "application/vnd.robotorq.head.v1+cbor"
	TypeOrder        = "application/vnd.robotorq.order.v1+cbor"

	TypeCharter   = seal.TypeCharter
	TypeEnrolment = seal.TypeEnrolment
	TypePolicy    = "application/vnd.robotorq.policy.v1+json"
)

// Limits of the formats.
const (
	MaxReadings   = 3_600     // readings in a report
	MaxPourIngots = 1_000     // ingots in a pour
	MaxRun        = 256       // certificates in a run
	MaxMessage    = 900 << 10 // bytes of a batch, pour or run message
	MaxRobots     = 10_000    // robots of one contract
	MaxTextBytes  = 256       // of a free text in a payload
)

// Tolerances and limits of the rules.
const (
	SkewMS          = 2_000          // tolerated difference of two clocks
	MinReportMS     = 10_000         // a shorter report must carry an ingot's ore
	DefaultMaxAgeMS = 48 * 3_600_000 // max_report_age before any policy is logged
	energyTolerance = 105            // percent of a robot's rating
	KnowledgeLagMS  = 60_000         // how long a station may not have heard of what was logged
)
