package main

import (
	"fmt"
	"io"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal opens a terminal of its own; keys are typed into the first end.
func terminal(t *testing.T) (keys, tty *os.File) {
	t.Helper()
	keys, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("there are no terminals here: %v", err)
	}
	t.Cleanup(func() { keys.Close() })
	must(t, unix.IoctlSetPointerInt(int(keys.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(keys.Fd()), unix.TIOCGPTN)
	must(t, err)
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	must(t, err)
	t.Cleanup(func() { tty.Close() })
	return keys, tty
}

func echoes(t *testing.T, tty *os.File) bool {
	t.Helper()
	settings, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	must(t, err)
	return settings.Lflag&unix.ECHO != 0
}

// silent waits until what is typed is not shown.
func silent(t *testing.T, tty *os.File) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); echoes(t, tty); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("what is typed is shown")
		}
	}
}

func TestAnInterruptedPassphraseLeavesTheTerminalAsItWas(t *testing.T) {
	keys, tty := terminal(t)
	go io.Copy(io.Discard, keys)
	asked := make(chan error, 1)
	go func() {
		_, err := ask(streams{In: tty, Out: io.Discard, Err: io.Discard}, "Passphrase: ")
		asked <- err
	}()
	silent(t, tty)
	must(t, syscall.Kill(os.Getpid(), syscall.SIGINT)) // what Ctrl-C does
	if err := <-asked; err == nil {
		t.Error("it was answered")
	}
	if !echoes(t, tty) {
		t.Error("the terminal does not show what is typed any more")
	}
}

func TestAPassphraseIsReadFromTheTerminalUnseen(t *testing.T) {
	keys, tty := terminal(t)
	go io.Copy(io.Discard, keys)
	type answer struct {
		text string
		err  error
	}
	asked := make(chan answer, 1)
	go func() {
		text, err := ask(streams{In: tty, Out: io.Discard, Err: io.Discard}, "Passphrase: ")
		asked <- answer{text, err}
	}()
	silent(t, tty)
	_, err := keys.WriteString("correct horse\n")
	must(t, err)
	if a := <-asked; a.err != nil || a.text != "correct horse" {
		t.Errorf("%q, %v", a.text, a.err)
	}
	if !echoes(t, tty) {
		t.Error("the terminal does not show what is typed any more")
	}
}
