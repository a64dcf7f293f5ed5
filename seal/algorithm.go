package seal

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"

	"github.com/cloudflare/circl/sign/mldsa/mldsa65"
	"github.com/cloudflare/circl/sign/slhdsa"
	"github.com/pornin/go-fn-dsa/fndsa"
)

// Ids of the algorithms in the registry. An id is part of every key id and never
// changes its meaning; what replaces an algorithm gets a new id.
const (
	Falcon512Padded = "falcon-512-padded"
	Ed25519         = "ed25519"
	SLHDSA128s      = "slh-dsa-sha2-128s"
	MLDSA65         = "ml-dsa-65"
)

// Algorithm is a signature algorithm with keys and signatures of fixed lengths.
// Implementations hold no state and may be used by any number of goroutines.
type Algorithm interface {
	// ID is the name in the registry.
	ID() string
	// Sizes are the lengths in bytes of public key, private key and signature.
	Sizes() Sizes
	// Generate makes a key pair from the system's random source.
	Generate() (public, private []byte, err error)
	// Sign signs a message. Falcon, SLH-DSA and ML-DSA are randomised: signing
	// twice gives two signatures.
	Sign(private, message []byte) ([]byte, error)
	// Verify reports whether the signature is valid; whatever is malformed is not.
	Verify(public, message, signature []byte) bool
	// Pair reports whether the private key belongs to the public key.
	Pair(public, private []byte) bool
}

// Sizes are lengths in bytes.
type Sizes struct{ Public, Private, Signature int }

// Lookup finds an algorithm by its id.
func Lookup(id string) (Algorithm, bool) {
	for _, a := range Algorithms() {
		if a.ID() == id {
			return a, true
		}
	}
	return nil, false
}

// Algorithms lists the registry.
func Algorithms() []Algorithm {
	return []Algorithm{falcon{}, edwards{}, sphincs{}, lattice{}}
}

// falcon is Falcon-512 of the third round (the original Falcon, not FN-DSA) with
// padded signatures:
//
//	public key   897 bytes: 0x09 ‖ 512 coefficients of 14 bits
//	private key 1281 bytes: 0x59 ‖ f and g of 6 bits ‖ F of 8 bits
//	signature    666 bytes: 0x39 ‖ nonce of 40 bytes ‖ compressed s2, padded with zeros
//
// The hashed message is SHAKE-256(nonce ‖ message), without the domain and key
// hash that FN-DSA puts between them; go-fn-dsa selects that with the pre-hash
// identifier 0xFFFFFFFF. In the npm package @noble/post-quantum (tried: 0.7.1,
// both ways) the matching object is `falcon512padded` of
// `@noble/post-quantum/falcon.js`:
// falcon512padded.verify(signature, message, publicKey). Its `falcon512` differs:
// it has unpadded signatures and refuses these; `.attached` is another format.
type falcon struct{}

const (
	falconDegree   = 9                       // log₂ 512
	falconOriginal = crypto.Hash(0xFFFFFFFF) // go-fn-dsa: hash as original Falcon does
)

func (falcon) ID() string { return Falcon512Padded }

func (falcon) Sizes() Sizes { return Sizes{Public: 897, Private: 1281, Signature: 666} }

func (falcon) Generate() (public, private []byte, err error) {
	private, public, err = fndsa.KeyGen(falconDegree, nil)
	return public, private, err
}

// Sign takes its randomness from the system alone: two signatures from one seed
// over different hashes would give the private key away.
func (falcon) Sign(private, message []byte) ([]byte, error) {
	return fndsa.Sign(nil, private, fndsa.DOMAIN_NONE, falconOriginal, message)
}

func (a falcon) Verify(public, message, signature []byte) bool {
	sizes := a.Sizes()
	return len(public) == sizes.Public && len(signature) == sizes.Signature && public[0] == falconDegree &&
		fndsa.Verify(public, fndsa.DOMAIN_NONE, falconOriginal, message, signature)
}

func (a falcon) Pair(public, private []byte) bool { return pairByProbe(a, public, private) }

// edwards is Ed25519 (RFC 8032) of the standard library; the private key is the
// seed of 32 bytes.
type edwards struct{}

func (edwards) ID() string { return Ed25519 }

func (edwards) Sizes() Sizes {
	return Sizes{Public: ed25519.PublicKeySize, Private: ed25519.SeedSize, Signature: ed25519.SignatureSize}
}

func (edwards) Generate() (public, private []byte, err error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	return pub, priv.Seed(), nil
}

func (a edwards) Sign(private, message []byte) ([]byte, error) {
	if err := checkPrivate(a, private); err != nil {
		return nil, err
	}
	return ed25519.Sign(ed25519.NewKeyFromSeed(private), message), nil
}

func (a edwards) Verify(public, message, signature []byte) bool {
	return len(public) == a.Sizes().Public && ed25519.Verify(public, message, signature)
}

func (a edwards) Pair(public, private []byte) bool {
	return len(private) == a.Sizes().Private &&
		bytes.Equal(ed25519.NewKeyFromSeed(private).Public().(ed25519.PublicKey), public)
}

// sphincs is SLH-DSA-SHA2-128s (FIPS 205), pure, with an empty context and hedged
// with fresh randomness. In @noble/post-quantum it is `slh_dsa_sha2_128s`.
type sphincs struct{}

func (sphincs) ID() string { return SLHDSA128s }

func (sphincs) Sizes() Sizes { return Sizes{Public: 32, Private: 64, Signature: 7856} }

func (sphincs) Generate() (public, private []byte, err error) {
	pub, priv, err := slhdsa.GenerateKey(rand.Reader, slhdsa.SHA2_128s)
	if err != nil {
		return nil, nil, err
	}
	if public, err = pub.MarshalBinary(); err != nil {
		return nil, nil, err
	}
	private, err = priv.MarshalBinary()
	return public, private, err
}

func (a sphincs) Sign(private, message []byte) ([]byte, error) {
	if err := checkPrivate(a, private); err != nil {
		return nil, err
	}
	key := slhdsa.PrivateKey{ID: slhdsa.SHA2_128s}
	if err := key.UnmarshalBinary(private); err != nil {
		return nil, err
	}
	return slhdsa.SignRandomized(&key, rand.Reader, slhdsa.NewMessage(message), nil)
}

func (a sphincs) Verify(public, message, signature []byte) bool {
	if len(public) != a.Sizes().Public || len(signature) != a.Sizes().Signature {
		return false
	}
	key := slhdsa.PublicKey{ID: slhdsa.SHA2_128s}
	if key.UnmarshalBinary(public) != nil {
		return false
	}
	return slhdsa.Verify(&key, slhdsa.NewMessage(message), signature, nil)
}

// Pair compares the public half that the private key carries; that the root
// belongs to the seeds shows at the first signature that is verified.
func (a sphincs) Pair(public, private []byte) bool {
	return len(private) == a.Sizes().Private && bytes.Equal(private[32:], public)
}

// lattice is ML-DSA-65 (FIPS 204), pure, with an empty context and hedged with
// fresh randomness; the private key is the seed of 32 bytes. In
// @noble/post-quantum it is `ml_dsa65`.
type lattice struct{}

func (lattice) ID() string { return MLDSA65 }

func (lattice) Sizes() Sizes {
	return Sizes{Public: mldsa65.PublicKeySize, Private: mldsa65.SeedSize, Signature: mldsa65.SignatureSize}
}

func (lattice) Generate() (public, private []byte, err error) {
	var seed [mldsa65.SeedSize]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return nil, nil, err
	}
	pub, _ := mldsa65.NewKeyFromSeed(&seed)
	return pub.Bytes(), seed[:], nil
}

func (a lattice) Sign(private, message []byte) ([]byte, error) {
	if err := checkPrivate(a, private); err != nil {
		return nil, err
	}
	_, key := mldsa65.NewKeyFromSeed((*[mldsa65.SeedSize]byte)(private))
	signature := make([]byte, mldsa65.SignatureSize)
	err := mldsa65.SignTo(key, message, nil, true, signature)
	return signature, err
}

func (a lattice) Verify(public, message, signature []byte) bool {
	if len(public) != a.Sizes().Public || len(signature) != a.Sizes().Signature {
		return false
	}
	var key mldsa65.PublicKey
	if key.UnmarshalBinary(public) != nil {
		return false
	}
	return mldsa65.Verify(&key, message, nil, signature)
}

func (a lattice) Pair(public, private []byte) bool {
	if len(private) != a.Sizes().Private {
		return false
	}
	derived, _ := mldsa65.NewKeyFromSeed((*[mldsa65.SeedSize]byte)(private))
	return bytes.Equal(derived.Bytes(), public)
}

func checkPrivate(a Algorithm, private []byte) error {
	if len(private) != a.Sizes().Private {
		return failf(CodeKey, "%s: private key has %d bytes, want %d", a.ID(), len(private), a.Sizes().Private)
	}
	return nil
}

// pairByProbe signs a message that nothing else signs (no PAE begins so).
func pairByProbe(a Algorithm, public, private []byte) bool {
	probe := []byte("robotorq: does this key pair belong together?")
	signature, err := a.Sign(private, probe)
	return err == nil && a.Verify(public, probe, signature)
}
