// Package lightning speaks with lnd over its REST API, with the standard library
// alone: it is the marketplace's rail for funding and refunds (the marketplace
// specification, section 1 and section 3, rules 2 to 4). It implements
// rails.Lightning.
//
// It holds no state. Every call may be repeated: invoices and payments are named
// by the hash that the caller chose, and what lnd says to a repetition (already
// settled, already paid, payment in transition) is answered with what became of
// the first. When a reply was lost the error is Unavailable and nothing may be
// concluded from it.
//
// It trusts lnd with the sats in its channels, reached over TLS with lnd's own
// certificate and a macaroon; neither is shown in an error. Both files are read
// once: after lnd has renewed its certificate, start again.
package lightning

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"robotorq.org/reserve/market/address"
	"robotorq.org/reserve/market/rails"
	"robotorq.org/reserve/market/rails/gate"
)

// Options says where the node is.
type Options struct {
	URL      string // of the REST API: https://127.0.0.1:8080
	TLSCert  string // path of lnd's tls.cert; empty: the system's authorities
	Macaroon string // path of a macaroon that may read, and make, settle and pay invoices
	Network  address.Network
	// HTTP is the client to use instead of one made of TLSCert. It must set no
	// limit on the time of a call: subscriptions last.
	HTTP *http.Client
}

// Node is an lnd.
type Node struct{ rest *rest }

// Dial reaches a node. It is Invalid when an option is wrong or the node is on
// another network. A node that is not there yet is no error: every call is
// Unavailable until it is, and Invalid for ever if it then turns out to be on
// another network. Its certificate and macaroon must be there.
func Dial(ctx context.Context, o Options) (*Node, error) {
	const op = "dial lnd"
	invalid := func(format string, args ...any) error {
		return &rails.Error{Class: rails.Invalid, Op: op, Reason: fmt.Sprintf(format, args...)}
	}
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, invalid("the address is no https URL; give https://host:port")
	}
	macaroon, err := os.ReadFile(o.Macaroon)
	if err != nil || len(macaroon) == 0 {
		return nil, invalid("the macaroon cannot be read: %v", err)
	}
	client := o.HTTP
	if client == nil {
		if client, err = secure(o.TLSCert); err != nil {
			return nil, invalid("%v", err)
		}
	}
	n := &Node{rest: &rest{base: strings.TrimSuffix(u.String(), "/"), macaroon: hex.EncodeToString(macaroon), http: client}}
	n.rest.gate = gate.New(func(ctx context.Context) error {
		var i info
		if err := n.rest.ask(ctx, op, http.MethodGet, infoPath, nil, &i); err != nil {
			return err
		}
		if len(i.Chains) == 0 || network(i.Chains[0].Network) != o.Network {
			return invalid("the node's chains are %v, not %s", i.Chains, o.Network)
		}
		return nil
	})
	if err := n.rest.gate.Pass(ctx); err != nil && rails.ClassOf(err) == rails.Invalid {
		return nil, err
	}
	return n, nil
}

// Permissions are all that a macaroon must allow, as lncli bakemacaroon takes them
// with "uri:" in front. It can neither open nor close channels, nor send on chain.
func Permissions() []string {
	return []string{
		"/lnrpc.Lightning/GetInfo", "/lnrpc.Lightning/ListChannels", "/lnrpc.Lightning/AddInvoice",
		"/lnrpc.Lightning/LookupInvoice", "/lnrpc.Lightning/DecodePayReq",
		"/invoicesrpc.Invoices/AddHoldInvoice", "/invoicesrpc.Invoices/SubscribeSingleInvoice",
		"/invoicesrpc.Invoices/SettleInvoice", "/invoicesrpc.Invoices/CancelInvoice",
		"/routerrpc.Router/SendPaymentV2", "/routerrpc.Router/TrackPaymentV2",
	}
}

// secure is a client that trusts the one certificate, follows no redirection
// (it would take the macaroon along) and sets no limit to a subscription.
func secure(certificate string) (*http.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = 0
	transport.MaxIdleConnsPerHost = 16
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if certificate != "" {
		text, err := os.ReadFile(certificate)
		if err != nil {
			return nil, fmt.Errorf("the certificate cannot be read: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s holds no certificate", certificate)
		}
		transport.TLSClientConfig.RootCAs = roots
	}
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, nil
}

func network(lnd string) address.Network {
	switch lnd {
	case "mainnet":
		return address.Bitcoin
	case "testnet4":
		return address.Testnet
	}
	return address.Network(lnd)
}

const infoPath = "/v1/getinfo"

// info is what lnd tells of itself.
type info struct {
	Height int64 `json:"block_height"`
	Synced bool  `json:"synced_to_chain"`
	Chains []struct{ Network string }
}

func (n *Node) info(ctx context.Context) (i info, err error) {
	return i, n.rest.call(ctx, "info", http.MethodGet, infoPath, nil, &i)
}

// sats is a number that lnd writes as a string.
type sats = int64

// Liquidity implements rails.Lightning. What can be received is counted with the
// reserve that the other side must keep and, where it pays the channel's fees,
// with room for them to double.
func (n *Node) Liquidity(ctx context.Context) (rails.Liquidity, error) {
	const op = "liquidity"
	var all struct {
		Channels []struct {
			Active    bool
			Initiator bool
			Local     sats `json:"local_balance,string"`
			Remote    sats `json:"remote_balance,string"`
			CommitFee sats `json:"commit_fee,string"`
			Theirs    struct {
				Reserve sats `json:"chan_reserve_sat,string"`
			} `json:"remote_constraints"`
		}
	}
	if err := n.rest.call(ctx, op, http.MethodGet, "/v1/channels", nil, &all); err != nil {
		return rails.Liquidity{}, err
	}
	i, err := n.info(ctx)
	if err != nil {
		return rails.Liquidity{}, named(op, err)
	}
	l := rails.Liquidity{Height: i.Height, Synced: i.Synced}
	for _, c := range all.Channels {
		l.LocalSats += c.Local
		in := c.Remote - c.Theirs.Reserve
		if !c.Initiator {
			in -= 2 * c.CommitFee
		}
		if !c.Active || in <= 0 {
			continue
		}
		l.InboundSats += in
		l.LargestInbound = max(l.LargestInbound, in)
	}
	return l, nil
}

// callPatience is how long lnd may take to answer what is no subscription.
const callPatience = 30 * time.Second

var _ rails.Lightning = (*Node)(nil)
