package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"robotorq.org/reserve/backup"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/vault"
)

type doctorCmd struct {
	Data    string `placeholder:"DIR" help:"Data directory (default: ${data})."`
	Listen  string `placeholder:"HOST:PORT" default:"127.0.0.1:8080" help:"Where the page is to listen."`
	Ready   string `placeholder:"URL" help:"Only ask the reserve there whether it is ready; exit 1 when it is not."`
	Profile string `hidden:""`
}

// Help is the long help with an example.
func (doctorCmd) Help() string {
	return `Looks at disk, memory, clock, key files, databases, indices and the page's port, and
says how to mend what is wrong. It changes nothing. Exits 1 when something has to be
mended before the reserve can be relied on.

Examples:
  robotorq doctor --data /var/lib/robotorq
  robotorq doctor --ready http://127.0.0.1:8080
  robotorq doctor --json`
}

// finding is what one look found. Level is ok, warn or fail.
type finding struct {
	Check string `json:"check"`
	Level string `json:"level"`
	Says  string `json:"says"`
	Mend  string `json:"mend,omitempty"`
}

func fine(check, format string, args ...any) finding {
	return finding{check, "ok", fmt.Sprintf(format, args...), ""}
}

func warn(check, mend, format string, args ...any) finding {
	return finding{check, "warn", fmt.Sprintf(format, args...), mend}
}

func fail(check, mend, format string, args ...any) finding {
	return finding{check, "fail", fmt.Sprintf(format, args...), mend}
}

func (c *doctorCmd) Run(ctx context.Context, std streams, g *global) error {
	found := c.look(ctx)
	failed := 0
	for _, f := range found {
		if f.Level == "fail" {
			failed++
		}
	}
	if g.JSON {
		if err := writeJSON(std.Out, map[string]any{"ok": failed == 0, "findings": found}); err != nil {
			return err
		}
	} else if err := printFindings(std, found); err != nil {
		return err
	}
	if failed > 0 {
		return answered{fmt.Errorf("%s to mend", several(failed, "thing"))}
	}
	return nil
}

// look makes the checks that were asked for.
func (c *doctorCmd) look(ctx context.Context) []finding {
	if c.Ready != "" {
		return []finding{checkReady(ctx, c.Ready)}
	}
	dir := dataDir(c.Data)
	found := []finding{checkDisk(dir), checkMemory(), checkFiles(), checkHashing(), checkPort(ctx, c.Listen)}
	r, err := openReserve(dir, c.Profile)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err != nil && absent(dir):
		return append(found, fine("data directory", "%s is not there yet; `robotorq up` makes it", dir))
	case err != nil:
		return append(found, fail("data directory", "name the right one with --data", "%v", err))
	}
	return append(found, r.examine(ctx)...)
}

// checkReady asks a running reserve.
func checkReady(ctx context.Context, url string) finding {
	ctx, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(url, "/")+"/readyz", nil)
	if err != nil {
		return fail("reserve", "write http://HOST:PORT", "%v", err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return fail("reserve", "start it, or name the right address", "%v", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 4<<10))
	if err != nil || answer.StatusCode != http.StatusOK {
		return fail("reserve", "look at "+strings.TrimRight(url, "/")+"/operator, which says what to do, and at its log", "it is not ready: %s", strings.TrimSpace(string(text)))
	}
	return fine("reserve", "it is ready at %s; %s/operator shows its operator the rest", url, strings.TrimRight(url, "/"))
}

func printFindings(std streams, found []finding) error {
	t := table(std.Out)
	for _, f := range found {
		fmt.Fprintf(t, "%s\t%s\t%s\n", f.Level, f.Check, f.Says)
		if f.Mend != "" {
			fmt.Fprintf(t, "\t\t→ %s\n", f.Mend)
		}
	}
	return t.Flush()
}

func absent(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// checkDisk looks at the free space where the data are or will be.
func checkDisk(dir string) finding {
	for absent(dir) && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
	}
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return warn("disk", "check that the disk is mounted", "%s: %v", dir, err)
	}
	free := s.Bavail * uint64(s.Bsize)
	const mend = "make room: a reserve that cannot write stops"
	switch {
	case free < 200<<20:
		return fail("disk", mend, "%s free at %s", bytesOf(free), dir)
	case free < 2<<30:
		return warn("disk", mend, "%s free at %s", bytesOf(free), dir)
	}
	return fine("disk", "%s free at %s", bytesOf(free), dir)
}

// checkMemory reads what Linux says is available.
func checkMemory() finding {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return fine("memory", "not known on this system")
	}
	for line := range strings.Lines(string(data)) {
		if name, rest, _ := strings.Cut(line, ":"); name == "MemAvailable" {
			kib, err := strconv.ParseUint(strings.Fields(rest)[0], 10, 64)
			if err == nil && kib < 256<<10 {
				return warn("memory", "stop something else: a reserve takes about 150 MiB", "%s available", bytesOf(kib<<10))
			}
			return fine("memory", "%s available", bytesOf(kib<<10))
		}
	}
	return fine("memory", "not known on this system")
}

func checkFiles() finding {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return warn("open files", "", "%v", err)
	}
	if uint64(limit.Cur) < 512 {
		return warn("open files", "raise it: ulimit -n 1024", "at most %s", counted(uint64(limit.Cur)))
	}
	return fine("open files", "at most %s", counted(uint64(limit.Cur)))
}

// checkHashing looks whether ore is hashed the fast way, which hangs on the Go release.
func checkHashing() finding {
	if !merkle.NewOreHasher().Accelerated() {
		return warn("hashing", "build robotorq with the Go release that go.mod names", "by the plain way; verifying and refining take about a third longer")
	}
	return fine("hashing", "by the fast way")
}

// checkPort looks whether the page can listen, or does.
func checkPort(ctx context.Context, address string) finding {
	l, err := net.Listen("tcp", address)
	if err == nil {
		if err := l.Close(); err != nil {
			return warn("port", "", "%v", err)
		}
		return fine("port", "%s is free", address)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, reqErr := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/healthz", nil)
	if reqErr == nil {
		if answer, err := http.DefaultClient.Do(request); err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return fine("port", "a node answers on %s and is healthy; http://%s/operator shows its operator the rest", address, address)
			}
			return fail("port", "look into its log", "a node answers on %s and is not healthy (%s)", address, answer.Status)
		}
	}
	return warn("port", "choose another: robotorq up --port 0", "%v", err)
}

// examine looks into a data directory.
func (r reserve) examine(ctx context.Context) []finding {
	found := []finding{r.checkLock()}
	found = append(found, r.checkModes()...)
	found = append(found, r.checkPassphrase(os.Getenv(passphraseVariable)))
	found = append(found, r.checkRoot())
	databases, err := r.glob("*.db")
	if err != nil {
		return append(found, fail("databases", "", "%v", err))
	}
	for _, path := range databases {
		found = append(found, checkDatabase(ctx, path))
	}
	switch {
	case !absent(r.path(backup.BooksElsewhere)):
		found = append(found, fine("books", "the vault's are in a PostgreSQL database, which robotorq audit --books URL checks"))
	case !absent(r.path("vault.db")):
		found = append(found, r.checkBooks(ctx)...)
	}
	return found
}

func (r reserve) checkLock() finding {
	if r.inUse() {
		return fine("data directory", "%s is the reserve %s and runs", r.dir, r.origin)
	}
	return fine("data directory", "%s is the reserve %s and does not run", r.dir, r.origin)
}

// ownedAlike tells whether a file belongs to the owner of its data directory. A command of
// root's may have made it.
func ownedAlike(dir string, file os.FileInfo) bool {
	home, err := os.Stat(dir)
	if err != nil {
		return true // another finding
	}
	a, known := home.Sys().(*syscall.Stat_t)
	b, too := file.Sys().(*syscall.Stat_t)
	return !known || !too || a.Uid == b.Uid
}

// checkModes looks whether others may read what is private.
func (r reserve) checkModes() []finding {
	var found []finding
	private, err := r.keyFiles()
	if err != nil {
		return []finding{fail("key files", "", "%v", err)}
	}
	secrets, err := r.glob("keys/*.subject")
	if err != nil {
		return []finding{fail("key files", "", "%v", err)}
	}
	private = append(private, secrets...)
	for _, path := range private {
		info, err := os.Stat(path)
		switch {
		case err != nil:
			found = append(found, fail("key files", "", "%v", err))
		case !ownedAlike(r.dir, info):
			found = append(found, fail("key files", "chown --reference="+r.dir+" "+path+", and run commands on this directory as its own user", "%s belongs to another user than %s: the reserve's cannot read it", path, r.dir))
		case info.Mode().Perm()&0o077 != 0:
			found = append(found, fail("key files", "chmod 600 "+path, "%s may be read or written by others (mode %04o)", path, info.Mode().Perm()))
		}
	}
	if info, err := os.Stat(r.dir); err == nil && info.Mode().Perm()&0o077 != 0 && r.origin != "" {
		found = append(found, warn("data directory", "chmod 700 "+r.dir, "others may look into %s (mode %04o)", r.dir, info.Mode().Perm()))
	}
	if len(found) == 0 {
		found = append(found, fine("key files", "%s, readable by nobody else", several(len(private), "file")))
	}
	return found
}

// checkRoot reminds of the root key, which belongs elsewhere.
func (r reserve) checkRoot() finding {
	if path := r.path("root", "root.json"); !absent(path) {
		return warn("root key", "move it to a medium that lies in a safe; it is only needed to change charter and policy", "%s lies on this machine", path)
	}
	return fine("root key", "is not on this machine")
}

func checkDatabase(ctx context.Context, path string) finding {
	name := filepath.Base(path)
	const mend = "stop the reserve, keep a copy of the file, and restore it from a backup; `robotorq audit` and `robotorq verify` say what still holds"
	db, err := store.OpenReadOnly(ctx, path)
	if err == nil {
		err = errors.Join(db.Check(ctx), db.Close())
	}
	if err != nil {
		return fail(name, mend, "%v", err)
	}
	return fine(name, "every page, index and key is in order")
}

// checkBooks looks at the clock and at the indices of the ledger.
func (r reserve) checkBooks(ctx context.Context) []finding {
	db, err := store.OpenReadOnly(ctx, r.path("vault.db"), vault.Schemas()...)
	if err != nil {
		return []finding{fail("books", "start the reserve once with this version of robotorq, or use the version that wrote them", "%v", err)}
	}
	book := ledger.New(r.profile, r.origin, nil)
	err = db.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var any bool
		if err := tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM vault_row)").Scan(&any); err != nil || !any {
			return err
		}
		return book.Restore(vault.Rows(ctx, tx))
	})
	if err = errors.Join(err, db.Close()); err != nil {
		return []finding{fail("books", "robotorq audit names what is wrong", "%v", err)}
	}
	state := book.State()
	found := []finding{checkClock(state.Time)}
	const later = "the ledger's index nears its end; a new reserve has to take over within its years"
	if state.D < 1<<32 {
		found = append(found, warn("demurrage index", later, "D is %d, below 2^32; it ends at 2^31", state.D))
	} else {
		found = append(found, fine("demurrage index", "D is %d", state.D))
	}
	if limit := (torq.Uint128{Hi: 1 << (94 - 64)}); state.Y.Cmp(limit) > 0 {
		found = append(found, warn("savings index", later, "Y is %s, above 2^94; it ends at 2^95", state.Y))
	} else {
		found = append(found, fine("savings index", "Y is %s", state.Y))
	}
	return found
}

// checkClock compares the clock with the last posting, which it can only follow.
func checkClock(last uint64) finding {
	now := time.Now()
	const mend = "set the clock, and let chrony or systemd-timesyncd keep it"
	switch ahead := time.UnixMilli(int64(last)).Sub(now); {
	case last > 0 && ahead > time.Hour:
		return fail("clock", mend, "it is %s, the last posting is of %s", localTime(uint64(now.UnixMilli())), localTime(last))
	case last > 0 && ahead > 2*time.Second:
		return warn("clock", mend, "it is %s behind the last posting", ahead.Round(time.Second))
	case now.Year() < 2025:
		return fail("clock", mend, "it says %s", localTime(uint64(now.UnixMilli())))
	}
	return fine("clock", "%s", localTime(uint64(now.UnixMilli())))
}
