package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/torq"
)

type investCmd struct {
	walletFlags
	Contract uint64        `arg:"" help:"Number of the contract."`
	Amount   []string      `arg:"" help:"How much: 0.25 RT or 900000 JT."`
	Expires  time.Duration `default:"5m" help:"After this the order is void."`
}

// Help is the long help with an example.
func (investCmd) Help() string {
	return `Takes a part of an awarded contract's stake until it is funded. The money leaves the
wallet at once. It pays for labour as it is proven, is replenished, and comes back with
its part of the yield when the contract ends. Not funded, it comes back as if it had
stayed in the wallet.

Example:
  robotorq invest 7 0.25 RT`
}

// invested is the answer of `invest`.
type invested struct {
	Contract uint64  `json:"contract"`
	JT       torq.JT `json:"jt"`
	OrderID  string  `json:"order_id"`
	Posting  uint64  `json:"posting"`
	Repeated bool    `json:"repeated"`
}

func (c *investCmd) Run(ctx context.Context, std streams, g *global) error {
	amount, err := torq.ParseRT(strings.Join(c.Amount, " "))
	if err != nil {
		return &exitError{exitUsage, err}
	}
	if c.Expires <= 0 || c.Contract == 0 {
		return &exitError{exitUsage, errors.New("contracts are numbered from 1, and --expires must be longer than nothing")}
	}
	w, err := openWallet(std, c.walletFlags)
	if err != nil {
		return err
	}
	if err := meet(ctx, std, w); err != nil {
		return err
	}
	now := time.Now()
	o := ledger.Order{
		Origin: w.Origin(), From: w.Account(), Created: uint64(now.UnixMilli()), Expires: uint64(now.Add(c.Expires).UnixMilli()),
		Operations: []ledger.Operation{{Kind: ledger.OpInvest, To: proof.ContractID(w.Origin(), c.Contract), Amount: uint64(amount)}},
	}
	rand.Read(o.ID[:]) // never fails (crypto/rand)
	env, err := w.Keys().Sign(ledger.TypeOrder, o.Encode())
	if err != nil {
		return err
	}
	receipt, err := w.Deliver(ctx, env, o)
	if err != nil {
		return err
	}
	answer := invested{Contract: c.Contract, JT: amount, OrderID: hex.EncodeToString(o.ID[:]), Posting: receipt.Posting, Repeated: receipt.Repeated}
	if g.JSON {
		return writeJSON(std.Out, answer)
	}
	_, err = fmt.Fprintf(std.Out, "Invested %s (%s JT) in contract %d, posting %s.\n", amount.RTGrouped(), counted(int64(amount)), c.Contract, counted(receipt.Posting))
	return err
}
