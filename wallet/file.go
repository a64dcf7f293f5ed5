package wallet

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/gowebpki/jcs"
)

const (
	fileVersion = 1
	maxFile     = 4 << 20
	// scryptLog2N is the work factor of what a passphrase encrypts: 2^17 · 1 KiB,
	// 128 MiB for a moment and about half a second; maxLog2N is the most that is
	// accepted from a file.
	scryptLog2N = 17
	maxLog2N    = 20
	plainPrefix = "plain:" // of a seed that no passphrase protects
)

// walletFile is the form on disk. The seed is an ASCII-armoured age file (scrypt) of
// 32 bytes, or "plain:" and base64, or "" in a wallet that only watches.
type walletFile struct {
	Version  uint64    `json:"robotorq_wallet"`
	Origin   string    `json:"origin"`
	Seed     string    `json:"seed"`
	Next     uint32    `json:"next"`
	Accounts []Account `json:"accounts"`
	Contacts []Contact `json:"contacts"`
}

// Create writes a new wallet file of mode 0600, the seed encrypted when the
// passphrase is not empty. It never replaces a file. The error has code [CodeFile].
func Create(path, passphrase string, w *Wallet) error {
	if err := w.SetPassphrase(passphrase); err != nil {
		return err
	}
	data, err := w.Encode()
	if err != nil {
		return err
	}
	if err := writeFile(path, data, false); err != nil {
		return wrapf(CodeFile, err, "write wallet %s", path)
	}
	return nil
}

// Save writes the wallet over its file. A seed that is encrypted in the file stays
// so, locked or not. The error has code [CodeFile].
func Save(path string, w *Wallet) error {
	if w.seed != nil && w.sealed == "" {
		return failf(CodeFile, "the wallet was never written with or without a passphrase: create it first")
	}
	data, err := w.Encode()
	if err != nil {
		return err
	}
	if err := writeFile(path, data, true); err != nil {
		return wrapf(CodeFile, err, "write wallet %s", path)
	}
	return nil
}

// Open reads a wallet file. A wallet whose seed is encrypted is locked. A file that
// others may read is refused with [CodeFile] (chmod 600 it), one that is malformed
// with [CodeMalformed].
func Open(path string) (*Wallet, error) {
	data, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	w, err := Decode(data)
	if err != nil {
		return nil, wrapf(CodeMalformed, err, "wallet %s", path)
	}
	return w, nil
}

// SetPassphrase encrypts the seed anew for the next [Save], or, when the passphrase
// is empty, leaves it in the clear. It needs the seed; a wallet that only watches has
// nothing to encrypt.
func (w *Wallet) SetPassphrase(passphrase string) error {
	if !w.HasSeed() {
		return nil
	}
	seed, err := w.unlocked()
	if err != nil {
		return err
	}
	if passphrase == "" {
		w.sealed = plainPrefix + base64.StdEncoding.EncodeToString(seed[:])
		return nil
	}
	w.sealed, err = encrypt(seed[:], passphrase)
	return err
}

// Unlock decrypts the seed and compares the keys that follow from it with those of
// every account. The error has code [CodePassphrase] or [CodeKey]. Unlocking what is
// not locked does nothing.
func (w *Wallet) Unlock(passphrase string) error {
	if !w.Locked() {
		return nil
	}
	if passphrase == "" {
		return failf(CodePassphrase, "the wallet is encrypted: a passphrase is needed")
	}
	raw, err := decrypt(w.sealed, passphrase)
	if err != nil {
		return failf(CodePassphrase, "the passphrase does not open the wallet")
	}
	if len(raw) != len(Seed{}) {
		return failf(CodeMalformed, "the wallet's seed has %d bytes, want 32", len(raw))
	}
	w.seed = (*Seed)(raw)
	for _, a := range w.accounts {
		if a.WatchOnly() {
			continue
		}
		if _, err := w.Signer(a.Name); err != nil {
			w.seed = nil
			return err
		}
	}
	return nil
}

// Lock forgets the seed until the next [Wallet.Unlock]. A seed without a passphrase
// cannot be locked.
func (w *Wallet) Lock() {
	if w.sealed != "" && !strings.HasPrefix(w.sealed, plainPrefix) {
		w.seed = nil
	}
}

// Encode is the content of the wallet's file.
func (w *Wallet) Encode() ([]byte, error) {
	file := walletFile{
		Version: fileVersion, Origin: w.origin, Seed: w.sealed, Next: w.next,
		Accounts: append([]Account{}, w.accounts...), Contacts: append([]Contact{}, w.contacts...),
	}
	data, err := json.MarshalIndent(file, "", "  ")
	return append(data, '\n'), err
}

// Decode reads the content of a wallet file. The error has code [CodeMalformed],
// [CodeAccount], [CodeName] or [CodeKey].
func Decode(data []byte) (*Wallet, error) {
	var file walletFile
	if err := decodeStrict("wallet", data, &file); err != nil {
		return nil, err
	}
	if file.Version != fileVersion {
		return nil, failf(CodeMalformed, "wallet of version %d, this program reads %d", file.Version, fileVersion)
	}
	if file.Accounts == nil || file.Contacts == nil {
		return nil, failf(CodeMalformed, "wallet: a list is null")
	}
	w, err := NewWatchOnly(file.Origin)
	if err != nil {
		return nil, err
	}
	w.sealed, w.next, w.contacts = file.Seed, file.Next, file.Contacts
	if err := w.readAccounts(file.Accounts); err != nil {
		return nil, err
	}
	for i, c := range file.Contacts {
		if err := checkName(c.Name); err != nil {
			return nil, err
		}
		if _, _, err := SplitAccount(c.Account); err != nil {
			return nil, err
		}
		if i > 0 && file.Contacts[i-1].Name >= c.Name {
			return nil, failf(CodeMalformed, "the address book is not sorted at %q", c.Name)
		}
	}
	return w, w.readPlainSeed()
}

func (w *Wallet) readAccounts(accounts []Account) error {
	used := map[uint32]bool{}
	for _, a := range accounts {
		if err := a.check(); err != nil {
			return err
		}
		if w.index(a.Name) >= 0 {
			return failf(CodeMalformed, "account %s is there twice", a.Name)
		}
		if a.Index != nil {
			if used[*a.Index] || *a.Index >= w.next || w.sealed == "" {
				return failf(CodeMalformed, "account %s cannot have keys %d", a.Name, *a.Index)
			}
			used[*a.Index] = true
		}
		w.accounts = append(w.accounts, a)
	}
	return nil
}

func (w *Wallet) readPlainSeed() error {
	encoded, plain := strings.CutPrefix(w.sealed, plainPrefix)
	if !plain {
		if w.sealed != "" && !strings.HasPrefix(w.sealed, armor.Header) {
			return failf(CodeMalformed, "the seed is neither encrypted nor plain")
		}
		return nil
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || len(raw) != len(Seed{}) || base64.StdEncoding.EncodeToString(raw) != encoded {
		return failf(CodeMalformed, "the plain seed is not base64 of 32 bytes")
	}
	w.seed = (*Seed)(raw)
	for _, a := range w.accounts {
		if a.WatchOnly() {
			continue
		}
		if _, err := w.Signer(a.Name); err != nil {
			return err
		}
	}
	return nil
}

// decodeStrict reads JSON into v and refuses what v does not encode to again:
// unknown, missing, repeated or null members, another case, other forms of base64,
// anything behind it. White space and the order of members are free.
func decodeStrict(what string, data []byte, v any) error {
	return decodeBounded(what, data, maxFile, v)
}

func decodeBounded(what string, data []byte, most int, v any) error {
	if len(data) > most {
		return failf(CodeMalformed, "%s of %d bytes is over %d", what, len(data), most)
	}
	normal, err := jcs.Transform(data)
	if err != nil {
		return wrapf(CodeMalformed, err, "read %s", what)
	}
	decoder := json.NewDecoder(bytes.NewReader(normal))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		return wrapf(CodeMalformed, err, "read %s", what)
	}
	plain, err := json.Marshal(v)
	if err != nil {
		return wrapf(CodeMalformed, err, "read %s", what)
	}
	again, err := jcs.Transform(plain)
	if err != nil {
		return wrapf(CodeMalformed, err, "read %s", what)
	}
	if !bytes.Equal(again, normal) {
		return failf(CodeMalformed, "%s: members are missing, repeated, null or not in their form", what)
	}
	return nil
}

func encrypt(data []byte, passphrase string) (string, error) {
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return "", wrapf(CodePassphrase, err, "encrypt")
	}
	recipient.SetWorkFactor(scryptLog2N)
	var out strings.Builder
	armoured := armor.NewWriter(&out)
	body, err := age.Encrypt(armoured, recipient)
	if err != nil {
		return "", wrapf(CodePassphrase, err, "encrypt")
	}
	_, err = body.Write(data)
	if err := errors.Join(err, body.Close(), armoured.Close()); err != nil {
		return "", wrapf(CodePassphrase, err, "encrypt")
	}
	return out.String(), nil
}

func decrypt(text, passphrase string) ([]byte, error) {
	identity, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, err
	}
	identity.SetMaxWorkFactor(maxLog2N)
	plain, err := age.Decrypt(armor.NewReader(strings.NewReader(text)), identity)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(plain, maxFile))
}

func readPrivate(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, wrapf(CodeFile, err, "open")
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, wrapf(CodeFile, err, "open")
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, failf(CodeFile, "%s is not a file of at most %d bytes", path, maxFile)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, failf(CodeFile, "%s may be read or written by others (mode %04o): run chmod 600 on it", path, info.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, wrapf(CodeFile, err, "read %s", path)
	}
	return data, nil
}

// Replace writes a file of a wallet whole, in place of one that may be there: after a
// crash there is the old one or the new one. The error has code [CodeFile].
func Replace(path string, data []byte, mode fs.FileMode) error {
	err := writeFile(path, data, true)
	if err == nil {
		err = os.Chmod(path, mode)
	}
	if err != nil {
		return wrapf(CodeFile, err, "write %s", path)
	}
	return nil
}

// writeFile writes a file under another name, syncs it, renames or links it into
// place (which fails when there is one) and syncs the directory.
func writeFile(path string, data []byte, replace bool) (err error) {
	dir := filepath.Dir(path)
	temp, err := os.CreateTemp(dir, ".wallet-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if gone := os.Remove(temp.Name()); !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}()
	_, err = temp.Write(data)
	if err = errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	if replace {
		err = os.Rename(temp.Name(), path)
	} else {
		err = os.Link(temp.Name(), path)
	}
	if err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
