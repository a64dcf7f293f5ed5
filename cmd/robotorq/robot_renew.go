package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/client"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/node"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/robot"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/wallet/purse"
)

type robotRenewCmd struct {
	ID       string  `arg:"" help:"The robot's id."`
	Lost     bool    `help:"The spool is another branch of the chain: go on after the digger's last report, and give up what waits here."`
	NewKeys  bool    `name:"new-keys" help:"Make new keys; the old ones end. They are made too when there are none here."`
	Watts    *uint64 `help:"New certified power in watts."`
	Tokens   *uint64 `help:"New bonded tokens per second."`
	Energy   string  `enum:",metered,rated" default:"" help:"How its energy is known from now on: metered or rated."`
	Owner    string  `placeholder:"ORG" help:"New owner."`
	Digger   string  `help:"New digger."`
	Retire   bool    `help:"End all its keys: it works no more."`
	Withdraw bool    `help:"Take back a request that is not admitted; the agent goes on as before."`
	Dir      string  `placeholder:"DIR" help:"Where the robot's keys and spool lie (default: robots/ID in the data directory)."`
	Admit    bool    `help:"Admit it at once with the registrar's key of the data directory."`
	Data     string  `placeholder:"DIR" help:"Data directory (default: ${data})."`
	URL      string  `name:"url" placeholder:"URL" default:"http://127.0.0.1:8080" help:"The reserve's node."`
}

// Help is the long help with examples.
func (robotRenewCmd) Help() string {
	return `Makes the request for the next version of a robot's enrolment: after a lost directory or
a forked chain, for new keys, another rating, owner or digger, or to retire it. The
version counts about a minute after a registrar has admitted it, when every station has
heard of it; --withdraw takes the request back.

An agent with a spool that is whole works on meanwhile under the old version, and what
waits in its spool is still sent. One without a spool, or with --lost, waits for the
version and goes on after the last report that the digger has; it must be stopped first.

Examples:
  robotorq robot renew forge-7 --url https://reserve.example > forge-7.json
  robotorq robot renew forge-7 --lost --new-keys --admit --data /var/lib/robotorq
  robotorq robot renew forge-7 --watts 400
  robotorq robot renew forge-7 --retire
  robotorq robot renew forge-7 --withdraw`
}

func (c *robotRenewCmd) Run(ctx context.Context, std streams, g *global) error {
	dir := robotDir(c.Dir, c.Data, c.ID)
	if c.Withdraw {
		return c.withdraw(dir, std, g)
	}
	cl, err := client.New(c.URL, nil, node.Clock{})
	if err != nil {
		return &exitError{exitUsage, err}
	}
	now, err := enrolledNow(ctx, cl, c.ID)
	if err != nil {
		return err
	}
	request, err := c.request(ctx, dir, now)
	if err != nil {
		return err
	}
	if request, err = robot.Renew(dir, os.Getenv(passphraseVariable), request, c.NewKeys, uint64(time.Now().UnixMilli())); err != nil {
		return err
	}
	if c.Admit {
		done, err := renewAs(ctx, std, registrarAt{dataDir(c.Data), c.URL}, request)
		if err != nil {
			return err
		}
		return printRenewed(std, g, now.enrolment, done)
	}
	if !g.JSON {
		fmt.Fprintf(std.Err, "Send what follows to a registrar; `robotorq members enrol FILE` admits it for %s.\n", c.ID)
	}
	text, err := request.Encode()
	if err == nil {
		_, err = fmt.Fprintln(std.Out, string(text))
	}
	return err
}

func (c *robotRenewCmd) withdraw(dir string, std streams, g *global) error {
	_, found, err := robot.Renewal(dir)
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("no request waits in %s; nothing was done", dir)
	}
	if err := robot.WithdrawRenewal(dir); err != nil {
		return err
	}
	if g.JSON {
		return writeJSON(std.Out, map[string]string{"robot": c.ID, "withdrawn": dir})
	}
	_, err = fmt.Fprintf(std.Out, "The request in %s is gone. Tell the registrar: what is sent can still be admitted.\n", dir)
	return err
}

// request is what is asked for: the enrolment as it stands with what changes.
func (c *robotRenewCmd) request(ctx context.Context, dir string, now robotNow) (robot.Request, error) {
	t := now.enrolment.Robot
	r := robot.Request{
		Robot: c.ID, Owner: t.Owner, Watts: t.Watts, TokensPerSecond: t.TokensPerSecond, Energy: t.Energy,
		Version: now.enrolment.Version + 1, Retire: c.Retire,
	}
	if c.Owner != "" {
		r.Owner = strings.TrimPrefix(c.Owner, seal.RoleOrg+":")
	}
	if c.Watts != nil {
		r.Watts = *c.Watts
	}
	if c.Tokens != nil {
		r.TokensPerSecond = *c.Tokens
	}
	if c.Energy != "" {
		r.Energy = c.Energy
	}
	if c.Digger != "" && c.Digger != t.Digger {
		r.Digger = c.Digger
	}
	intact, err := c.spool(ctx, dir, now, &r)
	if err != nil {
		return r, err
	}
	_, err = os.Stat(filepath.Join(dir, robot.KeyFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return r, err
	}
	same := r.Owner == t.Owner && r.Watts == t.Watts && r.TokensPerSecond == t.TokensPerSecond && r.Energy == t.Energy && r.Digger == ""
	if err == nil && intact && same && !c.Retire && !c.NewKeys {
		return r, &exitError{exitUsage, fmt.Errorf("nothing of %s would change: keys and spool lie in %s and the chain is whole; say what is new (--lost, --new-keys, --watts, --tokens, --energy, --owner, --digger, --retire)", c.ID, dir)}
	}
	return r, nil
}

// spool looks how the robot's own spool stands beside the digger; intact tells whether
// the chain goes on from it.
func (c *robotRenewCmd) spool(ctx context.Context, dir string, now robotNow, r *robot.Request) (intact bool, err error) {
	path := filepath.Join(dir, robot.SpoolFile)
	_, err = os.Stat(path)
	if missing := errors.Is(err, fs.ErrNotExist); missing || c.Lost {
		r.Lost = c.Lost || now.mark.Seq > 0
		return !r.Lost, c.stopped(ctx, path, missing)
	}
	if err != nil {
		return false, err
	}
	head, err := robot.PeekSpool(ctx, path) // after the mark was asked for, so never behind it
	if err != nil {
		return false, err
	}
	if now.mark.Seq > head.Seq || now.mark.Seq == head.Seq && now.mark.Digest != head.Digest {
		return false, fmt.Errorf("the spool in %s is an old copy or another branch: it ends at report %d, the digger has report %d of %s with another digest; bring back the newest spool, or, if that is lost, say --lost to go on after the digger's report %d",
			dir, head.Seq, now.mark.Seq, c.ID, now.mark.Seq)
	}
	r.Waiting = head.Seq - now.mark.Seq
	if r.Digger != "" && r.Waiting > 0 {
		return false, fmt.Errorf("%s in the spool for the digger %s, and the new one would not take them: let the agent send them first, or give them up with --lost", waiting(r.Waiting), now.enrolment.Robot.Digger)
	}
	return true, nil
}

// stopped refuses while an agent works with the spool.
func (c *robotRenewCmd) stopped(ctx context.Context, path string, missing bool) error {
	if missing {
		return nil
	}
	spool, err := robot.OpenSpool(ctx, path, c.ID) // one agent has it at a time
	if err != nil {
		return err
	}
	return spool.Close()
}

// robotNow is what a node says of a robot: its newest enrolment and the digger's last
// report.
type robotNow struct {
	enrolment *seal.Enrolment
	digest    merkle.Hash
	mark      robot.Link
	free      bool // no open contract has it
}

// enrolledNow asks the node for it. What it shows is checked for form and not
// believed further: a registrar signs what names the predecessor by its digest.
func enrolledNow(ctx context.Context, cl *client.Client, id string) (now robotNow, err error) {
	shown, err := cl.Robot(ctx, id)
	if client.Is(err, api.CodeNotFound) {
		return now, fmt.Errorf("%s is not enrolled: ask for a first version with `robotorq robot enrol %s`", id, id)
	}
	if err != nil {
		return now, purse.Explain(err)
	}
	if now.enrolment, now.digest, err = enrolmentIn(shown); err != nil {
		return now, err
	}
	answer, err := cl.Mark(ctx, id, "", 0)
	if err != nil {
		return now, purse.Explain(err)
	}
	digest, err := merkle.ParseHash(answer.Mark.Digest)
	if err != nil {
		return now, fmt.Errorf("the node's mark of %s cannot be read: %w", id, err)
	}
	now.mark = robot.Link{Seq: answer.Mark.Seq, Digest: digest}
	open, err := newestOpen(ctx, cl, shown.Contracts, time.Now().UnixMilli())
	now.free = open == nil
	return now, err
}

// enrolmentIn reads the enrolment that a node shows.
func enrolmentIn(shown api.Robot) (*seal.Enrolment, merkle.Hash, error) {
	var env seal.Envelope
	if err := json.Unmarshal(shown.Enrolment, &env); err != nil {
		return nil, merkle.Hash{}, fmt.Errorf("the node shows no enrolment of %s: %w", shown.ID, err)
	}
	e, err := seal.DecodeEnrolment(env.Payload)
	if err != nil {
		return nil, merkle.Hash{}, err
	}
	if e.Robot == nil || e.ID != shown.ID {
		return nil, merkle.Hash{}, fmt.Errorf("the node shows the enrolment of %s %s as that of robot %s", e.Role(), e.ID, shown.ID)
	}
	return e, env.Digest(), nil
}

// renewAs signs the version that a renewal asks for with the registrar's key and
// sends it.
func renewAs(ctx context.Context, std streams, at registrarAt, r robot.Request) (done api.Enrolled, err error) {
	identity, registrar, err := at.open(std)
	if err != nil {
		return done, err
	}
	cl, err := client.New(at.url, nil, node.Clock{})
	if err != nil {
		return done, &exitError{exitUsage, err}
	}
	now, err := enrolledNow(ctx, cl, r.Robot)
	if err != nil {
		return done, err
	}
	next, err := renewed(now, r, uint64(time.Now().UnixMilli()))
	if err != nil {
		return done, err
	}
	if next.Origin != identity.origin {
		return done, fmt.Errorf("the node at %s is %s, the registrar's key is of %s: nothing was signed", at.url, next.Origin, identity.origin)
	}
	return signEnrolment(ctx, cl, registrar, next)
}

// renewed is the version that follows, as a request asks for it.
func renewed(now robotNow, r robot.Request, at uint64) (*seal.Enrolment, error) {
	before := now.enrolment
	if r.Version != before.Version+1 {
		return nil, fmt.Errorf("the request asks for version %d of %s, the newest is %d: let `robotorq robot renew` make it again", r.Version, r.Robot, before.Version)
	}
	next := *before
	next.Version, next.Previous, next.IssuedMS = r.Version, now.digest, max(at+renewalNotice, before.IssuedMS)
	terms := *before.Robot
	terms.Owner, terms.Watts, terms.TokensPerSecond, terms.Energy = r.Owner, r.Watts, r.TokensPerSecond, r.Energy
	if r.Digger != "" {
		terms.Digger = r.Digger
	}
	next.Robot = &terms
	if r.Retire {
		next.Keys = slices.Clone(before.Keys)
		for i := range next.Keys {
			if next.Keys[i].NotAfterMS == nil || *next.Keys[i].NotAfterMS > next.IssuedMS {
				next.Keys[i].NotAfterMS = &next.IssuedMS
			}
		}
	} else {
		// Former keys are left out, not ended: what they sign from now on is not the
		// robot's, not even as a report that counts nothing and takes a place.
		next.Keys = nil
		for _, k := range r.Keys {
			k = keptOrNew(before, k, next.IssuedMS)
			if k.NotAfterMS != nil {
				return nil, fmt.Errorf("key %s of %s has ended for good: ask for others with `robotorq robot renew %s --new-keys`", k.KeyID, r.Robot, r.Robot)
			}
			next.Keys = append(next.Keys, k)
		}
	}
	terms.Last = lastOf(now, r)
	return &next, nil
}

// renewalNotice is how long before it counts a version is signed, ms: every station has
// heard of it by then, and the clocks of registrar and reserve may differ a little.
const renewalNotice = proof.KnowledgeLagMS + proof.SkewMS + 5_000

// keptOrNew is a key as the version before has it, or one that counts from now on.
func keptOrNew(before *seal.Enrolment, k seal.Key, issued uint64) seal.Key {
	for _, known := range before.Keys {
		if known.KeyID == k.KeyID {
			return known
		}
	}
	return seal.NewKey(before.ID, seal.RoleRobot, k.Alg, k.Public, issued)
}

// lastOf is where the version ends the chain of the one before: after the digger's last
// report, when nothing of the robot is on its way any more and no contract is open, else
// where the one before began; then the chain goes on across the versions, and each report
// is judged by the one that counted when it began.
func lastOf(now robotNow, r robot.Request) *seal.LastReport {
	before := now.enrolment.Robot.Last
	if !now.free || r.Waiting > 0 || now.mark.Seq == 0 || before != nil && now.mark.Seq < before.Seq {
		return before
	}
	return &seal.LastReport{Seq: now.mark.Seq, Digest: now.mark.Digest}
}

// printRenewed says what the new version changed.
func printRenewed(std streams, g *global, before *seal.Enrolment, done api.Enrolled) error {
	if err := printEnrolled(std, g, done); err != nil || g.JSON {
		return err
	}
	var env seal.Envelope
	if err := json.Unmarshal(done.Envelope, &env); err != nil {
		return err
	}
	next, err := seal.DecodeEnrolment(env.Payload)
	if err != nil {
		return err
	}
	for _, change := range changesOf(before, next) {
		fmt.Fprintln(std.Out, change)
	}
	return nil
}

// changesOf says in words what a version of a robot's enrolment changed.
func changesOf(before, next *seal.Enrolment) (list []string) {
	a, b := before.Robot, next.Robot
	say := func(differs bool, format string, args ...any) {
		if differs {
			list = append(list, fmt.Sprintf(format, args...))
		}
	}
	say(a.Owner != b.Owner, "Owner: %s, before %s", b.Owner, a.Owner)
	say(a.Digger != b.Digger, "Digger: %s, before %s", b.Digger, a.Digger)
	say(a.Watts != b.Watts, "Watts: %s, before %s", counted(b.Watts), counted(a.Watts))
	say(a.TokensPerSecond != b.TokensPerSecond, "Tokens a second: %s, before %s", counted(b.TokensPerSecond), counted(a.TokensPerSecond))
	say(a.Energy != b.Energy, "Energy: %s, before %s", b.Energy, a.Energy)
	ids := func(e *seal.Enrolment) (ids []string) {
		for _, k := range e.KeysAt(next.IssuedMS) {
			ids = append(ids, k.KeyID)
		}
		return ids
	}
	say(len(ids(next)) == 0, "Retired: all its keys have ended")
	say(len(ids(next)) > 0 && !slices.Equal(ids(before), ids(next)), "Keys: %s", strings.Join(ids(next), ", "))
	if b.Last != nil && (a.Last == nil || *a.Last != *b.Last) {
		list = append(list, "The chain goes on after report "+counted(b.Last.Seq))
	}
	return append(list, "It counts from "+localTime(next.IssuedMS)+" on")
}
