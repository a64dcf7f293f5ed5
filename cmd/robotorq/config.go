package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/pelletier/go-toml/v2"
)

const (
	configName     = "robotorq.toml"
	configVariable = "ROBOTORQ_CONFIG"
)

// configFile is the one file of settings: tables by command, keys by flag. A key at
// the top holds for every command that has such a flag. Environment and flags win
// over it.
type configFile struct {
	path  string // "" when there is none
	known map[string]any
}

// findConfig is the file that --config or ROBOTORQ_CONFIG names, or else the first
// of the user's and the machine's that exists.
func findConfig(args []string) (path string, named bool) {
	for i, a := range args {
		if value, ok := strings.CutPrefix(a, "--config="); ok {
			return value, true
		}
		if a == "--config" && i+1 < len(args) {
			return args[i+1], true
		}
		if a == "--" {
			break
		}
	}
	if path := os.Getenv(configVariable); path != "" {
		return path, true
	}
	var places []string
	if dir, err := os.UserConfigDir(); err == nil {
		places = append(places, filepath.Join(dir, "robotorq", configName))
	}
	for _, path := range append(places, filepath.Join("/etc/robotorq", configName)) {
		if _, err := os.Stat(path); err == nil {
			return path, false
		}
	}
	return "", false
}

// readConfig reads the file of settings; without one it holds nothing.
func readConfig(args []string) (*configFile, error) {
	path, _ := findConfig(args)
	c := &configFile{path: path, known: map[string]any{}}
	if path == "" {
		return c, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the configuration cannot be read: %w", err)
	}
	if err := toml.Unmarshal(data, &c.known); err != nil {
		var at *toml.DecodeError
		if errors.As(err, &at) {
			line, column := at.Position()
			return nil, fmt.Errorf("%s, line %d, column %d: %s", path, line, column, strings.TrimPrefix(at.Error(), "toml: "))
		}
		return nil, fmt.Errorf("%s: %s", path, strings.TrimPrefix(err.Error(), "toml: "))
	}
	return c, nil
}

// Validate implements [kong.Resolver]: a key that no command has is refused with the
// nearest that one has.
func (c *configFile) Validate(app *kong.Application) error {
	every := map[string]bool{}
	for _, leaf := range app.Leaves(false) {
		for _, group := range leaf.AllFlags(false) {
			for _, f := range group {
				every[f.Name] = true
			}
		}
	}
	delete(every, "help")
	delete(every, "config")
	return c.validate(app.Node, c.known, nil, every)
}

func (c *configFile) validate(node *kong.Node, table map[string]any, path []string, flags map[string]bool) error {
	children := map[string]*kong.Node{}
	for _, child := range node.Children {
		children[child.Name] = child
	}
	for _, key := range slices.Sorted(maps.Keys(table)) {
		here := append(slices.Clone(path), key)
		if child := children[key]; child != nil {
			inner, ok := table[key].(map[string]any)
			if !ok {
				return fmt.Errorf("%s: %s is a command: write its settings below [%s]", c.path, key, strings.Join(here, "."))
			}
			own := map[string]bool{}
			for _, n := range append(child.Leaves(false), child) { // a leaf has no leaves
				for _, f := range n.Flags {
					own[f.Name] = true
				}
			}
			if err := c.validate(child, inner, here, own); err != nil {
				return err
			}
			continue
		}
		if !flags[key] {
			return fmt.Errorf("%s: there is no setting %q%s%s", c.path, key, in(path), nearest(key, children, flags))
		}
		if _, ok := table[key].(map[string]any); ok {
			return fmt.Errorf("%s: %s is a setting, not a table", c.path, strings.Join(here, "."))
		}
	}
	return nil
}

func in(path []string) string {
	if len(path) == 0 {
		return ""
	}
	return " of " + strings.Join(path, " ")
}

// nearest proposes the known key that is closest, if one is close.
func nearest(key string, children map[string]*kong.Node, flags map[string]bool) string {
	best, distance := "", len(key)/2+1
	for _, candidate := range slices.Concat(slices.Sorted(maps.Keys(children)), slices.Sorted(maps.Keys(flags))) {
		if d := editDistance(key, candidate); d < distance {
			best, distance = candidate, d
		}
	}
	if best == "" {
		return "; robotorq config lists them"
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// Resolve implements [kong.Resolver].
func (c *configFile) Resolve(_ *kong.Context, parent *kong.Path, flag *kong.Flag) (any, error) {
	if _, set := environment(flag); set {
		return nil, nil // it wins
	}
	value, _ := c.lookUp(parent.Node(), flag)
	return value, nil
}

// lookUp finds a flag's value: in the table of its command, of a group that holds it, or at
// the top; the nearest wins.
func (c *configFile) lookUp(node *kong.Node, flag *kong.Flag) (value any, found bool) {
	var path []string
	for n := node; n != nil && n.Type == kong.CommandNode; n = n.Parent {
		path = append(path, n.Name)
	}
	slices.Reverse(path)
	value, found = c.known[flag.Name]
	table := c.known
	for _, name := range path {
		inner, ok := table[name].(map[string]any)
		if !ok {
			break
		}
		table = inner
		if nearer, ok := table[flag.Name]; ok {
			value, found = nearer, true
		}
	}
	if list, ok := value.([]any); ok {
		parts := make([]string, len(list))
		for i, v := range list {
			parts[i] = fmt.Sprint(v)
		}
		return strings.Join(parts, ","), found
	}
	if found {
		return fmt.Sprint(value), true
	}
	return nil, false
}

func environment(flag *kong.Flag) (name string, set bool) {
	for _, name := range flag.Envs {
		if _, set := os.LookupEnv(name); set {
			return name, true
		}
	}
	return "", false
}

type configCmd struct {
	Command []string `arg:"" optional:"" help:"Only this command's settings, for example: up."`
}

// Help is the long help with an example.
func (configCmd) Help() string {
	return `Lists every setting with its value and where it comes from. The file is named by
--config or ROBOTORQ_CONFIG, or is ~/.config/robotorq/robotorq.toml or
/etc/robotorq/robotorq.toml. It has a table for each command and a key for each flag:

  data = "/var/lib/robotorq"     # for every command that has --data
  [up]
  listen = "127.0.0.1:8080"

The environment wins over the file, flags win over both. Secrets are never shown.

Examples:
  robotorq config
  robotorq config up
  robotorq config --json`
}

// setting is one flag as it stands.
type setting struct {
	Command string `json:"command"`
	Name    string `json:"name"`
	Value   string `json:"value"`
	From    string `json:"from"` // default, environment NAME, or the file's path
}

func (c *configCmd) Run(ctx *kong.Context, std streams, g *global, file *configFile) error {
	all := settings(ctx.Kong.Model, file, strings.Join(c.Command, " "))
	if len(all) == 0 {
		return &exitError{exitUsage, fmt.Errorf("there is no command %q with settings; robotorq --help lists them", strings.Join(c.Command, " "))}
	}
	if g.JSON {
		return writeJSON(std.Out, map[string]any{"file": file.path, "settings": all})
	}
	if file.path == "" {
		fmt.Fprintln(std.Out, "There is no configuration file (robotorq config --help says where it is looked for).")
	} else {
		fmt.Fprintf(std.Out, "Configuration file %s\n", file.path)
	}
	t := table(std.Out)
	last := ""
	for _, s := range all {
		if s.Command != last {
			fmt.Fprintf(t, "\n%s\t\t\n", s.Command)
			last = s.Command
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\n", s.Name, cmp.Or(s.Value, "–"), s.From)
	}
	return t.Flush()
}

// settings lists the flags below a command, all of them when it is "".
func settings(app *kong.Application, file *configFile, below string) (all []setting) {
	for _, leaf := range app.Leaves(true) {
		command := leaf.Path()
		command = strings.TrimPrefix(command, app.Name+" ")
		if below != "" && command != below && !strings.HasPrefix(command, below+" ") {
			continue
		}
		for _, f := range leaf.Flags {
			if f.Hidden || f.Name == "help" {
				continue
			}
			s := setting{Command: command, Name: f.Name, Value: f.Default, From: "default"}
			if value, found := file.lookUp(leaf, f); found {
				s.Value, s.From = fmt.Sprint(value), file.path
			}
			if name, set := environment(f); set {
				s.Value, s.From = os.Getenv(name), "environment "+name
			}
			if f.Name == "data" && s.Value == "" {
				s.Value = dataDir("")
			}
			if secret(f.Name) && s.Value != "" {
				s.Value = notShown
			}
			s.Value = withoutUser(s.Value)
			all = append(all, s)
		}
	}
	return all
}

const notShown = "(set, not shown)"

// secret tells by its name whether a flag's value is one, or an address that may hold one
// anywhere: a bus's token, a broker's password, a device's key.
func secret(name string) bool {
	if name == "tokens" { // a robot's rating
		return false
	}
	return slices.Contains([]string{"nats", "meter", "moonraker-key"}, name) || slices.ContainsFunc([]string{"passphrase", "password", "token", "secret", "macaroon", "rpc", "database"}, func(part string) bool {
		return strings.Contains(name, part)
	})
}

// withoutUser leaves out who one is, and the password, in every address of a list; a list
// with an address that cannot be read is not shown.
func withoutUser(value string) string {
	if !strings.Contains(value, "://") || !strings.Contains(value, "@") {
		return value
	}
	parts := strings.Split(value, ",")
	for i, part := range parts {
		u, err := url.Parse(strings.TrimSpace(part))
		switch {
		case err != nil, u.User == nil && strings.Contains(part, "@"):
			return notShown // the comma or the @ may belong to a password
		case u.User != nil:
			u.User = nil
			parts[i] = u.String()
		}
	}
	return strings.Join(parts, ",")
}

// editDistance is the Levenshtein distance of two short words.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := before
			if a[i] != b[j] {
				change++
			}
			before = row[j+1]
			row[j+1] = min(change, row[j]+1, before+1)
		}
	}
	return row[len(b)]
}
