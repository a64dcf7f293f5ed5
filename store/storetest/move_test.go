package storetest_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"

	"robotorq.org/reserve/store"
	"robotorq.org/reserve/store/storetest"
)

const numbered = `CREATE TABLE noted (id INTEGER PRIMARY KEY, body BLOB, word TEXT NOT NULL) STRICT;
CREATE TABLE one (id INTEGER PRIMARY KEY CHECK (id = 1), n INTEGER NOT NULL) STRICT;
CREATE TABLE pair (a TEXT NOT NULL, b INTEGER NOT NULL, PRIMARY KEY (a, b)) STRICT, WITHOUT ROWID;`

func dump(t *testing.T, db *store.DB) (text string) {
	t.Helper()
	must(t, db.View(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		text = ""
		for _, query := range []string{"SELECT id, word, coalesce(length(body), -1) FROM noted ORDER BY id", "SELECT id, n, 0 FROM one", "SELECT a, b, 0 FROM pair ORDER BY a, b"} {
			rows, err := tx.QueryContext(ctx, query)
			if err != nil {
				return err
			}
			for rows.Next() {
				var a, b, c any
				if err := rows.Scan(&a, &b, &c); err != nil {
					return err
				}
				text += fmt.Sprintln(a, b, c)
			}
			if err := rows.Err(); err != nil {
				return err
			}
			rows.Close()
		}
		return nil
	}))
	return text
}

func TestBooksMoveFromAFileWholeAndOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		o := store.Options{Schemas: []store.Schema{schema("numbered", numbered)}}
		from := storetest.Open(t, filepath.Join(t.TempDir(), "old.db"), o)
		must(t, exec(t.Context(), from, "INSERT INTO noted (body, word) VALUES (?, 'first'), (NULL, 'second'), (?, 'Größe')", []byte{0, 1, 255}, []byte{}))
		must(t, exec(t.Context(), from, "INSERT INTO one VALUES (1, ?)", int64(1)<<62))
		must(t, exec(t.Context(), from, "INSERT INTO pair VALUES ('b', 1), ('a', 2), ('B', -3)"))
		to := storetest.Open(t, e.Place(t), o)
		copied, err := from.CopyTo(t.Context(), to)
		must(t, err)
		if want, got := dump(t, from), dump(t, to); !copied || got != want {
			t.Fatalf("copied %v:\n%s\nnot\n%s", copied, got, want)
		}
		must(t, exec(t.Context(), to, "INSERT INTO noted (word) VALUES ('after')"))
		after := dump(t, to)
		if copied, err = from.CopyTo(t.Context(), to); copied || err != nil || dump(t, to) != after {
			t.Errorf("the second time: copied %v, %v:\n%s", copied, err, dump(t, to))
		}
	})
}
