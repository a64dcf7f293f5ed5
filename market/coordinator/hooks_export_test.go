package coordinator

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/netip"
)

// HooksOn are the webhooks of [NewHooks] in a world of the test's: names mean what lookup says,
// every connection is made by dial, and the certificates of roots hold.
func HooksOn(secret string, roots *x509.CertPool, lookup func(host string) ([]netip.Addr, error), dial func(addr string) (net.Conn, error)) Hooks {
	h := NewHooks(secret).(*webhooks)
	h.lookup = func(_ context.Context, _, host string) ([]netip.Addr, error) { return lookup(host) }
	h.dial = func(_ context.Context, _, addr string) (net.Conn, error) { return dial(addr) }
	h.http.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots}
	return h
}
