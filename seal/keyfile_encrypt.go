package seal

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"

	"filippo.io/age/armor"
)

// Encrypted reports whether a key file is encrypted.
func Encrypted(path string) (bool, error) {
	data, err := readPrivate(path)
	return bytes.HasPrefix(data, []byte(armor.Header)), err
}

// EncryptKeyFile encrypts a key file that lies open, under a passphrase that is not
// empty. The file is exchanged at once: a crash leaves the old one or the new one. It
// is read again with the passphrase before it takes the old one's place. What the disk
// keeps of the old bytes is not overwritten. done is false for a file that is encrypted
// already, which stays as it is.
func EncryptKeyFile(path, passphrase string) (done bool, err error) {
	if passphrase == "" {
		return false, failf(CodePassphrase, "key file %s: a passphrase is needed", path)
	}
	if encrypted, err := Encrypted(path); err != nil || encrypted {
		return false, err
	}
	s, err := ReadKeyFile(path, "")
	if err != nil {
		return false, err
	}
	temp := path + ".encrypting"
	if err := removeIfThere(temp); err != nil { // of a crash
		return false, wrapf(CodeKeyFile, err, "encrypt key file %s", path)
	}
	if err := WriteKeyFile(temp, passphrase, s); err != nil {
		return false, err
	}
	if _, err := ReadKeyFile(temp, passphrase); err != nil {
		return false, errors.Join(err, removeIfThere(temp))
	}
	if err := os.Rename(temp, path); err != nil {
		return false, wrapf(CodeKeyFile, err, "encrypt key file %s", path)
	}
	return true, syncDir(filepath.Dir(path))
}
