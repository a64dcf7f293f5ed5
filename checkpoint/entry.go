package checkpoint

import "robotorq.org/reserve/merkle"

// Entry is the log entry of an artefact: its payload type, one newline and the 32
// bytes of its digest. The error has code [CodeMalformed].
func Entry(payloadType string, digest merkle.Hash) ([]byte, error) {
	if err := checkType(payloadType); err != nil {
		return nil, err
	}
	return append(append([]byte(payloadType), '\n'), digest[:]...), nil
}

// ParseEntry reads a log entry. The digest may contain any byte, so the entry is
// taken apart from its end. The error has code [CodeMalformed].
func ParseEntry(entry []byte) (payloadType string, digest merkle.Hash, err error) {
	at := len(entry) - merkle.Size - 1
	if at < 1 || entry[at] != '\n' {
		return "", merkle.Hash{}, failf(CodeMalformed, "log entry of %d bytes is not a payload type, a newline and 32 bytes", len(entry))
	}
	payloadType = string(entry[:at])
	if err := checkType(payloadType); err != nil {
		return "", merkle.Hash{}, err
	}
	return payloadType, merkle.Hash(entry[at+1:]), nil
}

// maxType keeps entries far below the 65,535 bytes that a log accepts.
const maxType = 255

func checkType(s string) error {
	if s == "" || len(s) > maxType {
		return failf(CodeMalformed, "payload type of %d bytes, want 1 to %d", len(s), maxType)
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' {
			return failf(CodeMalformed, "payload type %q has characters outside printable ASCII", s)
		}
	}
	return nil
}
