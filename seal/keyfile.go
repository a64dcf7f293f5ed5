package seal

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"filippo.io/age"
	"filippo.io/age/armor"
)

const (
	maxKeyFile = 1 << 20
	// scryptLog2N is the work factor of encrypted key files: 2^17 · 1 KiB, 128 MiB
	// for a moment and about half a second.
	scryptLog2N = 17
)

type keyFile struct {
	Name string        `json:"name"`
	Role string        `json:"role"`
	Keys []keyFilePair `json:"keys"`
}

type keyFilePair struct {
	Alg     string `json:"alg"`
	KeyID   string `json:"keyid"`
	Public  []byte `json:"public"`
	Private []byte `json:"private"`
}

// WriteKeyFile writes the keys of one signer to a new file of mode 0600, as JSON,
// encrypted with age (scrypt, ASCII armour) when the passphrase is not empty. It
// never replaces a file. When it returns nil the file and its directory entry are
// synced; when it fails, or the machine does, there is no file of that name.
// Errors have code [CodeKeyFile].
func WriteKeyFile(path, passphrase string, s *Signer) error {
	data, err := encodeKeyFile(s)
	if err != nil {
		return err
	}
	if passphrase != "" {
		if data, err = encrypt(data, passphrase); err != nil {
			return wrapf(CodeKeyFile, err, "encrypt key file %s", path)
		}
	}
	if err := writeNew(path, data); err != nil {
		return wrapf(CodeKeyFile, err, "write key file %s", path)
	}
	return nil
}

// ReadKeyFile reads what [WriteKeyFile] wrote and checks every pair. A file that
// others may read is refused with [CodeKeyFile] (chmod 600 it), a missing or wrong
// passphrase with [CodePassphrase]; a passphrase for a file that is not encrypted
// is ignored.
func ReadKeyFile(path, passphrase string) (*Signer, error) {
	data, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(data, []byte(armor.Header)) {
		if passphrase == "" {
			return nil, failf(CodePassphrase, "key file %s is encrypted: a passphrase is needed", path)
		}
		if data, err = decrypt(data, passphrase); err != nil {
			return nil, wrapf(CodePassphrase, err, "key file %s: the passphrase does not open it", path)
		}
	}
	s, err := decodeKeyFile(data)
	if err != nil {
		return nil, wrapf(CodeKeyFile, err, "key file %s", path)
	}
	return s, nil
}

func encodeKeyFile(s *Signer) ([]byte, error) {
	file := keyFile{Name: s.Name, Role: s.Role, Keys: []keyFilePair{}}
	for _, k := range s.Keys {
		file.Keys = append(file.Keys, keyFilePair{Alg: k.Alg, KeyID: k.KeyID(), Public: k.Public, Private: k.secret})
	}
	data, err := canonicalJSON(file)
	return append(data, '\n'), err
}

func decodeKeyFile(data []byte) (*Signer, error) {
	var file keyFile
	if err := decodeStrict(data, &file, false); err != nil {
		return nil, err
	}
	if len(file.Keys) == 0 {
		return nil, failf(CodeKeyFile, "it holds no keys")
	}
	s := &Signer{Name: file.Name, Role: file.Role}
	for _, pair := range file.Keys {
		key, err := NewPrivateKey(pair.Alg, pair.Public, pair.Private)
		if err != nil {
			return nil, err
		}
		if key.KeyID() != pair.KeyID {
			return nil, failf(CodeKey, "key %s is really %s", pair.KeyID, key.KeyID())
		}
		s.Keys = append(s.Keys, key)
	}
	return s, nil
}

func encrypt(data []byte, passphrase string) ([]byte, error) {
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, err
	}
	recipient.SetWorkFactor(scryptLog2N)
	var out bytes.Buffer
	armoured := armor.NewWriter(&out)
	body, err := age.Encrypt(armoured, recipient)
	if err != nil {
		return nil, err
	}
	if _, err := body.Write(data); err != nil {
		return nil, err
	}
	if err := errors.Join(body.Close(), armoured.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func decrypt(data []byte, passphrase string) ([]byte, error) {
	identity, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, err
	}
	plain, err := age.Decrypt(armor.NewReader(bytes.NewReader(data)), identity)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(plain, maxKeyFile))
}

func readPrivate(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, wrapf(CodeKeyFile, err, "open key file")
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, wrapf(CodeKeyFile, err, "open key file")
	}
	if !info.Mode().IsRegular() || info.Size() > maxKeyFile {
		return nil, failf(CodeKeyFile, "key file %s is not a file of at most %d bytes", path, maxKeyFile)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, failf(CodeKeyFile, "key file %s may be read or written by others (mode %04o): run chmod 600 on it", path, info.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(file, maxKeyFile+1))
	if err != nil {
		return nil, wrapf(CodeKeyFile, err, "read key file %s", path)
	}
	return data, nil
}

// writeNew writes a file under a temporary name, syncs it, links it into place
// (which fails if there is one) and syncs the directory.
func writeNew(path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	temp, err := os.CreateTemp(dir, ".key-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, removeIfThere(temp.Name())) }()
	_, err = temp.Write(data)
	if err = errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	if err := os.Link(temp.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

func removeIfThere(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
