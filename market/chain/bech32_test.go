package chain_test

import (
	"testing"

	btc "github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/chaincfg/v2"
)

// bech32 is the regtest address of a witness program of 20 or 32 bytes.
func bech32(t *testing.T, program []byte) string {
	t.Helper()
	var a btc.Address
	var err error
	if len(program) == 20 {
		a, err = btc.NewAddressWitnessPubKeyHash(program, &chaincfg.RegressionNetParams)
	} else {
		a, err = btc.NewAddressWitnessScriptHash(program, &chaincfg.RegressionNetParams)
	}
	if err != nil {
		t.Fatal(err)
	}
	return a.EncodeAddress()
}
