package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/seal"
)

type keysEncryptCmd struct {
	Data           string `placeholder:"DIR" help:"Data directory (default: ${data})."`
	PassphraseFile string `placeholder:"FILE" help:"File with the passphrase in its first line (default: ROBOTORQ_PASSPHRASE, or it is asked for twice)."`
}

// Help is the long help with examples.
func (keysEncryptCmd) Help() string {
	return `Encrypts every key file of the data directory that lies open, robots' too, under one
passphrase (age, scrypt), also while the reserve runs. Those that are encrypted already
stay as they are. From then on whatever reads the keys needs ROBOTORQ_PASSPHRASE.

A disk may keep the old bytes for a while, and backups keep them for good: keys that
somebody may have read are replaced, not encrypted. The registrar's secret for subjects
(keys/*.subject) is not encrypted.

Examples:
  ROBOTORQ_PASSPHRASE=… robotorq keys encrypt --data /var/lib/robotorq
  robotorq keys encrypt --passphrase-file /run/credentials/robotorq`
}

// encryptedFiles is the document of `keys encrypt --json`.
type encryptedFiles struct {
	Encrypted []string `json:"encrypted"`
	Before    []string `json:"encrypted_before"`
}

func (c *keysEncryptCmd) Run(_ context.Context, std streams, g *global) (err error) {
	r, err := openReserve(dataDir(c.Data), "")
	if err != nil {
		return &exitError{exitUsage, err}
	}
	passphrase, err := newPassphrase(std, true, c.PassphraseFile)
	if err != nil {
		return err
	}
	files, err := r.keyFiles()
	if err != nil {
		return err
	}
	release, err := hold(r.dir)
	if err != nil {
		return err
	}
	if release != nil { // a running reserve sums its files when it stops
		defer func() { err = errors.Join(err, release()) }()
	}
	done := encryptedFiles{Encrypted: []string{}, Before: []string{}}
	for _, path := range files {
		name, changed, err := r.encrypt(path, passphrase)
		if err != nil {
			return errors.Join(err, fmt.Errorf("%s were encrypted before this; try again when it is mended", several(len(done.Encrypted), "file")))
		}
		if changed {
			done.Encrypted = append(done.Encrypted, name)
		} else {
			done.Before = append(done.Before, name)
		}
	}
	if g.JSON {
		return writeJSON(std.Out, done)
	}
	for _, name := range done.Encrypted {
		fmt.Fprintf(std.Out, "Encrypted %s\n", name)
	}
	_, err = fmt.Fprintf(std.Out, "%s encrypted, %d were already. Set %s wherever they are read.\n", several(len(done.Encrypted), "file"), len(done.Before), passphraseVariable)
	return err
}

// encrypt encrypts one key file, and sums it anew where its sum is kept.
func (r reserve) encrypt(path, passphrase string) (name string, changed bool, err error) {
	if name, err = filepath.Rel(r.dir, path); err != nil {
		return name, false, err
	}
	name = filepath.ToSlash(name)
	change := func() (err error) {
		changed, err = seal.EncryptKeyFile(path, passphrase)
		return err
	}
	if !archive.Rests(name) || strings.HasPrefix(name, "robots/") {
		err = change()
		return name, changed, err
	}
	err = archive.ChangeAtRest(r.dir, name, change)
	return name, changed, err
}

// openKeyFiles lists the key files that lie unencrypted, by their names in the directory.
func (r reserve) openKeyFiles() (open []string, err error) {
	files, err := r.keyFiles()
	for _, path := range files {
		encrypted, err := seal.Encrypted(path)
		if err != nil || encrypted {
			continue // what cannot be read is another finding
		}
		name, err := filepath.Rel(r.dir, path)
		if err != nil {
			return open, err
		}
		open = append(open, name)
	}
	return open, err
}

// openKeysWarning warns of key files that lie open although a passphrase is set: it encrypts
// new files alone. "" when there is nothing to say.
func openKeysWarning(dir, passphrase string) string {
	if passphrase == "" {
		return ""
	}
	open, err := reserve{dir: dir}.openKeyFiles()
	if err != nil || len(open) == 0 {
		return ""
	}
	return fmt.Sprintf("%s is set, and %s in %s lie unencrypted (%s): a passphrase encrypts new files alone; `robotorq keys encrypt` encrypts these",
		passphraseVariable, several(len(open), "key file"), dir, strings.Join(open, ", "))
}

// checkPassphrase looks whether the keys are encrypted where they are meant to be.
func (r reserve) checkPassphrase(passphrase string) finding {
	open, err := r.openKeyFiles()
	switch {
	case err != nil:
		return fail("encryption", "", "%v", err)
	case len(open) == 0:
		return fine("encryption", "every key file is encrypted")
	case passphrase != "":
		return warn("encryption", "robotorq keys encrypt --data "+r.dir, "%s", openKeysWarning(r.dir, passphrase))
	}
	return fine("encryption", "%s unencrypted; whoever reads this disk has the keys (`robotorq keys encrypt`)", several(len(open), "key file"))
}
