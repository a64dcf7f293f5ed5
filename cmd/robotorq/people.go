package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"
)

// What people read: figures with thousands separators, times in their own zone.

// counted prints a number in groups of three digits.
func counted[N int | int64 | uint64](n N) string {
	s := strconv.FormatInt(int64(n), 10)
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// several prints a number and what it counts: "1 robot", "3 robots".
func several[N int | int64 | uint64](n N, what string) string {
	if n == 1 {
		return "1 " + what
	}
	switch {
	case strings.HasSuffix(what, "ch"):
		what += "e"
	case strings.HasSuffix(what, "ry"):
		what = strings.TrimSuffix(what, "y") + "ie"
	}
	return counted(n) + " " + what + "s"
}

// bytesOf prints a size.
func bytesOf(n uint64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	tenths, names := n*10/unit, "KMGTP"
	i := 0
	for tenths >= 10*unit && i < len(names)-1 {
		tenths /= unit
		i++
	}
	return fmt.Sprintf("%s.%d %ciB", counted(tenths/10), tenths%10, names[i])
}

// localTime prints Unix milliseconds in the reader's zone.
func localTime(ms uint64) string {
	return time.UnixMilli(int64(ms)).Local().Format("2006-01-02 15:04:05 MST")
}

// isTerminal tells whether somebody looks at what is written to w.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	nobody, err := os.Stat(os.DevNull) // a service's standard input
	return err != nil || !os.SameFile(info, nobody)
}

// table writes aligned columns; end it with Flush.
func table(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 0, 4, 2, ' ', 0) }

// joined names several things.
func joined(names []string) string { return strings.Join(names, ", ") }

// printable is text of somebody else's without what would command a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return r
		case r < ' ', r == utf8.RuneError, r >= 0x7f && r < 0xa0, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
			return '·'
		}
		return r
	}, text)
}

// oneLine is printable text on one line.
func oneLine(text string) string { return strings.ReplaceAll(printable(text), "\n", "·") }
