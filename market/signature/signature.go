// Package signature signs a robot's requests to the marketplace and checks them:
// HTTP Message Signatures (RFC 9421) with Ed25519 over the method, the path and
// the digest of the body (RFC 9530), valid for at most five minutes and with a
// nonce. It implements the marketplace specification, section 3.9.
//
// It trusts nothing in a request. That a nonce is seen once is for whoever keeps
// nonces: it has to remember them until the signature expires.
package signature

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Limits of a signature, in seconds.
const (
	MaxLifetime = 300
	skew        = 60 // how far ahead of ours the robot's clock may be
)

const label = "sig1"

// required is what every signature covers.
var required = []string{"@method", "@path", "content-digest"}

// Error says why a request is not proved to come from the robot.
type Error struct{ Reason string }

// Error implements error.
func (e *Error) Error() string { return e.Reason }

// ErrorCode returns the stable code.
func (e *Error) ErrorCode() string { return "bad_signature" }

func wrong(format string, args ...any) error { return &Error{fmt.Sprintf(format, args...)} }

// Digest is the Content-Digest of a body.
func Digest(body []byte) string {
	sum := sha256.Sum256(body)
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

// NewNonce makes a nonce.
func NewNonce() string {
	var b [18]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// Sign puts digest and signature on a request with this body. sign signs with the robot's
// Ed25519 key; times are Unix seconds.
func Sign(r *http.Request, body []byte, keyID string, sign func([]byte) ([]byte, error), created, expires int64, nonce string) error {
	r.Header.Set("Content-Digest", Digest(body))
	params := fmt.Sprintf(`("@method" "@path" "content-digest");created=%d;expires=%d;nonce=%s;alg="ed25519";keyid=%s`, created, expires, quote(nonce), quote(keyID))
	base, err := base(r, required, params)
	if err != nil {
		return err
	}
	signed, err := sign(base)
	if err != nil {
		return fmt.Errorf("signature: %w", err)
	}
	r.Header.Set("Signature-Input", label+"="+params)
	r.Header.Set("Signature", label+"=:"+base64.StdEncoding.EncodeToString(signed)+":")
	return nil
}

// Claim is what a request's signature says, before anybody has checked it.
type Claim struct {
	KeyID   string
	Nonce   string
	Created int64 // Unix seconds
	Expires int64
	base    []byte
	sig     []byte
}

// Parse reads the signature of a request with this body, and checks everything about it but
// the key: the digest, what is covered, the times at now (Unix seconds), the algorithm.
func Parse(r *http.Request, body []byte, now int64) (Claim, error) {
	var c Claim
	if err := checkDigest(r.Header.Values("Content-Digest"), body); err != nil {
		return c, err
	}
	inputs, err := dictionary(strings.Join(r.Header.Values("Signature-Input"), ", "))
	if err != nil || inputs[label] == "" {
		return c, wrong("Signature-Input has no member %s", label)
	}
	values, err := dictionary(strings.Join(r.Header.Values("Signature"), ", "))
	if err != nil || values[label] == "" {
		return c, wrong("Signature has no member %s", label)
	}
	if c.sig, err = byteSequence(values[label]); err != nil || len(c.sig) != ed25519.SignatureSize {
		return c, wrong("Signature: %s is not 64 bytes as :base64:", label)
	}
	covered, params, err := innerList(inputs[label])
	if err != nil {
		return c, err
	}
	for _, name := range required {
		if !slices.Contains(covered, name) {
			return c, wrong("the signature does not cover %q", name)
		}
	}
	if err := c.read(params, now); err != nil {
		return c, err
	}
	c.base, err = base(r, covered, inputs[label])
	return c, err
}

// Verify checks the signature with a key.
func (c Claim) Verify(key []byte) error {
	if len(key) != ed25519.PublicKeySize || !ed25519.Verify(key, c.base, c.sig) {
		return wrong("the signature is not by the key of %s over this request", c.KeyID)
	}
	return nil
}

func (c *Claim) read(params map[string]string, now int64) (err error) {
	if alg, ok := params["alg"]; !ok || alg != `"ed25519"` {
		return wrong(`the signature needs alg="ed25519"`)
	}
	if c.KeyID, err = text(params["keyid"]); err != nil || c.KeyID == "" {
		return wrong("the signature needs a keyid")
	}
	if c.Nonce, err = text(params["nonce"]); err != nil || c.Nonce == "" || len(c.Nonce) > 128 {
		return wrong("the signature needs a nonce of 1 to 128 characters")
	}
	created, err1 := strconv.ParseInt(params["created"], 10, 48)
	expires, err2 := strconv.ParseInt(params["expires"], 10, 48)
	switch {
	case err1 != nil || err2 != nil:
		return wrong("the signature needs created and expires in Unix seconds")
	case expires <= created || expires-created > MaxLifetime:
		return wrong("the signature may be valid for 1 to %d s, not %d", MaxLifetime, expires-created)
	case created > now+skew:
		return wrong("the signature was created %d s ahead of this clock", created-now)
	case expires < now:
		return wrong("the signature expired %d s ago", now-expires)
	}
	c.Created, c.Expires = created, expires
	return nil
}

// base is the signature base of RFC 9421, section 2.5.
func base(r *http.Request, covered []string, params string) ([]byte, error) {
	var out []byte
	for _, name := range covered {
		value, ok := component(r, name)
		if !ok {
			return nil, wrong("the signature covers %q, which is not known here or not in the request", name)
		}
		out = fmt.Appendf(out, "%q: %s\n", name, value)
	}
	return fmt.Appendf(out, "\"@signature-params\": %s", params), nil
}

func component(r *http.Request, name string) (string, bool) {
	switch name {
	case "@method":
		return r.Method, true
	case "@path":
		if path := r.URL.EscapedPath(); path != "" {
			return path, true
		}
		return "/", true
	case "@query":
		return "?" + r.URL.RawQuery, true
	case "@authority":
		host := r.Host
		if host == "" {
			host = r.URL.Host
		}
		host = strings.ToLower(host)
		for _, port := range []string{":80", ":443"} {
			if trimmed, ok := strings.CutSuffix(host, port); ok && !strings.HasSuffix(trimmed, ":") {
				return trimmed, true
			}
		}
		return host, true
	case "content-digest", "content-type", "content-length":
		values := r.Header.Values(name)
		if name == "content-length" && len(values) == 0 && r.ContentLength >= 0 {
			return strconv.FormatInt(r.ContentLength, 10), true
		}
		for i := range values {
			values[i] = strings.TrimSpace(values[i])
		}
		return strings.Join(values, ", "), len(values) > 0
	}
	return "", false
}

func checkDigest(values []string, body []byte) error {
	members, err := dictionary(strings.Join(values, ", "))
	if err != nil || members["sha-256"] == "" {
		return wrong("Content-Digest needs a member sha-256=:base64:")
	}
	got, err := byteSequence(members["sha-256"])
	if sum := sha256.Sum256(body); err != nil || string(got) != string(sum[:]) {
		return wrong("Content-Digest is not the digest of the body")
	}
	return nil
}
