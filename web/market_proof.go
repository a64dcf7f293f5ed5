package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/market"
)

// schemaData is what a task asks of its proof.
type schemaData struct {
	Text   string // the whole schema, indented
	Cut    bool
	Fields []schemaField // of the payload, when it is to be an object
}

type schemaField struct {
	Name, Kind, Say string
	Required        bool
}

// Bounds of what a page shows.
const (
	shownSchema = 8 << 10
	shownProof  = 16 << 10
	mostFields  = 40
	// Checking a proof again is bounded work, but too much of it for a page: the larger ones
	// are left at the check that they had to pass when they were handed in.
	mostChecked = 64 << 10
)

// schemas reads and checks what does not change once, and remembers the last.
type schemas struct {
	mu       sync.Mutex
	verdicts map[string]verdict
}

type verdict struct {
	faults  []string
	checked bool
}

const mostVerdicts = 1024

// of shows the schema of a task; nil when any proof will do.
func (*schemas) of(t market.Task) *schemaData {
	if len(t.ProofSchema) == 0 {
		return nil
	}
	d := new(schemaData)
	d.Text, d.Cut = indented(t.ProofSchema, shownSchema)
	var s struct {
		Properties map[string]json.RawMessage `json:"properties"`
		Required   []string                   `json:"required"`
	}
	if json.Unmarshal(t.ProofSchema, &s) != nil {
		return d // true and false are schemas too
	}
	for name, raw := range s.Properties {
		var p struct {
			Type        json.RawMessage `json:"type"`
			Title       string          `json:"title"`
			Description string          `json:"description"`
			Pattern     string          `json:"pattern"`
		}
		_ = json.Unmarshal(raw, &p) // what cannot be read so is shown by its name alone
		f := schemaField{Name: name, Kind: strings.Trim(string(p.Type), `"`), Required: slices.Contains(s.Required, name), Say: p.Description}
		if f.Say == "" {
			f.Say = p.Title
		}
		if p.Pattern != "" {
			f.Say = strings.TrimSpace(f.Say + " like " + p.Pattern)
		}
		d.Fields = append(d.Fields, f)
	}
	for _, name := range s.Required {
		if _, described := s.Properties[name]; !described {
			d.Fields = append(d.Fields, schemaField{Name: name, Required: true})
		}
	}
	slices.SortFunc(d.Fields, func(a, b schemaField) int {
		if a.Required != b.Required {
			if a.Required {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	d.Fields = d.Fields[:min(len(d.Fields), mostFields)]
	return d
}

// indented writes JSON for people, cut after so many bytes.
func indented(raw json.RawMessage, most int) (text string, cut bool) {
	var b bytes.Buffer
	if json.Indent(&b, raw, "", "  ") != nil {
		b.Reset()
		b.Write(raw)
	}
	text = b.String()
	if len(text) <= most {
		return text, false
	}
	return strings.ToValidUTF8(text[:most], ""), true
}

// proofData is what a robot handed in.
type proofData struct {
	Shown   bool // the content, not only the digest
	Text    string
	Cut     bool
	Bytes   int
	Schema  bool // there is one
	Checked bool // just now
	Faults  []string
}

func (s *Site) proofData(r *http.Request, t market.Task, content bool) (*proofData, error) {
	d := &proofData{Shown: content, Schema: len(t.ProofSchema) > 0}
	if !content {
		return d, nil
	}
	payload, err := s.options.Market.Proof(r.Context(), t.TaskID)
	if err != nil {
		return nil, err
	}
	d.Bytes = len(payload)
	d.Text, d.Cut = indented(payload, shownProof)
	if d.Schema {
		v := s.schemas.check(t, payload)
		d.Checked, d.Faults = v.checked, v.faults
	}
	return d, nil
}

// check compares a proof with the schema of its task, once for each.
func (s *schemas) check(t market.Task, payload []byte) verdict {
	if len(payload) > mostChecked {
		return verdict{}
	}
	key := t.TaskID + " " + t.ProofSHA256
	s.mu.Lock()
	known, ok := s.verdicts[key]
	s.mu.Unlock()
	if ok {
		return known
	}
	v := verdict{checked: true}
	if compiled, err := market.CompileSchema(t.ProofSchema); err != nil {
		v.faults = []string{err.Error()}
	} else {
		v.faults = compiled.Check(payload)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.verdicts == nil || len(s.verdicts) >= mostVerdicts {
		s.verdicts = make(map[string]verdict)
	}
	s.verdicts[key] = v
	return v
}

// marketProof hands the whole proof to its client, or to the operator who decides.
func (s *Site) marketProof(w http.ResponseWriter, r *http.Request) {
	x, _ := s.session(r)
	if !x.may(roleMarketPortal) && !x.may(roleMarketAdmin) {
		s.render(w, r, s.failed(r, api.Errorf(api.CodeForbidden, "The content of a proof is for its client and for the operator. Sign in with a token of role portal or admin.")))
		return
	}
	t, err := s.taskOf(r, true)
	var payload json.RawMessage
	if err == nil {
		payload, err = s.options.Market.Proof(r.Context(), t.TaskID)
	}
	if err == nil && payload == nil {
		err = api.Errorf(api.CodeNotFound, "Task %s has no proof yet.", t.TaskID)
	}
	if err != nil {
		s.render(w, r, s.marketRefused(r, err))
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="proof-%s.json"`, t.TaskID))
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(payload) // the client went away: nobody to tell
}
