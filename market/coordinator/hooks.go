package coordinator

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"robotorq.org/reserve/market"
)

// webhooks delivers events by https, signed with a secret that both sides know. It goes to public
// addresses only: a name is resolved once for each call, every address that it has must be
// public, and the connection is made to that very address. Redirects are not followed.
type webhooks struct {
	secret []byte
	http   *http.Client
	lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)
	dial   func(ctx context.Context, network, addr string) (net.Conn, error)
}

// hookPatience bounds one call.
const hookPatience = 10 * time.Second

// NewHooks delivers webhooks, signed with a secret: the header Webhook-Signature is
// "v1,<hex of HMAC-SHA-256 over id, a dot and the body>". Without a secret nothing is delivered.
func NewHooks(secret string) Hooks {
	if secret == "" {
		return nil
	}
	h := &webhooks{secret: []byte(secret), lookup: net.DefaultResolver.LookupNetIP, dial: new(net.Dialer).DialContext}
	h.http = &http.Client{
		Timeout:       hookPatience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{DialContext: h.dialPublic, Proxy: nil, DisableKeepAlives: true, TLSHandshakeTimeout: hookPatience, MaxResponseHeaderBytes: 64 << 10},
	}
	return h
}

// dialPublic resolves a name itself and connects to what it found.
func (h *webhooks) dialPublic(ctx context.Context, network, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	found, err := h.lookup(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, errors.New("the name has no address")
	}
	for _, ip := range found {
		if !market.Public(ip) {
			return nil, fmt.Errorf("%s has the address %s, which is not public", host, ip)
		}
	}
	return h.dial(ctx, network, netip.AddrPortFrom(found[0].Unmap(), portOf(port)).String())
}

func portOf(text string) uint16 {
	p, err := net.LookupPort("tcp", text)
	if err != nil {
		return 0
	}
	return uint16(p)
}

// HookSignature is the header Webhook-Signature of an event.
func HookSignature(secret []byte, id string, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(id + "."))
	mac.Write(body)
	return "v1," + hex.EncodeToString(mac.Sum(nil))
}

// Deliver implements Hooks. Only an answer of 2xx counts.
func (h *webhooks) Deliver(ctx context.Context, id, url string, body []byte) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if r.URL.Scheme != "https" {
		return errors.New("a webhook is called by https")
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Webhook-Id", id)
	r.Header.Set("Webhook-Signature", HookSignature(h.secret, id, body))
	answer, err := h.http.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		return fmt.Errorf("the answer was %s", answer.Status)
	}
	return nil
}
