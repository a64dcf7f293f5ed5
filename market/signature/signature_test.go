package signature_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"robotorq.org/reserve/market/signature"
)

const now = 1_800_000_000

func key() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32)) }

func request(t testing.TB, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequest("POST", "http://market.example/robot/tasks/a%20b/claim?x=1", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// byHand signs as RFC 9421 says, written down from the standard and not with this package.
func byHand(r *http.Request, body, params string) {
	sum := sha256.Sum256([]byte(body))
	digest := "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
	base := "\"@method\": POST\n\"@path\": /robot/tasks/a%20b/claim\n\"content-digest\": " + digest + "\n\"@signature-params\": " + params
	r.Header.Set("Content-Digest", digest)
	r.Header.Set("Signature-Input", "sig1="+params)
	r.Header.Set("Signature", "sig1=:"+base64.StdEncoding.EncodeToString(ed25519.Sign(key(), []byte(base)))+":")
}

func TestASignatureMadeByTheStandardIsAccepted(t *testing.T) {
	for _, params := range []string{
		fmt.Sprintf(`("@method" "@path" "content-digest");created=%d;expires=%d;nonce="n-1";alg="ed25519";keyid="rover-7"`, now, now+300),
		fmt.Sprintf(`("@method" "@path" "content-digest");keyid="rover-7";alg="ed25519";expires=%d;nonce="n-1";created=%d`, now+1, now-299),
		fmt.Sprintf(`( "@method"  "@path" "content-digest" );created=%d;expires=%d;nonce="a \"quoted\" one;,";alg="ed25519";keyid="rover-7";tag="x"`, now, now+60),
	} {
		r := request(t, "{}")
		byHand(r, "{}", params)
		c, err := signature.Parse(r, []byte("{}"), now)
		if err == nil {
			err = c.Verify(key().Public().(ed25519.PublicKey))
		}
		if err != nil || c.KeyID != "rover-7" || c.Nonce == "" {
			t.Errorf("%s: %v", params, err)
		}
	}
}

func TestASignatureThatDoesNotCoverTheBodyIsRefused(t *testing.T) {
	for _, covered := range []string{`"@method" "@path"`, `"@method" "content-digest"`, `"@path" "content-digest"`} {
		r := request(t, "{}")
		params := fmt.Sprintf(`(%s);created=%d;expires=%d;nonce="n";alg="ed25519";keyid="rover-7"`, covered, now, now+300)
		lines := map[string]string{`"@method"`: "POST", `"@path"`: "/robot/tasks/a%20b/claim", `"content-digest"`: signature.Digest([]byte("{}"))}
		var base strings.Builder
		for _, name := range strings.Fields(covered) {
			base.WriteString(name + ": " + lines[name] + "\n")
		}
		base.WriteString(`"@signature-params": ` + params)
		r.Header.Set("Content-Digest", signature.Digest([]byte("{}")))
		r.Header.Set("Signature-Input", "sig1="+params)
		r.Header.Set("Signature", "sig1=:"+base64.StdEncoding.EncodeToString(ed25519.Sign(key(), []byte(base.String())))+":")
		if _, err := signature.Parse(r, []byte("{}"), now); err == nil {
			t.Errorf("a signature over %s alone was accepted", covered)
		}
	}
}

func TestOneOfSeveralSignaturesAndDigestsIsFound(t *testing.T) {
	r := request(t, "{}")
	byHand(r, "{}", fmt.Sprintf(`("@method" "@path" "content-digest");created=%d;expires=%d;nonce="n";alg="ed25519";keyid="rover-7"`, now, now+9))
	r.Header.Set("Signature-Input", `proxy=("@method" "via");created=1;keyid="p,q=(", `+r.Header.Get("Signature-Input"))
	r.Header.Set("Signature", `proxy=:AAAA:, `+r.Header.Get("Signature"))
	c, err := signature.Parse(r, []byte("{}"), now)
	if err == nil {
		err = c.Verify(key().Public().(ed25519.PublicKey))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestWhatWeSignIsWhatTheStandardSays(t *testing.T) {
	r := request(t, `{"agentId":"rover-7"}`)
	sign := func(m []byte) ([]byte, error) { return ed25519.Sign(key(), m), nil }
	if err := signature.Sign(r, []byte(`{"agentId":"rover-7"}`), "rover-7", sign, now, now+300, `n"1`); err != nil {
		t.Fatal(err)
	}
	other := request(t, "")
	byHand(other, `{"agentId":"rover-7"}`, fmt.Sprintf(`("@method" "@path" "content-digest");created=%d;expires=%d;nonce="n\"1";alg="ed25519";keyid="rover-7"`, now, now+300))
	for _, name := range []string{"Content-Digest", "Signature-Input", "Signature"} {
		if r.Header.Get(name) != other.Header.Get(name) {
			t.Errorf("%s: %s, by the standard %s", name, r.Header.Get(name), other.Header.Get(name))
		}
	}
}

func TestAnyChangeToASignedRequestIsSeen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, _ := http.NewRequest("POST", "http://market.example/robot/tasks/x/claim", nil)
		body := []byte(`{"agentId":"rover-7","n":1}`)
		if err := signature.Sign(r, body, "rover-7", func(m []byte) ([]byte, error) { return ed25519.Sign(key(), m), nil }, now, now+300, "n"); err != nil {
			t.Fatal(err)
		}
		flip := func(s string) string {
			b := []byte(s)
			i := rapid.IntRange(0, len(b)-1).Draw(t, "at")
			b[i] ^= byte(rapid.IntRange(1, 255).Draw(t, "by"))
			return string(b)
		}
		at := now
		switch what := rapid.SampledFrom([]string{"body", "path", "method", "digest", "input", "signature"}).Draw(t, "what"); what {
		case "body":
			body = []byte(flip(string(body)))
		case "path":
			r.URL.Path = "/" + flip(r.URL.Path[1:])
			r.URL.RawPath = ""
		case "method":
			r.Method = "PUT"
		case "digest":
			r.Header.Set("Content-Digest", flip(r.Header.Get("Content-Digest")))
		case "input":
			r.Header.Set("Signature-Input", flip(r.Header.Get("Signature-Input")))
		case "signature":
			r.Header.Set("Signature", flip(r.Header.Get("Signature")))
		}
		c, err := signature.Parse(r, body, int64(at))
		if err == nil {
			err = c.Verify(key().Public().(ed25519.PublicKey))
		}
		if err == nil {
			t.Fatalf("it still verifies: %s %s %v", r.Method, r.URL, r.Header)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add(`sig1=("@method" "@path" "content-digest");created=1;expires=2;nonce="n";alg="ed25519";keyid="a"`, `sig1=:AAAA:`, `sha-256=:AAAA:`)
	f.Add(`sig1=(`, `:`, `"\`)
	f.Fuzz(func(t *testing.T, input, value, digest string) {
		r, _ := http.NewRequest("POST", "http://market.example/robot/sweep", nil)
		r.Header = http.Header{"Signature-Input": {input}, "Signature": {value}, "Content-Digest": {digest}}
		c, err := signature.Parse(r, nil, now)
		if err == nil && (c.KeyID == "" || c.Nonce == "" || c.Expires <= c.Created || c.Expires-c.Created > signature.MaxLifetime) {
			t.Fatalf("accepted %+v", c)
		}
	})
}
