package client

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"robotorq.org/reserve/api"
)

// maxDocument bounds a document that is kept in memory: a bond of 10,000 RT.
const maxDocument = 64 << 20

// Bond is a bearer bond by its serial.
func (c *Client) Bond(ctx context.Context, serial uint64) (api.Bond, error) {
	return get[api.Bond](ctx, c, fmt.Sprintf("/bonds/%d", serial), nil)
}

// BondOfKey is the bond that is bound to the key with this hash, 64 hexadecimal digits.
func (c *Client) BondOfKey(ctx context.Context, keyHash string) (api.Bond, error) {
	return get[api.Bond](ctx, c, "/bonds", url.Values{"key_hash": {keyHash}})
}

// BondFile is all that an offline check of a bond needs.
func (c *Client) BondFile(ctx context.Context, serial uint64) ([]byte, error) {
	return c.document(ctx, fmt.Sprintf("/bonds/%d/file", serial))
}

// Redeem sends a bearer's claim on a bond (JSON); the very same claim may be sent again.
func (c *Client) Redeem(ctx context.Context, claim []byte) (api.Claimed, error) {
	return post[api.Claimed](ctx, c, "/redemptions", claim, nil)
}

// Reissue sends a bearer's claim to have a bond bound to another key.
func (c *Client) Reissue(ctx context.Context, claim []byte) (api.Claimed, error) {
	return post[api.Claimed](ctx, c, "/reissues", claim, nil)
}

// Solvency is the newest logged statement of what the reserve owes.
func (c *Client) Solvency(ctx context.Context) (api.Solvency, error) {
	return get[api.Solvency](ctx, c, "/solvency", nil)
}

// SolvencyFile shows the owner of a wallet that its balance is counted.
func (c *Client) SolvencyFile(ctx context.Context, account string) ([]byte, error) {
	return c.document(ctx, "/wallets/"+url.PathEscape(account)+"/solvency")
}

// Head is the newest logged head of the postings.
func (c *Client) Head(ctx context.Context) (api.Head, error) {
	return get[api.Head](ctx, c, "/head", nil)
}

// PostedOrder is the posting of an account's order, by the order's id in hexadecimal.
func (c *Client) PostedOrder(ctx context.Context, account, order string) (api.PostedOrder, error) {
	return get[api.PostedOrder](ctx, c, "/wallets/"+url.PathEscape(account)+"/orders/"+order, nil)
}

// Person is the enrolment of a member or an organisation, every version.
func (c *Client) Person(ctx context.Context, account string) (api.Person, error) {
	return get[api.Person](ctx, c, "/people/"+url.PathEscape(account), nil)
}

// SavingsStatement is one page of the movements of an account's savings, newest first.
func (c *Client) SavingsStatement(ctx context.Context, account string, page api.Page) (api.List[api.StatementLine], error) {
	query := pageQuery(page)
	query.Set("of", "savings")
	return get[api.List[api.StatementLine]](ctx, c, "/wallets/"+url.PathEscape(account)+"/statement", query)
}

// StatementCSVFrom writes a part of an account's movements as CSV, or of its savings',
// from a cursor on, and returns the cursor of the rest, "" when there is none.
func (c *Client) StatementCSVFrom(ctx context.Context, account string, savings bool, cursor string, w io.Writer) (next string, err error) {
	query := pageQuery(api.Page{Cursor: cursor})
	if savings {
		query.Set("of", "savings")
	}
	answer, err := c.do(ctx, http.MethodGet, "/wallets/"+url.PathEscape(account)+"/statement.csv", query, nil, nil)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(w, answer.Body); err != nil {
		return "", fmt.Errorf("the download broke off: %w", err)
	}
	return answer.Trailer.Get(api.NextCursor), nil
}

// document reads a document whole.
func (c *Client) document(ctx context.Context, path string) ([]byte, error) {
	var out bytes.Buffer
	answer, err := c.do(ctx, http.MethodGet, path, nil, nil, nil)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if n, err := io.Copy(&out, io.LimitReader(answer.Body, maxDocument+1)); err != nil || n > maxDocument {
		return nil, fmt.Errorf("the document is larger than %d bytes, or the download broke off: %w", maxDocument, err)
	}
	return out.Bytes(), nil
}
