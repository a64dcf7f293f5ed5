package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/client"
	"robotorq.org/reserve/explorer"
	"robotorq.org/reserve/node"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/robot"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/strictjson"
)

type membersCmd struct {
	Enrol    membersEnrolCmd    `cmd:"" help:"Admit a member, an organisation or a robot by its request."`
	Freeze   membersFreezeCmd   `cmd:"" help:"Freeze a wallet: it receives and decays and pays nothing."`
	Unfreeze membersUnfreezeCmd `cmd:"" help:"Let a frozen wallet pay again."`
	Readmit  membersReadmitCmd  `cmd:"" help:"Admit one who left again."`
	Leave    membersLeaveCmd    `cmd:"" help:"End a membership: the wallet stays, the dividend ends."`
	Rebind   membersRebindCmd   `cmd:"" help:"Bind a wallet to other keys, for somebody who has lost them."`
	Show     membersShowCmd     `cmd:"" help:"What the log says of a member or an organisation."`
}

type membersEnrolCmd struct {
	Request     string `arg:"" help:"Request of robotorq wallet new or robot enrol; - for standard input."`
	Subject     string `help:"What makes a member one person, for the registrar's keyed hash; never stored. Others on this machine may see a flag: --subject-file is better."`
	SubjectFile string `placeholder:"FILE" help:"File with the subject in its first line; - for standard input. Without both it is asked for."`
	Data        string `placeholder:"DIR" help:"Data directory with the registrar's key (default: ${data})."`
	URL         string `name:"url" placeholder:"URL" default:"http://127.0.0.1:8080" help:"The reserve's node."`
	Token       string `placeholder:"TOKEN" help:"Have the node sign, with a token of role registrar, instead of a key of this machine."`
	Digger      string `default:"digger-1" help:"Digger of a robot."`
}

// Help is the long help with examples.
func (membersEnrolCmd) Help() string {
	return `The registrar's key of the data directory signs the enrolment, and the running node
logs it. A person is enrolled once: --subject is hashed with a secret that lies beside
the registrar's key (back it up with that), so the same subject is refused a second time,
however it is spelt: case, spaces and forms of letters do not count.

A request of robotorq robot renew is admitted as the next version of that robot's
enrolment. Make sure that it comes from the robot's owner: it may bring other keys.

Examples:
  robotorq members enrol request.json --subject-file ada.subject --data /var/lib/robotorq
  robotorq members enrol works.json
  ROBOTORQ_TOKEN=rtq_… robotorq members enrol request.json --subject "…" --url https://reserve.example`
}

// enrolRequest is any of the requests.
type enrolRequest struct {
	admissionRequest
	robot *robot.Request
}

func readRequest(data []byte) (enrolRequest, error) {
	var members map[string]json.RawMessage
	if err := strictjson.Decode(data, &members); err != nil {
		return enrolRequest{}, fmt.Errorf("not a JSON request: %w", err)
	}
	if _, ok := members["robot"]; ok {
		var r robot.Request
		err := strictjson.Decode(data, &r)
		return enrolRequest{robot: &r}, err
	}
	var r enrolRequest
	if err := strictjson.Decode(data, &r.admissionRequest); err != nil {
		return r, err
	}
	if (r.Member == "") == (r.Org == "") {
		return r, errors.New(`the request names neither a "member" nor an "org" nor a "robot", or more than one`)
	}
	return r, nil
}

func (c *membersEnrolCmd) Run(ctx context.Context, std streams, g *global) error {
	data, err := readInput(std, c.Request)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	request, err := readRequest(data)
	if err != nil {
		return &exitError{exitUsage, fmt.Errorf("%s: %w", c.Request, err)}
	}
	if request.Member != "" {
		if c.Subject, err = c.subject(std); err != nil {
			return err
		}
	}
	var done api.Enrolled
	if c.Token != "" {
		done, err = c.admit(ctx, request)
	} else if request.robot != nil && request.robot.Version > 1 {
		done, err = renewAs(ctx, std, registrarAt{dataDir(c.Data), c.URL}, *request.robot)
	} else {
		done, err = enrolAs(ctx, std, registrarAt{dataDir(c.Data), c.URL}, request, c.Subject, c.Digger)
	}
	if err != nil {
		return err
	}
	return printEnrolled(std, g, done)
}

func printEnrolled(std streams, g *global, done api.Enrolled) error {
	if g.JSON {
		return writeJSON(std.Out, done)
	}
	_, err := fmt.Fprintf(std.Out, "Enrolled %s, version %d.\nDigest %s\n", done.Account, done.Version, done.Digest)
	return err
}

// subject is what makes a member one person: of the flag, a file, standard input, or
// asked for.
func (c *membersEnrolCmd) subject(std streams) (text string, err error) {
	switch {
	case c.Subject != "":
		text = c.Subject
	case c.SubjectFile != "":
		if c.SubjectFile == "-" && c.Request == "-" {
			return "", &exitError{exitUsage, errors.New("request and subject cannot both come from standard input")}
		}
		data, err := readInput(std, c.SubjectFile)
		if err != nil {
			return "", &exitError{exitUsage, err}
		}
		text, _, _ = strings.Cut(string(data), "\n")
	case isTerminal(std.In):
		if text, err = ask(std, "Subject (what makes this member one person): "); err != nil {
			return "", err
		}
	}
	if explorer.NormalSubject(text) == "" {
		return "", &exitError{exitUsage, errors.New("a member is enrolled once: say with --subject-file (or --subject) what makes the person one")}
	}
	return text, nil
}

// admit has the node sign.
func (c *membersEnrolCmd) admit(ctx context.Context, r enrolRequest) (api.Enrolled, error) {
	if r.robot != nil {
		return api.Enrolled{}, &exitError{exitUsage, errors.New("robots are enrolled with the registrar's key, not with a token: leave --token away and name --data")}
	}
	cl, err := client.New(c.URL, nil, node.Clock{}, client.WithToken(c.Token))
	if err != nil {
		return api.Enrolled{}, &exitError{exitUsage, err}
	}
	return cl.Admit(ctx, api.Admission{Member: r.Member, Org: r.Org, Subject: c.Subject, Keys: r.Keys})
}

// registrarAt is a data directory with a registrar's key, and the node to tell.
type registrarAt struct{ dir, url string }

// open is the reserve of the directory and its registrar's key.
func (at registrarAt) open(std streams) (reserve, *seal.Signer, error) {
	identity, err := openReserve(at.dir, "")
	if err != nil {
		return identity, nil, &exitError{exitUsage, err}
	}
	if identity.origin == "" {
		return identity, nil, &exitError{exitUsage, fmt.Errorf("%s is a mirror: the registrar's key lies in the reserve's own data directory", at.dir)}
	}
	registrar, err := readKeys(std, identity.path("keys", seal.RoleRegistrar+".json"))
	return identity, registrar, err
}

// enrolAs signs the first version of an enrolment with the registrar's key and
// sends it.
func enrolAs(ctx context.Context, std streams, at registrarAt, r enrolRequest, subject, digger string) (api.Enrolled, error) {
	identity, registrar, err := at.open(std)
	if err != nil {
		return api.Enrolled{}, err
	}
	now := uint64(time.Now().UnixMilli())
	e := &seal.Enrolment{Origin: identity.origin, Version: 1, IssuedMS: now}
	switch {
	case r.robot != nil:
		e.ID = r.robot.Robot
		e.Robot = &seal.RobotTerms{Owner: r.robot.Owner, Digger: digger, Watts: r.robot.Watts, TokensPerSecond: r.robot.TokensPerSecond, Energy: r.robot.Energy}
		e.Keys = r.robot.Keys
	case r.Org != "":
		e.ID = r.Org
		e.Org = &seal.OrgTerms{Registrar: registrar.Name, Status: seal.StatusActive}
	default:
		// The same key as the node's own registrar desk uses.
		key, err := explorer.SubjectKey(identity.path("keys", registrar.Name+".subject"))
		if err != nil {
			return api.Enrolled{}, err
		}
		mac := explorer.SubjectHash(key, identity.origin, subject)
		e.ID = r.Member
		e.Member = &seal.MemberTerms{Subject: mac, Registrar: registrar.Name, Status: seal.StatusActive}
	}
	for _, k := range r.Keys {
		e.Keys = append(e.Keys, seal.NewKey(e.ID, e.Role(), k.Alg, k.Public, now))
	}
	cl, err := client.New(at.url, nil, node.Clock{})
	if err != nil {
		return api.Enrolled{}, &exitError{exitUsage, err}
	}
	return signEnrolment(ctx, cl, registrar, e)
}

// signEnrolment signs a version with the registrar's key and sends it to the node.
func signEnrolment(ctx context.Context, cl *client.Client, registrar *seal.Signer, e *seal.Enrolment) (api.Enrolled, error) {
	payload, err := e.Encode()
	if err != nil {
		return api.Enrolled{}, fmt.Errorf("the request cannot be admitted: %w", err)
	}
	env, err := registrar.Sign(proof.TypeEnrolment, payload)
	if err != nil {
		return api.Enrolled{}, err
	}
	body, err := json.Marshal(env)
	if err != nil {
		return api.Enrolled{}, err
	}
	return cl.Enrol(ctx, body)
}
