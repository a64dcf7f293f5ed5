package bitcoin

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// place is a running stack as another process finds it.
type place struct {
	RPC, Blocks, Txs int
	Miner            string
	Nodes            map[string]placed
}

type placed struct {
	Dir             string
	Peer, RPC, REST int
	Key             string
}

// Save writes down where the stack is, for [Open].
func (s *Stack) Save(path string) error {
	p := place{RPC: s.Bitcoind.rpc, Blocks: s.Bitcoind.blocks, Txs: s.Bitcoind.txs, Miner: s.Bitcoind.miner, Nodes: map[string]placed{}}
	for _, l := range []*Lnd{s.Alice, s.Bob} {
		p.Nodes[l.name] = placed{Dir: l.dir, Peer: l.peer, RPC: l.rpc, REST: l.rest, Key: l.key}
	}
	text, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}

// Open is a stack that another process runs: it can be asked, and neither
// stopped nor started.
func Open(path string) (*Stack, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var p place
	if err := json.Unmarshal(text, &p); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	s := &Stack{Bitcoind: &Bitcoind{rpc: p.RPC, blocks: p.Blocks, txs: p.Txs, miner: p.Miner}}
	for name, to := range map[string]**Lnd{"alice": &s.Alice, "bob": &s.Bob} {
		n, ok := p.Nodes[name]
		if !ok {
			return nil, fmt.Errorf("%s: it has no node %q", path, name)
		}
		*to = &Lnd{process: process{name: name, dir: n.Dir}, peer: n.Peer, rpc: n.RPC, rest: n.REST, key: n.Key}
	}
	return s, nil
}
