package archive

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"os"
	"slices"

	"github.com/klauspost/compress/zstd"

	"robotorq.org/reserve/merkle"
)

// A pack after its first line:
//
//	block…   compressed length, raw length, check sum of both and of what
//	         follows (3 × uint32), one zstd frame
//	table    offset of each block (uint64)
//	fanout   256 × uint32: records whose digest begins with at most this byte
//	index    per record 8 bytes of digest, block, offset in the raw block
//	         (uint64, 2 × uint32), sorted
//	trailer  offset of table (uint64), blocks, records, check sum of table,
//	         fanout and index, check sum of the trailer (4 × uint32), "RTQPACK\n"
//
// All integers are big-endian.
const (
	blockHeader  = 12
	fanoutSize   = 256 * 4
	indexEntry   = 16
	trailerSize  = 32
	trailerMagic = "RTQPACK\n"
	maxRawBlock  = MaxRecord + 64
)

type indexed struct {
	prefix        uint64
	block, offset uint32
}

func compareIndexed(a, b indexed) int {
	return cmp.Or(cmp.Compare(a.prefix, b.prefix), cmp.Compare(a.block, b.block), cmp.Compare(a.offset, b.offset))
}

// packWriter writes one pack as a stream.
type packWriter struct {
	out    io.Writer
	pos    int64
	sum    interface{ Sum([]byte) []byte }
	enc    *zstd.Encoder
	target int
	raw    []byte
	comp   []byte
	table  []uint64
	index  []indexed
}

// newEncoder returns an encoder for single blocks that needs little memory.
func newEncoder() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil,
		zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderLevel(zstd.SpeedBetterCompression),
		zstd.WithWindowSize(256<<10),
		zstd.WithLowerEncoderMem(true),
		zstd.WithEncoderCRC(false),
		zstd.WithSingleSegment(true))
}

func newDecoder(workers int) (*zstd.Decoder, error) {
	return zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(max(workers, 1)),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(maxRawBlock+1024),
		zstd.WithDecodeAllCapLimit(true))
}

func newPackWriter(out io.Writer, h header, blockBytes int) (*packWriter, error) {
	enc, err := newEncoder()
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	w := &packWriter{out: io.MultiWriter(out, sum), sum: sum, enc: enc, target: blockBytes}
	return w, w.write(h.line(packMagic))
}

func (w *packWriter) write(b []byte) error {
	n, err := w.out.Write(b)
	w.pos += int64(n)
	return err
}

func (w *packWriter) add(r Record) error {
	if len(w.raw) > 0 && len(w.raw)+len(r.Data) > w.target {
		if err := w.flushBlock(); err != nil {
			return err
		}
	}
	w.index = append(w.index, indexed{prefix(r.Key), uint32(len(w.table)), uint32(len(w.raw))})
	w.raw = appendPacked(w.raw, r)
	return nil
}

func (w *packWriter) flushBlock() error {
	w.comp = append(w.comp[:0], make([]byte, blockHeader)...)
	w.comp = w.enc.EncodeAll(w.raw, w.comp)
	binary.BigEndian.PutUint32(w.comp, uint32(len(w.comp)-blockHeader))
	binary.BigEndian.PutUint32(w.comp[4:], uint32(len(w.raw)))
	binary.BigEndian.PutUint32(w.comp[8:], blockSum(w.comp))
	w.table = append(w.table, uint64(w.pos))
	w.raw = w.raw[:0]
	return w.write(w.comp)
}

// blockSum is the check sum of a block: its two lengths and its frame.
func blockSum(b []byte) uint32 {
	return crc32.Update(crc(b[:8]), crcTable(), b[blockHeader:])
}

// finish writes table, index and trailer and returns the pack's digest.
func (w *packWriter) finish() (merkle.Hash, error) {
	if len(w.raw) > 0 {
		if err := w.flushBlock(); err != nil {
			return merkle.Hash{}, err
		}
	}
	end := appendIndex(nil, w.table, w.index)
	if err := w.write(appendTrailer(end, uint64(w.pos), len(w.table), len(w.index))); err != nil {
		return merkle.Hash{}, err
	}
	var sum merkle.Hash
	w.sum.Sum(sum[:0])
	return sum, w.enc.Close()
}

// appendIndex appends table, fanout and index; it sorts index.
func appendIndex(buf []byte, table []uint64, index []indexed) []byte {
	slices.SortFunc(index, compareIndexed)
	for _, off := range table {
		buf = binary.BigEndian.AppendUint64(buf, off)
	}
	var fan [256]uint32
	for _, e := range index {
		fan[e.prefix>>56]++
	}
	total := uint32(0)
	for _, n := range fan {
		total += n
		buf = binary.BigEndian.AppendUint32(buf, total)
	}
	for _, e := range index {
		buf = binary.BigEndian.AppendUint64(buf, e.prefix)
		buf = binary.BigEndian.AppendUint32(buf, e.block)
		buf = binary.BigEndian.AppendUint32(buf, e.offset)
	}
	return buf
}

// appendTrailer appends the trailer to end, the bytes from tableOff on.
func appendTrailer(end []byte, tableOff uint64, blocks, records int) []byte {
	sum := crc(end)
	n := len(end)
	end = binary.BigEndian.AppendUint64(end, tableOff)
	end = binary.BigEndian.AppendUint32(end, uint32(blocks))
	end = binary.BigEndian.AppendUint32(end, uint32(records))
	end = binary.BigEndian.AppendUint32(end, sum)
	end = binary.BigEndian.AppendUint32(end, crc(end[n:]))
	return append(end, trailerMagic...)
}

// pack is a sealed pack as a reader knows it. The file is opened for each use
// of it; what is held here does not grow with its content.
type pack struct {
	header
	sum  merkle.Hash
	path string // in the file system
	file string // in messages

	loaded   bool
	size     int64
	first    int64 // offset of the first block
	tableOff int64
	blocks   int
	records  int
}

// load reads first line and trailer. f is the open file.
func (p *pack) load(f *os.File) error {
	if p.loaded {
		return nil
	}
	st, err := f.Stat()
	if err != nil {
		return err
	}
	p.size = st.Size()
	head := make([]byte, min(maxHeader, p.size))
	if _, err := f.ReadAt(head, 0); err != nil {
		return err
	}
	h, n, err := parseHeader(packMagic, head)
	if err != nil {
		return corrupt(p.file, 0, int64(len(head)), "first line cannot be read")
	}
	if h.class != p.class || h.seq != p.seq {
		return corrupt(p.file, 0, int64(n), "first line names %s %d", h.class, h.seq)
	}
	p.prev, p.first = h.prev, int64(n)
	off := p.size - trailerSize
	if off < p.first {
		return corrupt(p.file, 0, p.size, "too short for a pack")
	}
	t := make([]byte, trailerSize)
	if _, err := f.ReadAt(t, off); err != nil {
		return err
	}
	if string(t[24:]) != trailerMagic || crc(t[:20]) != binary.BigEndian.Uint32(t[20:]) {
		return corrupt(p.file, off, trailerSize, "trailer does not agree with its check sum")
	}
	p.tableOff = int64(binary.BigEndian.Uint64(t))
	p.blocks = int(binary.BigEndian.Uint32(t[8:]))
	p.records = int(binary.BigEndian.Uint32(t[12:]))
	if p.tableOff < p.first || p.indexOff()+int64(p.records)*indexEntry != off {
		return corrupt(p.file, off, trailerSize, "trailer does not agree with the size of the file")
	}
	p.loaded = true
	return nil
}

func (p *pack) fanoutOff() int64 { return p.tableOff + int64(p.blocks)*8 }
func (p *pack) indexOff() int64  { return p.fanoutOff() + fanoutSize }

// find returns the slots of the index whose digest begins like key's.
func (p *pack) find(f *os.File, key merkle.Hash) (slots []int, at []indexed, err error) {
	if err := p.load(f); err != nil {
		return nil, nil, err
	}
	want := prefix(key)
	lo, hi, err := p.fanout(f, key[0])
	if err != nil {
		return nil, nil, err
	}
	for lo < hi { // first slot ≥ want
		mid := int(uint(lo+hi) >> 1)
		e, err := p.slot(f, mid)
		if err != nil {
			return nil, nil, err
		}
		if e.prefix < want {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	for ; lo < p.records; lo++ {
		e, err := p.slot(f, lo)
		if err != nil {
			return nil, nil, err
		}
		if e.prefix != want {
			break
		}
		slots, at = append(slots, lo), append(at, e)
	}
	return slots, at, nil
}

// get returns the record with this key and its slot; block returns raw blocks.
func (p *pack) get(f *os.File, key merkle.Hash, block func(i int) ([]byte, error)) (Record, int, error) {
	slots, at, err := p.find(f, key)
	if err != nil {
		return Record{}, 0, err
	}
	for n, e := range at {
		raw, err := block(int(e.block))
		if err != nil {
			return Record{}, 0, err
		}
		r, _, err := parsePacked(raw, int(e.offset))
		if err == nil {
			r.Key, _, err = r.derive()
		}
		if err != nil {
			return Record{}, 0, corrupt(p.file, p.indexOff()+int64(slots[n])*indexEntry, indexEntry, "index names no record: %v", err)
		}
		if r.Key == key {
			return r, slots[n], nil
		}
	}
	return Record{}, 0, &Error{Code: CodeNotFound, Detail: "no record " + key.String() + " in " + p.String()}
}

func (p *pack) fanout(f *os.File, first byte) (lo, hi int, err error) {
	var b [8]byte
	at := p.fanoutOff() + 4*int64(first)
	if first == 0 {
		_, err = f.ReadAt(b[4:], at)
	} else {
		_, err = f.ReadAt(b[:], at-4)
	}
	lo, hi = int(binary.BigEndian.Uint32(b[:])), int(binary.BigEndian.Uint32(b[4:]))
	if err == nil && (lo > hi || hi > p.records) {
		err = corrupt(p.file, p.fanoutOff(), fanoutSize, "fanout out of order")
	}
	return lo, hi, err
}

func (p *pack) slot(f *os.File, i int) (indexed, error) {
	var b [indexEntry]byte
	if _, err := f.ReadAt(b[:], p.indexOff()+int64(i)*indexEntry); err != nil {
		return indexed{}, err
	}
	return parseSlot(b[:]), nil
}

func parseSlot(b []byte) indexed {
	return indexed{binary.BigEndian.Uint64(b), binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[12:])}
}

// block reads and decompresses block i.
func (p *pack) block(f *os.File, dec *zstd.Decoder, i int) ([]byte, error) {
	if i >= p.blocks {
		return nil, corrupt(p.file, p.indexOff(), int64(p.records)*indexEntry, "index names block %d of %d", i, p.blocks)
	}
	var b [8]byte
	if _, err := f.ReadAt(b[:], p.tableOff+int64(i)*8); err != nil {
		return nil, err
	}
	off := int64(binary.BigEndian.Uint64(b[:]))
	if off < p.first || off+blockHeader > p.tableOff {
		return nil, corrupt(p.file, p.tableOff+int64(i)*8, 8, "block %d lies outside of the blocks", i)
	}
	raw, _, err := p.blockAt(f, dec, off)
	return raw, err
}

// blockAt reads the block at off and returns the offset after it.
func (p *pack) blockAt(f *os.File, dec *zstd.Decoder, off int64) ([]byte, int64, error) {
	h := make([]byte, blockHeader)
	if off+blockHeader > p.tableOff {
		return nil, 0, corrupt(p.file, off, p.tableOff-off, "block is cut off")
	}
	if _, err := f.ReadAt(h, off); err != nil {
		return nil, 0, err
	}
	comp, raw := int64(binary.BigEndian.Uint32(h)), int(binary.BigEndian.Uint32(h[4:]))
	if off+blockHeader+comp > p.tableOff || raw > maxRawBlock || raw == 0 {
		return nil, 0, corrupt(p.file, off, blockHeader, "block has impossible lengths")
	}
	b := make([]byte, blockHeader+comp)
	if _, err := f.ReadAt(b, off); err != nil {
		return nil, 0, err
	}
	if blockSum(b) != binary.BigEndian.Uint32(b[8:]) {
		return nil, 0, corrupt(p.file, off, int64(len(b)), "block does not agree with its check sum")
	}
	out, err := dec.DecodeAll(b[blockHeader:], make([]byte, 0, raw))
	if err != nil || len(out) != raw {
		return nil, 0, corrupt(p.file, off, int64(len(b)), "block does not decompress to %d bytes", raw)
	}
	return out, off + int64(len(b)), nil
}

// all yields the records of the pack in the order in which they were written,
// with their place; the key of derivable records is derived.
func (p *pack) all(f *os.File, dec *zstd.Decoder) iter.Seq2[placed, error] {
	return p.from(f, dec, 0, 0, 0)
}

// from is all from a record on: its block's number and offset in the file (0:
// the first block), and its own offset in the raw block.
func (p *pack) from(f *os.File, dec *zstd.Decoder, block uint32, off int64, start int) iter.Seq2[placed, error] {
	return func(yield func(placed, error) bool) {
		if err := p.load(f); err != nil {
			yield(placed{}, err)
			return
		}
		off := max(off, p.first)
		for n := block; off < p.tableOff; n++ {
			raw, next, err := p.blockAt(f, dec, off)
			if err != nil {
				yield(placed{}, err)
				return
			}
			pos := start
			for start = 0; pos < len(raw); {
				r, end, err := parsePacked(raw, pos)
				if err == nil {
					r.Key, _, err = r.derive()
				}
				if err != nil {
					yield(placed{}, corrupt(p.file, off, next-off, "block %d, raw byte %d: %v", n, pos, err))
					return
				}
				at := placed{Record: r, indexed: indexed{prefix(r.Key), n, uint32(pos)}, pack: p, off: off, len: next - off}
				if !yield(at, nil) {
					return
				}
				pos = end
			}
			off = next
		}
	}
}

// placed is a record with its place: block and offset in a pack, byte range in
// the file (of its block or of its frame).
type placed struct {
	Record
	indexed
	pack     *pack // nil: a journal
	off, len int64
	batch    bool // for note alone
}

// checkIndex compares the end of the file with what table and index must be.
func (p *pack) checkIndex(f *os.File, table []uint64, index []indexed) error {
	want := appendTrailer(appendIndex(nil, table, index), uint64(p.tableOff), len(table), len(index))
	got := make([]byte, p.size-p.tableOff)
	if _, err := f.ReadAt(got, p.tableOff); err != nil {
		return err
	}
	if bytes.Equal(got, want) {
		return nil
	}
	at := 0
	for at < len(got) && at < len(want) && got[at] == want[at] {
		at++
	}
	return corrupt(p.file, p.tableOff+int64(at), 1, "table or index is not that of the records (%d bytes, %d expected)", len(got), len(want))
}

func (p *pack) String() string { return fmt.Sprintf("%s %d", p.class, p.seq) }
