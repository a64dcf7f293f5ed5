package web

import (
	"fmt"
	"html/template"
	"strings"

	qrcode "github.com/skip2/go-qrcode"
)

// invoiceData is a Lightning invoice to look at, to copy and to point a telephone at.
type invoiceData struct {
	Bolt11 string
	Link   template.URL // opens a wallet on this machine
	QR     template.HTML
}

// invoiceOf draws an invoice. Upper case means the same in BOLT 11 and makes a smaller code.
func invoiceOf(bolt11 string) (invoiceData, error) {
	for _, c := range []byte(bolt11) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return invoiceData{}, fmt.Errorf("web: %.80q is no invoice", bolt11)
		}
	}
	code, err := drawQR(strings.ToUpper("lightning:"+bolt11), "QR code of the invoice; its text stands beside it")
	return invoiceData{Bolt11: bolt11, Link: template.URL("lightning:" + bolt11), QR: code}, err
}

// drawQR draws a text as a QR code, dark on light in any colour scheme, with the margin of
// four modules that readers need.
func drawQR(text, label string) (template.HTML, error) {
	var code *qrcode.QRCode
	err := fmt.Errorf("web: nothing to draw")
	for _, level := range []qrcode.RecoveryLevel{qrcode.Medium, qrcode.Low} {
		if code, err = qrcode.New(text, level); err == nil {
			break
		}
	}
	if err != nil {
		return "", fmt.Errorf("web: QR code: %w", err)
	}
	code.DisableBorder = true
	modules := code.Bitmap()
	const margin = 4
	side := len(modules) + 2*margin
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="qr" viewBox="0 0 %d %d" role="img" aria-label="%s"><rect width="%d" height="%d"/><path d="`,
		side, side, template.HTMLEscapeString(label), side, side)
	for y, row := range modules {
		for x := 0; x < len(row); x++ {
			from := x
			for x < len(row) && row[x] {
				x++
			}
			if x > from {
				fmt.Fprintf(&b, "M%d %d.5h%d", from+margin, y+margin, x-from)
			}
		}
	}
	b.WriteString(`"/></svg>`)
	return template.HTML(b.String()), nil
}
