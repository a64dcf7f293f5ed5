package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/client"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/node"
	"robotorq.org/reserve/proof"
)

type recallCmd struct {
	Serial   uint64 `arg:"" help:"Serial of the certificate."`
	Evidence string `required:"" placeholder:"FILE" help:"What proves it wrong; its SHA-256 is signed. Keep the file, for everybody to see."`
	Reason   string `required:"" help:"What is wrong, at most 200 bytes."`
	URL      string `name:"url" placeholder:"URL" default:"http://127.0.0.1:8080" help:"The reserve's node."`
	Data     string `placeholder:"DIR" help:"Data directory with the trust key (default: ${data})."`
	Key      string `placeholder:"FILE" help:"Key file of the trust key, instead of --data."`
}

// Help is the long help with an example.
func (recallCmd) Help() string {
	return `Takes back the money of a certificate that was proven wrong: 1 RT leaves the StakeVault
for ever, at once or as soon as it holds as much; until then the certificate is shown as
disputed. Bonds bound to it are bound to another. What the mint itself finds wrong is
recalled without this command. Doing it twice is safe.

Example:
  robotorq recall 41 --evidence report-of-the-meter-office.pdf --reason "the meter of forge-7 was broken" --data /var/lib/robotorq`
}

func (c *recallCmd) Run(ctx context.Context, std streams, g *global) error {
	if c.Reason == "" || len(c.Reason) > 200 {
		return &exitError{exitUsage, errors.New("--reason has 1 to 200 bytes")}
	}
	evidence, err := readInput(std, c.Evidence)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	f := operatorFlags{URL: c.URL, Data: c.Data, Key: c.Key}
	keys, origin, err := f.trustKey(std)
	if err != nil {
		return err
	}
	cl, err := client.New(c.URL, nil, node.Clock{})
	if err != nil {
		return &exitError{exitUsage, err}
	}
	certificate, err := cl.Certificate(ctx, c.Serial)
	if err != nil {
		return err
	}
	if origin == "" {
		charter, err := cl.Charter(ctx)
		if err != nil {
			return err
		}
		origin = charter.Origin
	}
	r := proof.Recall{Origin: origin, Serial: c.Serial, Evidence: merkle.Hash(sha256.Sum256(evidence)), Reason: strings.ToValidUTF8(c.Reason, "?"), Issued: uint64(time.Now().UnixMilli())}
	digest, err := hex.DecodeString(certificate.Digest)
	if err == nil {
		r.Certificate, err = merkle.HashOf(digest)
	}
	if err != nil {
		return fmt.Errorf("the node's digest of certificate %d: %w", c.Serial, err)
	}
	env, err := keys.Sign(proof.TypeRecall, r.Encode())
	if err != nil {
		return err
	}
	body, err := json.Marshal(env)
	if err != nil {
		return err
	}
	done, err := patiently(ctx, fmt.Sprintf("certificate %d was recalled", c.Serial), func() (api.Recalled, error) { return cl.Recall(ctx, body) }, sameAgain)
	if err != nil {
		return err
	}
	if g.JSON {
		return writeJSON(std.Out, done)
	}
	what := "is recalled"
	if done.Disputed {
		what = "is in dispute until the StakeVault holds 1 RT"
	}
	_, err = fmt.Fprintf(std.Out, "Certificate %d %s, posting %s.\n", done.Serial, what, counted(done.Posting))
	return err
}
