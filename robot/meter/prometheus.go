package meter

import (
	"bufio"
	"context"
	"io"
	"net/url"
	"strings"
)

// Bounds of a Prometheus page; an inference server's has a few hundred lines.
const (
	maxPage = 8 << 20
	maxLine = 16 << 10
)

// prometheus sums the series of one counter on a metrics page.
type prometheus struct {
	endpoint
	path   string
	metric string
	labels map[string]string
	unit   Unit
}

func openPrometheus(base endpoint, address *url.URL) (Counter, error) {
	values := address.Query()
	metric, labels, ok := splitSeries(values.Get("metric"))
	if !ok {
		return nil, faultf(CodeAddress, "meter %s names no counter; write ?metric=NAME&unit=J (or tokens)", address.Redacted())
	}
	unit, known := unitByName(values.Get("unit"))
	if !known {
		return nil, faultf(CodeAddress, "meter %s: unit %q is not one of mJ, J, Wh, kWh, tokens", address.Redacted(), clip(values.Get("unit")))
	}
	path := address.EscapedPath()
	if path == "" {
		path = "/metrics"
	}
	values.Del("metric")
	values.Del("unit")
	if rest := values.Encode(); rest != "" {
		path += "?" + rest
	}
	return &prometheus{endpoint: base, path: path, metric: metric, labels: labels, unit: unit}, nil
}

// Read asks for the page and sums every series of the counter that has the
// labels asked for.
func (p *prometheus) Read(ctx context.Context) (Value, error) {
	var sum Value
	var found bool
	err := p.get(ctx, p.path, func(body io.Reader) error {
		lines := bufio.NewScanner(io.LimitReader(body, maxPage))
		lines.Buffer(make([]byte, 0, 1024), maxLine)
		for lines.Scan() {
			one, ok, err := p.series(lines.Text())
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			found = true
			sum.Total += one.Total
			sum.Step = max(sum.Step, one.Step)
			if sum.Total >= 1<<maxValueBits {
				return faultf(CodeNumber, "the sum of %s is too large", p.metric)
			}
		}
		if err := lines.Err(); err != nil {
			return &Error{Code: CodeAnswer, Detail: "meter " + p.root + ": its metrics page cannot be read", Err: err}
		}
		return nil
	})
	if err == nil && !found {
		err = faultf(CodeAnswer, "meter %s has no counter %s with these labels", p.root, p.metric)
	}
	return sum, err
}

// series reads one line; ok is false when it is not of the counter.
func (p *prometheus) series(line string) (Value, bool, error) {
	rest, ok := strings.CutPrefix(line, p.metric)
	if !ok || rest == "" || rest[0] != '{' && rest[0] != ' ' && rest[0] != '\t' {
		return Value{}, false, nil
	}
	_, labels, end, ok := scanSeries(line)
	if !ok {
		return Value{}, false, nil
	}
	for name, content := range p.labels {
		if labels[name] != content {
			return Value{}, false, nil
		}
	}
	fields := strings.Fields(line[end:])
	if len(fields) == 0 {
		return Value{}, false, nil
	}
	total, err := value(fields[0], p.unit)
	if err != nil {
		return Value{}, false, err
	}
	total.Step = 1 // the text format drops zeros: its last place says nothing
	return total, true, nil
}

// splitSeries takes `name{label="value"}` apart.
func splitSeries(text string) (string, map[string]string, bool) {
	name, labels, end, ok := scanSeries(text)
	return name, labels, ok && name != "" && strings.TrimSpace(text[end:]) == ""
}

// scanSeries reads a series name with its labels and tells where it ends.
func scanSeries(text string) (name string, labels map[string]string, end int, ok bool) {
	at := strings.IndexAny(text, "{ \t")
	if at < 0 {
		return text, nil, len(text), true
	}
	name, end = text[:at], at
	if text[at] != '{' {
		return name, nil, end, true
	}
	labels = make(map[string]string)
	rest := text[at+1:]
	for {
		rest = strings.TrimLeft(rest, ", ")
		if strings.HasPrefix(rest, "}") {
			return name, labels, len(text) - len(rest) + 1, true
		}
		label, after, found := strings.Cut(rest, `="`)
		if !found {
			return "", nil, 0, false
		}
		content, remaining, closed := quoted(after)
		if !closed {
			return "", nil, 0, false
		}
		labels[strings.TrimSpace(label)] = content
		rest = remaining
	}
}

// quoted reads up to the closing quote, undoing \\, \" and \n.
func quoted(text string) (content, rest string, closed bool) {
	var built strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '"':
			return built.String(), text[i+1:], true
		case '\\':
			i++
			if i == len(text) {
				return "", "", false
			}
			if text[i] == 'n' {
				built.WriteByte('\n')
				continue
			}
			built.WriteByte(text[i])
		default:
			built.WriteByte(c)
		}
	}
	return "", "", false
}
