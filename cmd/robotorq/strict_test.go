package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAFileWrittenByHandIsReadToTheLetter(t *testing.T) {
	const key = `{"keyid": "a", "name": "x", "role": "robot", "alg": "ed25519", "public": "", "not_before_ms": 1, "not_after_ms": null}`
	for _, c := range []struct {
		document, says string
		args           []string
		code           int
	}{
		{`{"reports": [{"payload": "80", "payload": "80", "carry_in": 0}]}`, "reports[0].payload is given twice", []string{"proof", "derive"}, exitFailed},
		{`{"reports": [{"Payload": "80"}]}`, `is written "payload"`, []string{"proof", "derive"}, exitFailed},
		{`{"reports": [{"payload": "80", "carry_in": null}]}`, "reports[0].carry_in is null", []string{"proof", "derive"}, exitFailed},
		{`{"reports": null}`, "reports is null", []string{"proof", "derive"}, exitFailed},
		{`{"spans": [], "spans": [], "index": 0}`, "line 1, column 21: spans is given twice", []string{"proof", "ingot"}, exitFailed},
		{`{"spans": [], "Index": 0}`, `is written "index"`, []string{"proof", "ingot"}, exitFailed},
		{`{"spans": null, "index": 0}`, "spans is null", []string{"proof", "ingot"}, exitFailed},
		{`{"ingots": [], "index": 0, "path": [null]}`, "path[0] is null", []string{"proof", "records"}, exitFailed},
		{`{"ingot": {"refinery": "r", "refinery": "s", "seq": 1, "contract": "c", "spans": []}, "index": 0}`, "ingot.refinery is given twice", []string{"proof", "records"}, exitFailed},
		{`{"owner": "a", "OWNER": "b"}`, `is written "owner"`, []string{"contract", "propose", "--wallet", "none"}, exitUsage},
		{`{"org": "a", "org": "b", "keys": []}`, "org is given twice", []string{"members", "enrol"}, exitUsage},
		{`{"robot": "a", "Owner": "b", "keys": [` + key + `]}`, `is written "owner"`, []string{"members", "enrol"}, exitUsage},
		{`{"torq_min": 2, "torq_min": 3}`, "torq_min is given twice", []string{"policy", "draft"}, exitUsage},
	} {
		file := filepath.Join(t.TempDir(), "input.json")
		must(t, os.WriteFile(file, []byte(c.document), 0o600))
		args := append(c.args, file)
		if c.args[0] == "policy" {
			_, dir := dataOf(t)
			args = []string{"up", "--data", filepath.Join(dir, "new"), "--policy", file, "--port", "0", "--for", "1s"}
		}
		fails(t, c.code, c.says, args...)
	}
}
