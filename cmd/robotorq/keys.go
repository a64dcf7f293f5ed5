package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/robot"
	"robotorq.org/reserve/seal"
)

type keysCmd struct {
	List    keysListCmd    `cmd:"" default:"withargs" help:"List the keys, their roles and when they count."`
	Encrypt keysEncryptCmd `cmd:"" help:"Encrypt the key files that lie open."`
}

type keysListCmd struct {
	Data    string `placeholder:"DIR" help:"Data directory (default: ${data})."`
	Profile string `hidden:""`
}

// Help is the long help with an example.
func (keysListCmd) Help() string {
	return `Lists the key files with the names, roles, algorithms and ids of their keys, and when
the charter says that they count. Secrets are never printed.

Examples:
  robotorq keys --data /var/lib/robotorq
  robotorq keys --json`
}

// keyLine is a key in a file.
type keyLine struct {
	File      string       `json:"file"`
	Mode      string       `json:"mode"`
	Encrypted bool         `json:"encrypted"`
	Name      string       `json:"name,omitempty"`
	Role      string       `json:"role,omitempty"`
	Alg       string       `json:"alg,omitempty"`
	KeyID     string       `json:"keyid,omitempty"`
	Pin       *merkle.Hash `json:"pin,omitempty"`
	NotBefore *uint64      `json:"not_before_ms"` // null: not in the charter
	NotAfter  *uint64      `json:"not_after_ms"`
	Problem   string       `json:"problem,omitempty"`

	key *seal.Key
}

func (c *keysListCmd) Run(std streams, g *global) error {
	r, err := openReserve(dataDir(c.Data), c.Profile)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	charter := map[string]seal.Key{}
	if charters, err := r.charters(); err == nil && len(charters) > 0 {
		newest, err := seal.DecodeCharter(charters[len(charters)-1].Payload)
		if err != nil {
			return err
		}
		for _, k := range newest.Keys {
			charter[k.KeyID] = k
		}
	}
	lines := []keyLine{}
	files, err := r.keyFiles()
	if err != nil {
		return err
	}
	for _, file := range files {
		lines = append(lines, readLines(r, file, charter)...)
	}
	if g.JSON {
		return writeJSON(std.Out, map[string]any{"keys": lines})
	}
	t := table(std.Out)
	fmt.Fprintln(t, "file\trole\tname\talgorithm\tkey\tvalid")
	for _, l := range lines {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", l.File, l.Role, l.Name, l.Alg, l.KeyID, l.valid())
	}
	return t.Flush()
}

func (l keyLine) valid() string {
	switch {
	case l.Problem != "":
		return l.Problem
	case l.key == nil:
		if l.Role == seal.RoleRobot || l.Role == seal.RoleMember || l.Role == seal.RoleOrg {
			return "by enrolment"
		}
		return "not in the charter"
	}
	return validity(*l.key)
}

// keyFiles lists the key files of a data directory.
func (r reserve) keyFiles() ([]string, error) {
	var files []string
	for _, pattern := range []string{"root/*.json", "keys/*.json", "keys/next/*.json", "keys/ended/*.json", "robots/*/" + robot.KeyFile, "demo/*.json"} {
		found, err := r.glob(pattern)
		if err != nil {
			return nil, err
		}
		files = append(files, found...)
	}
	return files, nil
}

// glob lists the paths that match a pattern below the directory, whose own name may
// hold anything.
func (r reserve) glob(pattern string) ([]string, error) {
	found, err := fs.Glob(os.DirFS(r.dir), pattern)
	slices.Sort(found)
	for i, name := range found {
		found[i] = r.path(filepath.FromSlash(name))
	}
	return found, err
}

// readLines reads what a key file says of its keys.
func readLines(r reserve, path string, charter map[string]seal.Key) []keyLine {
	name, err := filepath.Rel(r.dir, path)
	if err != nil {
		name = path
	}
	line := keyLine{File: filepath.ToSlash(name)}
	if info, err := os.Stat(path); err == nil {
		line.Mode = fmt.Sprintf("%04o", info.Mode().Perm())
	}
	if data, err := os.ReadFile(path); err == nil {
		line.Encrypted = strings.HasPrefix(string(data), "-----BEGIN AGE")
	}
	s, err := seal.ReadKeyFile(path, os.Getenv(passphraseVariable))
	if seal.HasCode(err, seal.CodePassphrase) {
		line.Problem = "encrypted: set " + passphraseVariable + " to see its keys"
		return []keyLine{line}
	}
	if err != nil {
		line.Problem = err.Error()
		return []keyLine{line}
	}
	var lines []keyLine
	for _, k := range s.Keys {
		l := line
		l.Name, l.Role, l.Alg, l.KeyID = s.Name, s.Role, k.Alg, k.KeyID()
		if s.Role == seal.RoleRoot && k.Alg == seal.SLHDSA128s {
			pin := seal.KeyHash(k.Alg, k.Public)
			l.Pin = &pin
		}
		if known, ok := charter[l.KeyID]; ok {
			l.key, l.NotBefore, l.NotAfter = &known, &known.NotBeforeMS, known.NotAfterMS
		}
		lines = append(lines, l)
	}
	return lines
}
