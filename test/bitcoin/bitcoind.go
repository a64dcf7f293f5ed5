package bitcoin

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"robotorq.org/reserve/market/chain"
)

const (
	user     = "reserve" // may do everything
	password = "reserve"
	// coordinator may do what the marketplace needs and nothing else.
	coordinator = "coordinator"
)

// Bitcoind is one regtest node with a wallet "miner" that holds spendable coins.
type Bitcoind struct {
	process
	rpc, blocks, txs int
	miner            string
}

// StartBitcoind starts a node in dir, mines what makes coins spendable, and returns it.
func StartBitcoind(ctx context.Context, p Programs, dir string) (*Bitcoind, error) {
	free, err := ports(3)
	if err != nil {
		return nil, err
	}
	b := &Bitcoind{rpc: free[0], blocks: free[1], txs: free[2]}
	b.process = process{name: "bitcoind", program: p.Bitcoind, dir: dir, args: []string{"-datadir=" + dir}}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	conf := fmt.Sprintf(`regtest=1
server=1
txindex=1
listen=0
dnsseed=0
fallbackfee=0.00002
rpcuser=%s
rpcpassword=%s
rpcworkqueue=128
rpcauth=%s
rpcwhitelist=%s:%s
rpcwhitelistdefault=0
[regtest]
rpcport=%d
rpcbind=127.0.0.1
rpcallowip=127.0.0.1
zmqpubrawblock=tcp://127.0.0.1:%d
zmqpubrawtx=tcp://127.0.0.1:%d
`, user, password, authorised(coordinator, password), coordinator, strings.Join(chain.Methods(), ","), b.rpc, b.blocks, b.txs)
	if err := os.WriteFile(filepath.Join(dir, "bitcoin.conf"), []byte(conf), 0o600); err != nil {
		return nil, err
	}
	if err := b.Start(ctx); err != nil {
		return nil, err
	}
	if err := b.found(ctx); err != nil {
		b.Kill()
		return nil, err
	}
	return b, nil
}

func (b *Bitcoind) found(ctx context.Context) error {
	if err := b.CreateWallet(ctx, "miner"); err != nil {
		return err
	}
	if err := b.Call(ctx, "miner", &b.miner, "getnewaddress", "", "bech32"); err != nil {
		return err
	}
	return b.Mine(ctx, 110)
}

// Start starts a stopped node, with more arguments for this time, and waits until
// it answers. Wallets that were loaded when it stopped are loaded again.
func (b *Bitcoind) Start(ctx context.Context, more ...string) error {
	if err := b.start(more...); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return b.await(ctx, "an answer", func(ctx context.Context) (bool, error) {
		err := b.Call(ctx, "", nil, "getblockchaininfo")
		return err == nil, err
	})
}

// Stop ends the node in order.
func (b *Bitcoind) Stop() { b.stop(syscall.SIGTERM) }

// Kill ends the node at once. It forgets the blocks that it had not flushed, which
// in regtest are all and nobody has them: Stop is for what goes on afterwards.
func (b *Bitcoind) Kill() { b.stop(syscall.SIGKILL) }

// CreateWallet makes an empty wallet that is loaded at every start.
func (b *Bitcoind) CreateWallet(ctx context.Context, name string) error {
	return b.Call(ctx, "", nil, "createwallet", name, false, false, "", false, true, true)
}

// URL is where a wallet answers, with the credentials in it; the empty name is the node.
func (b *Bitcoind) URL(wallet string) string {
	path := ""
	if wallet != "" {
		path = "/wallet/" + wallet
	}
	return fmt.Sprintf("http://%s:%s@127.0.0.1:%d%s", user, password, b.rpc, path)
}

// Limited is where a wallet answers to the coordinator, which may do no more than
// it needs.
func (b *Bitcoind) Limited(wallet string) string {
	return strings.Replace(b.URL(wallet), user+":", coordinator+":", 1)
}

// authorised is a user as bitcoind's rpcauth takes it: with its password hashed.
func authorised(name, password string) string {
	const salt = "00112233445566778899aabbccddeeff"
	sum := hmac.New(sha256.New, []byte(salt))
	sum.Write([]byte(password))
	return fmt.Sprintf("%s:%s$%x", name, salt, sum.Sum(nil))
}

// RPCError is bitcoind's own refusal.
type RPCError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (e *RPCError) Error() string { return fmt.Sprintf("bitcoind: %s (%d)", e.Message, e.Code) }

// Call asks the node, or one of its wallets, and decodes the result into out
// unless out is nil. The node's refusal is an [*RPCError].
func (b *Bitcoind) Call(ctx context.Context, wallet string, out any, method string, params ...any) error {
	if params == nil {
		params = []any{}
	}
	body, err := json.Marshal(map[string]any{"jsonrpc": "1.0", "id": "t", "method": method, "params": params})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, b.URL(wallet), bytes.NewReader(body))
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	var reply struct {
		Result json.RawMessage
		Error  *RPCError
	}
	if err := json.NewDecoder(answer.Body).Decode(&reply); err != nil {
		return fmt.Errorf("bitcoind: %s: %s: %w", method, answer.Status, err)
	}
	if reply.Error != nil {
		return fmt.Errorf("%s: %w", method, reply.Error)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(reply.Result, out)
}

// Mine mines n blocks with what is in the mempool.
func (b *Bitcoind) Mine(ctx context.Context, n int) error {
	return b.Call(ctx, "", nil, "generatetoaddress", n, b.miner)
}

// MineEmpty mines a block without any transaction of the mempool, for an address
// of its own: else it could be the very block that was just taken back.
func (b *Bitcoind) MineEmpty(ctx context.Context) error {
	var own string
	if err := b.Call(ctx, "miner", &own, "getnewaddress", "", "bech32"); err != nil {
		return err
	}
	return b.Call(ctx, "", nil, "generateblock", own, []string{})
}

// Reorganise takes the last n blocks back and mines n+1 empty ones instead:
// what was confirmed in them is in the mempool again.
func (b *Bitcoind) Reorganise(ctx context.Context, n int) error {
	var height int
	if err := b.Call(ctx, "", &height, "getblockcount"); err != nil {
		return err
	}
	var hash string
	if err := b.Call(ctx, "", &hash, "getblockhash", height-n+1); err != nil {
		return err
	}
	if err := b.Call(ctx, "", nil, "invalidateblock", hash); err != nil {
		return err
	}
	for range n + 1 {
		if err := b.MineEmpty(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Height is the number of the last block.
func (b *Bitcoind) Height(ctx context.Context) (height int, err error) {
	return height, b.Call(ctx, "", &height, "getblockcount")
}

// Pay sends coins of the miner: the amount is bitcoin's decimal string, such as "0.5".
func (b *Bitcoind) Pay(ctx context.Context, address, bitcoins string) error {
	return b.Call(ctx, "miner", nil, "sendtoaddress", address, json.Number(bitcoins))
}

// Received is the sum in sats of all confirmed and unspent outputs that pay the
// address, out of the node's own set of coins: no wallet is asked.
func (b *Bitcoind) Received(ctx context.Context, address string) (sats int64, err error) {
	var found struct {
		Total json.Number `json:"total_amount"`
	}
	if err := b.Call(ctx, "", &found, "scantxoutset", "start", []string{"addr(" + address + ")"}); err != nil {
		return 0, err
	}
	return Sats(string(found.Total))
}
