package main

import "robotorq.org/reserve/node"

// tlsFlags protect the ports of a reserve.
type tlsFlags struct {
	TLSCert   string `name:"tls-cert" type:"existingfile" placeholder:"FILE" help:"TLS certificate of the page (PEM, with its chain); read again when it is renewed."`
	TLSKey    string `name:"tls-key" type:"existingfile" placeholder:"FILE" help:"Its key (PEM)."`
	NATSCert  string `name:"nats-cert" type:"existingfile" placeholder:"FILE" help:"TLS certificate of --nats (default: that of the page)."`
	NATSKey   string `name:"nats-key" type:"existingfile" placeholder:"FILE" help:"Its key."`
	NATSPlain bool   `name:"nats-plain" help:"Let --nats listen beyond this machine without TLS: a tunnel protects it."`
}

// apply puts them into the node's configuration.
func (f tlsFlags) apply(cfg *node.Config) {
	cfg.TLS = node.Certificate{Cert: f.TLSCert, Key: f.TLSKey}
	cfg.NATSTLS = node.Certificate{Cert: f.NATSCert, Key: f.NATSKey}
	if cfg.NATSTLS == (node.Certificate{}) && !f.NATSPlain {
		cfg.NATSTLS = cfg.TLS
	}
	cfg.NATSPlain = f.NATSPlain
}
