package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/client"
	"robotorq.org/reserve/node"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

type policyCmd struct {
	Show    policyShowCmd    `cmd:"" help:"The numbers of the reserve."`
	Propose policyProposeCmd `cmd:"" help:"Sign the next policy with a root key and announce it."`
	History policyHistoryCmd `cmd:"" help:"Every policy and what it changed."`
}

type policyShowCmd struct {
	URL      string `name:"url" placeholder:"URL" default:"http://127.0.0.1:8080" help:"The reserve's node."`
	Version  uint64 `help:"This version; 0 for the one in force."`
	Document bool   `help:"Print the document as it was signed, with the release curves."`
}

// Help is the long help with examples.
func (policyShowCmd) Help() string {
	return `Examples:
  robotorq policy show
  robotorq policy show --version 2 --json
  robotorq policy show --document > policy.json`
}

func (c *policyShowCmd) Run(ctx context.Context, std streams, g *global) error {
	cl, err := client.New(c.URL, nil, node.Clock{})
	if err != nil {
		return &exitError{exitUsage, err}
	}
	var p api.Policy
	if c.Version > 0 {
		p, err = cl.PolicyVersion(ctx, c.Version)
	} else {
		p, err = cl.Policy(ctx)
	}
	if err != nil {
		return err
	}
	if c.Document {
		_, err := std.Out.Write(p.Document)
		return err
	}
	if g.JSON {
		return writeJSON(std.Out, p)
	}
	d, err := policy.Decode(p.Document)
	if err != nil {
		return err
	}
	t := table(std.Out)
	fmt.Fprintf(t, "policy version %d\tfrom %s\n  digest\t%s\n", d.Version, localTime(d.Effective), p.Digest)
	for _, v := range policy.Changes(policy.Document{}, d) {
		if v.Name != "presets" && v.Name != "origin" {
			fmt.Fprintf(t, "  %s\t%s\t%s\n", v.Name, v.To, figureRead(v.Name, v.To))
		}
	}
	names := []string{policy.Uniform}
	for _, preset := range d.Presets {
		names = append(names, preset.Name)
	}
	fmt.Fprintf(t, "  releases\t%s\n", joined(names))
	return t.Flush()
}

// figureRead says what a figure of the policy is that stands in milliseconds or JT there, and is
// set in them.
func figureRead(name, figure string) string {
	n, err := strconv.ParseInt(figure, 10, 64)
	if err != nil {
		return ""
	}
	switch name {
	case "backlog_over", "closing_notice", "idle_limit", "max_report_age", "notice", "rebind_delay", "release_every", "savings_notice":
		for _, unit := range []struct {
			ms   int64
			name string
		}{{86_400_000, "day"}, {3_600_000, "hour"}, {60_000, "minute"}, {1_000, "second"}} {
			if n >= unit.ms && n%unit.ms == 0 {
				return several(n/unit.ms, unit.name)
			}
		}
		return several(n, "millisecond")
	case "enterprise_cap_from", "stake_target":
		return torq.JT(n).RTGrouped()
	}
	return ""
}

type policyHistoryCmd struct {
	URL string `name:"url" placeholder:"URL" default:"http://127.0.0.1:8080" help:"The reserve's node."`
}

// Help is the long help with an example.
func (policyHistoryCmd) Help() string {
	return `Example:
  robotorq policy history --json`
}

// everyPolicy reads the history to its end.
func everyPolicy(ctx context.Context, cl *client.Client) (all []api.PolicyVersion, err error) {
	page := api.Page{Limit: api.MaxPage}
	for {
		list, err := cl.Policies(ctx, page)
		if err != nil {
			return nil, err
		}
		all = append(all, list.Items...)
		if list.Next == "" {
			return all, nil
		}
		page.Cursor = list.Next
	}
}

func (c *policyHistoryCmd) Run(ctx context.Context, std streams, g *global) error {
	cl, err := client.New(c.URL, nil, node.Clock{})
	if err != nil {
		return &exitError{exitUsage, err}
	}
	all, err := everyPolicy(ctx, cl)
	if err != nil {
		return err
	}
	if g.JSON {
		return writeJSON(std.Out, map[string]any{"policies": all})
	}
	t := table(std.Out)
	fmt.Fprintln(t, "version\tstate\tannounced\tholds from\tchanges")
	for _, v := range all {
		var changes []string
		for _, x := range v.Changes {
			changes = append(changes, fmt.Sprintf("%s %s → %s", x.Name, x.From, x.To))
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\n", v.Version, v.State, localTime(uint64(v.Issued)), localTime(uint64(v.Since)), joined(changes))
	}
	return t.Flush()
}

type policyProposeCmd struct {
	URL    string        `name:"url" placeholder:"URL" default:"http://127.0.0.1:8080" help:"The reserve's node."`
	Data   string        `placeholder:"DIR" help:"Data directory with the root key (default: ${data})."`
	Key    string        `placeholder:"FILE" help:"Key file of a root key, instead of --data."`
	File   string        `arg:"" optional:"" help:"JSON of the fields to change; - for standard input."`
	Set    []string      `placeholder:"NAME=VALUE" sep:"none" help:"Change one field (repeatable)."`
	In     time.Duration `placeholder:"DURATION" help:"It holds from this long after now (default: the notice and five minutes)."`
	Base   string        `placeholder:"FILE" help:"Newest policy document, of policy show --document; for a machine without the reserve."`
	Out    string        `placeholder:"FILE" help:"Write the signed policy here instead of sending it."`
	Signed string        `placeholder:"FILE" help:"Send a policy that was signed elsewhere."`
}

// Help is the long help with examples.
func (policyProposeCmd) Help() string {
	return `A change is announced at least the notice of the policy in force (24 h by default)
before it holds; demurrage moves by at most 0.12 percentage points a day; every value has
its bounds. The hourly factor q follows from the rate. A new rate holds from the first
hour after the policy does.

Examples:
  robotorq policy propose --set demurrage_per_year=0.061 --data /var/lib/robotorq
  robotorq policy propose changes.json --in 48h
  robotorq policy propose --base policy.json --set torq_min=3 --key root.json --out next.json
  robotorq policy propose --signed next.json`
}

// announceSlack is how much longer than the notice an announcement is made by default: it must
// arrive in time.
const announceSlack = 5 * time.Minute

func (c *policyProposeCmd) Run(ctx context.Context, std streams, g *global) error {
	cl, err := client.New(c.URL, nil, node.Clock{})
	if err != nil {
		return &exitError{exitUsage, err}
	}
	var body []byte
	if c.Signed != "" {
		if body, err = readInput(std, c.Signed); err != nil {
			return &exitError{exitUsage, err}
		}
	} else if body, err = c.sign(ctx, std, cl); err != nil {
		return err
	}
	if c.Out != "" {
		return replaceFile(c.Out, append(body, '\n'), 0o644)
	}
	kept := c.Signed
	if kept == "" || kept == "-" {
		sum := sha256.Sum256(body)
		kept = "policy-" + hex.EncodeToString(sum[:8]) + ".json"
	}
	p, err := patiently(ctx, "the policy was announced", func() (api.Policy, error) { return cl.Announce(ctx, body) },
		keeping(kept, bytes.TrimSpace(body), "robotorq policy propose --url "+c.URL+" --signed"))
	if err != nil {
		return err
	}
	if g.JSON {
		return writeJSON(std.Out, map[string]any{"version": p.Version, "effective_ms": p.Since, "digest": p.Digest})
	}
	_, err = fmt.Fprintf(std.Out, "Policy version %d is announced; it holds from %s.\nDigest %s\n", p.Version, localTime(uint64(p.Since)), p.Digest)
	return err
}

// sign makes the next policy and signs it.
func (c *policyProposeCmd) sign(ctx context.Context, std streams, cl *client.Client) ([]byte, error) {
	base, inForce, err := c.newest(ctx, std, cl)
	if err != nil {
		return nil, err
	}
	fields, err := c.fields(std, base)
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	before, err := base.Encode()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	next := base
	next.Version, next.Previous = base.Version+1, seal.Digest(proof.TypePolicy, before).String()
	next.Issued = uint64(now.UnixMilli())
	after := c.In
	if after == 0 {
		after = time.Duration(max(inForce.Notice, base.Notice))*time.Millisecond + announceSlack
	}
	next.Effective = max(uint64(now.Add(after).UnixMilli()), base.Effective)
	if next, err = policy.Amend(next, fields); err != nil {
		return nil, &exitError{exitUsage, err}
	}
	if err := policy.CheckNext(base, next.Previous, next); err != nil {
		return nil, err
	}
	payload, err := next.Encode()
	if err != nil {
		return nil, err
	}
	path := c.Key
	if path == "" {
		r, err := openReserve(dataDir(c.Data), "")
		if err != nil {
			return nil, &exitError{exitUsage, err}
		}
		path = r.path("root", "root.json")
	}
	root, err := readKeys(std, path)
	if err != nil {
		return nil, err
	}
	env, err := root.Sign(proof.TypePolicy, payload)
	if err != nil {
		return nil, err
	}
	return json.Marshal(env)
}

// newest is the policy that the next one follows, and the one in force.
func (c *policyProposeCmd) newest(ctx context.Context, std streams, cl *client.Client) (base, inForce policy.Document, err error) {
	if c.Base != "" {
		data, err := readInput(std, c.Base)
		if err != nil {
			return base, inForce, &exitError{exitUsage, err}
		}
		base, err = policy.Decode(data)
		return base, base, err
	}
	history, err := cl.Policies(ctx, api.Page{Limit: 1})
	if err != nil {
		return base, inForce, err
	}
	if len(history.Items) == 0 {
		return base, inForce, errors.New("the reserve has no policy yet")
	}
	newest, err := cl.PolicyVersion(ctx, history.Items[0].Version)
	if err != nil {
		return base, inForce, err
	}
	held, err := cl.Policy(ctx)
	if err != nil {
		return base, inForce, err
	}
	if base, err = policy.Decode(newest.Document); err != nil {
		return base, inForce, err
	}
	inForce, err = policy.Decode(held.Document)
	return base, inForce, err
}

// fields are the changes of the file with those of --set over them. A value is written
// as it stands in the base: rates are texts there.
func (c *policyProposeCmd) fields(std streams, base policy.Document) ([]byte, error) {
	all, known := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	document, err := base.Encode()
	if err == nil {
		err = json.Unmarshal(document, &known)
	}
	if err != nil {
		return nil, err
	}
	if c.File != "" {
		data, err := readInput(std, c.File)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(data, &all); err != nil {
			return nil, fmt.Errorf("%s: %w", c.File, err)
		}
	}
	for _, set := range c.Set {
		name, value, ok := strings.Cut(set, "=")
		if !ok {
			return nil, fmt.Errorf("--set %q: write NAME=VALUE", set)
		}
		if old := known[name]; len(old) > 0 && old[0] == '"' {
			value = `"` + value + `"`
		}
		all[name] = json.RawMessage(value)
	}
	if len(all) == 0 {
		return nil, errors.New("say what to change: a file, or --set NAME=VALUE")
	}
	for _, own := range []string{"origin", "version", "previous", "issued_ms", "effective_ms"} {
		if _, there := all[own]; there {
			return nil, fmt.Errorf("%s is set by the command: leave it away (--in says from when it holds)", own)
		}
	}
	return json.Marshal(all)
}
