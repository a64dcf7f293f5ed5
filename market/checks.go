package market

import (
	"net/netip"
	"net/url"
	"strings"
	"unicode/utf8"

	"robotorq.org/reserve/market/address"
)

// checkID accepts what can stand in a path, a header and a log line as it is.
func checkID(f *Faults, field, id string) {
	if !ValidID(id) {
		f.Add(field, "must be 1 to 128 characters of A-Z a-z 0-9 . _ : @ -")
	}
}

// ValidID tells whether a text can be the id of an agent or of a client account.
func ValidID(id string) bool {
	if id == "" || len(id) > 128 {
		return false
	}
	for _, c := range []byte(id) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && !strings.ContainsRune("._:@-", rune(c)) {
			return false
		}
	}
	return true
}

func checkText(f *Faults, field, text string, least, most int) {
	switch n := utf8.RuneCountInString(text); {
	case !utf8.ValidString(text):
		f.Add(field, "must be UTF-8")
	case n < least:
		f.Add(field, "is required")
	case n > most:
		f.Add(field, "must have at most %d characters", most)
	}
}

const maxTags = 64

func checkTags(f *Faults, field string, tags []string) {
	if len(tags) > maxTags {
		f.Add(field, "must name at most %d", maxTags)
		return
	}
	seen := make(map[string]bool, len(tags))
	for _, tag := range tags {
		if !ValidID(tag) || len(tag) > 64 {
			f.Add(field, "%.64q is no capability: 1 to 64 characters of A-Z a-z 0-9 . _ : @ -", tag)
		}
		if seen[tag] {
			f.Add(field, "%q is named twice", tag)
		}
		seen[tag] = true
	}
}

// checkWebhook accepts https to a public name or address; the address behind a name is checked
// again whenever it is called.
func checkWebhook(f *Faults, text string) {
	if text == "" {
		return
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || len(text) > 2_000 {
		f.Add("webhookUrl", "must be an https address without a password")
		return
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && !Public(ip) {
		f.Add("webhookUrl", "must not be a private address")
	}
}

// Public tells whether an address belongs to the public internet.
func Public(ip netip.Addr) bool {
	ip = ip.Unmap()
	for _, p := range reserved {
		if p.Contains(ip) {
			return false
		}
	}
	return ip.IsValid() && ip.IsGlobalUnicast() && !ip.IsPrivate() && !ip.IsLoopback() && !ip.IsLinkLocalUnicast()
}

var reserved = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("240.0.0.0/4"), netip.MustParsePrefix("64:ff9b::/96"),
	netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("100::/64"), netip.MustParsePrefix("2001::/23"),
	netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("fec0::/10"),
}

// address is the canonical form of a payout address of the configured network.
func (m Machine) address(text string) (string, error) {
	a, err := address.Parse(m.Policy.Network, text)
	return a.Text, err
}
