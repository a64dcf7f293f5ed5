package explorer

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// recentRefusals is how many refusals are shown with a robot.
const recentRefusals = 10

// Robots implements [api.Reader].
func (e *Explorer) Robots(ctx context.Context, page api.Page) (list api.List[api.Robot], err error) {
	s, err := e.attached()
	if err != nil {
		return list, err
	}
	if page.Cursor != "" && !seal.ValidID(page.Cursor) {
		return list, badCursor()
	}
	n := limit(page)
	shown := cut(e.directory.from(page.Cursor, n+1), n, func(id string) string { return id })
	list = api.List[api.Robot]{Items: []api.Robot{}, Next: shown.Next}
	for _, id := range shown.Items {
		r, err := e.robot(ctx, s, id)
		if err != nil {
			return list, err
		}
		list.Items = append(list.Items, r)
	}
	return list, nil
}

// Robot implements [api.Reader].
func (e *Explorer) Robot(ctx context.Context, id string) (api.Robot, error) {
	s, err := e.attached()
	if err != nil {
		return api.Robot{}, err
	}
	shown, err := e.robot(ctx, s, id)
	if err != nil {
		return shown, err
	}
	err = s.Digger.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		refused, err := refusals(ctx, tx, "WHERE robot = ? ORDER BY id DESC LIMIT ?", id, recentRefusals)
		for _, r := range refused {
			shown.RecentRefusals = append(shown.RecentRefusals, r.Refusal)
		}
		return err
	})
	if err != nil {
		return shown, err
	}
	shown.Enrolment, err = s.enrolmentOf(ctx, id)
	return shown, err
}

// enrolmentOf is the newest version of a robot's enrolment, as Trust has admitted it.
func (s *Stations) enrolmentOf(ctx context.Context, id string) (json.RawMessage, error) {
	var digest merkle.Hash
	s.Trust.With(func(r *proof.Registry) { digest, _ = r.EnrolmentDigest(seal.RoleRobot, id) })
	env, err := s.document(ctx, digest)
	if err != nil {
		return nil, err
	}
	return json.Marshal(env)
}

// robot is a robot as lists show it.
func (e *Explorer) robot(ctx context.Context, s *Stations, id string) (api.Robot, error) {
	var versions []*seal.Enrolment
	s.Trust.With(func(r *proof.Registry) { versions = r.RobotVersions(id) })
	if len(versions) == 0 {
		return api.Robot{}, api.NotFound("robot", id)
	}
	newest := versions[len(versions)-1]
	robot := api.Robot{
		ID: id, Owner: newest.Robot.Owner, Digger: newest.Robot.Digger, Version: newest.Version,
		Watts: newest.Robot.Watts, Tokens: newest.Robot.TokensPerSecond, Energy: newest.Robot.Energy, Enrolled: int64(versions[0].IssuedMS),
		Keys: keysOf(newest.Keys), Contracts: e.directory.contractsOf(id), RecentRefusals: []api.Refusal{},
		Working: e.reports.works(id, e.activeSince()), Retired: newest.Ended(e.now()),
	}
	if robot.Contracts == nil {
		robot.Contracts = []uint64{}
	}
	err := s.Digger.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error { return figuresOf(ctx, tx, &robot) })
	return robot, err
}

// activeSince is the time since which a working robot has been seen.
func (e *Explorer) activeSince() uint64 { return uint64(e.Clock.Now().Add(-e.Active).UnixMilli()) }

// figuresOf reads what the digger has counted of a robot.
func figuresOf(ctx context.Context, tx *sql.Tx, robot *api.Robot) error {
	err := tx.QueryRowContext(ctx, "SELECT reports, ore, void FROM digger_robot WHERE robot = ?", robot.ID).Scan(&robot.Reports, &robot.Ore, &robot.Void)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	var digest []byte
	err = tx.QueryRowContext(ctx, "SELECT seq, digest, last_end FROM assay_robot WHERE robot = ?", robot.ID).Scan(&robot.LastSeq, &digest, &robot.LastReading)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if robot.LastSeq > 0 {
		robot.LastDigest = hex.EncodeToString(digest)
	}
	return err
}

// keysOf shows keys. Only a root's SLH-DSA key has a pin.
func keysOf(keys []seal.Key) []api.Key {
	list := make([]api.Key, len(keys))
	for i, k := range keys {
		list[i] = api.Key{ID: k.KeyID, Name: k.Name, Role: k.Role, Alg: k.Alg, NotBefore: int64(k.NotBeforeMS)}
		if k.NotAfterMS != nil {
			list[i].NotAfter = int64(*k.NotAfterMS)
		}
		if k.Role == seal.RoleRoot && k.Alg == seal.SLHDSA128s {
			list[i].Pin = seal.KeyHash(k.Alg, k.Public).String()
		}
	}
	return list
}

// refusal is one with its place in the digger's list.
type refusal struct {
	api.Refusal
	id uint64
}

func refusals(ctx context.Context, tx *sql.Tx, which string, args ...any) (all []refusal, err error) {
	rows, err := tx.QueryContext(ctx, "SELECT id, time, robot, contract, seq, report, rule, void, detail FROM digger_refusal "+which, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		r := refusal{Refusal: api.Refusal{Station: stationDigger}}
		var contract string
		var report []byte
		if err := rows.Scan(&r.id, &r.Time, &r.Robot, &contract, &r.Seq, &report, &r.Rule, &r.Void, &r.Detail); err != nil {
			return nil, err
		}
		r.Contract, r.Report = contractNumber(contract), hex.EncodeToString(report)
		all = append(all, r)
	}
	return all, rows.Err()
}

// Refusals implements [api.Reader].
func (e *Explorer) Refusals(ctx context.Context, page api.Page) (list api.List[api.Refusal], err error) {
	s, err := e.attached()
	if err != nil {
		return list, err
	}
	from, err := number(page.Cursor, math.MaxInt64)
	if err != nil {
		return list, err
	}
	n := limit(page)
	var all []refusal
	err = s.Digger.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) (err error) {
		all, err = refusals(ctx, tx, "WHERE id <= ? ORDER BY id DESC LIMIT ?", int64(from), n+1)
		return err
	})
	shown := cut(all, n, func(r refusal) string { return decimal(r.id) })
	list = api.List[api.Refusal]{Items: []api.Refusal{}, Next: shown.Next}
	for _, r := range shown.Items {
		list.Items = append(list.Items, r.Refusal)
	}
	return list, err
}

// rules counts what was refused or void, most frequent first.
func (s *Stations) rules(ctx context.Context) (all []api.RuleCount, err error) {
	all = []api.RuleCount{}
	err = s.Digger.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		// There is one row for each rule of the specification at most.
		rows, err := tx.QueryContext(ctx, "SELECT rule, count FROM digger_rule ORDER BY count DESC, rule")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var r api.RuleCount
			if err := rows.Scan(&r.Rule, &r.Count); err != nil {
				return err
			}
			all = append(all, r)
		}
		return rows.Err()
	})
	return all, err
}
