package bondprint

import (
	"net/url"
	"strings"
	"time"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/wallet"
)

// MaxAddress is the longest check address in bytes: what a coin's QR code of 33
// modules holds.
const MaxAddress = 78

// Print is an issued bond with the address at which anybody can check it.
type Print struct {
	envelope seal.Envelope
	bond     proof.Bond
	digest   merkle.Hash
	address  string
}

// New prepares the printing of an issued bond. address is public, an absolute https
// or http address of printable ASCII without user, query, fragment or escape, in which a
// secret could hide, of at most [MaxAddress] bytes. The error has code [CodeBond] or
// [CodeAddress].
func New(bond seal.Envelope, address string) (*Print, error) {
	if bond.PayloadType != proof.TypeBond {
		return nil, failf(CodeBond, "%q is not a bond", bond.PayloadType)
	}
	b, err := proof.DecodeBond(bond.Payload)
	if err != nil {
		return nil, wrapf(CodeBond, err, "print")
	}
	if err := checkAddress(address); err != nil {
		return nil, err
	}
	return &Print{envelope: bond, bond: b, digest: bond.Digest(), address: address}, nil
}

func checkAddress(address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return wrapf(CodeAddress, err, "check address")
	}
	if len(address) > MaxAddress {
		return failf(CodeAddress, "a check address has at most %d bytes, %q has %d", MaxAddress, address, len(address))
	}
	if scheme := strings.ToLower(u.Scheme); scheme != "https" && scheme != "http" || u.Host == "" || u.Opaque != "" {
		return failf(CodeAddress, "%q is not an absolute https address", address)
	}
	if u.User != nil || strings.ContainsAny(address, "?#%") {
		return failf(CodeAddress, "%q: a check address has no user, query, fragment or escape", address)
	}
	if strings.ContainsFunc(address, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return failf(CodeAddress, "%q has characters outside printable ASCII", address)
	}
	return nil
}

// checkSecret refuses a secret to which the bond is not bound.
func (p *Print) checkSecret(s wallet.Secret) error {
	if s.KeyHash() != p.bond.KeyHash {
		return failf(CodeSecret, "bond %d is not bound to the key of this secret", p.bond.Serial)
	}
	return nil
}

// issued is the day of the issue, UTC.
func (p *Print) issued() string {
	return time.UnixMilli(int64(p.bond.Issued)).UTC().Format("2006-01-02")
}

// bareAddress is the address as people read it, without its scheme.
func (p *Print) bareAddress() string {
	_, rest, _ := strings.Cut(p.address, "://")
	return rest
}
