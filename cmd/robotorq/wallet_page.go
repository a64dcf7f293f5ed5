package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	"robotorq.org/reserve/node"
	"robotorq.org/reserve/wallet"
	"robotorq.org/reserve/wallet/purse"
	"robotorq.org/reserve/web"
)

type walletPageCmd struct {
	walletFlags
	Port  int           `default:"0" help:"Port of the page on 127.0.0.1; 0 picks a free one."`
	For   time.Duration `placeholder:"DURATION" help:"Stop after this time."`
	Idle  time.Duration `default:"30m" help:"Stop when nobody has asked the page for anything for so long."`
	Bonds string        `placeholder:"DIR" help:"Where bonds and their secrets lie (default: bonds beside the wallet's file)."`
	Token string        `placeholder:"TOKEN" help:"Token of role portal or admin, for an account that is only watched."`
}

// Help is the long help with examples.
func (walletPageCmd) Help() string {
	return `Prints a link to a page of this wallet: balance as it changes, pay, save, bonds and their
prints, statement, checks. The page is served by this command, on this machine alone; the
keys stay in it, and each order is shown in full before it is signed. The link opens the
page once, in one browser. Ctrl-C ends it.

Examples:
  robotorq wallet page
  robotorq wallet page --wallet ada.json --url https://reserve.example --for 1h
  robotorq wallet page --account org:print-works --port 8123 --json`
}

// openedPage is the answer of `wallet page`.
type openedPage struct {
	Link      string `json:"link"` // opens the page, once
	Account   string `json:"account"`
	WatchOnly bool   `json:"watch_only"`
}

func (c *walletPageCmd) Run(ctx context.Context, std streams, g *global) error {
	if c.Idle <= 0 || c.For < 0 {
		return &exitError{exitUsage, errors.New("--idle must be longer than nothing, and --for not shorter")}
	}
	w, passphrase, err := c.page(std)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(c.Port)))
	if err != nil {
		return fmt.Errorf("the page cannot listen: %w (--port 0 picks a free port)", err)
	}
	bonds := c.Bonds
	if bonds == "" {
		bonds = filepath.Join(filepath.Dir(w.Path()), "bonds")
	}
	if bonds, err = filepath.Abs(bonds); err != nil {
		return errors.Join(err, l.Close())
	}
	page, err := web.NewMember(web.MemberOptions{
		Purse: w, Address: l.Addr().String(), Bonds: bonds, Passphrase: passphrase, Clock: node.Clock{}, Idle: c.Idle, Log: logger(std.Err, false, false), Version: version,
	})
	if err != nil {
		return errors.Join(err, l.Close())
	}
	if g.JSON {
		err = writeJSON(std.Out, openedPage{page.Link(), w.Account(), w.WatchOnly()})
	} else {
		_, err = fmt.Fprintf(std.Out, "The page of %s. Open %s\nThe link opens it once, in one browser. Stop with Ctrl-C.\n", w.Account(), page.Link())
	}
	if err != nil {
		return errors.Join(err, l.Close())
	}
	return servePage(ctx, l, page, c.For)
}

// page opens the account as it is: with its keys, or only watched.
func (c *walletPageCmd) page(std streams) (w *purse.Purse, passphrase string, err error) {
	file, path, err := c.open()
	if err != nil {
		return nil, "", err
	}
	account, err := file.Account(c.Account)
	if err != nil {
		return nil, "", &exitError{exitUsage, fmt.Errorf("%w (--account; `robotorq wallet accounts` lists them)", err)}
	}
	if !account.WatchOnly() {
		if passphrase, err = c.unlockWith(std, file, path); err != nil {
			return nil, "", err
		}
	}
	w, err = newPurse(purse.Options{Path: path, File: file, Account: account.Name, URL: c.URL, Token: c.Token, Clock: node.Clock{}})
	return w, passphrase, err
}

// unlockWith opens the wallet's seed and returns the passphrase, which closes the secrets
// of bonds too; "" when the wallet has none and none was given.
func (f walletFlags) unlockWith(std streams, w *wallet.Wallet, path string) (string, error) {
	text, err := givenPassphrase(f.PassphraseFile)
	if err != nil || !w.Locked() {
		return text, err
	}
	if text == "" {
		if !isTerminal(std.In) {
			return "", fmt.Errorf("%s is encrypted: set %s, or name a --passphrase-file", path, passphraseVariable)
		}
		if text, err = ask(std, "Passphrase of "+path+": "); err != nil {
			return "", err
		}
	}
	return text, w.Unlock(text)
}

// servePage serves the page until ctx ends, the time is up or nobody uses it any more.
func servePage(ctx context.Context, l net.Listener, page *web.Member, limit time.Duration) error {
	if limit > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, limit)
		defer stop()
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	server := &http.Server{Handler: page, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, BaseContext: func(net.Listener) context.Context { return ctx }}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	idle := make(chan struct{})
	go func() { page.Wait(ctx); close(idle) }()
	select {
	case err := <-ended:
		return err
	case <-idle:
	}
	stop() // live pages end with it
	const patience = 10 * time.Second
	last, done := context.WithTimeout(context.Background(), patience)
	defer done()
	if err := server.Shutdown(last); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}
