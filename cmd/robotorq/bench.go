package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/node"
)

type benchCmd struct {
	Pipeline benchPipelineCmd `cmd:"" help:"A backlog of signed reports through digger, refinery, mint, log and vault."`
	Verify   benchVerifyCmd   `cmd:"" help:"Derive whole certificates again from disk."`
	Ledger   benchLedgerCmd   `cmd:"" help:"Durable transfers a second, or what millions of wallets cost."`
	Market   benchMarketCmd   `cmd:"" help:"Signed claims and settlements a second, and a sweep of 2,500 payees."`
	Start    benchStartCmd    `cmd:"" help:"How long a reserve of many members takes until it is ready, and its memory."`
	Sim      benchSimCmd      `cmd:"" help:"The simulator: the micro-model and a whole economy, beside the memory's bandwidth."`
}

// loadFlags describe the robots of a backlog.
type loadFlags struct {
	Watts        uint64 `default:"350" help:"Rating of each robot, W."`
	Tokens       uint64 `default:"10" help:"Bonded tokens a second of each robot."`
	Robots       int    `default:"16" help:"Number of robots."`
	Certificates int    `default:"32" help:"Certificates that the backlog is good for."`
	Dir          string `placeholder:"DIR" help:"Where to work: on the disk to be measured (default: a temporary directory)."`
}

func (f loadFlags) String() string {
	return fmt.Sprintf("%d robots of %s W × %d tokens/s", f.Robots, counted(f.Watts), f.Tokens)
}

func (f loadFlags) load(std streams, dir string) (node.Load, error) {
	if f.Watts == 0 || f.Tokens == 0 || f.Robots < 1 || f.Robots > 10_000 || f.Certificates < 1 || f.Certificates > 100_000 {
		return node.Load{}, &exitError{exitUsage, fmt.Errorf("watts, tokens, robots and certificates must be from 1 to something sensible")}
	}
	return node.Load{
		Dir: dir, Watts: f.Watts, Tokens: f.Tokens, Robots: f.Robots, Certificates: f.Certificates,
		Log: logger(std.Err, false, false), Progress: progressOf(std.Err),
	}, nil
}

// work makes the directory to work in and returns how to remove it.
func (f loadFlags) work() (dir string, remove func(), err error) {
	if f.Dir != "" {
		if err := os.MkdirAll(f.Dir, 0o700); err != nil {
			return "", nil, err
		}
	}
	dir, err = os.MkdirTemp(f.Dir, "robotorq-bench-")
	return dir, func() { os.RemoveAll(dir) }, err
}

// progressOf shows stages on a terminal and stays quiet elsewhere.
func progressOf(w io.Writer) func(string, uint64, uint64) {
	if !isTerminal(w) {
		return nil
	}
	return func(stage string, done, total uint64) {
		fmt.Fprintf(w, "\r\x1b[K%s: %s of %s", stage, counted(done), counted(total))
		if done >= total {
			fmt.Fprintln(w)
		}
	}
}

// benchResult is the answer of every benchmark with --json.
type benchResult struct {
	Name    string             `json:"name"`
	Figures map[string]float64 `json:"figures"`
	Limit   map[string]float64 `json:"limit"`
	Ratio   float64            `json:"ratio"`
	Machine map[string]any     `json:"machine"`
}

func machine() map[string]any {
	m := map[string]any{"cores": runtime.NumCPU(), "os": runtime.GOOS, "arch": runtime.GOARCH, "go": runtime.Version()}
	if data, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(data)) {
			if name, ok := strings.CutPrefix(line, "model name"); ok {
				m["cpu"] = strings.TrimSpace(strings.TrimLeft(name, "\t: "))
				break
			}
		}
	}
	return m
}

type benchPipelineCmd struct {
	loadFlags
	Levels bool `help:"Also measure what the retention levels keep: packs are sealed with each certificate, then pruned."`
}

// Help is the long help with examples.
func (benchPipelineCmd) Help() string {
	return `The reports are signed beforehand (Falcon-512-padded and Ed25519) and wait in
files, as after a day offline; a report is as long as an agent of that rating makes it. Everything from the bus to the minted money is
durable. The limit is three SHA-256 blocks of a long message for each unit of
ore, measured in the same run. The background check of the ingots outside the
mint's random sample, which may take a day, is not part of the figure.

Examples:
  robotorq bench pipeline
  robotorq bench pipeline --watts 2000 --robots 8 --json
  robotorq bench pipeline --watts 5 --tokens 1 --robots 400 --certificates 8 --levels`
}

func (c *benchPipelineCmd) Run(ctx context.Context, std streams, g *global) error {
	dir, remove, err := c.work()
	if err != nil {
		return err
	}
	defer remove()
	f, err := c.pipeline(ctx, std, dir, c.Levels)
	if err != nil {
		return err
	}
	books, err := booksIn(filepath.Join(dir, "reserve"))
	if err != nil {
		return err
	}
	var levels map[archive.Level]int64
	if c.Levels {
		if levels, err = node.BenchLevels(ctx, filepath.Join(dir, "reserve")); err != nil {
			return err
		}
	}
	block := (f.BlockBefore + f.BlockAfter) / 2 / 1024
	r := benchResult{
		Name: "pipeline", Ratio: f.Ratio(), Machine: machine(),
		Figures: map[string]float64{
			"watts": float64(c.Watts), "tokens_per_second": float64(c.Tokens), "robots": float64(c.Robots),
			"certificates": float64(f.Certificates), "ore": float64(f.Ore), "reports": float64(f.Reports),
			"cpu_seconds": f.CPU.Seconds(), "wall_seconds": f.Wall.Seconds(),
			"ore_per_cpu_second": float64(f.Ore) / f.CPU.Seconds(), "ore_per_second": float64(f.Ore) / f.Wall.Seconds(),
			"cpu_seconds_per_certificate": f.CPU.Seconds() / float64(f.Certificates),
			"books_bytes":                 float64(books), "bytes_per_certificate": float64(f.BytesCertificate), "log_bytes_per_certificate": float64(f.LogBytes),
			"resident_bytes": float64(f.Resident),
		},
		Limit: map[string]float64{"sha256_block_ns": float64(block), "cpu_seconds": f.LimitCPU.Seconds()},
	}
	for level, bytes := range levels {
		r.Figures["bytes_per_certificate_"+string(level)] = float64(bytes) / float64(f.Certificates)
	}
	if g.JSON {
		return writeJSON(std.Out, r)
	}
	fmt.Fprintf(std.Out, `pipeline: %s certificates of %s
  ore            %s, of %s reports
  processor      %.2f s, %.3f s a certificate: %s ore a CPU-second
  wall           %.2f s: %s ore a second
  disk           %s a certificate in packs, %s of log; %s of books in all
  memory         %s at the peak
  limit          %.2f CPU-s: three SHA-256 blocks of %d ns for each ore
  ratio          %.3f
`, counted(f.Certificates), c.loadFlags, counted(f.Ore), counted(f.Reports), f.CPU.Seconds(), f.CPU.Seconds()/float64(f.Certificates),
		counted(uint64(float64(f.Ore)/f.CPU.Seconds())), f.Wall.Seconds(), counted(uint64(float64(f.Ore)/f.Wall.Seconds())),
		bytesOf(uint64(f.BytesCertificate)), bytesOf(uint64(f.LogBytes)), bytesOf(uint64(books)), bytesOf(uint64(f.Resident)), f.LimitCPU.Seconds(), block, f.Ratio())
	for _, level := range []archive.Level{archive.LevelIngots, archive.LevelCertificates} {
		if bytes, ok := levels[level]; ok {
			fmt.Fprintf(std.Out, "  %-14s %s a certificate in packs\n", level, bytesOf(uint64(bytes)/f.Certificates))
		}
	}
	return nil
}

// booksIn is the size of the stations' books in a data directory.
func booksIn(dir string) (sum int64, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.db"))
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			return 0, err
		}
		sum += info.Size()
	}
	return sum, err
}

func (c *loadFlags) pipeline(ctx context.Context, std streams, dir string, sealEach bool) (node.PipelineFigures, error) {
	load, err := c.load(std, filepath.Join(dir, "reserve"))
	if err != nil {
		return node.PipelineFigures{}, err
	}
	load.SealEach = sealEach
	return node.BenchPipeline(ctx, load)
}

type benchVerifyCmd struct {
	loadFlags
	Data string `placeholder:"DIR" help:"Verify this data directory instead of one made for the purpose."`
}

// Help is the long help with examples.
func (benchVerifyCmd) Help() string {
	return `Examples:
  robotorq bench verify
  robotorq bench verify --data ~/.local/share/robotorq`
}

func (c *benchVerifyCmd) Run(ctx context.Context, std streams, g *global) error {
	data := c.Data
	if data == "" {
		dir, remove, err := c.work()
		if err != nil {
			return err
		}
		defer remove()
		if _, err := c.pipeline(ctx, std, dir, false); err != nil {
			return err
		}
		data = filepath.Join(dir, "reserve")
	}
	f, err := node.BenchVerify(ctx, data)
	if err != nil {
		return err
	}
	block := f.Block / 1024
	r := benchResult{
		Name: "verify", Ratio: f.Ratio(), Machine: machine(),
		Figures: map[string]float64{
			"certificates": float64(f.Certificates), "ore": float64(f.Ore), "cpu_seconds": f.CPU.Seconds(), "wall_seconds": f.Wall.Seconds(),
			"ore_per_cpu_second": float64(f.Ore) / f.CPU.Seconds(), "resident_bytes": float64(f.Resident),
		},
		Limit: map[string]float64{"sha256_block_ns": float64(block), "cpu_seconds": f.LimitCPU.Seconds()},
	}
	if g.JSON {
		return writeJSON(std.Out, r)
	}
	fmt.Fprintf(std.Out, `verify: %s certificates derived again from disk
  ore            %s
  processor      %.2f s: %s ore a CPU-second
  wall           %.2f s
  memory         %s at the peak of this process
  limit          %.2f CPU-s: three SHA-256 blocks of %d ns for each ore
  ratio          %.3f
`, counted(f.Certificates), counted(f.Ore), f.CPU.Seconds(), counted(uint64(float64(f.Ore)/f.CPU.Seconds())), f.Wall.Seconds(),
		bytesOf(uint64(f.Resident)), f.LimitCPU.Seconds(), block, f.Ratio())
	return nil
}
