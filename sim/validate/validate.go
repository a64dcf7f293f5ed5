// Package validate checks the simulator against closed forms: the 29 items of its
// specification, section 15.
//
// Every item computes a figure, names the theory and the tolerance, and gives a verdict.
// Exact items are integer equalities or state hashes; statistical items have a fixed
// seed. The package does no I/O, keeps no state and trusts nothing but arithmetic.
package validate

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"

	"robotorq.org/reserve/sim/model"
	"robotorq.org/reserve/sim/scenario"
)

// Finding is one figure of an item beside its theory.
type Finding struct {
	What      string  `json:"what"`
	Figure    float64 `json:"figure"`
	Theory    float64 `json:"theory"`
	Tolerance float64 `json:"tolerance"` // absolute; 0 is exact
	Pass      bool    `json:"pass"`
}

// Result is the verdict on one item.
type Result struct {
	Number   int       `json:"number"`
	Group    string    `json:"group"`
	Name     string    `json:"name"`
	Pass     bool      `json:"pass"`
	Findings []Finding `json:"findings"`
	Error    string    `json:"error,omitempty"`
}

// check gathers the findings of an item.
type check struct{ findings []Finding }

// near adds a finding that is right within an absolute tolerance.
func (c *check) near(what string, figure, theory, tolerance float64) {
	c.findings = append(c.findings, Finding{what, figure, theory, tolerance, math.Abs(figure-theory) <= tolerance})
}

// exact adds a finding that must be equal.
func (c *check) exact(what string, figure, theory int64) {
	c.findings = append(c.findings, Finding{what, float64(figure), float64(theory), 0, figure == theory})
}

// holds adds a finding that is true or false.
func (c *check) holds(what string, truth bool) {
	f := Finding{what, 0, 1, 0, truth}
	if truth {
		f.Figure = 1
	}
	c.findings = append(c.findings, f)
}

// item is one of the 29.
type item struct {
	number      int
	group, name string
	run         func(*check) error
}

// Items is the number of items.
func Items() int { return len(items()) }

func items() []item {
	return []item{
		{1, "accounting", "all accounts sum to 0 at every tick", sumsToZero},
		{2, "accounting", "rows and columns of the transaction-flow matrix", flowMatrix},
		{3, "accounting", "tokens issued = stock + consumed + returned", tokensConserved},
		{4, "accounting", "Godley and Lavoie's model SIM", godleyLavoie},
		{5, "accounting", "Fisher identity; money is neutral", fisher},
		{6, "accounting", "mint identity", mintIdentity},
		{7, "demurrage and dividend", "constant income under demurrage", constantIncome},
		{8, "demurrage and dividend", "1,000 RT at 5 % a year, daily", compound},
		{9, "demurrage and dividend", "Gini under demurrage with equal redistribution", giniDecay},
		{10, "demurrage and dividend", "demurrage to vaults keeps the sum", vaultsKeep},
		{11, "demurrage and dividend", "random exchange of units: geometric law", randomExchange},
		{12, "demurrage and dividend", "dividend only: bondholders stay equal", equalDividend},
		{13, "release", "Weibull release", weibull},
		{14, "learning", "Wright's law", wright},
		{15, "learning", "theorems of mining and table V8", mining},
		{16, "learning", "table V9", upstream},
		{17, "capacity", "training ticks and the wait for the step", trainingTicks},
		{18, "capacity", "Giskard as processor sharing", processorSharing},
		{19, "capacity", "fixed-rate slots: Erlang C", erlangC},
		{20, "capacity", "Little's law on every queue", little},
		{21, "capacity", "stale-rate loss of V5", staleLoss},
		{22, "governance", "truth table; votes by chance", governance},
		{23, "numerics", "Philox4x32-10 known answers", philoxAnswers},
		{24, "numerics", "one state hash for engines, goroutines, collectors, logs", oneHash},
		{25, "numerics", "run, checkpoint, restore, run", checkpointed},
		{26, "numerics", "Monte Carlo error; replicas keep", monteCarlo},
		{27, "numerics", "Sobol' indices of Ishigami's function", ishigami},
		{28, "numerics", "permuting the robots permutes the results", permuted},
		{29, "numerics", "the micro-model, exact and in floats", microModel},
	}
}

// Run checks the items with the given numbers, all if there are none. Each result is
// handed to seen as it comes.
func Run(ctx context.Context, numbers []int, seen func(Result)) ([]Result, error) {
	wanted := map[int]bool{}
	for _, n := range numbers {
		if n < 1 || n > Items() {
			return nil, &model.ParamError{Name: "item", Detail: fmt.Sprintf("there is no item %d; they are numbered from 1 to %d", n, Items())}
		}
		wanted[n] = true
	}
	var list []Result
	for _, it := range items() {
		if len(wanted) > 0 && !wanted[it.number] {
			continue
		}
		if err := ctx.Err(); err != nil {
			return list, err
		}
		var c check
		err := it.run(&c)
		r := Result{Number: it.number, Group: it.group, Name: it.name, Findings: c.findings, Pass: err == nil && len(c.findings) > 0}
		if err != nil {
			r.Error = err.Error()
		}
		for _, f := range c.findings {
			r.Pass = r.Pass && f.Pass
		}
		if list = append(list, r); seen != nil {
			seen(r)
		}
	}
	return list, nil
}

// Passed reports whether every item holds.
func Passed(list []Result) bool {
	for _, r := range list {
		if !r.Pass {
			return false
		}
	}
	return len(list) > 0
}

// WriteJSON writes the report for programs.
func WriteJSON(to io.Writer, list []Result) error {
	enc := json.NewEncoder(to)
	enc.SetIndent("", "  ")
	return enc.Encode(map[string]any{"passed": Passed(list), "items": list})
}

// WriteMarkdown writes the report for people.
func WriteMarkdown(to io.Writer, list []Result) error {
	var b strings.Builder
	passed := 0
	for _, r := range list {
		if r.Pass {
			passed++
		}
	}
	fmt.Fprintf(&b, "# Validation of the simulator\n\n%d of %d items hold.\n", passed, len(list))
	group := ""
	for _, r := range list {
		if r.Group != group {
			group = r.Group
			fmt.Fprintf(&b, "\n## %s%s\n\n| item | figure | theory | tolerance | verdict |\n|---|---|---|---|---|\n", strings.ToUpper(group[:1]), group[1:])
		}
		verdict := map[bool]string{true: "pass", false: "**fail**"}
		fmt.Fprintf(&b, "| **%d. %s** | | | | %s |\n", r.Number, r.Name, verdict[r.Pass])
		if r.Error != "" {
			fmt.Fprintf(&b, "| %s | | | | **error** |\n", r.Error)
		}
		for _, f := range r.Findings {
			tolerance := "exact"
			if f.Tolerance > 0 {
				tolerance = fmt.Sprintf("%.3g", f.Tolerance)
			}
			fmt.Fprintf(&b, "| %s | %.10g | %.10g | %s | %s |\n", f.What, f.Figure, f.Theory, tolerance, verdict[f.Pass])
		}
	}
	_, err := io.WriteString(to, b.String())
	return err
}

// world makes a world of a preset with parameters set.
func world(base string, set ...string) (*model.World, error) {
	s, err := scenario.Preset(base)
	if err != nil {
		return nil, err
	}
	if err := s.Apply(set); err != nil {
		return nil, err
	}
	return model.New(s.Params)
}

// ran makes a world and runs it to its end by the step engine.
func ran(base string, set ...string) (*model.World, error) {
	w, err := world(base, set...)
	if err != nil {
		return nil, err
	}
	return w, w.RunWith(w.End(), model.Closed, 1, nil)
}

// mixed is an economy that reaches most of the model.
var mixed = []string{"robots=12", "bondholders=30", "capacity=150", "steps=60", "complex_share=40 %", "complexity_draw=true", "task_types=3",
	"spend_spread=20 %", "failure_ppm=3 %", "energy_noise=15 %", "demurrage_ppm=335", "stash_ppm=2 %", "size_law=exponential"}
