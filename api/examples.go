package api

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// examplesField is where an operation keeps its examples, by the custom of the
// programs that show OpenAPI documents.
const examplesField = "x-codeSamples"

// ExampleBase is the address of the node in examples.
const ExampleBase = "http://127.0.0.1:8080"

// CodeSample is an example of a call.
type CodeSample struct {
	Lang   string `json:"lang"`
	Label  string `json:"label"`
	Source string `json:"source"`
}

// exampleValues are values of parameters that every reserve has, or a variable of
// the shell where none has.
var exampleValues = map[string]string{
	"serial": "1", "index": "0", "refinery": "refinery-1", "seq": "1", "number": "1", "version": "1", "id": "printer-1", "account": "member:ada",
	"digest": "$DIGEST", "order": "$ORDER", "key_hash": "$KEY_HASH",
	"taskId": "$TASK", "agentId": "rover", "run": "$RUN&run=$OTHER",
}

// exampleBodies are bodies that hold no signature; of the others the file is named.
var exampleBodies = map[string]string{
	"post-admission": `'{"member": "ada", "subject": "…", "keys": [{"alg": "ed25519", "public": "…"}]}'`,
	"post-action":    `'{"action": "countersign"}'`,

	"market-post-tasks":                `'{"clientAccountId": "alice", "title": "A picture of the north gate", "description": "By daylight.", "taskKind": "camera", "resourceRequirements": [], "amountSats": 20000}'`,
	"market-post-tasks-taskId-settle":  `'{"clientAccountId": "alice"}'`,
	"market-post-tasks-taskId-cancel":  `'{"clientAccountId": "alice"}'`,
	"market-post-tasks-taskId-dispute": `'{"clientAccountId": "alice", "reason": "The picture is blurred."}'`,
	"market-post-tasks-taskId-resolve": `'{"outcome": "split", "robotSats": 8000, "note": "Half of the work is good."}'`,
	"market-post-accounts-id-withdraw": `'{"address": "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", "amountSats": 15000}'`,
	"market-post-sweep":                `'{}'`,
	"market-post-agents-agentId-admit": `'{"admitted": true}'`,
	"market-post-agents-heartbeat":     `'{"agentId": "rover"}'`,
}

// exampleFiles are the files that hold what was signed.
var exampleFiles = map[string]string{
	"post-order": "order.json", "post-enrolment": "enrolment.json", "post-proposal": "proposal.json", "post-instruction": "instruction.json",
	"post-policy": "policy.json", "post-recall": "recall.json", "post-reports": "report.json", "post-redemption": "claim.json", "post-reissue": "claim.json",
	"market-post-agents-register": "registration.json", "market-post-tasks-taskId-claim": "claim.json", "market-post-tasks-taskId-proof": "proof.json",
}

// addExamples gives every operation of a document its example in curl.
func addExamples(o *huma.OpenAPI) {
	for path, item := range o.Paths {
		for method, op := range map[string]*huma.Operation{http.MethodGet: item.Get, http.MethodPost: item.Post, http.MethodPut: item.Put, http.MethodDelete: item.Delete} {
			if op == nil {
				continue
			}
			if op.Extensions == nil {
				op.Extensions = map[string]any{}
			}
			op.Extensions[examplesField] = []CodeSample{{Lang: "Shell", Label: "curl", Source: curl(method, path, op)}}
		}
	}
}

// Example is the example in curl of an operation of the document, "" when it has none.
func Example(op *huma.Operation) string {
	if samples, ok := op.Extensions[examplesField].([]CodeSample); ok && len(samples) > 0 {
		return samples[0].Source
	}
	return ""
}

func curl(method, path string, op *huma.Operation) string {
	path = strings.Replace(path, "/robot/accounts/{id}", "/robot/accounts/alice", 1) // a client's, no robot's
	path = strings.Replace(path, "/simulator/runs/{id}", "/simulator/runs/$RUN", 1)
	for _, p := range op.Parameters {
		if value, ok := exampleValues[p.Name]; ok && p.In == "path" {
			path = strings.ReplaceAll(path, "{"+p.Name+"}", value)
		}
	}
	var query []string
	for _, p := range op.Parameters {
		if value, ok := exampleValues[p.Name]; ok && p.In == "query" && p.Required {
			query = append(query, p.Name+"="+value)
		}
	}
	if op.OperationID == "events" {
		query = append(query, "kinds=certificate,dividend")
	}
	if op.OperationID == "market-get-tasks-available" {
		query = append(query, "agentId=rover")
	}
	if len(query) > 0 {
		path += "?" + strings.Join(query, "&")
	}
	words := []string{"curl", flags(op)}
	if len(op.Security) > 0 {
		words = append(words, `-H "Authorization: Bearer $TOKEN"`)
	}
	if slices.ContainsFunc(op.Security, func(way map[string][]string) bool { _, signed := way["robotSignature"]; return signed }) {
		words = append(words, `-H "Content-Digest: $DIGEST" -H "Signature-Input: $SIGNATURE_INPUT" -H "Signature: $SIGNATURE"`)
	}
	if method != http.MethodGet {
		words = append(words, exampleBody(op)...)
	}
	return strings.Join(append(words, `"`+ExampleBase+path+`"`), " ")
}

// flags are what the answer calls for: a stream is shown as it comes, a document that
// is offered as a file gets the name that it is offered by.
func flags(op *huma.Operation) string {
	if op.OperationID == "events" {
		return "-sN"
	}
	if ok := op.Responses["200"]; ok != nil && strings.Contains(ok.Description, "offered as a file") {
		return "-sOJ"
	}
	return "-s"
}

func exampleBody(op *huma.Operation) []string {
	if op.RequestBody == nil {
		return []string{"-X POST"}
	}
	body := "@" + exampleFiles[op.OperationID]
	if given, ok := exampleBodies[op.OperationID]; ok {
		body = given
	}
	if body == "@" {
		body = "@body.json"
	}
	media := "application/json"
	if known := slices.Sorted(maps.Keys(op.RequestBody.Content)); len(known) > 0 && !slices.Contains(known, media) {
		media = known[0]
	}
	return []string{`-H "Content-Type: ` + media + `"`, "--data-binary " + body}
}
