package strictjson_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"robotorq.org/reserve/strictjson"
)

type base struct {
	Owner string `json:"owner"`
}

type request struct {
	base
	Reports []struct {
		Payload string  `json:"payload"`
		CarryIn uint64  `json:"carry_in"`
		More    *uint64 `json:"more,omitempty"`
		Open    *uint64 `json:"open"`
	} `json:"reports"`
	Names  map[string]base `json:"names"`
	Hidden string          `json:"-"`
}

func TestWhatIsWrongIsNamedWithItsPlace(t *testing.T) {
	for document, says := range map[string]string{
		"{\"reports\": [\n {\"payload\": \"a\",\n  \"payload\": \"b\"}]}": "line 3, column 11: reports[0].payload is given twice",
		`{"owner": "a", "owner": "a"}`:                                    "owner is given twice",
		`{"Owner": "a"}`:                                                  `Owner is not known: it is written "owner"`,
		`{"reports": [{"PAYLOAD": "a"}]}`:                                 `reports[0].PAYLOAD is not known: it is written "payload"`,
		`{"reports": null}`:                                               "reports is null",
		`{"reports": [null]}`:                                             "reports[0] is null",
		`{"reports": [{"more": null}]}`:                                   "reports[0].more is null",
		`{"names": {"a": {"owner": "x"}, "a": {}}}`:                       "names.a is given twice",
		`{"names": {"a": {"other": "x"}}}`:                                "names.a.other is not known",
		`{"Hidden": "a"}`:                                                 "Hidden is not known",
		`{"owner": 7}`:                                                    "owner is a JSON number",
		`{"owner": "a"} {}`:                                               "the document is followed by something else",
		`{"owner": "a"`:                                                   "it ends too early",
		``:                                                                "it ends too early",
		`null`:                                                            "the document is null",
		`{"reports": [{"carry_in": -1}]}`:                                 "carry_in is a JSON number -1",
		strings.Repeat("[", 100) + strings.Repeat("]", 100): "nests deeper than 64",
	} {
		var r request
		err := strictjson.Decode([]byte(document), &r)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s\n says %v, want %q", document, err, says)
		}
		var typed *strictjson.Error
		if !errors.As(err, &typed) || typed.Line < 1 || typed.Column < 1 || typed.ErrorCode() != "malformed" {
			t.Errorf("%s: %#v has no place", document, err)
		}
	}
}

func TestWhatEncodingJSONWritesIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := map[string]base{}
		for _, name := range rapid.SliceOfDistinct(rapid.String(), rapid.ID).Draw(t, "names") {
			want[name] = base{rapid.String().Draw(t, "owner")}
		}
		text, err := json.MarshalIndent(want, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		plain := map[string]base{}
		if err := json.Unmarshal(text, &plain); err != nil {
			t.Fatal(err)
		}
		got := map[string]base{}
		if err := strictjson.Decode(text, &got); len(plain) == len(want) && err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"reports": [{"payload": "a", "carry_in": 1}]}`))
	f.Add([]byte(`{"owner": "a", "owner": "b"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var strict, plain request
		if err := strictjson.Decode(data, &strict); err != nil {
			return
		}
		if err := json.Unmarshal(data, &plain); err != nil {
			t.Fatalf("encoding/json refuses %q: %v", data, err)
		}
	})
}
