package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"robotorq.org/reserve/proof"
)

// AtRestFile lies in a data directory whose reserve has stopped by itself. It says
// of every file that nothing else vouches for what it was then: log and packs are
// checked against themselves and are not in it.
//
//	robotorq-at-rest/1
//	<SHA-256> <size> <block> <CRC-32C of each block> <path>
//	…
//	end <SHA-256 of all lines before>
//
// It finds what a disk or a hand has changed since, to the byte, and the block where;
// it proves nothing to others. A start removes it before anything is written.
const AtRestFile = "at-rest"

// BrokenFile are sums that a start found broken: a line that names what had changed,
// and then those sums. Verify tells of it, and no new sums are written, until whoever
// operates the reserve has looked into it and removes the file.
const BrokenFile = AtRestFile + ".broken"

const (
	atRestHead  = "robotorq-at-rest/1\n"
	atRestBlock = 4096     // least size of a block
	atRestParts = 256      // most blocks of a file
	maxAtRest   = 64 << 20 // bytes that are read of the file

	tmpSuffix = ".tmp"
)

// FileSum says what a file at rest was.
type FileSum struct {
	Path  string // below the data directory, with slashes
	Size  int64
	Sum   [sha256.Size]byte
	block int64
	parts []uint32
}

// blockOf is the size of the blocks in which a file is summed, 2ⁿ · 4 KiB.
func blockOf(size int64) int64 {
	block := int64(atRestBlock)
	for size > block*atRestParts {
		block *= 2
	}
	return block
}

// castagnoli makes the table of CRC-32C, which finds every change within four bytes.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// sumFile reads a file to its end.
func sumFile(r io.Reader, path string, size int64) (FileSum, error) {
	f := FileSum{Path: path, block: blockOf(size)}
	whole, table, block := sha256.New(), castagnoli(), make([]byte, blockOf(size))
	for {
		n, err := io.ReadFull(r, block)
		if n > 0 {
			whole.Write(block[:n])
			f.Size += int64(n)
			f.parts = append(f.parts, crc32.Checksum(block[:n], table))
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			whole.Sum(f.Sum[:0])
			return f, nil
		}
		if err != nil {
			return f, err
		}
	}
}

func (f FileSum) line() string {
	parts := make([]byte, 0, 8*len(f.parts)+1)
	for _, p := range f.parts {
		parts = fmt.Appendf(parts, "%08x", p)
	}
	if len(parts) == 0 {
		parts = append(parts, '-')
	}
	return fmt.Sprintf("%x %d %d %s %s\n", f.Sum, f.Size, f.block, parts, strconv.Quote(f.Path))
}

// Check compares bytes with what the file was. The error is a *proof.Fault that
// names the file and, where it is of the same length, the block that differs.
func (f FileSum) Check(data []byte) error {
	if int64(len(data)) == f.Size {
		for at := int64(0); at < f.Size; at += f.block {
			if err := f.CheckBlock(at, data[at:min(at+f.block, f.Size)]); err != nil {
				return err
			}
		}
	}
	now, err := sumFile(bytes.NewReader(data), f.Path, int64(len(data)))
	if err != nil {
		return err
	}
	return f.differs(now)
}

// Block is the offset and the length of the block of the file in which a byte lies.
func (f FileSum) Block(at int64) (from, length int64) {
	from = at / f.block * f.block
	return from, min(f.block, f.Size-from)
}

// CheckBlock compares the block that begins at from with what it was.
func (f FileSum) CheckBlock(from int64, block []byte) error {
	i := from / f.block
	if i >= int64(len(f.parts)) || crc32.Checksum(block, castagnoli()) == f.parts[i] {
		return nil
	}
	return &proof.Fault{Artefact: f.Path, Rule: "at_rest",
		Detail: fmt.Sprintf("bytes %d to %d have changed since the reserve stopped", from, from+int64(len(block))-1)}
}

// differs compares with the sums of the file as it is now.
func (f FileSum) differs(now FileSum) error {
	if now.Size != f.Size {
		return &proof.Fault{Artefact: f.Path, Rule: "at_rest", Detail: fmt.Sprintf("has %d bytes, it had %d when the reserve stopped", now.Size, f.Size)}
	}
	for i := range f.parts {
		if now.parts[i] != f.parts[i] {
			from := int64(i) * f.block
			return &proof.Fault{Artefact: f.Path, Rule: "at_rest",
				Detail: fmt.Sprintf("bytes %d to %d have changed since the reserve stopped", from, min(from+f.block, f.Size)-1)}
		}
	}
	if now.Sum != f.Sum {
		return &proof.Fault{Artefact: f.Path, Rule: "at_rest", Detail: "has changed since the reserve stopped"}
	}
	return nil
}

// WriteAtRest sums the files of a data directory for which keep is true, and writes
// the sums down. The caller has stopped everything that writes there. While there is
// a [BrokenFile] nothing is written.
func WriteAtRest(dir string, keep func(path string) bool) error {
	if found, err := isBroken(dir); err != nil || found != nil {
		return err
	}
	out := []byte(atRestHead)
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		path := filepath.ToSlash(rel)
		if err != nil || d.IsDir() {
			return err
		}
		if !d.Type().IsRegular() || path == AtRestFile || path == AtRestFile+tmpSuffix || !keep(path) {
			return nil
		}
		f, err := sumPath(name, path)
		out = append(out, f.line()...)
		return err
	})
	if err != nil {
		return err
	}
	return writeSums(dir, out)
}

func writeSums(dir string, lines []byte) error {
	sum := sha256.Sum256(lines)
	return writeDurable(filepath.Join(dir, AtRestFile), fmt.Appendf(lines, "end %x\n", sum))
}

func sumPath(name, path string) (sum FileSum, err error) {
	f, err := os.Open(name)
	if err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return sum, err
	}
	return sumFile(f, path, info.Size())
}

// writeDurable writes a file so that a crash leaves the old one or the new one.
func writeDurable(path string, data []byte) error {
	tmp := path + tmpSuffix
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncName(filepath.Dir(path))
}

func syncName(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// DropAtRest removes the sums, durably: the directory is about to be written.
// Whatever changes files of a directory at rest calls it first.
func DropAtRest(dir string) error {
	err := os.Remove(filepath.Join(dir, AtRestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, syncName(dir))
}

// BreakAtRest puts the sums aside as [BrokenFile] with what was found changed. A crash
// leaves them in either place or in both.
func BreakAtRest(dir string, found error) error {
	sums, err := os.ReadFile(filepath.Join(dir, AtRestFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	line := strconv.Quote(found.Error()) + "\n"
	return errors.Join(writeDurable(filepath.Join(dir, BrokenFile), append([]byte(line), sums...)), DropAtRest(dir))
}

// isBroken is what an earlier start found changed, nil if nothing.
func isBroken(dir string) (*proof.Fault, error) {
	f, err := os.Open(filepath.Join(dir, BrokenFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, 4096))
	line, _, _ := bytes.Cut(head, []byte("\n"))
	return &proof.Fault{Artefact: BrokenFile, Rule: "at_rest",
		Detail: fmt.Sprintf("the reserve was started on files that had changed since it stopped: %s; bring back a good copy, or remove this file once verify and audit have shown what it was", line)}, err
}

// ChangeAtRest lets change write one file of a directory at rest, below which path
// names it, and sums that file anew; the other sums stay. A file that is not what it
// was is a *proof.Fault and nothing is changed. A crash meanwhile leaves no sums. The
// caller holds the directory's lock.
func ChangeAtRest(dir, path string, change func() error) error {
	sums, ok, err := ReadAtRest(dir)
	if err != nil {
		return err
	}
	if !ok {
		return change()
	}
	name, lines := filepath.Join(dir, filepath.FromSlash(path)), []byte(atRestHead)
	for _, f := range sums {
		if f.Path != path {
			lines = append(lines, f.line()...)
			continue
		}
		now, err := sumPath(name, path)
		if err == nil {
			err = f.differs(now)
		}
		if err != nil {
			return err
		}
	}
	if err := DropAtRest(dir); err != nil {
		return err
	}
	changed := change()
	now, err := sumPath(name, path)
	if err != nil {
		return errors.Join(changed, err)
	}
	return errors.Join(changed, writeSums(dir, append(lines, now.line()...)))
}

// RearrangeAtRest lets change add, replace and remove files of a directory at rest and sums
// anew those that were summed and those that are new and rest. A file that is not what it was
// is a *proof.Fault and nothing is changed. A crash meanwhile leaves no sums. The caller holds
// the directory's lock.
func RearrangeAtRest(dir string, change func() error) error {
	sums, ok, err := ReadAtRest(dir)
	if err != nil {
		return err
	}
	if !ok {
		return change()
	}
	before := map[string]bool{}
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			rel, _ := filepath.Rel(dir, name) // below dir
			before[filepath.ToSlash(rel)] = false
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, f := range sums {
		now, err := sumPath(filepath.Join(dir, filepath.FromSlash(f.Path)), f.Path)
		if err == nil {
			err = f.differs(now)
		}
		if err != nil {
			return err
		}
		before[f.Path] = true
	}
	if err := DropAtRest(dir); err != nil {
		return err
	}
	changed := change()
	return errors.Join(changed, WriteAtRest(dir, func(path string) bool {
		summed, old := before[path]
		return summed || !old && Rests(path)
	}))
}

// ReadAtRest reads the sums of a data directory; ok is false when there are none.
// The error is a *proof.Fault when they have been changed.
func ReadAtRest(dir string) (sums []FileSum, ok bool, err error) {
	f, err := os.Open(filepath.Join(dir, AtRestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxAtRest+1))
	if err != nil {
		return nil, false, err
	}
	sums, err = ParseAtRest(data)
	return sums, err == nil, err
}

// ParseAtRest reads what [WriteAtRest] writes and refuses everything that it would
// have written otherwise. The error is a *proof.Fault.
func ParseAtRest(data []byte) ([]FileSum, error) {
	bad := func(format string, args ...any) ([]FileSum, error) {
		return nil, &proof.Fault{Artefact: AtRestFile, Rule: "at_rest", Detail: fmt.Sprintf(format, args...)}
	}
	if len(data) > maxAtRest {
		return bad("is over %d bytes", maxAtRest)
	}
	at := bytes.LastIndex(data, []byte("\nend ")) + 1
	if at == 0 {
		return bad("has no end")
	}
	sum := sha256.Sum256(data[:at])
	if string(data[at:]) != fmt.Sprintf("end %x\n", sum) {
		return bad("does not agree with its own digest")
	}
	body, ok := strings.CutPrefix(string(data[:at]), atRestHead)
	if !ok {
		return bad("begins with another line than %q", atRestHead)
	}
	var sums []FileSum
	for line := range strings.Lines(body) {
		f, err := parseSum(line)
		if err != nil || f.line() != line {
			return bad("line %q cannot be read", strings.TrimSuffix(line, "\n"))
		}
		sums = append(sums, f)
	}
	return sums, nil
}

func parseSum(line string) (f FileSum, err error) {
	fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 5)
	if len(fields) != 5 {
		return f, errors.New("five fields are expected")
	}
	raw, err := hex.DecodeString(fields[0])
	if err != nil || copy(f.Sum[:], raw) != sha256.Size {
		return f, errors.Join(err, errors.New("no digest"))
	}
	var err1, err2, err3 error
	f.Size, err1 = strconv.ParseInt(fields[1], 10, 64)
	f.block, err2 = strconv.ParseInt(fields[2], 10, 64)
	f.Path, err3 = strconv.Unquote(fields[4])
	if err := errors.Join(err1, err2, err3); err != nil {
		return f, err
	}
	if f.Size < 0 || f.Size > 1<<50 || f.block != blockOf(f.Size) || !filepath.IsLocal(filepath.FromSlash(f.Path)) {
		return f, errors.New("out of range")
	}
	if fields[3] == "-" {
		fields[3] = ""
	}
	if int64(len(fields[3])) != 8*((f.Size+f.block-1)/f.block) {
		return f, errors.New("as many blocks as the file has are expected")
	}
	for rest := fields[3]; rest != ""; rest = rest[8:] {
		part, err := strconv.ParseUint(rest[:8], 16, 32)
		if err != nil {
			return f, err
		}
		f.parts = append(f.parts, uint32(part))
	}
	return f, nil
}
