package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

func readVectors(t *testing.T, name string, into any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	must(t, err)
	must(t, json.Unmarshal(data, into))
}

func writeJSONFile(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	must(t, err)
	path := filepath.Join(t.TempDir(), "request.json")
	must(t, os.WriteFile(path, data, 0o600))
	return path
}

type derivedVector struct {
	Payload   string `json:"payload,omitempty"`
	CarryIn   uint64 `json:"carry_in"`
	Digest    string `json:"digest"`
	Ore       uint64 `json:"ore"`
	CarryOut  uint64 `json:"carry_out"`
	LeafFirst string `json:"leaf_first"`
	LeafLast  string `json:"leaf_last"`
}

func TestProofDeriveReproducesTheVectors(t *testing.T) {
	var file struct {
		Reports []derivedVector
		Big     derivedVector `json:"big_report"`
	}
	readVectors(t, "proof-chain.json", &file)
	request := map[string]any{}
	var list []any
	for _, r := range file.Reports {
		list = append(list, map[string]any{"payload": r.Payload, "carry_in": r.CarryIn})
	}
	request["reports"] = list
	answer := read[struct{ Reports []derivedVector }](t, ok(t, "proof", "derive", "--json", writeJSONFile(t, request)))
	if len(answer.Reports) != len(file.Reports) || len(file.Reports) == 0 {
		t.Fatalf("%d answers to %d reports", len(answer.Reports), len(file.Reports))
	}
	for i, want := range file.Reports {
		want.Payload, want.CarryIn = "", 0
		if answer.Reports[i] != want {
			t.Errorf("report %d: %+v, want %+v", i, answer.Reports[i], want)
		}
	}
	big := file.Big
	answer = read[struct{ Reports []derivedVector }](t, ok(t, "proof", "derive", writeJSONFile(t, map[string]any{"reports": []any{map[string]any{"payload": big.Payload, "carry_in": 0}}})))
	if a := answer.Reports[0]; a.Digest != big.Digest || a.Ore != big.Ore {
		t.Errorf("the big report: %+v, want %s with %d ore", a, big.Digest, big.Ore)
	}
	first := file.Reports[0]
	hexFile := filepath.Join(t.TempDir(), "report.hex")
	must(t, os.WriteFile(hexFile, []byte(first.Payload+"\n"), 0o600))
	if o := ok(t, "proof", "derive", hexFile, "--leaf", "0"); strings.TrimSpace(o.out) != first.LeafFirst {
		t.Errorf("leaf 0 is %s, want %s", o.out, first.LeafFirst)
	}
	fails(t, exitFailed, "no unit", "proof", "derive", hexFile, "--leaf", "99999999")
	fails(t, exitUsage, "takes one report", "proof", "derive", hexFile, hexFile, "--leaf", "0")
	list[1].(map[string]any)["payload"] = "8501"
	fails(t, exitFailed, "reports[1]", "proof", "derive", "--json", writeJSONFile(t, request))
	fails(t, exitUsage, "no such file", "proof", "derive", filepath.Join(t.TempDir(), "nothing"))
}

func TestProofIngotReproducesTheVectors(t *testing.T) {
	var file struct {
		Ingots []struct {
			Root  string
			Spans []json.RawMessage
			Proof struct {
				Index uint64
				Leaf  string
				Path  []string
			}
		}
	}
	readVectors(t, "proof-chain.json", &file)
	if len(file.Ingots) == 0 {
		t.Fatal("no ingots in the vectors")
	}
	type answer struct {
		Root, Leaf string
		Path       []string
	}
	for i, g := range file.Ingots {
		request := writeJSONFile(t, map[string]any{"spans": g.Spans, "index": g.Proof.Index})
		got := read[answer](t, ok(t, "proof", "ingot", "--json", request))
		if want := (answer{g.Root, g.Proof.Leaf, g.Proof.Path}); !reflect.DeepEqual(got, want) {
			t.Errorf("ingot %d: %+v, want %+v", i, got, want)
		}
		if o := ok(t, "proof", "ingot", request); !strings.Contains(o.out, "root  "+g.Root) {
			t.Errorf("%s", o.out)
		}
	}
}

func TestProofRecordsReproducesTheCertificatesOfTheVectors(t *testing.T) {
	var file struct {
		Certificate struct {
			FirstRecord string `json:"first_record"`
			Root        string
			Proof       struct {
				Index  uint64
				Record string
				Path   []string
			}
		}
		Whole struct {
			Report string `json:"report_digest"`
			First  string `json:"first_ingot_root"`
			Last   string `json:"last_ingot_root"`
			Root   string
		} `json:"whole_certificate"`
	}
	readVectors(t, "proof-chain.json", &file)
	type answer struct {
		Root, Leaf, Record string
		Size               uint64
		Path               []string
	}
	part := file.Certificate
	climbed := read[answer](t, ok(t, "proof", "records", "--json", writeJSONFile(t, map[string]any{
		"ingot": part.Proof.Record, "index": part.Proof.Index, "size": 1000, "path": part.Proof.Path,
	})))
	if climbed.Root != part.Root || climbed.Size != 1000 {
		t.Errorf("the path leads to %s, want %s", climbed.Root, part.Root)
	}

	const contract = "reserve.example/log#1033"
	var ingots []any
	for seq := range 1000 {
		ingots = append(ingots, map[string]any{
			"refinery": "refinery-1", "seq": seq + 1, "contract": contract,
			"spans": []any{[]any{file.Whole.Report, seq * 3600, 3600}},
		})
	}
	whole := func(index int, first any) answer {
		return read[answer](t, ok(t, "proof", "records", "--json", writeJSONFile(t, map[string]any{
			"ingots": append([]any{first}, ingots[1:]...), "index": index,
		})))
	}
	first := whole(0, ingots[0])
	if first.Root != file.Whole.Root || len(first.Path) != 10 || !strings.Contains(first.Record, file.Whole.First) {
		t.Errorf("root %s, want %s; record %s", first.Root, file.Whole.Root, first.Record)
	}
	if alone := read[answer](t, ok(t, "proof", "records", "--json", writeJSONFile(t, map[string]any{
		"ingots": []any{part.FirstRecord}, "index": 0,
	}))); alone.Record != part.FirstRecord || alone.Root != alone.Leaf || len(alone.Path) != 0 {
		t.Errorf("one record alone: %+v", alone)
	}
	last := whole(999, first.Record) // a record in hex is the same as its parts
	if last.Root != file.Whole.Root || !strings.Contains(last.Record, file.Whole.Last) {
		t.Errorf("root %s, want %s; record %s", last.Root, file.Whole.Root, last.Record)
	}

	fails(t, exitFailed, "ingots[1]", "proof", "records", writeJSONFile(t, map[string]any{"ingots": []any{ingots[0], first.Record + "00"}, "index": 0}))
	fails(t, exitFailed, "outside a tree of 1 ingots", "proof", "records", writeJSONFile(t, map[string]any{"ingots": ingots[:1], "index": 1}))
	fails(t, exitFailed, "either", "proof", "records", writeJSONFile(t, map[string]any{"index": 1}))
	fails(t, exitFailed, "hashes, want", "proof", "records", writeJSONFile(t, map[string]any{"ingot": part.Proof.Record, "index": 1, "size": 999, "path": part.Proof.Path[1:]}))
	if o := ok(t, "proof", "records", writeJSONFile(t, map[string]any{"ingots": ingots[:2], "index": 1})); !strings.Contains(o.out, "ingots  2") {
		t.Errorf("%s", o.out)
	}
}

func TestLedgerReplayReproducesTheVectors(t *testing.T) {
	var file struct{ Final any }
	readVectors(t, "ledger.json", &file)
	got := read[any](t, ok(t, "ledger", "replay", "--json", "testdata/ledger.json"))
	if !reflect.DeepEqual(got, file.Final) {
		t.Errorf("got %v", got)
	}
	if o := ok(t, "ledger", "replay", "testdata/ledger.json"); !strings.Contains(o.out, "407 operations run.") {
		t.Errorf("%s", o.out)
	}
	fails(t, exitFailed, "operation 0", "ledger", "replay", writeJSONFile(t, map[string]any{
		"policy": map[string]string{"demurrage_per_year": "0.06", "savers_share": "0.5", "savings_cap_per_year": "0.12"},
		"ops":    []any{map[string]string{"op": "steal"}},
	}))
}

// TestEveryCommandHelpsWithAnExample walks the whole command tree.
func TestEveryCommandHelpsWithAnExample(t *testing.T) {
	parser, err := kong.New(&cli{}, kong.Vars{"data": "D", "listen": defaultListen}, kong.ExplicitGroups(groups))
	must(t, err)
	commands := 0
	for _, leaf := range parser.Model.Leaves(false) {
		var path []string
		for n := leaf; n.Type == kong.CommandNode; n = n.Parent {
			path = append([]string{n.Name}, path...)
		}
		o := ok(t, append(path, "--help")...)
		if example := "robotorq " + strings.Join(path, " "); !strings.Contains(o.out, "Example") || !strings.Contains(o.out, example) {
			t.Errorf("%v: no example in its help:\n%s", path, o.out)
		}
		commands++
	}
	if commands < 17 {
		t.Errorf("only %d commands", commands)
	}
	if o := ok(t, "help"); !strings.Contains(o.out, "Checking") || !strings.Contains(o.out, "verify") {
		t.Errorf("%s", o.out)
	}
	ok(t, "help", "wallet", "send")
	ok(t)
}

func TestUnknownThingsNameTheNearest(t *testing.T) {
	fails(t, exitUsage, `did you mean "verify"`, "verfy", "x")
	fails(t, exitUsage, `did you mean "--data"`, "keys", "--dat", "x")
	fails(t, exitUsage, "", "proof", "export", "one")
	fails(t, exitUsage, "", "up", "--until", "dawn=1")
}

func TestTheShellIsToldOfEveryCommand(t *testing.T) {
	if o := ok(t, "completion", "bash", "-c"); !strings.Contains(o.out, "complete ") || !strings.Contains(o.out, " robotorq") {
		t.Errorf("%s", o.out)
	}
	fails(t, exitUsage, "must be one of", "completion", "nosh")
	page := ok(t, "man").out
	for _, command := range []string{"verify", "audit", "wallet send", "robot run"} {
		if !strings.HasPrefix(page, ".TH ROBOTORQ 1") || !strings.Contains(page, command) {
			t.Errorf("the manual page does not know %q", command)
		}
	}
}

func TestVersionIsOneDocument(t *testing.T) {
	if v := read[map[string]string](t, ok(t, "version", "--json")); v["version"] == "" || v["go"] == "" {
		t.Errorf("%v", v)
	}
}
