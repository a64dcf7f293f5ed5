package api_test

import (
	"strings"
	"testing"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/apitest"
)

// FuzzSignature: whatever stands in the headers of an HTTP message signature, nobody's
// wallet is shown to a stranger and the server does not fail.
func FuzzSignature(f *testing.F) {
	const params = `("@method" "@authority" "@path" "@query");created=1;keyid="0123456789abcdef";alg="ed25519"`
	f.Add("robotorq="+params, "robotorq=:AAAA:", "member:ada")
	f.Add("robotorq="+params, "robotorq=:"+strings.Repeat("A", 86)+"==:", "org:works")
	f.Add("", "", "%00")
	reserve := apitest.New(1, noon)
	server, err := api.New(api.Options{Reader: reserve, Wallets: reserve, Tokens: reserve, Feed: api.NewFeed(fixedClock{}), Clock: fixedClock{}})
	if err != nil {
		f.Fatal(err)
	}
	h := server.Handler(nil)
	f.Fuzz(func(t *testing.T, input, value, account string) {
		for _, s := range []string{input, value} {
			if strings.ContainsAny(s, "\r\n\x00") {
				return
			}
		}
		if account == "." || account == ".." {
			return // no name of an account: the path means another one
		}
		for _, r := range account {
			if r <= ' ' || r >= 0x7f || strings.ContainsRune("/?#%\\", r) {
				return
			}
		}
		answer, text := request(t, h, "GET", "/api/v1/wallets/"+account, "", "Signature-Input", input, "Signature", value)
		if answer.StatusCode < 400 || answer.StatusCode >= 500 {
			t.Fatalf("%s %s", answer.Status, text)
		}
	})
}
