package bitcoin

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"robotorq.org/reserve/market/lightning"
)

// Lnd is one Lightning node.
type Lnd struct {
	process
	peer, rpc, rest int
	key             string
}

func newLnd(p Programs, dir, name string, b *Bitcoind) (*Lnd, error) {
	free, err := ports(3)
	if err != nil {
		return nil, err
	}
	l := &Lnd{peer: free[0], rpc: free[1], rest: free[2]}
	at := func(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
	l.process = process{name: name, program: p.Lnd, dir: dir, args: []string{
		"--lnddir=" + dir, "--alias=" + name, "--noseedbackup", "--nobootstrap",
		"--listen=" + at(l.peer), "--rpclisten=" + at(l.rpc), "--restlisten=" + at(l.rest),
		"--bitcoin.regtest", "--bitcoin.node=bitcoind", "--bitcoin.defaultchanconfs=1",
		"--bitcoind.rpchost=" + at(b.rpc), "--bitcoind.rpcuser=" + user, "--bitcoind.rpcpass=" + password,
		"--bitcoind.zmqpubrawblock=tcp://" + at(b.blocks), "--bitcoind.zmqpubrawtx=tcp://" + at(b.txs),
		"--trickledelay=50", "--debuglevel=info",
	}}
	return l, nil
}

// Start starts a stopped node and waits until it follows the chain.
func (l *Lnd) Start(ctx context.Context) error {
	if err := l.start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	return l.await(ctx, "the chain", func(ctx context.Context) (bool, error) {
		var info struct {
			Key    string `json:"identity_pubkey"`
			Synced bool   `json:"synced_to_chain"`
		}
		err := l.Call(ctx, http.MethodGet, "/v1/getinfo", nil, &info)
		l.key = info.Key
		return err == nil && info.Synced, err
	})
}

// Stop ends the node in order.
func (l *Lnd) Stop() { l.stop(syscall.SIGTERM) }

// Kill ends the node as a power cut does.
func (l *Lnd) Kill() { l.stop(syscall.SIGKILL) }

// URL is where the node's REST API answers.
func (l *Lnd) URL() string { return fmt.Sprintf("https://127.0.0.1:%d", l.rest) }

// Certificate is the path of the node's own TLS certificate.
func (l *Lnd) Certificate() string { return filepath.Join(l.dir, "tls.cert") }

// Macaroon is the path of the credential that may do everything.
func (l *Lnd) Macaroon() string {
	return filepath.Join(l.dir, "data", "chain", "bitcoin", "regtest", "admin.macaroon")
}

// Limited is the path of a credential that may do what the marketplace needs and
// nothing else; bake makes it.
func (l *Lnd) Limited() string { return filepath.Join(l.dir, "coordinator.macaroon") }

func (l *Lnd) bake(ctx context.Context) error {
	type permission struct {
		Entity string `json:"entity"`
		Action string `json:"action"`
	}
	var all []permission
	for _, uri := range lightning.Permissions() {
		all = append(all, permission{"uri", uri})
	}
	var made struct{ Macaroon string }
	if err := l.Call(ctx, http.MethodPost, "/v1/macaroon", map[string]any{"permissions": all}, &made); err != nil {
		return err
	}
	text, err := hex.DecodeString(made.Macaroon)
	if err != nil {
		return err
	}
	return os.WriteFile(l.Limited(), text, 0o600)
}

// Key is the node's identity.
func (l *Lnd) Key() string { return l.key }

// Call asks the REST API and decodes the answer into out unless it is nil.
func (l *Lnd) Call(ctx context.Context, method, path string, body, out any) error {
	certificate, err := os.ReadFile(l.Certificate())
	if err != nil {
		return err
	}
	macaroon, err := os.ReadFile(l.Macaroon())
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()
	sent, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, l.URL()+path, bytes.NewReader(sent))
	if err != nil {
		return err
	}
	request.Header.Set("Grpc-Metadata-macaroon", hex.EncodeToString(macaroon))
	answer, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		var text bytes.Buffer
		text.ReadFrom(answer.Body)
		return fmt.Errorf("%s: %s: %s", path, answer.Status, bytes.TrimSpace(text.Bytes()))
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(answer.Body).Decode(out)
}

// Address is a new address of the node's own coins.
func (l *Lnd) Address(ctx context.Context) (string, error) {
	var made struct{ Address string }
	return made.Address, l.Call(ctx, http.MethodGet, "/v1/newaddress?type=TAPROOT_PUBKEY", nil, &made)
}

// Coins is the number of sats that the node's own wallet has in blocks.
func (l *Lnd) Coins(ctx context.Context) (sats int64, err error) {
	var balance struct {
		Confirmed int64 `json:"confirmed_balance,string"`
	}
	err = l.Call(ctx, http.MethodGet, "/v1/balance/blockchain", nil, &balance)
	return balance.Confirmed, err
}

func (l *Lnd) awaitCoins(ctx context.Context) error {
	return l.await(ctx, "coins", func(ctx context.Context) (bool, error) {
		sats, err := l.Coins(ctx)
		return sats > 0, err
	})
}

// AwaitCoins waits until the node's own wallet has exactly so many sats in blocks.
func (l *Lnd) AwaitCoins(ctx context.Context, sats int64) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return l.await(ctx, fmt.Sprintf("%d sats on chain", sats), func(ctx context.Context) (bool, error) {
		has, err := l.Coins(ctx)
		return has == sats, errors.Join(err, fmt.Errorf("it has %d", has))
	})
}

// Connect has the node speak with another one.
func (l *Lnd) Connect(ctx context.Context, to *Lnd) error {
	return l.Call(ctx, http.MethodPost, "/v1/peers", map[string]any{
		"addr": map[string]string{"pubkey": to.key, "host": fmt.Sprintf("127.0.0.1:%d", to.peer)}}, nil)
}

// open begins a channel to a connected node; it opens when blocks are mined.
func (l *Lnd) open(ctx context.Context, to *Lnd, sats, given int64) error {
	key, err := hex.DecodeString(to.key)
	if err != nil {
		return err
	}
	return l.await(ctx, "the funding of a channel", func(ctx context.Context) (bool, error) {
		err := l.Call(ctx, http.MethodPost, "/v1/channels", map[string]any{
			"node_pubkey": base64.StdEncoding.EncodeToString(key), "sat_per_vbyte": "2",
			"local_funding_amount": fmt.Sprint(sats), "push_sat": fmt.Sprint(given)}, nil)
		return err == nil, err
	})
}

// AwaitRoute waits until the node finds a way to pay the other one: an open
// channel is not enough, both of its policies must be known.
func (l *Lnd) AwaitRoute(ctx context.Context, to *Lnd) error {
	return l.await(ctx, "a route", func(ctx context.Context) (bool, error) {
		var active struct{ Channels []json.RawMessage }
		if err := l.Call(ctx, http.MethodGet, "/v1/channels?active_only=true", nil, &active); err != nil {
			return false, err
		}
		if len(active.Channels) == 0 {
			// After a restart lnd waits longer and longer before it tries its peers again.
			return false, l.Connect(ctx, to)
		}
		err := l.Call(ctx, http.MethodGet, "/v1/graph/routes/"+to.key+"/1000", nil, nil)
		return err == nil, err
	})
}

// Invoice is a new plain invoice.
func (l *Lnd) Invoice(ctx context.Context, sats int64) (bolt11 string, err error) {
	var made struct {
		Request string `json:"payment_request"`
	}
	err = l.Call(ctx, http.MethodPost, "/v1/invoices", map[string]string{"value": fmt.Sprint(sats)}, &made)
	return made.Request, err
}

// Pay pays an invoice and waits for the outcome: "SUCCEEDED" or "FAILED". A hold
// invoice has its outcome when its receiver settles or cancels it.
func (l *Lnd) Pay(ctx context.Context, bolt11 string) (outcome string, err error) {
	var reply struct {
		Result struct{ Status string }
	}
	err = l.Call(ctx, http.MethodPost, "/v2/router/send", map[string]any{
		"payment_request": bolt11, "timeout_seconds": 60, "fee_limit_sat": "1000", "no_inflight_updates": true}, &reply)
	return reply.Result.Status, err
}

// Invoiced is what became of an invoice of this node, by the hex of its payment
// hash: its state in lnd's words, and the sats that were received.
func (l *Lnd) Invoiced(ctx context.Context, hash string) (state string, sats int64, err error) {
	var found struct {
		State string
		Paid  int64 `json:"amt_paid_sat,string"`
	}
	err = l.Call(ctx, http.MethodGet, "/v1/invoice/"+url.PathEscape(hash), nil, &found)
	return found.State, found.Paid, err
}

// Held is the number of sats of this node in its channels.
func (l *Lnd) Held(ctx context.Context) (sats int64, err error) {
	var balance struct {
		Local struct {
			Sat int64 `json:",string"`
		} `json:"local_balance"`
	}
	return balance.Local.Sat, l.Call(ctx, http.MethodGet, "/v1/balance/channels", nil, &balance)
}

// AwaitQuiet waits until no payment is on its way in the node's channels.
func (l *Lnd) AwaitQuiet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return l.await(ctx, "quiet channels", func(ctx context.Context) (bool, error) {
		var all struct {
			Channels []struct {
				Pending []json.RawMessage `json:"pending_htlcs"`
			}
		}
		err := l.Call(ctx, http.MethodGet, "/v1/channels", nil, &all)
		pending := 0
		for _, c := range all.Channels {
			pending += len(c.Pending)
		}
		return err == nil && pending == 0, errors.Join(err, fmt.Errorf("%d are on their way", pending))
	})
}

// AwaitHeld waits until the node has exactly so many sats in its channels: the
// payer knows a few milliseconds before the receiver's channel does.
func (l *Lnd) AwaitHeld(ctx context.Context, sats int64) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return l.await(ctx, fmt.Sprintf("%d sats in channels", sats), func(ctx context.Context) (bool, error) {
		held, err := l.Held(ctx)
		return held == sats, errors.Join(err, fmt.Errorf("it has %d", held))
	})
}
