package purse

import (
	"context"
	"io"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/client"
)

// Statement reads an account's movements or its savings', the newest first, at most limit
// lines, all with 0.
func Statement(ctx context.Context, c *client.Client, account string, savings bool, limit int) ([]api.StatementLine, error) {
	lines := []api.StatementLine{}
	err := EachLine(ctx, c, account, savings, limit, func(l api.StatementLine) bool {
		lines = append(lines, l)
		return limit == 0 || len(lines) < limit
	})
	return lines, err
}

// EachLine hands an account's movements or its savings' to visit, the newest first, until
// that says no. page is how many lines are asked for at once; 0 means as many as there
// may be.
func EachLine(ctx context.Context, c *client.Client, account string, savings bool, page int, visit func(api.StatementLine) bool) error {
	read := c.Statement
	if savings {
		read = c.SavingsStatement
	}
	at := api.Page{Limit: api.MaxPage}
	if page > 0 {
		at.Limit = min(page, api.MaxPage)
	}
	for {
		list, err := read(ctx, account, at)
		if err != nil {
			return err
		}
		for _, l := range list.Items {
			if !visit(l) {
				return nil
			}
		}
		if list.Next == "" || list.Next == at.Cursor {
			return nil
		}
		at.Cursor = list.Next
	}
}

// WriteCSV writes all parts of a statement as one.
func WriteCSV(ctx context.Context, c *client.Client, account string, savings bool, w io.Writer) error {
	out := &headless{w: w}
	for cursor := ""; ; {
		next, err := c.StatementCSVFrom(ctx, account, savings, cursor, out)
		if err != nil || next == "" {
			return err
		}
		cursor, out.skipping = next, true
	}
}

// headless leaves out the first line of what is written to it, when it is told to.
type headless struct {
	w        io.Writer
	skipping bool
}

func (h *headless) Write(p []byte) (int, error) {
	for i, b := range p {
		if !h.skipping {
			n, err := h.w.Write(p[i:])
			return i + n, err
		}
		h.skipping = b != '\n'
	}
	return len(p), nil
}
