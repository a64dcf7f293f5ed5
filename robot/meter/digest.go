package meter

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
)

// answerChallenge answers a 401 by HTTP digest authentication (RFC 7616,
// which Shelly devices use with SHA-256) or basic authentication. ok is false
// when there is nothing to answer with.
func (e *endpoint) answerChallenge(response *http.Response, path string) (header string, ok bool) {
	if e.user == nil {
		return "", false
	}
	password, _ := e.user.Password()
	for _, challenge := range response.Header.Values("WWW-Authenticate") {
		scheme, rest, _ := strings.Cut(challenge, " ")
		switch strings.ToLower(scheme) {
		case "digest":
			return digestAnswer(parameters(rest), e.user.Username(), password, path)
		case "basic":
			request := http.Request{Header: http.Header{}}
			request.SetBasicAuth(e.user.Username(), password)
			return request.Header.Get("Authorization"), true
		}
	}
	return "", false
}

// digestAnswer computes the Authorization header of RFC 7616 for a GET.
func digestAnswer(challenge map[string]string, user, password, path string) (string, bool) {
	var hash func(string) string
	switch algorithm := strings.ToUpper(challenge["algorithm"]); algorithm {
	case "SHA-256":
		hash = func(s string) string { sum := sha256.Sum256([]byte(s)); return hex.EncodeToString(sum[:]) }
	case "", "MD5":
		hash = func(s string) string { sum := md5.Sum([]byte(s)); return hex.EncodeToString(sum[:]) }
	default:
		return "", false
	}
	var random [8]byte
	_, _ = rand.Read(random[:]) // crypto/rand never fails
	client := hex.EncodeToString(random[:])
	const count = "00000001"
	a1 := hash(user + ":" + challenge["realm"] + ":" + password)
	a2 := hash(http.MethodGet + ":" + path)
	proof := hash(strings.Join([]string{a1, challenge["nonce"], count, client, "auth", a2}, ":"))
	fields := []string{
		`username="` + user + `"`, `realm="` + challenge["realm"] + `"`, `nonce="` + challenge["nonce"] + `"`,
		`uri="` + path + `"`, "qop=auth", "nc=" + count, `cnonce="` + client + `"`, `response="` + proof + `"`,
	}
	if algorithm := challenge["algorithm"]; algorithm != "" {
		fields = append(fields, "algorithm="+algorithm)
	}
	if opaque := challenge["opaque"]; opaque != "" {
		fields = append(fields, `opaque="`+opaque+`"`)
	}
	return "Digest " + strings.Join(fields, ", "), true
}

// parameters reads the comma-separated name=value list of a challenge.
func parameters(text string) map[string]string {
	found := make(map[string]string)
	for text != "" {
		name, rest, ok := strings.Cut(text, "=")
		if !ok {
			break
		}
		name = strings.ToLower(strings.Trim(name, " ,"))
		rest = strings.TrimLeft(rest, " ")
		var content string
		if strings.HasPrefix(rest, `"`) {
			content, text, _ = strings.Cut(rest[1:], `"`)
		} else {
			content, text, _ = strings.Cut(rest, ",")
			content = strings.TrimSpace(content)
		}
		found[name] = content
	}
	return found
}
