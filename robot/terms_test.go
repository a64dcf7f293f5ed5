package robot_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"robotorq.org/reserve/robot"
)

func TestWhatTheReserveSaidIsKeptForAStartWithoutIt(t *testing.T) {
	dir := t.TempDir()
	if _, known, err := robot.ReadTerms(dir, "arm-1"); known || err != nil {
		t.Fatalf("terms of nobody: %v, %v", known, err)
	}
	told := robot.Terms{Robot: "arm-1", Origin: "demo", Digger: "digger-1", Watts: 350, Tokens: 60, Energy: robot.Metered, Contract: "demo#3", NotBefore: 5, NotAfter: 9, Told: 7}
	for range 2 { // the second time over the first
		if err := told.Write(dir); err != nil {
			t.Fatal(err)
		}
	}
	kept, known, err := robot.ReadTerms(dir, "arm-1")
	if err != nil || !known || kept != told || kept.Assignment() != (robot.Assignment{Contract: "demo#3", NotBeforeMS: 5, NotAfterMS: 9}) {
		t.Fatalf("%+v, %v, %v", kept, known, err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("%v, %v", files, err)
	}
	if _, _, err := robot.ReadTerms(dir, "arm-2"); err == nil || !strings.Contains(err.Error(), "arm-1") {
		t.Errorf("the terms of another robot: %v", err)
	}
	for _, text := range []string{"{", `{"robot":"arm-1","watts":0,"tokens_per_second":1,"energy":"metered"}`} {
		if err := os.WriteFile(filepath.Join(dir, robot.TermsFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := robot.ReadTerms(dir, "arm-1"); err == nil {
			t.Errorf("%s was believed", text)
		}
	}
	other := told
	other.Contract, other.Told = "demo#4", 8
	if !told.SameEnrolment(other) {
		t.Error("another contract is another enrolment")
	}
	other.Watts++
	if told.SameEnrolment(other) {
		t.Error("another rating is the same enrolment")
	}
}

func TestAStatusTellsWhyAnAgentEnded(t *testing.T) {
	dir := t.TempDir()
	s := robot.StatusOf("arm-1", robot.Stats{Seq: 9, Mark: 7, State: robot.Printing, Meter: errors.New("the plug is mute")})
	s.End(time.UnixMilli(44), fmt.Errorf("run: %w", &robot.Error{Code: robot.CodeRefused, Detail: "no", Hint: "do this"}))
	if err := s.Write(dir); err != nil {
		t.Fatal(err)
	}
	read, known, err := robot.ReadStatus(dir)
	if err != nil || !known || read != s || read.Waiting != 2 || read.Machine != "printing" || read.Code != "robot_refused" || !strings.Contains(read.Failure, "do this") ||
		read.Ended != 44 || read.Meter != "the plug is mute" {
		t.Fatalf("%+v, %v, %v", read, known, err)
	}
}

func TestASpoolIsSeenFromOutsideWhileAnAgentWorksWithIt(t *testing.T) {
	spool, digests := spooled(t, 5)
	if _, err := spool.Acknowledge(t.Context(), 2, digests[2]); err != nil {
		t.Fatal(err)
	}
	path := spool.Path()
	if used, err := robot.SpoolInUse(path); err != nil || !used {
		t.Fatalf("in use: %v, %v", used, err)
	}
	head, err := robot.PeekSpool(t.Context(), path)
	if err != nil || head.Seq != 5 || head.Mark != 2 || head.Digest != digests[5] {
		t.Fatalf("%+v, %v", head, err)
	}
	path = filepath.Join(t.TempDir(), robot.SpoolFile)
	done, err := robot.OpenSpool(t.Context(), path, "r")
	if err != nil {
		t.Fatal(err)
	}
	if err := done.Close(); err != nil {
		t.Fatal(err)
	}
	if used, err := robot.SpoolInUse(path); err != nil || used {
		t.Fatalf("after its end in use: %v, %v", used, err)
	}
	if used, err := robot.SpoolInUse(filepath.Join(t.TempDir(), "none")); err != nil || used {
		t.Fatalf("one that never was: %v, %v", used, err)
	}
}
