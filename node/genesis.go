package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/strictjson"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/trust"
)

// Names under which the stations of a one-process reserve sign and hand over.
const (
	diggerID    = "digger-1"
	refineryID  = "refinery-1"
	mintID      = "mint-1"
	vaultID     = "vault-1"
	trustID     = "trust-1"
	registrarID = "registrar-1"
	rootID      = "root-1"
)

// Directories and files of a data directory.
const (
	keysDir      = "keys"
	rootDir      = "root"
	logDir       = "log"
	packsDir     = "packs"
	busDir       = "bus"
	robotsDir    = "robots"
	demoDir      = "demo"
	identityFile = "reserve.json"
	lockFile     = "lock"
)

// Identity is what makes a data directory this reserve and no other; it is
// written once, before anything else.
type Identity struct {
	Origin  string `json:"origin"`         // name of the log
	Profile string `json:"profile"`        // standard, or tiny in test builds
	Demo    bool   `json:"demo,omitempty"` // founded by a demo: its people are made up
}

// ReadIdentity reads the identity of a data directory; the error is
// fs.ErrNotExist when there is no reserve in it.
func ReadIdentity(dir string) (Identity, torq.Profile, error) {
	path := filepath.Join(dir, identityFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return Identity{}, torq.Profile{}, err
	}
	var id Identity
	if err := strictjson.Decode(data, &id); err != nil {
		return Identity{}, torq.Profile{}, fmt.Errorf("%s: %w", path, err)
	}
	if !seal.ValidOrigin(id.Origin) {
		return Identity{}, torq.Profile{}, fmt.Errorf("%s: %q cannot name a reserve's log", path, id.Origin)
	}
	profile, err := torq.ProfileByName(id.Profile)
	return id, profile, err
}

// identify reads the identity, or writes a new one.
func identify(dir, origin, profile string, demo bool) (Identity, torq.Profile, error) {
	id, p, err := ReadIdentity(dir)
	if err == nil && demo && !id.Demo {
		return id, p, fmt.Errorf("%s is a real reserve, and a demo would enrol people who do not exist: choose another --data for the demo", dir)
	}
	if err == nil && origin != "" && origin != id.Origin {
		return id, p, &Error{Code: CodeOrigin, Detail: fmt.Sprintf("%s is the reserve %s, not %s: leave --origin away, or choose another --data", dir, id.Origin, origin)}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return id, p, err
	}
	if profile == "" {
		profile = "standard"
	}
	if _, err := torq.ProfileByName(profile); err != nil {
		return id, p, err
	}
	if !seal.ValidOrigin(origin) {
		return id, p, fmt.Errorf("%q cannot name a reserve's log: write a host name and a path, for example reserve.example/log", origin)
	}
	data, err := json.MarshalIndent(Identity{Origin: origin, Profile: profile, Demo: demo}, "", "  ")
	if err != nil {
		return id, p, err
	}
	if err := writeFile(filepath.Join(dir, identityFile), append(data, '\n')); err != nil {
		return id, p, err
	}
	return ReadIdentity(dir)
}

// writeFile writes a small file so that a crash leaves the old one or the new one.
func writeFile(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a directory durable.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// KeyRing is the key files of a data directory.
type KeyRing struct {
	Digger, Refinery, Mint, Vault, Trust, Registrar *seal.Signer
	Log                                             *seal.Signer // name: the origin
	Root                                            *seal.Signer // nil when it was taken away
	Witnesses                                       []seal.Key   // public keys of others, for the first charter
}

// openKeys reads the service keys, making those that are not there yet. The root
// key lies apart and is made only with the others: it may be taken offline. So may the
// keys of services that work in other processes.
func openKeys(dir, origin, passphrase string, apart []string) (KeyRing, error) {
	var ring KeyRing
	// The last key made is the log's: until it is there, the first start goes on.
	fresh, err := absent(filepath.Join(dir, keysDir, seal.RoleLog+".json"))
	if err != nil {
		return ring, err
	}
	for _, d := range []string{keysDir, rootDir} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			return ring, err
		}
	}
	if err := syncDir(dir); err != nil {
		return ring, err
	}
	ring.Root, err = openKey(filepath.Join(dir, rootDir, "root.json"), passphrase, rootID, seal.RoleRoot, fresh)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return ring, err
	}
	for _, k := range []struct {
		into       **seal.Signer
		name, role string
	}{
		{&ring.Digger, diggerID, seal.RoleDigger}, {&ring.Refinery, refineryID, seal.RoleRefinery}, {&ring.Mint, mintID, seal.RoleMint},
		{&ring.Vault, vaultID, seal.RoleVault}, {&ring.Trust, trustID, seal.RoleTrust}, {&ring.Registrar, registrarID, seal.RoleRegistrar},
		{&ring.Log, origin, seal.RoleLog},
	} {
		elsewhere := slices.Contains(apart, k.role) && !fresh
		// A key that is missing later is not made anew: the charter would not name it.
		*k.into, err = openKey(filepath.Join(dir, keysDir, k.role+".json"), passphrase, k.name, k.role, fresh)
		if err != nil && !(elsewhere && errors.Is(err, fs.ErrNotExist)) {
			return ring, err
		}
	}
	return ring, nil
}

func absent(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return false, err
}

// openKey reads a key file or, if make is set and there is none, makes it.
func openKey(path, passphrase, name, role string, create bool) (*seal.Signer, error) {
	s, err := seal.ReadKeyFile(path, passphrase)
	switch {
	case seal.HasCode(err, seal.CodePassphrase) && passphrase == "":
		return nil, fmt.Errorf("%w (set ROBOTORQ_PASSPHRASE)", err)
	case seal.HasCode(err, seal.CodePassphrase):
		return nil, fmt.Errorf("%w (is ROBOTORQ_PASSPHRASE the one under which the keys were encrypted?)", err)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w (it belongs to another user, perhaps after a command of root's: give the data directory back to this one with chown -R, and run every command on it as this user)", err)
	case err == nil || !create || !errors.Is(err, fs.ErrNotExist):
		return s, err
	}
	if s, err = seal.NewSigner(name, role); err != nil {
		return nil, err
	}
	return s, seal.WriteKeyFile(path, passphrase, s)
}

// genesis submits the first charter and the first policy, if Trust has none. amend
// is laid over the default policy (see policy.Amend).
func genesis(ctx context.Context, t *trust.Station, ring KeyRing, origin string, amend []byte, now uint64) error {
	var charter, document bool
	t.With(func(r *proof.Registry) {
		charter = r.Charter() != nil
		_, _, document = r.Policy(torq.TimeLimitMS) // also one that a clock set back does not see yet
	})
	if charter && document {
		return nil
	}
	if ring.Root == nil {
		return errors.New("there is no root key to sign the first charter")
	}
	if !charter {
		env, err := firstCharter(ring, origin, now)
		if err != nil {
			return err
		}
		if err := t.Submit(ctx, env); err != nil {
			return err
		}
	}
	env, err := firstPolicy(ring.Root, origin, amend, now)
	if err != nil {
		return err
	}
	return t.Submit(ctx, env)
}

func firstCharter(ring KeyRing, origin string, now uint64) (seal.Envelope, error) {
	c := &seal.Charter{Name: origin, Version: 1, IssuedMS: now, Threshold: 1}
	for _, s := range []*seal.Signer{ring.Root, ring.Log, ring.Registrar, ring.Trust, ring.Digger, ring.Refinery, ring.Mint, ring.Vault} {
		c.Keys = append(c.Keys, s.PublicKeys(now)...)
	}
	c.Keys = append(c.Keys, ring.Witnesses...)
	return c.Sign(ring.Root)
}

func firstPolicy(root *seal.Signer, origin string, amend []byte, now uint64) (seal.Envelope, error) {
	d, err := founding(origin, now, amend)
	if err != nil {
		return seal.Envelope{}, err
	}
	payload, err := d.Encode()
	if err != nil {
		return seal.Envelope{}, err
	}
	return root.Sign(proof.TypePolicy, payload)
}
