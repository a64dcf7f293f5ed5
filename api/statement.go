package api

import (
	"context"
	"encoding/csv"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// NextCursor is the trailer of a statement in CSV that was cut: the cursor from which
// the rest is asked for.
const NextCursor = "Next-Cursor"

// maxCSV is how many lines a statement in CSV has at most.
const maxCSV = 100_000

type csvInput struct {
	Authorization string `header:"Authorization" maxLength:"1024" doc:"Bearer token of role portal or admin"`
	Account       string `path:"account" pattern:"^(member|org):[a-z0-9][a-z0-9-]{0,62}$" doc:"member:<id> or org:<id>"`
	Cursor        string `query:"cursor" maxLength:"512" doc:"Next-Cursor of the part before"`
	Of            string `query:"of" enum:"wallet,savings" default:"wallet" doc:"The wallet's movements, or those of its savings"`
	request       *http.Request
}

// Resolve implements huma.Resolver.
func (in *csvInput) Resolve(ctx huma.Context) []error {
	in.request, _ = humago.Unwrap(ctx)
	return nil
}

// statementOf is the account whose statement is asked for.
func statementOf(of, account string) string {
	if of == "savings" {
		return "savings:" + account
	}
	return account
}

// statementCSV sends a statement page by page, so that no statement is ever whole in
// memory. One that breaks off in the middle breaks the connection.
func (s *Server) statementCSV(ctx context.Context, in *csvInput) (*huma.StreamResponse, error) {
	if err := s.mayRead(ctx, in.Authorization, in.Account, in.request); err != nil {
		return nil, s.fail(ctx, err)
	}
	account := statementOf(in.Of, in.Account)
	page := Page{Cursor: in.Cursor, Limit: MaxPage}
	first, err := s.options.Wallets.Statement(ctx, account, page)
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	name := strings.ReplaceAll(account, ":", "-") + ".csv"
	return &huma.StreamResponse{Body: func(c huma.Context) {
		c.SetHeader("Content-Type", "text/csv; charset=utf-8")
		c.SetHeader("Content-Disposition", `attachment; filename="`+name+`"`)
		c.SetHeader("Cache-Control", "no-store")
		c.SetHeader("Trailer", NextCursor)
		w := csv.NewWriter(c.BodyWriter())
		// The first error of a csv.Writer stays until it is asked for.
		_ = w.Write([]string{"posting", "time", "kind", "jt", "balance_jt", "rt", "balance_rt", "other", "memo", "order_id"})
		list, sent := first, 0
		for {
			for _, line := range list.Items {
				_ = w.Write(csvLine(line))
			}
			w.Flush()
			sent += len(list.Items)
			if list.Next == "" || list.Next == page.Cursor || sent >= maxCSV || w.Error() != nil {
				break
			}
			page.Cursor = list.Next
			if list, err = s.options.Wallets.Statement(c.Context(), account, page); err != nil {
				s.options.Log.WarnContext(c.Context(), "statement broke off", "error", err)
				panic(http.ErrAbortHandler)
			}
		}
		if w.Error() != nil {
			panic(http.ErrAbortHandler)
		}
		c.SetHeader(NextCursor, list.Next)
	}}, nil
}
