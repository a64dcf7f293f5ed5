package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/client"
	"robotorq.org/reserve/node"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/wallet"
	"robotorq.org/reserve/wallet/purse"
)

// registrarFlags say whose enrolment a registrar changes, and where its key is.
type registrarFlags struct {
	Account string `arg:"" help:"member:ID or org:ID."`
	Data    string `placeholder:"DIR" help:"Data directory with the registrar's key (default: ${data})."`
	URL     string `name:"url" placeholder:"URL" default:"http://127.0.0.1:8080" help:"The reserve's node."`
}

type membersFreezeCmd struct{ registrarFlags }

// Help is the long help with an example.
func (membersFreezeCmd) Help() string {
	return `The change is a new version of the enrolment, signed by the registrar and logged for
everybody to see.

Example:
  robotorq members freeze member:ada --data /var/lib/robotorq`
}

func (c *membersFreezeCmd) Run(ctx context.Context, std streams, g *global) error {
	return c.status(ctx, std, g, seal.StatusFrozen, seal.StatusActive)
}

type membersUnfreezeCmd struct{ registrarFlags }

// Help is the long help with an example.
func (membersUnfreezeCmd) Help() string {
	return `Only a frozen wallet: whoever left is admitted again by robotorq members readmit.

Example:
  robotorq members unfreeze member:ada`
}

func (c *membersUnfreezeCmd) Run(ctx context.Context, std streams, g *global) error {
	return c.status(ctx, std, g, seal.StatusActive, seal.StatusFrozen)
}

type membersReadmitCmd struct{ registrarFlags }

// Help is the long help with an example.
func (membersReadmitCmd) Help() string {
	return `Whoever comes back after leaving has the same wallet, and the dividend from now on.

Example:
  robotorq members readmit member:ada`
}

func (c *membersReadmitCmd) Run(ctx context.Context, std streams, g *global) error {
	return c.status(ctx, std, g, seal.StatusActive, seal.StatusLeft)
}

type membersLeaveCmd struct{ registrarFlags }

// Help is the long help with an example.
func (membersLeaveCmd) Help() string {
	return `Whoever left keeps the wallet and all that is in it.

Example:
  robotorq members leave member:ada`
}

func (c *membersLeaveCmd) Run(ctx context.Context, std streams, g *global) error {
	return c.status(ctx, std, g, seal.StatusLeft, seal.StatusActive, seal.StatusFrozen)
}

// status logs a new version with another status for one who has any of those of from.
func (f registrarFlags) status(ctx context.Context, std streams, g *global, status string, from ...string) error {
	return f.change(ctx, std, g, func(_ context.Context, _ *client.Client, e *seal.Enrolment) error {
		var now *string
		if e.Member != nil {
			now = &e.Member.Status
		} else {
			now = &e.Org.Status
		}
		switch {
		case *now == status:
			return fmt.Errorf("%s is %s already; nothing was done", f.Account, status)
		case !slices.Contains(from, *now):
			return fmt.Errorf("%s is not %s but %s; nothing was done%s", f.Account, strings.Join(from, " or "), *now, wayBack[*now])
		}
		*now = status
		return nil
	})
}

// wayBack is what makes an account active again.
var wayBack = map[string]string{
	seal.StatusLeft:   " (robotorq members readmit admits whoever left again)",
	seal.StatusFrozen: " (robotorq members unfreeze lets a frozen wallet pay again)",
}

// change signs and logs the next version of an enrolment, as edit makes it.
func (f registrarFlags) change(ctx context.Context, std streams, g *global, edit func(context.Context, *client.Client, *seal.Enrolment) error) error {
	if _, _, err := wallet.SplitAccount(f.Account); err != nil {
		return &exitError{exitUsage, err}
	}
	r, err := openReserve(dataDir(f.Data), "")
	if err != nil {
		return &exitError{exitUsage, err}
	}
	registrar, err := readKeys(std, r.path("keys", seal.RoleRegistrar+".json"))
	if err != nil {
		return err
	}
	cl, err := client.New(f.URL, nil, node.Clock{})
	if err != nil {
		return &exitError{exitUsage, err}
	}
	next, err := nextVersion(ctx, cl, f.Account, r.origin)
	if err != nil {
		return purse.Explain(err)
	}
	if err := edit(ctx, cl, next); err != nil {
		return err
	}
	if next.Member != nil {
		next.Member.Registrar = registrar.Name
	} else {
		next.Org.Registrar = registrar.Name
	}
	payload, err := next.Encode()
	if err != nil {
		return err
	}
	env, err := registrar.Sign(proof.TypeEnrolment, payload)
	if err != nil {
		return err
	}
	body, err := json.Marshal(env)
	if err != nil {
		return err
	}
	done, err := insist(ctx, func() (api.Enrolled, error) { return cl.Enrol(ctx, body) })
	if err != nil {
		return purse.Explain(err)
	}
	return printChanged(std, g, done, next)
}

// printChanged says what holds of an account now, and from when on other keys count.
func printChanged(std streams, g *global, done api.Enrolled, e *seal.Enrolment) error {
	if g.JSON {
		return writeJSON(std.Out, done)
	}
	status, at := seal.StatusActive, ""
	switch {
	case e.Member != nil:
		status = e.Member.Status
	case e.Org != nil:
		status = e.Org.Status
	}
	for _, k := range e.Keys {
		if k.NotBeforeMS > e.IssuedMS {
			at = fmt.Sprintf("Its new keys count from %s on, unless a former key objects.\n", localTime(k.NotBeforeMS))
		}
	}
	_, err := fmt.Fprintf(std.Out, "%s is %s, version %d.\n%sDigest %s\n", done.Account, status, done.Version, at, done.Digest)
	return err
}

// nextVersion is the newest version of an enrolment, as the one that follows it.
func nextVersion(ctx context.Context, cl *client.Client, account, origin string) (*seal.Enrolment, error) {
	p, err := cl.Person(ctx, account)
	if err != nil {
		return nil, err
	}
	if len(p.Envelopes) == 0 {
		return nil, fmt.Errorf("%s is not enrolled", account)
	}
	var env seal.Envelope
	if err := json.Unmarshal(p.Envelopes[len(p.Envelopes)-1], &env); err != nil {
		return nil, err
	}
	e, err := seal.DecodeEnrolment(env.Payload)
	if err != nil {
		return nil, err
	}
	if e.Origin != origin || e.Role()+":"+e.ID != account {
		return nil, fmt.Errorf("the node shows the enrolment of %s:%s at %s, not that of %s at %s: nothing was signed", e.Role(), e.ID, e.Origin, account, origin)
	}
	e.Version, e.Previous, e.IssuedMS = e.Version+1, env.Digest(), max(uint64(time.Now().UnixMilli()), e.IssuedMS)
	return e, nil
}

type membersRebindCmd struct {
	registrarFlags
	Request string `arg:"" help:"Request with the new keys (robotorq wallet new or wallet request); - for standard input."`
}

// Help is the long help with an example.
func (membersRebindCmd) Help() string {
	return `The new keys count from rebind_delay (in the policy; 7 days) on. Until then the old keys
count, and whoever has them may object (robotorq wallet object): then the rebinding never
counts.

Example:
  robotorq members rebind member:ada new.request --data /var/lib/robotorq`
}

func (c *membersRebindCmd) Run(ctx context.Context, std streams, g *global) error {
	data, err := readInput(std, c.Request)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	request, err := readRequest(data)
	if err != nil || request.robot != nil {
		return &exitError{exitUsage, errors.Join(err, fmt.Errorf("%s holds no request of a wallet", c.Request))}
	}
	if named := longAccount(request.Member); request.Member != "" && named != c.Account || request.Org != "" && seal.RoleOrg+":"+request.Org != c.Account {
		return &exitError{exitUsage, fmt.Errorf("the request is of another account than %s", c.Account)}
	}
	return c.change(ctx, std, g, func(ctx context.Context, cl *client.Client, e *seal.Enrolment) error {
		p, err := cl.Policy(ctx)
		if err != nil {
			return purse.Explain(err)
		}
		document, err := policy.Decode(p.Document)
		if err != nil {
			return fmt.Errorf("the node's policy cannot be read: %w", err)
		}
		effective := e.IssuedMS + document.RebindDelay
		keys := []seal.Key{}
		for _, k := range request.Keys {
			keys = append(keys, seal.NewKey(e.ID, e.Role(), k.Alg, k.Public, effective))
		}
		for _, k := range e.Keys {
			if k.NotAfterMS == nil {
				k.NotAfterMS = &effective
				keys = append(keys, k)
			}
		}
		e.Keys = keys
		return nil
	})
}

type membersShowCmd struct {
	Account string `arg:"" help:"member:ID or org:ID."`
	URL     string `name:"url" placeholder:"URL" default:"http://127.0.0.1:8080" help:"The reserve's node."`
}

// Help is the long help with an example.
func (membersShowCmd) Help() string {
	return `Every version of the enrolment, who signed it and what it changed, as anybody can read it in
the log.

Example:
  robotorq members show member:ada --json`
}

func (c *membersShowCmd) Run(ctx context.Context, std streams, g *global) error {
	cl, err := client.New(c.URL, nil, node.Clock{})
	if err != nil {
		return &exitError{exitUsage, err}
	}
	p, err := cl.Person(ctx, c.Account)
	if err != nil {
		return purse.Explain(err)
	}
	if g.JSON {
		return writeJSON(std.Out, p)
	}
	fmt.Fprintf(std.Out, "%s is %s.\n", p.Account, p.Status)
	t := table(std.Out)
	for _, v := range p.Versions {
		fmt.Fprintf(t, "  version %d\t%s\t%s\tby %s\t%s\n", v.Version, localTime(uint64(v.Issued)), v.Status, v.Registrar, v.Digest)
		switch {
		case v.Objected:
			fmt.Fprintf(t, "  \tother keys; a former key objected: never\n")
		case v.Rebinds:
			fmt.Fprintf(t, "  \tother keys from %s on\n", localTime(uint64(v.Effective)))
		}
	}
	for _, k := range p.Keys {
		fmt.Fprintf(t, "  key\t%s\t%s\n", k.ID, k.Alg)
	}
	return t.Flush()
}
