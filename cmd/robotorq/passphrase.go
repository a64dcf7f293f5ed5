package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

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
	case os.Getenv(passphraseVariable) != "":
		return nil, fmt.Errorf("the passphrase in %s does not open %s", passphraseVariable, path)
	case !isTerminal(std.In):
		return nil, fmt.Errorf("%s is encrypted, and nobody can be asked for its passphrase here: set %s", path, passphraseVariable)
	}
	text, err := ask(std, "Passphrase of "+path+": ")
	if err != nil {
		return nil, err
	}
	if s, err = seal.ReadKeyFile(path, text); seal.HasCode(err, seal.CodePassphrase) {
		return nil, fmt.Errorf("the passphrase does not open %s", path)
	}
	return s, err
}

// givenPassphrase is the passphrase of a file, else of the environment, "" for none.
func givenPassphrase(file string) (string, error) {
	if file == "" {
		return os.Getenv(passphraseVariable), nil
	}
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("--passphrase-file: %w", err)
	}
	defer f.Close()
	line, err := bufio.NewReader(io.LimitReader(f, 64<<10)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("--passphrase-file: %w", err)
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", fmt.Errorf("--passphrase-file: the first line of %s is empty", file)
	}
	return line, nil
}

// newPassphrase is the passphrase for something new: that of the file or of the
// environment, or one that is asked for twice; "" for none.
func newPassphrase(std streams, wanted bool, file string) (string, error) {
	if text, err := givenPassphrase(file); text != "" || err != nil || !wanted {
		return text, err
	}
	if !isTerminal(std.In) {
		return "", &exitError{exitUsage, fmt.Errorf("a new passphrase is needed, and nobody can be asked for it here: set %s, or give --passphrase-file", passphraseVariable)}
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

// ask reads a line that is not shown while it is typed. When somebody interrupts it the
// terminal is as it was before.
func ask(std streams, prompt string) (string, error) {
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(interrupted)
	before, err := stty(std, "-g")
	hidden := err == nil
	if hidden {
		_, err = stty(std, "-echo")
		hidden = err == nil
	}
	fmt.Fprint(std.Err, prompt)
	type answer struct {
		line string
		err  error
	}
	typed := make(chan answer, 1)
	go func() {
		line, err := readLine(std.In)
		typed <- answer{line, err}
	}()
	var a answer
	select {
	case a = <-typed:
	case <-interrupted:
		a.err = errors.New("interrupted; nothing was done")
	}
	if hidden {
		_, restored := stty(std, before)
		a.err = errors.Join(a.err, restored)
		fmt.Fprintln(std.Err)
	}
	return strings.TrimRight(a.line, "\r\n"), a.err
}

// readLine reads one line and no byte more, so that the next question finds its own.
func readLine(in io.Reader) (string, error) {
	var line []byte
	for b := make([]byte, 1); len(line) < 64<<10; {
		n, err := in.Read(b)
		if n == 1 && b[0] == '\n' {
			return string(line), nil
		}
		line = append(line, b[:n]...)
		if err != nil {
			return string(line), err
		}
	}
	return "", errors.New("the line has no end")
}

// stty asks for the terminal's settings or changes them.
func stty(std streams, mode string) (string, error) {
	c := exec.Command("stty", mode)
	c.Stdin = std.In
	out, err := c.Output()
	return strings.TrimSpace(string(out)), err
}
