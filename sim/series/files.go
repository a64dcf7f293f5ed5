package series

import (
	"bufio"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"robotorq.org/reserve/sim/model"
)

// WriteCSV writes one line a row, with a heading.
func WriteCSV(to io.Writer, rows []Row) error {
	out := csv.NewWriter(to)
	columns := Columns()
	line := make([]string, len(columns))
	for i, c := range columns {
		line[i] = c.Name
	}
	if err := out.Write(line); err != nil {
		return err
	}
	for r := range rows {
		for i, c := range columns {
			line[i] = c.Text(&rows[r])
		}
		if err := out.Write(line); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// Text is the column's value in a row as the files have it: whole numbers exactly.
func (c Column) Text(r *Row) string {
	if c.Whole {
		return strconv.FormatInt(c.exact(r), 10)
	}
	return strconv.FormatFloat(c.of(r), 'g', -1, 64)
}

// WriteJSONL writes the same rows as one JSON document a line, with the columns' names as
// keys and their values as in the CSV.
func WriteJSONL(to io.Writer, rows []Row) error {
	out := bufio.NewWriter(to)
	columns := Columns()
	for r := range rows {
		between := "{"
		for _, c := range columns {
			fmt.Fprintf(out, "%s%q:%s", between, c.Name, c.Text(&rows[r]))
			between = ","
		}
		fmt.Fprintln(out, "}")
	}
	return out.Flush() // which remembers the first error
}

// WriteParquet writes the same rows as Parquet.
func WriteParquet(to io.Writer, rows []Row) error {
	var table Table
	for _, c := range Columns() {
		if c.Whole {
			list := make([]int64, len(rows))
			for r := range rows {
				list[r] = c.exact(&rows[r])
			}
			table.Ints(c.Name, list)
			continue
		}
		list := make([]float64, len(rows))
		for r := range rows {
			list[r] = c.of(&rows[r])
		}
		table.Floats(c.Name, list)
	}
	return table.Write(to)
}

// Table is a Parquet file in memory: columns of equal length.
type Table struct {
	fields []arrow.Field
	arrays []arrow.Array
}

// Ints adds a column of whole numbers.
func (t *Table) Ints(name string, list []int64) {
	b := array.NewInt64Builder(memory.DefaultAllocator)
	b.AppendValues(list, nil)
	t.add(name, arrow.PrimitiveTypes.Int64, b.NewArray())
}

// Floats adds a column of decimals.
func (t *Table) Floats(name string, list []float64) {
	b := array.NewFloat64Builder(memory.DefaultAllocator)
	b.AppendValues(list, nil)
	t.add(name, arrow.PrimitiveTypes.Float64, b.NewArray())
}

// Texts adds a column of texts.
func (t *Table) Texts(name string, list []string) {
	b := array.NewStringBuilder(memory.DefaultAllocator)
	b.AppendValues(list, nil)
	t.add(name, arrow.BinaryTypes.String, b.NewArray())
}

func (t *Table) add(name string, kind arrow.DataType, a arrow.Array) {
	t.fields = append(t.fields, arrow.Field{Name: name, Type: kind})
	t.arrays = append(t.arrays, a)
}

// open keeps Parquet from closing what it was not given to close.
type open struct{ io.Writer }

// Write writes the table.
func (t *Table) Write(to io.Writer) error {
	schema := arrow.NewSchema(t.fields, nil)
	rows := 0
	if len(t.arrays) > 0 {
		rows = t.arrays[0].Len()
	}
	batch := array.NewRecordBatch(schema, t.arrays, int64(rows))
	defer batch.Release()
	w, err := pqarrow.NewFileWriter(schema, open{to}, parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Zstd)), pqarrow.DefaultWriterProps())
	if err != nil {
		return err
	}
	if err := w.Write(batch); err != nil {
		return err
	}
	return w.Close()
}

// WriteAgents writes one row a robot, as it is now.
func WriteAgents(to io.Writer, w *model.World) error {
	n := w.Robots()
	ids, states := make([]string, n), make([]string, n)
	watts, experience := make([]int64, n), make([]int64, n)
	tokens, remaining, progress := make([]float64, n), make([]float64, n), make([]float64, n)
	for i := range n {
		s := w.RobotState(i)
		ids[i], states[i] = model.RefOf(model.Robot, i).String(), s.State.String()
		watts[i], experience[i] = s.Watts, s.Experience
		tokens[i], remaining[i], progress[i] = s.Row.TokenTorq, s.Row.TrainingRemaining, s.Progress
	}
	var t Table
	t.Texts("robot", ids)
	t.Texts("state", states)
	t.Ints("watts", watts)
	t.Ints("experience", experience)
	t.Floats("token_torq", tokens)
	t.Floats("training_remaining", remaining)
	t.Floats("progress", progress)
	return t.Write(to)
}

// EventLog writes the structured log to a file: binary, JSON lines or, gathered until
// the end, Parquet.
type EventLog struct {
	Format string // bin, jsonl, parquet
	out    *bufio.Writer
	buf    []byte
	all    []model.Event
	to     io.Writer
}

// NewEventLog writes to a file in one of the formats.
func NewEventLog(to io.Writer, format string) *EventLog {
	return &EventLog{Format: format, to: to, out: bufio.NewWriterSize(to, 1<<18)}
}

// Write adds events.
func (l *EventLog) Write(events []model.Event) error {
	if l.Format == "parquet" {
		l.all = append(l.all, events...)
		return nil
	}
	for i := range events {
		e := &events[i]
		l.buf = l.buf[:0]
		if l.Format == "bin" {
			l.buf = e.Append(l.buf)
		} else {
			l.buf = fmt.Appendf(l.buf, `{"tick":%d,"step":%d,"flow":%d,"code":%q,"kind":%q,"other":%q,"reason":%q,"source":%q,"target":%q,"a":%d,"b":%d}`+"\n",
				e.Tick, e.Step, e.Flow, e.Code, e.Kind, e.OtherText(), e.Reason, e.Src, e.Dst, e.A, e.B)
		}
		if _, err := l.out.Write(l.buf); err != nil {
			return err
		}
	}
	return nil
}

// Close writes what is left.
func (l *EventLog) Close() error {
	if l.Format != "parquet" {
		return l.out.Flush()
	}
	n := len(l.all)
	whole := map[string][]int64{}
	texts := map[string][]string{}
	for _, name := range []string{"tick", "step", "flow", "a", "b"} {
		whole[name] = make([]int64, n)
	}
	for _, name := range []string{"code", "kind", "other", "reason", "source", "target"} {
		texts[name] = make([]string, n)
	}
	for i := range l.all {
		e := &l.all[i]
		whole["tick"][i], whole["step"][i], whole["flow"][i], whole["a"][i], whole["b"][i] = int64(e.Tick), int64(e.Step), int64(e.Flow), e.A, e.B
		texts["code"][i], texts["kind"][i], texts["other"][i] = e.Code.String(), e.Kind.String(), e.OtherText()
		texts["reason"][i], texts["source"][i], texts["target"][i] = e.Reason.String(), e.Src.String(), e.Dst.String()
	}
	var t Table
	for _, name := range []string{"tick", "step", "flow"} {
		t.Ints(name, whole[name])
	}
	for _, name := range []string{"code", "kind", "other", "reason", "source", "target"} {
		t.Texts(name, texts[name])
	}
	t.Ints("a", whole["a"])
	t.Ints("b", whole["b"])
	return t.Write(l.to)
}
