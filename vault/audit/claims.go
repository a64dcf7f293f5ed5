package audit

import (
	"fmt"
	"strings"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/wallet"
)

// claimed is a bearer's claim and the bearer whom it must be by.
type claimed struct {
	wallet.Claim
	bearer wallet.Bearer
}

func decodeClaim(raw []byte, origin string, b ledger.Bond) (claimed, error) {
	c, err := wallet.DecodeClaim(raw)
	return claimed{c, wallet.Bearer{Origin: origin, Serial: b.Serial, KeyHash: b.KeyHash}}, err
}

// redeems checks that the claim redeems the bond into a wallet.
func (c claimed) redeems(payee string, at uint64) error {
	r, err := c.Redemption(c.bearer, at)
	if err == nil && r.Payee != payee {
		err = fmt.Errorf("its bearer names %s, the posting pays %s", r.Payee, payee)
	}
	return err
}

// reissues checks that the claim binds the bond to a key.
func (c claimed) reissues(cmd *ledger.Reissue, at uint64) error {
	r, err := c.Reissue(c.bearer, at)
	if err == nil && r.KeyHash != cmd.KeyHash {
		err = fmt.Errorf("its bearer names key %s, the posting binds it to %s", r.KeyHash, cmd.KeyHash)
	}
	return err
}

// split takes an account apart.
func split(account string) (role, id string) {
	role, id, _ = strings.Cut(account, ":")
	return role, id
}
