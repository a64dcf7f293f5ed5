package signature_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"net/http"
	"os"
	"strings"
	"testing"

	"robotorq.org/reserve/market/signature"
)

// The example of the reference, as somebody would copy it into a client of another language.
func TestTheExampleOfTheReferenceIsASignedRequest(t *testing.T) {
	text, err := os.ReadFile("../../docs/marketplace-reference.md")
	if err != nil {
		t.Fatal(err)
	}
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32))
	public := key.Public().(ed25519.PublicKey)
	body := []byte(`{"agentId":"rover-7"}`)
	newRequest := func() *http.Request {
		r, err := http.NewRequest(http.MethodPost, "http://localhost/robot/tasks/0b1c/claim", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	var base []byte
	signed := newRequest()
	sign := func(m []byte) ([]byte, error) { base = m; return ed25519.Sign(key, m), nil }
	if err := signature.Sign(signed, body, "rover-7", sign, 1_800_000_000, 1_800_000_060, "b3f1"); err != nil {
		t.Fatal(err)
	}
	copied := newRequest()
	for _, name := range []string{"Content-Digest", "Signature-Input", "Signature"} {
		line := name + ": " + signed.Header.Get(name)
		if !bytes.Contains(text, []byte("\n"+line+"\n")) {
			t.Errorf("the reference has no line %s", line)
		}
		_, after, _ := strings.Cut(string(text), "\n"+name+": ")
		value, _, _ := strings.Cut(after, "\n")
		copied.Header.Set(name, value)
	}
	for what, want := range map[string]string{"base": "```text\n" + string(base) + "\n```", "public key": "`" + base64.StdEncoding.EncodeToString(public) + "`"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the reference has not the %s %s", what, want)
		}
	}
	claim, err := signature.Parse(copied, body, 1_800_000_030)
	if err != nil {
		t.Fatal(err)
	}
	if err := claim.Verify(public); err != nil {
		t.Fatal(err)
	}
}
