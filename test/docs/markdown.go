// Package docs reads the documentation as its readers do: which blocks are commands,
// which of them are not run and why, which headings can be linked to, and where each
// link leads. The tests beside it run the commands and follow the links.
//
// It trusts the pages of this repository alone and keeps nothing.
package docs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// Block is a fenced block of a page.
type Block struct {
	Line     int    // of its first line, from 1
	Language string // the first word behind the fence: sh, text, yaml
	Terminal bool   // "sh background": a terminal of its own, which stays open
	Reason   string // why it is not run: the comment <!-- not run: reason --> before it
	Text     string // its lines, without the indentation of its fence
}

// Link is a link or a picture of a page.
type Link struct {
	Line   int
	Target string
}

// Page is what a page of markdown consists of.
type Page struct {
	Name     string // path below the root of the repository, with slashes
	Blocks   []Block
	Links    []Link
	Anchors  []string
	Inline   []string // texts between back quotes
	Indented []int    // lines of code that no fence says the language of
}

// Shell are the blocks of commands.
func (p *Page) Shell() (shell []Block) {
	for _, b := range p.Blocks {
		if b.Language == "sh" {
			shell = append(shell, b)
		}
	}
	return shell
}

// Reasons are those of the blocks that are not run, in their order.
func (p *Page) Reasons() (reasons []string) {
	for _, b := range p.Shell() {
		if b.Reason != "" {
			reasons = append(reasons, b.Reason)
		}
	}
	return reasons
}

var (
	fence   = regexp.MustCompile("^( *)```+ *([a-z]*) *(.*)$")
	notRun  = regexp.MustCompile(`^ *<!-- not run: (.+) -->$`)
	link    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	inline  = regexp.MustCompile("`([^`]+)`")
	item    = regexp.MustCompile(`^ *([*-]|[0-9]+\.) `)
	heading = regexp.MustCompile(`^#{1,6} (.+)$`)
)

// Parse reads a page.
func Parse(name, text string) (*Page, error) {
	p := &Page{Name: name}
	var open *Block
	var indent, reason string
	var prose strings.Builder
	blank, inList := true, false
	for i, line := range strings.Split(text, "\n") {
		number := i + 1
		found := fence.FindStringSubmatch(line)
		switch {
		case open != nil && found != nil && found[2] == "":
			p.Blocks = append(p.Blocks, *open)
			open, blank = nil, true
			continue
		case open != nil:
			open.Text += strings.TrimPrefix(line, indent) + "\n"
			continue
		case found != nil:
			if found[3] != "" && found[3] != "background" {
				return nil, fmt.Errorf("%s:%d: a fence says %q, which means nothing here", name, number, found[3])
			}
			open, indent = &Block{Line: number + 1, Language: found[2], Terminal: found[3] != "", Reason: reason}, found[1]
			reason = ""
			continue
		}
		if reason != "" && strings.TrimSpace(line) != "" {
			return nil, fmt.Errorf("%s:%d: nothing that could be run follows the comment", name, number)
		}
		if found := notRun.FindStringSubmatch(line); found != nil {
			reason = found[1]
			continue
		}
		if strings.HasPrefix(line, "    ") && blank && !inList {
			p.Indented = append(p.Indented, number)
			continue
		}
		p.prose(number, line)
		prose.WriteString(line + "\n")
		blank = strings.TrimSpace(line) == ""
		inList = item.MatchString(line) || inList && (blank || strings.HasPrefix(line, " "))
	}
	if open != nil {
		return nil, fmt.Errorf("%s:%d: the fence is never closed", name, open.Line-1)
	}
	for _, code := range inline.FindAllStringSubmatch(prose.String(), -1) {
		p.Inline = append(p.Inline, strings.Join(strings.Fields(code[1]), " "))
	}
	return p, nil
}

// prose takes links and headings from a line that is no code.
func (p *Page) prose(number int, line string) {
	for _, found := range link.FindAllStringSubmatch(inline.ReplaceAllString(line, "x"), -1) {
		p.Links = append(p.Links, Link{Line: number, Target: found[1]})
	}
	if found := heading.FindStringSubmatch(line); found != nil {
		anchor := slug(found[1])
		for again := 1; slices.Contains(p.Anchors, anchor); again++ {
			anchor = fmt.Sprintf("%s-%d", slug(found[1]), again)
		}
		p.Anchors = append(p.Anchors, anchor)
	}
}

// slug is the anchor that GitHub gives a heading.
func slug(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, heading)
}

// Read reads every page of the repository at root, in the order of their names.
func Read(root string) (pages []*Page, err error) {
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git" || d.Name() == "dist") {
			return fs.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) != ".md" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		page, err := Parse(filepath.ToSlash(name), string(text))
		if err != nil {
			return err
		}
		pages = append(pages, page)
		return nil
	})
	return pages, err
}
