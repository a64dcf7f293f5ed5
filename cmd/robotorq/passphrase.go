package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"

	"robotorq.org/reserve/seal"
)

const passphraseVariable = "ROBOTORQ_PASSPHRASE"

// readKeys reads a key file, asking for the passphrase when it is needed and
// somebody can be asked.
func readKeys(std streams, path string) (*seal.Signer, error) {
	s, err := seal.ReadKeyFile(path, os.Getenv(passphraseVariable))
	switch {
	case err == nil:
		return s, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no key file %s: %w", path, fs.ErrNotExist)
	case !seal.HasCode(err, seal.CodePassphrase):
		return nil, err
	case os.Getenv(passphraseVariable) != "" || !isTerminal(std.In):
		return nil, fmt.Errorf("%w (set %s)", err, passphraseVariable)
	}
	text, err := ask(std, "Passphrase of "+path+": ")
	if err != nil {
		return nil, err
	}
	return seal.ReadKeyFile(path, text)
}

// newPassphrase is the passphrase for a new key file: that of the environment, or
// one that is asked for twice; "" for none.
func newPassphrase(std streams, wanted bool) (string, error) {
	if text := os.Getenv(passphraseVariable); text != "" || !wanted {
		return text, nil
	}
	if !isTerminal(std.In) {
		return "", &exitError{exitUsage, fmt.Errorf("--encrypt asks for a passphrase, and nobody can be asked here: set %s", passphraseVariable)}
	}
	first, err := ask(std, "New passphrase: ")
	if err != nil {
		return "", err
	}
	again, err := ask(std, "Once more: ")
	if err != nil {
		return "", err
	}
	if first != again || first == "" {
		return "", errors.New("the passphrases differ, or are empty; nothing was written")
	}
	return first, nil
}

// ask reads a line that is not shown while it is typed.
func ask(std streams, prompt string) (string, error) {
	fmt.Fprint(std.Err, prompt)
	hidden := echo(std, "-echo") == nil
	line, err := bufio.NewReader(std.In).ReadString('\n')
	if hidden {
		err = errors.Join(err, echo(std, "echo"))
		fmt.Fprintln(std.Err)
	}
	return strings.TrimRight(line, "\r\n"), err
}

// echo switches what the terminal shows.
func echo(std streams, mode string) error {
	c := exec.Command("stty", mode)
	c.Stdin = std.In
	return c.Run()
}
