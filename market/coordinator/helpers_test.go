package coordinator_test

import (
	"testing"
	"time"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/chaincfg/v2"
)

func (r *rig) advance(ms int64) {
	r.clock.mu.Lock()
	defer r.clock.mu.Unlock()
	r.clock.now = r.clock.now.Add(time.Duration(ms) * time.Millisecond)
}

// p2wpkh is the i-th of many addresses.
func p2wpkh(t testing.TB, i int) string {
	t.Helper()
	hash := make([]byte, 20)
	hash[0], hash[1] = byte(i), byte(i>>8)
	a, err := address.NewAddressWitnessPubKeyHash(hash, &chaincfg.RegressionNetParams)
	if err != nil {
		t.Fatal(err)
	}
	return a.EncodeAddress()
}
