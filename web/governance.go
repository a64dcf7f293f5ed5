package web

import (
	"fmt"
	"html/template"
	"math/big"
	"net/http"
	"strconv"
	"strings"

	"robotorq.org/reserve/api"
)

// This file shows who may sign and by which numbers the reserve runs, as they are,
// were, and are announced to be.

type charterData struct {
	C        api.Charter
	P        api.Policy
	Pins     []string
	Versions listing[api.CharterVersion]
}

func (s *Site) charter(r *http.Request) (view, error) {
	charter, err := s.options.Reader.Charter(r.Context())
	if err != nil {
		return view{}, err
	}
	policy, err := s.options.Reader.Policy(r.Context())
	if err != nil {
		return view{}, err
	}
	versions, err := s.options.Reader.Charters(r.Context(), pageOf(r))
	if err != nil {
		return view{}, err
	}
	d := charterData{C: charter, P: policy, Versions: listingOf(r, versions, "#versions")}
	for _, key := range charter.Keys {
		if key.Pin != "" {
			d.Pins = append(d.Pins, key.Pin)
		}
	}
	return view{Template: "charter", Title: "The charter", Section: "charter", Data: d}, nil
}

type policyData struct {
	P         api.Policy
	State     string // of the version that is shown
	Lines     []policyLine
	Versions  listing[policyVersion]
	Announced []policyVersion
}

// policyVersion is a version of the policy with its changes in words.
type policyVersion struct {
	api.PolicyVersion
	Words []template.HTML
}

func (s *Site) policy(r *http.Request) (view, error) {
	held, err := s.options.Reader.Policy(r.Context())
	if err != nil {
		return view{}, err
	}
	newest, err := s.options.Reader.Policies(r.Context(), api.Page{Limit: linesOnPage})
	if err != nil {
		return view{}, err
	}
	list := newest
	if !atStart(r) {
		if list, err = s.options.Reader.Policies(r.Context(), pageOf(r)); err != nil {
			return view{}, err
		}
	}
	d := policyData{P: held, State: "in force"}
	if asked := r.URL.Query().Get("version"); asked != "" {
		version, err := strconv.ParseUint(asked, 10, 53)
		if err != nil {
			return view{}, api.NotFound("policy version", asked)
		}
		if d.P, err = s.options.Reader.PolicyVersion(r.Context(), version); err != nil {
			return view{}, err
		}
		d.State = standing(version, held.Version)
	}
	worded := api.List[policyVersion]{Next: list.Next}
	for _, v := range list.Items {
		worded.Items = append(worded.Items, inWords(v))
	}
	for _, v := range newest.Items {
		if v.State == "announced" {
			d.Announced = append(d.Announced, inWords(v))
		}
	}
	d.Versions, d.Lines = listingOf(r, worded, "#versions"), policyLines(d.P.Document)
	return view{Template: "policy", Title: "The policy", Section: "charter", Data: d}, nil
}

func standing(version, held uint64) string {
	switch {
	case version > held:
		return "announced"
	case version < held:
		return "past"
	}
	return "in force"
}

func inWords(v api.PolicyVersion) policyVersion {
	worded := policyVersion{PolicyVersion: v}
	for _, c := range v.Changes {
		worded.Words = append(worded.Words, changeInWords(c))
	}
	return worded
}

// changeInWords says what a change does: "Demurrage falls from 6 % a year to 5 % a
// year."
func changeInWords(c api.PolicyChange) template.HTML {
	name := policyName(c.Name)
	if c.Name == "presets" {
		return template.HTML(name + " are replaced.")
	}
	verb := "changes"
	from, known := new(big.Rat).SetString(c.From)
	to, both := new(big.Rat).SetString(c.To)
	if known && both {
		verb = map[int]string{-1: "rises", 0: "stays", 1: "falls"}[from.Cmp(to)]
	}
	return template.HTML(fmt.Sprintf("%s %s from %s to %s.", name, verb, policyValue(c.Name, c.From), policyValue(c.Name, c.To)))
}

// policyValue is a number of the policy for people.
func policyValue(name, text string) template.HTML {
	if read := units[name]; read != nil {
		if value, ok := read(text); ok {
			return value
		}
	}
	return template.HTML(template.HTMLEscapeString(text))
}

// policyName is what a number of the policy is called in a sentence.
func policyName(name string) string {
	names := map[string]string{
		"origin":              "The name of the reserve",
		"demurrage_per_year":  "Demurrage",
		"savers_share":        "The savers’ share",
		"savings_cap":         "The most that savings may yield",
		"savings_notice":      "The notice on savings",
		"bond_fee":            "The fee of a bearer bond",
		"bond_cap":            "The most that may be in bearer bonds",
		"min_members":         "The number of members that a dividend takes",
		"genesis_growth":      "The stake’s part of the first labour",
		"max_report_age":      "The age up to which a report counts",
		"release_every":       "The time between two releases",
		"backlog_over":        "The time over which a backlog is released",
		"torq_min":            "The least torq factor",
		"stake_target":        "The target of the stake",
		"investor_share":      "The investors’ share",
		"investor_bps":        "The investors’ yield",
		"deposit":             "An enterprise’s deposit",
		"enterprise_cap":      "The most capital that one enterprise may hold",
		"enterprise_cap_from": "The supply from which that limit holds",
		"enrol_per_day":       "The number of members that may be enrolled",
		"rebind_delay":        "The delay of a rebinding",
		"max_watts":           "The highest rating of a robot",
		"max_tokens_per_s":    "The highest token rate of a robot",
		"notice":              "The notice of a new policy",
		"closing_notice":      "The notice of a closing",
		"idle_limit":          "The time after which an idle contract defaults",
		"presets":             "The release curves",
	}
	if text, ok := names[name]; ok {
		return text
	}
	return "<code>" + template.HTMLEscapeString(name) + "</code>"
}

// charterChange says what a change of the charter does.
func charterChange(c api.CharterChange) template.HTML {
	escape := template.HTMLEscapeString
	switch {
	case c.What == "threshold":
		return template.HTML(fmt.Sprintf("A new version takes %d instead of %d root signers.", c.To, c.From))
	case c.What == "algorithms":
		return template.HTML(fmt.Sprintf("%s signs with %s instead of %s.", escape(c.Role), escape(strings.Join(c.Is, " and ")), escape(strings.Join(c.Was, " and "))))
	case c.Key == nil:
		return template.HTML(escape(c.What))
	case c.What == "key_added":
		return template.HTML(fmt.Sprintf("Key <code>%s</code> of %s %s (%s) is added.", escape(c.Key.ID), escape(c.Key.Role), escape(c.Key.Name), escape(c.Key.Alg)))
	}
	return template.HTML(fmt.Sprintf("Key <code>%s</code> of %s %s (%s) ends ", escape(c.Key.ID), escape(c.Key.Role), escape(c.Key.Name), escape(c.Key.Alg))) + whenHTML(c.Key.NotAfter) + "."
}
