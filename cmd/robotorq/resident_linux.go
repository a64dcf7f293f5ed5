package main

import (
	"bytes"
	"fmt"
	"os"
	"syscall"
)

// giveBackProgram lets go of the pages of the program's own file that are mapped:
// most of them were needed to start and for commands that do not run here. What
// is needed is mapped again from the page cache. Only read-only mappings of the
// file are touched, of which the kernel has the content; it makes an agent fit
// beside others on a small computer.
func giveBackProgram() error {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return err
	}
	for line := range bytes.Lines(maps) {
		var from, to uintptr
		var access string
		if n, _ := fmt.Sscanf(string(line), "%x-%x %s", &from, &to, &access); n != 3 || access != "r-xp" && access != "r--p" ||
			!bytes.HasSuffix(bytes.TrimSpace(line), []byte(program)) {
			continue
		}
		if _, _, fault := syscall.Syscall(syscall.SYS_MADVISE, from, to-from, syscall.MADV_DONTNEED); fault != 0 {
			return fault
		}
	}
	return nil
}
