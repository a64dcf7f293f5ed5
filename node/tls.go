package node

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// Certificate is a TLS certificate with its key in files, PEM. Both empty: none.
// Files that were replaced (a renewed certificate) are read again with the next
// connection.
type Certificate struct{ Cert, Key string }

// config reads the files; nil if there are none.
func (c Certificate) config() (*tls.Config, error) {
	switch {
	case c.Cert == "" && c.Key == "":
		return nil, nil
	case c.Cert == "" || c.Key == "":
		return nil, fmt.Errorf("a certificate needs its key and the key its certificate: name both files")
	}
	r := &renewed{files: c}
	if _, err := r.get(nil); err != nil {
		return nil, fmt.Errorf("the certificate %s with the key %s cannot be used: %w", c.Cert, c.Key, err)
	}
	return &tls.Config{GetCertificate: r.get, MinVersion: tls.VersionTLS12}, nil
}

// listen puts TLS before a listener, if there is a certificate.
func (c Certificate) listen(l net.Listener) (net.Listener, error) {
	config, err := c.config()
	if err != nil || config == nil {
		return l, err
	}
	config.NextProtos = []string{"h2", "http/1.1"}
	return tls.NewListener(l, config), nil
}

// renewed is a certificate that follows its files.
type renewed struct {
	files Certificate

	mu    sync.Mutex
	pair  *tls.Certificate
	times [2]time.Time // of the files when they were read
}

// get is [tls.Config.GetCertificate]. Files that cannot be read, or do not belong
// together while one of them is being replaced, leave the last pair standing.
func (r *renewed) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var times [2]time.Time
	for i, name := range []string{r.files.Cert, r.files.Key} {
		info, err := os.Stat(name)
		if err != nil {
			return r.last(err)
		}
		times[i] = info.ModTime()
	}
	if r.pair != nil && times == r.times {
		return r.pair, nil
	}
	pair, err := tls.LoadX509KeyPair(r.files.Cert, r.files.Key)
	if err != nil {
		return r.last(err)
	}
	r.pair, r.times = &pair, times
	return r.pair, nil
}

func (r *renewed) last(err error) (*tls.Certificate, error) {
	if r.pair != nil {
		return r.pair, nil
	}
	return nil, err
}
