package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"robotorq.org/reserve/node"
	"robotorq.org/reserve/robot/deadline"
)

type benchStartCmd struct {
	Members int    `default:"20000" help:"Members that the reserve has, each enrolled with the registrar's signatures."`
	Starts  int    `default:"3" help:"How often the reserve is started."`
	Data    string `placeholder:"DIR" help:"Start the reserve of this directory instead of one made for the purpose."`
	Dir     string `placeholder:"DIR" help:"Where to make the reserve: on the disk to be measured (default: a temporary directory)."`
	Keep    bool   `help:"Leave the reserve that was made where it is, and say where."`
}

// Help is the long help with examples.
func (benchStartCmd) Help() string {
	return `A reserve is founded and its members are enrolled, as a registrar does it: some hundred a
second. Then it is started as a process of its own, and asked until /readyz answers. Processor
and memory are that process's, as the kernel counts them; the peak is that of the start.

Examples:
  robotorq bench start
  robotorq bench start --members 100000 --keep
  robotorq bench start --data ~/.local/share/robotorq --json`
}

// startFigures are what one start took.
type startFigures struct {
	wall, cpu      time.Duration
	peak, resident int64
}

func (c *benchStartCmd) Run(ctx context.Context, std streams, g *global) error {
	if c.Members < 1 || c.Members > 10_000_000 || c.Starts < 1 || c.Starts > 100 {
		return &exitError{exitUsage, errors.New("members from 1 to 10,000,000, starts from 1 to 100")}
	}
	data := c.Data
	if data == "" {
		dir, remove, err := loadFlags{Dir: c.Dir}.work()
		if err != nil {
			return err
		}
		data = filepath.Join(dir, "reserve")
		if c.Keep {
			fmt.Fprintln(std.Err, "the reserve stays in", data)
		} else {
			defer remove()
		}
		if err := node.BenchCrowd(ctx, node.Crowd{Dir: data, Members: c.Members, Log: logger(std.Err, false, false), Progress: progressOf(std.Err)}); err != nil {
			return err
		}
	}
	books, err := booksIn(data)
	if err != nil {
		return err
	}
	var best startFigures
	for i := range c.Starts {
		f, err := startOnce(ctx, data)
		if err != nil {
			return err
		}
		if i == 0 || f.wall < best.wall {
			best = f
		}
	}
	if g.JSON {
		return writeJSON(std.Out, benchResult{
			Name: "start", Machine: machine(), Ratio: startLimit.Seconds() / best.wall.Seconds(),
			Figures: map[string]float64{
				"members": float64(c.Members), "ready_seconds": best.wall.Seconds(), "cpu_seconds": best.cpu.Seconds(),
				"peak_bytes": float64(best.peak), "resident_bytes": float64(best.resident), "books_bytes": float64(books),
			},
			Limit: map[string]float64{"ready_seconds": startLimit.Seconds(), "resident_bytes": startMemory},
		})
	}
	_, err = fmt.Fprintf(std.Out, `start: the least of %d, over %s of books
  ready          after %.2f s, %.2f s of processor
  memory         %s at the peak, %s when it is ready
  limit          %.0f s and %s for 100,000 members on two cores
`, c.Starts, bytesOf(uint64(books)), best.wall.Seconds(), best.cpu.Seconds(), bytesOf(uint64(best.peak)), bytesOf(uint64(best.resident)), startLimit.Seconds(), bytesOf(startMemory))
	return err
}

// What a node with 100,000 members may take until it is ready.
const (
	startLimit  = 10 * time.Second
	startMemory = 300 << 20
)

// startOnce starts the reserve in another process, waits until it is ready, and stops it.
func startOnce(ctx context.Context, data string) (f startFigures, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	program, err := os.Executable()
	if err != nil {
		return f, err
	}
	var said bytes.Buffer
	child := exec.CommandContext(ctx, program, "up", "--data", data, "--listen", "127.0.0.1:0", "--json")
	child.Stderr = &said
	child.Cancel = func() error { return child.Process.Signal(syscall.SIGTERM) }
	child.WaitDelay = time.Minute
	out, err := child.StdoutPipe()
	if err != nil {
		return f, err
	}
	clock := node.Clock{}
	began := clock.Now()
	if err := child.Start(); err != nil {
		return f, err
	}
	err = func() error {
		var running struct {
			URL string `json:"url"`
		}
		if err := json.NewDecoder(bufio.NewReader(out)).Decode(&running); err != nil {
			return fmt.Errorf("it said no address: %w", err)
		}
		go io.Copy(io.Discard, out)
		for !isReady(ctx, running.URL) {
			if !deadline.Pause(ctx, clock, 10*time.Millisecond) {
				return ctx.Err()
			}
		}
		f.wall = clock.Now().Sub(began)
		return f.read(child.Process.Pid)
	}()
	cancel()
	ended := child.Wait()
	if err != nil {
		return f, fmt.Errorf("start of %s: %w\n%s", data, err, said.String())
	}
	var exit *exec.ExitError
	if ended != nil && !errors.Is(ended, context.Canceled) && !errors.As(ended, &exit) {
		return f, ended
	}
	return f, nil
}

func isReady(ctx context.Context, url string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/readyz", nil)
	if err != nil {
		return false
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

// read asks the kernel what a process has used.
func (f *startFigures) read(pid int) error {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(status)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		kib, _ := strconv.ParseInt(fields[1], 10, 64)
		switch fields[0] {
		case "VmHWM:":
			f.peak = kib << 10
		case "VmRSS:":
			f.resident = kib << 10
		}
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return err
	}
	// After the program's name in parentheses: user and system time are the 12th and 13th.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return fmt.Errorf("the kernel's figures of process %d are cut short", pid)
	}
	for _, ticks := range fields[11:13] {
		n, err := strconv.ParseInt(ticks, 10, 64)
		if err != nil {
			return err
		}
		f.cpu += time.Duration(n) * (time.Second / 100) // USER_HZ
	}
	return nil
}
