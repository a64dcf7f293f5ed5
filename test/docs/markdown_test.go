package docs_test

import (
	"slices"
	"strings"
	"testing"

	"robotorq.org/reserve/test/docs"
)

const sample = "# A first page\n\n" +
	"See [the other](other.md#here) and `not [a](link)`.\n\n" +
	"```sh background\nrobotorq up\n```\n\n" +
	"<!-- not run: needs a robot -->\n```sh\nrobotorq robot run\n```\n\n" +
	"    robotorq forgotten\n\n" +
	"* an item\n\n  ```text\n  # no heading\n  ```\n\n    of an item, no code\n\n" +
	"## A first page\n\n`robotorq\nversion`\n"

func TestAPageIsReadAsItsReadersReadIt(t *testing.T) {
	p, err := docs.Parse("sample.md", sample)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a-first-page", "a-first-page-1"}; !slices.Equal(p.Anchors, want) {
		t.Errorf("anchors %q", p.Anchors)
	}
	if len(p.Links) != 1 || p.Links[0].Target != "other.md#here" || p.Links[0].Line != 3 {
		t.Errorf("links %+v", p.Links)
	}
	shell := p.Shell()
	if len(p.Blocks) != 3 || len(shell) != 2 || !shell[0].Terminal || shell[0].Text != "robotorq up\n" || shell[0].Line != 6 || shell[1].Reason != "needs a robot" {
		t.Errorf("blocks %+v", p.Blocks)
	}
	if p.Blocks[2].Text != "# no heading\n" {
		t.Errorf("the indentation of a fence is none of its text: %q", p.Blocks[2].Text)
	}
	if !slices.Equal(p.Indented, []int{14}) {
		t.Errorf("indented %v", p.Indented)
	}
	if !slices.Contains(p.Inline, "robotorq version") {
		t.Errorf("inline %q", p.Inline)
	}
}

func TestAPageThatCannotBeReadIsAnError(t *testing.T) {
	for text, want := range map[string]string{
		"```sh\nrobotorq up\n":                 "never closed",
		"```sh terminal\nx\n```\n":             "means nothing",
		"<!-- not run: why -->\nprose\n":       "nothing that could be run",
		"<!-- not run: why -->\n\n# heading\n": "nothing that could be run",
	} {
		if _, err := docs.Parse("x.md", text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
