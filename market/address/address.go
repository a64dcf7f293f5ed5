// Package address reads bitcoin addresses to which a robot may be paid: the five
// types P2PKH, P2SH, P2WPKH, P2WSH and P2TR on one network, and nothing else (the
// marketplace specification, section 3, rule 8). It is pure: no node is asked.
//
// The decoding is btcd's; this room refuses what that also reads (raw public
// keys, pay-to-anchor) or reads too kindly (a 20-byte program of witness version 1
// comes back as one of version 0, which is another address), and holds each
// answer against its own encoding.
//
// Networks share prefixes. Testnet 3, testnet 4 and signet cannot be told apart
// by an address, nor can regtest from those in the two old types.
package address

import (
	"encoding/hex"
	"fmt"
	"strings"

	btc "github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/chaincfg/v2"
)

// Network is a bitcoin network by the name that the marketplace's environment uses.
type Network string

// The networks.
const (
	Bitcoin Network = "bitcoin"
	Testnet Network = "testnet" // 3 and 4
	Signet  Network = "signet"
	Regtest Network = "regtest"
	Simnet  Network = "simnet"
)

var networks = []struct {
	name   Network
	params *chaincfg.Params
}{
	{Bitcoin, &chaincfg.MainNetParams},
	{Testnet, &chaincfg.TestNet3Params},
	{Signet, &chaincfg.SigNetParams},
	{Regtest, &chaincfg.RegressionNetParams},
	{Simnet, &chaincfg.SimNetParams},
}

// ParseNetwork reads a network's name; "mainnet" is another name for "bitcoin".
func ParseNetwork(s string) (Network, error) {
	if s == "mainnet" {
		return Bitcoin, nil
	}
	for _, n := range networks {
		if string(n.name) == s {
			return n.name, nil
		}
	}
	return "", fmt.Errorf("bitcoin network %q: give bitcoin (or mainnet), testnet, signet, regtest or simnet", s)
}

func (n Network) params() *chaincfg.Params {
	for _, known := range networks {
		if known.name == n {
			return known.params
		}
	}
	return nil
}

// Kind is a type of address.
type Kind string

// The five kinds.
const (
	P2PKH  Kind = "p2pkh"
	P2SH   Kind = "p2sh"
	P2WPKH Kind = "p2wpkh"
	P2WSH  Kind = "p2wsh"
	P2TR   Kind = "p2tr"
)

// Stable codes of an [Error].
const (
	CodeInvalid      = "address_invalid"          // no address: characters, checksum, length
	CodeWrongNetwork = "address_wrong_network"    // an address of another bitcoin network
	CodeUnsupported  = "address_type_unsupported" // a destination of a sixth type
)

// Error is a refused address.
type Error struct {
	Code    string
	Network Network // that was asked for
	Reason  string
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s; give a P2PKH, P2SH, P2WPKH, P2WSH or P2TR address of the network %s", e.Code, e.Reason, e.Network)
}

// Address is a destination of one of the five kinds.
type Address struct {
	Text   string // canonical: bech32 in lower case
	Kind   Kind
	Script []byte // the output script that pays it
}

// longest is the number of characters of a bech32 string by BIP 173.
const longest = 90

// Parse reads an address of the network. Its error is an [*Error]. White space is
// no part of an address; bech32 may be all upper case, as in a QR code.
func Parse(n Network, text string) (Address, error) {
	refuse := func(code, format string, args ...any) (Address, error) {
		return Address{}, &Error{Code: code, Network: n, Reason: fmt.Sprintf(format, args...)}
	}
	params := n.params()
	if params == nil {
		return refuse(CodeWrongNetwork, "no network is called %q", n)
	}
	if rawKey(text) {
		return refuse(CodeUnsupported, "this is a public key in hexadecimal")
	}
	if text == "" || len(text) > longest {
		return refuse(CodeInvalid, "an address has 1 to %d characters, this has %d", longest, len(text))
	}
	decoded, err := btc.DecodeAddress(text, params)
	if err != nil {
		if other, ok := elsewhere(n, text); ok {
			return refuse(CodeWrongNetwork, "this is an address of the network %s", other)
		}
		switch err.(type) {
		case btc.UnsupportedWitnessVerError, btc.UnsupportedWitnessProgLenError:
			return refuse(CodeUnsupported, "%v", err)
		}
		return refuse(CodeInvalid, "%v", err)
	}
	a, ok := known(decoded)
	if !ok {
		return refuse(CodeUnsupported, "this is a %s", strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", decoded), "*address.Address")))
	}
	if !decoded.IsForNet(params) {
		return refuse(CodeWrongNetwork, "this is an address of another network")
	}
	// What is stored must say what was given: the decoder's silent conversions end here.
	if !same(a, text) {
		return refuse(CodeUnsupported, "it encodes another kind of output than it seems to")
	}
	return a, nil
}

// rawKey tells a public key in hexadecimal, which btcd takes for a destination.
func rawKey(text string) bool {
	if len(text) != 66 && len(text) != 130 {
		return false
	}
	_, err := hex.DecodeString(text)
	return err == nil
}

// elsewhere names another network of which the text is an address.
func elsewhere(n Network, text string) (Network, bool) {
	for _, other := range networks {
		if other.name == n {
			continue
		}
		if decoded, err := btc.DecodeAddress(text, other.params); err == nil && decoded.IsForNet(other.params) {
			return other.name, true
		}
	}
	return "", false
}

// same holds the canonical form against what was given: bech32 apart from its case.
func same(a Address, text string) bool {
	switch a.Kind {
	case P2WPKH, P2WSH, P2TR:
		return a.Text == strings.ToLower(text)
	default:
		return a.Text == text
	}
}

// known is the address, if it is one of the five kinds.
func known(decoded btc.Address) (Address, bool) {
	const (
		opDup, opHash160, opEqual, opEqualVerify, opCheckSig = 0x76, 0xa9, 0x87, 0x88, 0xac
		op0, op1                                             = 0x00, 0x51
	)
	program := decoded.ScriptAddress()
	script := func(before []byte, after ...byte) []byte {
		return append(append(append(before, byte(len(program))), program...), after...)
	}
	a := Address{Text: decoded.EncodeAddress()}
	switch decoded.(type) {
	case *btc.AddressPubKeyHash:
		a.Kind, a.Script = P2PKH, script([]byte{opDup, opHash160}, opEqualVerify, opCheckSig)
	case *btc.AddressScriptHash:
		a.Kind, a.Script = P2SH, script([]byte{opHash160}, opEqual)
	case *btc.AddressWitnessPubKeyHash:
		a.Kind, a.Script = P2WPKH, script([]byte{op0})
	case *btc.AddressWitnessScriptHash:
		a.Kind, a.Script = P2WSH, script([]byte{op0})
	case *btc.AddressTaproot:
		a.Kind, a.Script = P2TR, script([]byte{op1})
	default:
		return Address{}, false
	}
	return a, true
}

// DustSats is the least amount that nodes relay to this address: what spending
// it costs at 3 sats per virtual byte. It is 0 for the zero Address.
func (a Address) DustSats() int64 {
	const rate = 3
	spending := map[Kind]int64{P2PKH: 148, P2SH: 148, P2WPKH: 67, P2WSH: 67, P2TR: 67}
	if a.Kind == "" {
		return 0
	}
	return rate * (a.OutputVBytes() + spending[a.Kind])
}

// OutputVBytes is the size of the output that pays this address, in virtual bytes.
func (a Address) OutputVBytes() int64 {
	const amount, length = 8, 1
	return amount + length + int64(len(a.Script))
}
