package lightning_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"testing"

	"robotorq.org/reserve/test/bitcoin"
)

// trusting is a client that trusts one node's certificate.
func trusting(t *testing.T, l *bitcoin.Lnd) *http.Client {
	t.Helper()
	text, err := os.ReadFile(l.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		t.Fatal("no certificate")
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
}
