package wallet

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"strconv"

	"github.com/pornin/go-fn-dsa/fndsa"

	"robotorq.org/reserve/seal"
)

// Seed is the 32 bytes from which every key of a wallet follows. Printed, it hides
// itself; [Seed.Words] is its backup.
type Seed [32]byte

// NewSeed takes a seed from the system's random source.
func NewSeed() (Seed, error) {
	var s Seed
	_, err := rand.Read(s[:])
	return s, err
}

// ParseWords reads the 24 words of [Seed.Words], in any case and spacing, each whole
// or cut to its first four letters. The error has code [CodeWords] and names the
// word.
func ParseWords(text string) (Seed, error) {
	data, err := decodeWords(text)
	return Seed(data), err
}

// Words writes the seed as 24 English words with a checksum of 8 bits: BIP-39's
// encoding of 256 bits of entropy. The words are the seed itself; BIP-39's
// stretching with a password is not used.
func (s Seed) Words() string { return encodeWords(s) }

// Format hides the seed from every verb of package fmt.
func (s Seed) Format(f fmt.State, _ rune) { hide(f) }

func hide(w io.Writer) { _, _ = io.WriteString(w, "(hidden)") }

// Signer derives the key pairs of account number index, for the algorithms that the
// role requires: from HKDF-SHA-256(seed, no salt,
// "robotorq.org/wallet/v1 <algorithm id> <index>") of 32 bytes, which is the Ed25519
// seed, or the seed of Falcon's key generator (go-fn-dsa's, whose results are frozen
// by a test). Only key generation is deterministic: Falcon's signatures take fresh
// randomness from the system each time.
func (s Seed) Signer(role, id string, index uint32) (*seal.Signer, error) {
	if role != seal.RoleMember && role != seal.RoleOrg || !seal.ValidID(id) {
		return nil, failf(CodeAccount, "%q is not an account: want member:<id> or org:<id>", clip(role+":"+id))
	}
	signer := &seal.Signer{Name: id, Role: role}
	for _, alg := range seal.RequiredAlgorithms(role) {
		key, err := s.derive(alg, index)
		if err != nil {
			return nil, err
		}
		signer.Keys = append(signer.Keys, key)
	}
	return signer, nil
}

func (s Seed) derive(alg string, index uint32) (*seal.PrivateKey, error) {
	info := "robotorq.org/wallet/v1 " + alg + " " + strconv.FormatUint(uint64(index), 10)
	raw, err := hkdf.Key(sha256.New, s[:], nil, info, 32)
	if err != nil {
		return nil, wrapf(CodeKey, err, "derive %s key %d", alg, index)
	}
	var public, private []byte
	switch alg {
	case seal.Ed25519:
		private = raw
		public = ed25519.NewKeyFromSeed(raw).Public().(ed25519.PublicKey)
	case seal.Falcon512Padded:
		const degree = 9 // log₂ 512
		if private, public, err = fndsa.KeyGen(degree, bytes.NewReader(raw)); err != nil {
			return nil, wrapf(CodeKey, err, "derive %s key %d", alg, index)
		}
	default:
		return nil, failf(CodeKey, "keys of %s cannot be derived from a seed", alg)
	}
	return seal.NewPrivateKey(alg, public, private)
}
