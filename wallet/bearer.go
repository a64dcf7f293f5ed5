package wallet

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"

	"filippo.io/age/armor"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/seal"
)

// Secret is what the bearer of a bond has: the seed of an Ed25519 key. Printed, it
// hides itself; [Secret.Text] and [Secret.Words] show it. It must never stand in an
// address.
type Secret [32]byte

// secretPrefix is the human-readable part of a secret's Bech32m form: with it a
// secret has 64 characters.
const secretPrefix = "rtqsk"

// NewSecret takes a secret from the system's random source.
func NewSecret() (Secret, error) {
	var s Secret
	_, err := rand.Read(s[:])
	return s, err
}

// ParseSecret reads either form of a secret: Bech32m ([Secret.Text]), in one case,
// with spaces and hyphens anywhere, or 24 words. The error has code [CodeSecret] or
// [CodeWords].
func ParseSecret(typed string) (Secret, error) {
	if strings.ContainsAny(typed, ":/?&#") {
		return Secret{}, failf(CodeSecret, "a secret never stands in an address")
	}
	if len(strings.Fields(typed)) == seedWords && !strings.Contains(strings.ToLower(typed), secretPrefix+"1") {
		data, err := decodeWords(typed)
		return Secret(data), err
	}
	closed := strings.Map(func(r rune) rune {
		if strings.ContainsRune(" -\t\r\n", r) {
			return -1
		}
		return r
	}, typed)
	data, err := decodeBech32m(secretPrefix, closed)
	if err != nil {
		return Secret{}, err
	}
	if len(data) != len(Secret{}) {
		return Secret{}, failf(CodeSecret, "it has %d bytes, want 32", len(data))
	}
	return Secret(data), nil
}

// Text is the secret as 64 characters of Bech32m, "rtqsk1…", in lower case; as upper
// case it means the same.
func (s Secret) Text() string { return encodeBech32m(secretPrefix, s[:]) }

// Words is the secret as 24 words.
func (s Secret) Words() string { return encodeWords(s) }

// Public is the bearer's key.
func (s Secret) Public() ed25519.PublicKey {
	return ed25519.NewKeyFromSeed(s[:]).Public().(ed25519.PublicKey)
}

// KeyHash is SHA-256 of the bearer's key, to which a bond is bound.
func (s Secret) KeyHash() merkle.Hash { return sha256.Sum256(s.Public()) }

// Format hides the secret from every verb of package fmt.
func (s Secret) Format(f fmt.State, _ rune) { hide(f) }

// MarshalText refuses: a secret gets into no JSON by accident.
func (s Secret) MarshalText() ([]byte, error) {
	return nil, failf(CodeSecret, "a bond's secret is not written with other data")
}

// sign signs as an envelope of one Ed25519 signature.
func (s Secret) sign(payloadType string, payload []byte) seal.Envelope {
	key := ed25519.NewKeyFromSeed(s[:])
	return seal.Envelope{
		PayloadType: payloadType, Payload: payload,
		Signatures: []seal.Signature{{
			KeyID: seal.KeyID(seal.Ed25519, s.Public()),
			Sig:   ed25519.Sign(key, seal.PAE(payloadType, payload)),
		}},
	}
}

// secretFile is the form of a secret on disk.
type secretFile struct {
	Version uint64      `json:"robotorq_bond_secret"`
	Origin  string      `json:"origin"`
	Face    uint64      `json:"face"` // RT
	KeyHash merkle.Hash `json:"key_hash"`
	Secret  string      `json:"secret"`
}

// KeptSecret is a secret in a file of its own, apart from the bond, with what tells
// which bond it is of. It is written before the bond is ordered.
type KeptSecret struct {
	Origin string
	Face   uint64 // RT
	Secret Secret
}

// WriteSecret writes a secret to a new file of mode 0600, encrypted with age when
// the passphrase is not empty. It never replaces a file. The error has code
// [CodeFile].
func WriteSecret(path, passphrase string, k KeptSecret) error {
	data, err := json.MarshalIndent(secretFile{
		Version: fileVersion, Origin: k.Origin, Face: k.Face, KeyHash: k.Secret.KeyHash(), Secret: k.Secret.Text(),
	}, "", "  ")
	if err != nil {
		return wrapf(CodeFile, err, "write secret %s", path)
	}
	data = append(data, '\n')
	if passphrase != "" {
		text, err := encrypt(data, passphrase)
		if err != nil {
			return err
		}
		data = []byte(text)
	}
	if err := writeFile(path, data, false); err != nil {
		return wrapf(CodeFile, err, "write secret %s", path)
	}
	return nil
}

// ReadSecret reads what [WriteSecret] wrote. The error has code [CodeFile],
// [CodePassphrase], [CodeMalformed] or [CodeSecret].
func ReadSecret(path, passphrase string) (KeptSecret, error) {
	data, err := readPrivate(path)
	if err != nil {
		return KeptSecret{}, err
	}
	if strings.HasPrefix(string(data), armor.Header) {
		if passphrase == "" {
			return KeptSecret{}, failf(CodePassphrase, "%s is encrypted: a passphrase is needed", path)
		}
		if data, err = decrypt(string(data), passphrase); err != nil {
			return KeptSecret{}, failf(CodePassphrase, "%s: the passphrase does not open it", path)
		}
	}
	var file secretFile
	if err := decodeStrict("bond secret", data, &file); err != nil {
		return KeptSecret{}, err
	}
	if file.Version != fileVersion {
		return KeptSecret{}, failf(CodeMalformed, "%s has version %d, this program reads %d", path, file.Version, fileVersion)
	}
	secret, err := ParseSecret(file.Secret)
	if err != nil {
		return KeptSecret{}, err
	}
	if secret.KeyHash() != file.KeyHash {
		return KeptSecret{}, failf(CodeSecret, "%s: the secret is not that of the key hash beside it", path)
	}
	return KeptSecret{Origin: file.Origin, Face: file.Face, Secret: secret}, nil
}
