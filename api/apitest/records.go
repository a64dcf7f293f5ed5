package apitest

import (
	"context"
	"encoding/json"
	"strings"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/torq"
)

// reportsOfRobot is how many reports each robot of the invented reserve has made.
const reportsOfRobot = 60

func (r *Fake) reportOf(robot string, seq uint64) api.Report {
	start := r.Now - int64(reportsOfRobot-seq+1)*10_000
	rep := api.Report{
		Digest: digest("report", robot, seq).String(), PayloadType: "application/vnd.robotorq.report.v1+cbor", Robot: robot, Contract: 1, ContractID: "demo.robotorq.org#1",
		Enterprise: enterprise(1), Seq: seq, Start: start, End: start + 10_000, Readings: 10, Active: 10_000, Meter: "metered", Watts: 1_200, TokenRate: 10, Version: 1, Bytes: 402,
		Signatures: []api.Signature{{KeyID: "00f3a1c2d4e5f607", Name: robot, Alg: "falcon-512-padded", Good: true}, {KeyID: "a1b2c3d4e5f60718", Name: robot, Alg: "ed25519", Good: true}},
		Batch: api.ReportBatch{
			Digger: "digger", Seq: seq, Digest: digest("batch", seq).String(), Sealed: start + 10_900, Reports: 8,
			Signatures: []api.Signature{{KeyID: "1122334455667788", Name: "digger", Alg: "falcon-512-padded", Good: true}, {KeyID: "8877665544332211", Name: "digger", Alg: "ed25519", Good: true}},
		},
		Checked: r.Fault == "", Fault: r.Fault,
	}
	if seq > 1 {
		rep.Previous = digest("report", robot, seq-1).String()
	}
	for i := range int64(10) {
		m := api.Reading{Start: start + i*1000, End: start + i*1000 + 1000, Active: 1000, Energy: 600_000 + number(500_000, "energy", robot, seq, i), Tokens: 10}
		rep.Samples = append(rep.Samples, m)
		rep.Energy += m.Energy
		rep.Tokens += m.Tokens
	}
	rep.Ore = rep.Energy / 1000 * rep.Tokens / 10
	return rep
}

// Report implements api.Reader.
func (r *Fake) Report(_ context.Context, id string) (api.Report, error) {
	for _, robot := range r.Fleet {
		for seq := uint64(1); seq <= reportsOfRobot; seq++ {
			if digest("report", robot, seq).String() == id {
				return r.reportOf(robot, seq), nil
			}
		}
	}
	return api.Report{}, api.NotFound("report", id)
}

// NewestReport is the digest of a robot's last report.
func NewestReport(robot string) string { return digest("report", robot, reportsOfRobot).String() }

// Readings implements api.Reader.
func (r *Fake) Readings(ctx context.Context, id string, page api.Page) (api.List[api.Reading], error) {
	rep, err := r.Report(ctx, id)
	if err != nil {
		return api.List[api.Reading]{}, err
	}
	return paged(page, uint64(len(rep.Samples)), func(i uint64) api.Reading { return rep.Samples[i] })
}

// ReportFile implements api.Reader.
func (r *Fake) ReportFile(ctx context.Context, id string) ([]byte, error) {
	rep, err := r.Report(ctx, id)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{"payloadType": rep.PayloadType, "payload": []byte(rep.Digest), "signatures": []any{}})
}

func (r *Fake) knows(robot string) error {
	for _, id := range r.Fleet {
		if id == robot {
			return nil
		}
	}
	return api.NotFound("robot", robot)
}

// RobotReports implements api.Reader.
func (r *Fake) RobotReports(_ context.Context, robot string, page api.Page) (api.List[api.ReportSummary], error) {
	if err := r.knows(robot); err != nil {
		return api.List[api.ReportSummary]{}, err
	}
	return paged(page, reportsOfRobot, func(i uint64) api.ReportSummary {
		rep := r.reportOf(robot, reportsOfRobot-i)
		return api.ReportSummary{Digest: rep.Digest, Seq: rep.Seq, Contract: rep.Contract, Start: rep.Start, End: rep.End, Readings: rep.Readings, Energy: rep.Energy, Tokens: rep.Tokens}
	})
}

// RobotWork implements api.Reader.
func (r *Fake) RobotWork(_ context.Context, robot string, page api.Page) (api.List[api.RobotWork], error) {
	if err := r.knows(robot); err != nil {
		return api.List[api.RobotWork]{}, err
	}
	return paged(page, 2, func(i uint64) api.RobotWork {
		return api.RobotWork{Contract: i + 1, Enterprise: enterprise(i + 1), Reports: 30, Void: i, Ore: 400_000 + i}
	})
}

// RobotVersions implements api.Reader.
func (r *Fake) RobotVersions(_ context.Context, robot string, page api.Page) (api.List[api.RobotVersion], error) {
	if err := r.knows(robot); err != nil {
		return api.List[api.RobotVersion]{}, err
	}
	return paged(page, 2, func(i uint64) api.RobotVersion {
		v := api.RobotVersion{
			Version: 2 - i, Digest: digest("enrolment", robot, 2-i).String(), Issued: r.Now - int64(i+1)*90*minute, Owner: "printers-guild", Digger: "digger",
			Watts: 1_000 + 200*(1-i), Tokens: 10, Energy: "metered", Logged: true, LogEntry: 5 - i, Keys: []api.Key{},
		}
		if i == 0 {
			v.LastSeq = 12
		}
		return v
	})
}

const checkpointText = "demo.robotorq.org\n%d\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n— demo.robotorq.org AAAAAA==\n"

func (r *Fake) logSize() uint64 { return r.Certs*24 + 33 }

// Log implements api.Reader.
func (r *Fake) Log(context.Context) (api.Log, error) {
	return api.Log{
		Origin: "demo.robotorq.org", Size: r.logSize(), Root: digest("root").String(), Checkpoint: checkpointText, Checked: true,
		Kinds:      []api.KindCount{{Kind: "pour", Count: r.Certs * 21}, {Kind: "certificate", Count: r.Certs}, {Kind: "run", Count: r.Certs}, {Kind: "policy", Count: 2}},
		Signatures: []api.LogSignature{{Name: "demo.robotorq.org", KeyID: "0102030405060708", Alg: "ed25519", Good: true}},
		Witnesses:  []api.Cosignature{{Name: "witness.example", KeyID: "1112131415161718", Time: r.Now - 2_000}, {Name: "silent.example", KeyID: "2122232425262728"}},
	}, nil
}

func (r *Fake) entry(index uint64) api.LogEntry {
	kinds := []string{"pour", "certificate", "run", "policy"}
	kind := kinds[index%uint64(len(kinds))]
	form := "cbor"
	if kind == "policy" {
		form = "json"
	}
	return api.LogEntry{Index: index, Kind: kind, Type: "application/vnd.robotorq." + kind + ".v1+" + form, Digest: digest("entry", index).String(), About: strings.ToUpper(kind[:1]) + kind[1:]}
}

// LogEntries implements api.Reader.
func (r *Fake) LogEntries(_ context.Context, which api.EntryFilter, page api.Page) (api.List[api.LogEntry], error) {
	var of []api.LogEntry
	for i := r.logSize(); i > 0; i-- {
		if e := r.entry(i - 1); (which.Kind == "" || e.Kind == which.Kind) && (which.Digest == "" || e.Digest == which.Digest) {
			of = append(of, e)
		}
	}
	return paged(page, uint64(len(of)), func(i uint64) api.LogEntry { return of[i] })
}

// LogEntry implements api.Reader.
func (r *Fake) LogEntry(_ context.Context, index uint64) (api.LogRecord, error) {
	if index >= r.logSize() {
		return api.LogRecord{}, api.NotFound("log entry", index)
	}
	return api.LogRecord{
		LogEntry: r.entry(index), Envelope: json.RawMessage(`{"payloadType":"","payload":"","signatures":[]}`),
		Log: api.LogProof{Origin: "demo.robotorq.org", Checkpoint: checkpointText, Proof: "c2sp.org/tlog-proof@v1\nindex 0\n\n" + checkpointText},
	}, nil
}

// Charters implements api.Reader.
func (r *Fake) Charters(ctx context.Context, page api.Page) (api.List[api.CharterVersion], error) {
	c, err := r.Charter(ctx)
	if err != nil {
		return api.List[api.CharterVersion]{}, err
	}
	return paged(page, 2, func(i uint64) api.CharterVersion {
		v := api.CharterVersion{
			Version: 2 - i, Digest: digest("charter", 2-i).String(), Issued: c.Issued - int64(i)*minute, Threshold: 1, Roots: []string{"root"}, Keys: uint64(len(c.Keys)) - i,
			Changes: []api.CharterChange{}, Logged: true, LogEntry: 7 * (1 - i), Envelope: json.RawMessage(`{}`),
		}
		if i == 0 {
			key, ended := c.Keys[0], c.Keys[1]
			ended.NotAfter = c.Issued
			v.Changes = []api.CharterChange{{What: "threshold", From: 1, To: 2}, {What: "key_added", Key: &key}, {What: "key_ended", Key: &ended}}
		}
		return v
	})
}

// Policies implements api.Reader.
func (r *Fake) Policies(_ context.Context, page api.Page) (api.List[api.PolicyVersion], error) {
	all := []api.PolicyVersion{
		{Version: 3, Issued: r.Now - 5*minute, Since: r.Now + 2000*minute, State: "announced", Digest: digest("policy", 3).String(), Changes: []api.PolicyChange{{Name: "demurrage_per_year", From: "0.06", To: "0.05"}}},
		{Version: 2, Issued: r.Now - 900*minute, Since: r.Now - 800*minute, State: "in force", Digest: digest("policy", 2).String(), Logged: true, LogEntry: 31, Changes: []api.PolicyChange{{Name: "max_watts", From: "10000", To: "20000"}, {Name: "presets", To: "replaced"}}},
		{Version: 1, Issued: r.Now - 4000*minute, Since: r.Now - 4000*minute, State: "past", Digest: digest("policy", 1).String(), Logged: true, LogEntry: 1, Changes: []api.PolicyChange{}},
	}
	return paged(page, uint64(len(all)), func(i uint64) api.PolicyVersion { return all[i] })
}

// PolicyVersion implements api.Reader.
func (r *Fake) PolicyVersion(ctx context.Context, version uint64) (api.Policy, error) {
	if version > 3 {
		return api.Policy{}, api.NotFound("policy version", version)
	}
	p, err := r.Policy(ctx)
	p.Version = version
	return p, err
}

// History implements api.Reader.
func (r *Fake) History(_ context.Context, every api.Period, page api.Page) (api.List[api.HistoryPoint], error) {
	length := map[api.Period]int64{api.EveryMinute: minute, api.EveryHour: 60 * minute, api.EveryDay: 1440 * minute}[every]
	last := r.Now - r.Now%length
	return paged(page, min(r.Certs, 120), func(i uint64) api.HistoryPoint {
		s := torq.JT((r.Certs - i) * orePerCert)
		p := api.HistoryPoint{
			Start: last - int64(i)*length, Supply: s, Wallets: s * 31 / 100, Savings: s * 7 / 100, Bonds: s / 20, Available: s * 22 / 100, Deployed: s * 11 / 100,
			Returns: s / 100, Capital: s * 33 / 100, Target: torq.JT(10_000 * orePerCert), Paid: torq.JT(40_000 + number(20_000, "paid", i)), Collected: torq.JT(number(900, "collected", i)), Certificates: 1, Orders: 20,
		}
		p.Disto = s - p.Wallets - p.Savings - p.Bonds - p.Available - p.Deployed - p.Returns
		return p
	})
}

// Releases implements api.Reader.
func (r *Fake) Releases(context.Context) (api.Releases, error) {
	out := api.Releases{Every: minute, Next: r.Now + 38_000, Due: 411}
	if r.Certs == 0 {
		return out, nil
	}
	for i := range int64(20) {
		jt := torq.JT(20_000 - i*900)
		out.Points = append(out.Points, api.ReleasePoint{Start: out.Next + (i-1)*minute, End: out.Next + i*minute, JT: jt})
		out.JT += jt
	}
	out.Last, out.JT = out.Next+19*minute, out.JT+out.Due
	out.Releases = []api.ReleaseShape{{Name: "uniform", Schedules: 9, JT: out.JT * 2, Released: out.JT}}
	return out, nil
}

// ReserveBonds implements api.Reader.
func (r *Fake) ReserveBonds(_ context.Context, page api.Page) (api.List[api.Bond], error) {
	return paged(page, min(r.Certs, 3), func(i uint64) api.Bond {
		b := api.Bond{
			Serial: 3 - i, Face: 2, JT: 2 * orePerCert, State: "live", KeyHash: digest("key", i).String(), Issued: r.Now - int64(i+1)*30*minute,
			Certificates: []api.SerialRange{{First: 1, Last: 2}}, Versions: []api.BondVersion{},
		}
		if i == 2 {
			b.State, b.Certificates = "redeemed", []api.SerialRange{}
		}
		return b
	})
}
