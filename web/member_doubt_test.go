package web_test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"robotorq.org/reserve/api"
)

// keptOrders are the orders that lie beside a wallet.
func (p *pane) keptOrders() []string {
	files, err := filepath.Glob(filepath.Join(p.dir, "order-*.json"))
	p.must(err)
	return files
}

func TestAnOrderIsOnDiskBeforeItIsSentAndUntilItIsAnswered(t *testing.T) {
	b := openTeller(t)
	p := openPane(t, "member:ada", b.url, false, systemClock{}).opened()
	for _, c := range []struct {
		says   string
		answer http.HandlerFunc
		after  int // orders that lie there when the page has said so
	}{
		{"Nothing was done.", func(w http.ResponseWriter, r *http.Request) {
			api.WriteProblem(w, r, api.Errorf(api.CodeInsufficientFunds, "No."))
		}, 0},
		{"not known", func(w http.ResponseWriter, _ *http.Request) {
			b.says(w, api.Receipt{Envelope: []byte(`{}`)})
		}, 1},
	} {
		order, whileSent := p.prepares("to", "member:bob", "amount", "36 JT"), 0
		b.answer = func(w http.ResponseWriter, r *http.Request) {
			whileSent = len(p.keptOrders())
			c.answer(w, r)
		}
		_, text, _ := p.post(order)
		p.shows(text, c.says)
		if after := len(p.keptOrders()); whileSent != 1 || after != c.after {
			t.Errorf("%q: %d orders lay beside the wallet while one was sent, %d afterwards", c.says, whileSent, after)
		}
	}
}

func TestAnOrderThatCannotBeKeptIsNotSent(t *testing.T) {
	b := openTeller(t)
	p := openPane(t, "member:ada", b.url, false, systemClock{}).opened()
	order := p.prepares("to", "member:bob", "amount", "36 JT")
	p.must(os.Rename(p.dir, p.dir+"-away"))
	_, text, _ := p.post(order)
	p.must(os.Rename(p.dir+"-away", p.dir))
	if b.orders() != 0 {
		t.Errorf("%d orders were sent", b.orders())
	}
	p.shows(text, "Nothing was done.")
}
