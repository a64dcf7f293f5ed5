package signature

import (
	"encoding/base64"
	"strings"
)

// As much of structured fields (RFC 8941) as signatures need: dictionaries whose members are
// byte sequences or inner lists of strings with parameters.

// maxField bounds what is read of a header.
const maxField = 4096

// dictionary splits a field into its members, values as they are written. A later member with
// the same key wins, as the standard says.
func dictionary(field string) (map[string]string, error) {
	if len(field) > maxField {
		return nil, wrong("a header is too long")
	}
	members := make(map[string]string)
	for _, part := range split(field, ',') {
		key, value, ok := strings.Cut(part, "=")
		if !ok || key == "" || value == "" {
			return nil, wrong("a header cannot be read: %.80q", part)
		}
		members[key] = value
	}
	return members, nil
}

// split cuts at a separator outside of quotes, parentheses and byte sequences.
func split(field string, at byte) (parts []string) {
	depth, start, quoted, escaped, bytes := 0, 0, false, false, false
	for i := 0; i < len(field); i++ {
		switch c := field[i]; {
		case escaped:
			escaped = false
		case quoted:
			escaped = c == '\\'
			quoted = c != '"'
		case bytes:
			bytes = c != ':'
		case c == '"':
			quoted = true
		case c == ':':
			bytes = true
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == at && depth == 0:
			parts = append(parts, strings.Trim(field[start:i], " \t"))
			start = i + 1
		}
	}
	return append(parts, strings.Trim(field[start:], " \t"))
}

// innerList reads ("name" "name");key=value;….
func innerList(value string) (names []string, params map[string]string, err error) {
	parts := split(value, ';')
	list, params := parts[0], make(map[string]string)
	if !strings.HasPrefix(list, "(") || !strings.HasSuffix(list, ")") {
		return nil, nil, wrong("Signature-Input is no list of components")
	}
	for _, item := range strings.Fields(list[1 : len(list)-1]) {
		name, err := text(item)
		if err != nil || name == "" {
			return nil, nil, wrong("Signature-Input names a component as %.80q", item)
		}
		for _, n := range names {
			if n == name {
				return nil, nil, wrong("Signature-Input names %q twice", name)
			}
		}
		names = append(names, name)
	}
	for _, p := range parts[1:] {
		key, v, ok := strings.Cut(p, "=")
		if _, twice := params[key]; !ok || twice {
			return nil, nil, wrong("Signature-Input has a parameter that cannot be read: %.80q", p)
		}
		params[key] = v
	}
	return names, params, nil
}

// text reads a quoted string.
func text(item string) (string, error) {
	if len(item) < 2 || item[0] != '"' || item[len(item)-1] != '"' {
		return "", wrong("%.80q is no string", item)
	}
	var out strings.Builder
	for i := 1; i < len(item)-1; i++ {
		c := item[i]
		if c == '\\' {
			if i++; i >= len(item)-1 || item[i] != '\\' && item[i] != '"' {
				return "", wrong("%.80q is no string", item)
			}
			c = item[i]
		} else if c == '"' || c < 0x20 || c > 0x7e {
			return "", wrong("%.80q is no string", item)
		}
		out.WriteByte(c)
	}
	return out.String(), nil
}

func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func byteSequence(value string) ([]byte, error) {
	if len(value) < 2 || value[0] != ':' || value[len(value)-1] != ':' {
		return nil, wrong("%.80q is no byte sequence", value)
	}
	return base64.StdEncoding.Strict().DecodeString(value[1 : len(value)-1])
}
