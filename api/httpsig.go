package api

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// signatureAge is how old a signed request may be, and how far ahead a
// client's clock.
const signatureAge = 5 * time.Minute

// signedComponents is what every signature must cover, in this order.
const signedComponents = `("@method" "@authority" "@path" "@query")`

const signatureLabel = "robotorq"

var (
	signatureInput = regexp.MustCompile(`^` + signatureLabel + `=(\("@method" "@authority" "@path" "@query"\);created=([0-9]{1,12});keyid="([0-9a-f]{16})";alg="ed25519")$`)
	signatureValue = regexp.MustCompile(`^` + signatureLabel + `=:([A-Za-z0-9+/]+={0,2}):$`)
)

// SignRequest puts an HTTP Message Signature (RFC 9421, Ed25519) on a request
// without a body: over method, authority, path and query, with the time at and
// the key id. sign signs with the owner's Ed25519 key.
func SignRequest(r *http.Request, keyID string, at time.Time, sign func([]byte) ([]byte, error)) error {
	params := fmt.Sprintf(`%s;created=%d;keyid=%q;alg="ed25519"`, signedComponents, at.Unix(), keyID)
	authority := r.Host
	if authority == "" {
		authority = r.URL.Host
	}
	signature, err := sign(signatureBase(r.Method, authority, r.URL, params))
	if err != nil {
		return fmt.Errorf("api: sign request: %w", err)
	}
	r.Header.Set("Signature-Input", signatureLabel+"="+params)
	r.Header.Set("Signature", signatureLabel+"=:"+base64.StdEncoding.EncodeToString(signature)+":")
	return nil
}

// signatureBase is the signature base of RFC 9421 §2.5 for our components.
func signatureBase(method, authority string, u *url.URL, params string) []byte {
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	return fmt.Appendf(nil, "\"@method\": %s\n\"@authority\": %s\n\"@path\": %s\n\"@query\": ?%s\n\"@signature-params\": %s",
		method, canonicalAuthority(authority), path, u.RawQuery, params)
}

// canonicalAuthority is in lower case, without a default port.
func canonicalAuthority(authority string) string {
	authority = strings.ToLower(authority)
	for _, port := range []string{":80", ":443"} {
		if trimmed, ok := strings.CutSuffix(authority, port); ok && !strings.HasSuffix(trimmed, ":") {
			return trimmed
		}
	}
	return authority
}

// requestSignature is a signature as it stands in a request, not yet verified.
type requestSignature struct {
	keyID     string
	created   time.Time
	base      []byte
	signature []byte
}

// parseSignature reads the signature of a request; ok is false when there is
// none, an error says that it cannot be read.
func parseSignature(r *http.Request) (sig requestSignature, ok bool, err error) {
	input, value := r.Header.Get("Signature-Input"), r.Header.Get("Signature")
	if input == "" && value == "" {
		return sig, false, nil
	}
	parts, encoded := signatureInput.FindStringSubmatch(input), signatureValue.FindStringSubmatch(value)
	if parts == nil || encoded == nil {
		return sig, false, Errorf(CodeMalformed,
			"Signature-Input must be %s=%s;created=…;keyid=\"…\";alg=\"ed25519\", and Signature %s=:…:.", signatureLabel, signedComponents, signatureLabel)
	}
	seconds, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil {
		return sig, false, Errorf(CodeMalformed, "The signature's time of creation cannot be read.")
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(encoded[1])
	if err != nil || len(raw) != ed25519.SignatureSize {
		return sig, false, Errorf(CodeMalformed, "The signature is not 64 bytes of base64.")
	}
	return requestSignature{
		keyID:     parts[3],
		created:   time.Unix(seconds, 0),
		base:      signatureBase(r.Method, r.Host, r.URL, parts[1]),
		signature: raw,
	}, true, nil
}

// verify checks the signature with the key and against the clock.
func (sig requestSignature) verify(key []byte, now time.Time) error {
	if age := now.Sub(sig.created); age > signatureAge || age < -signatureAge {
		return Errorf(CodeBadSignature, "The request was signed %s away from this node's clock; at most %s are allowed. Set the clock and try again.",
			age.Abs().Round(time.Second), signatureAge)
	}
	if len(key) != ed25519.PublicKeySize || !ed25519.Verify(key, sig.base, sig.signature) {
		return Errorf(CodeBadSignature, "The signature is not by key %s over this request.", sig.keyID)
	}
	return nil
}
