package demo

import (
	"bytes"
	_ "embed" // for the template
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"text/template"
	"time"
)

// grace is how long a socket waits for a new token: long enough for a person
// to say something meanwhile, in whole seconds.
const grace = 30 * time.Second

// site is what the Caddyfile of the demonstration depends on.
type site struct {
	Listen  netip.AddrPort // where Caddy listens; a loopback address
	Storage string         // a folder for what Caddy stores
	Issuer  string         // URL of the token issuer
	Chat    string         // address of the chat
	Page    string         // address of the page
}

// hosts are what a browser on this machine may have in its address bar, best
// first. Nothing else is served, so that no foreign name can be made to point
// here (DNS rebinding).
func (s site) hosts() []string {
	var names []string
	if addr := s.Listen.Addr(); addr == localhost4 || addr == netip.IPv6Loopback() {
		names = append(names, "localhost")
	}
	port := s.Listen.Port()
	names = append(names, strings.TrimSuffix(netip.AddrPortFrom(s.Listen.Addr(), 0).String(), ":0"))
	if port == 80 { // browsers leave it out, and Origin does so, too
		return names
	}
	for i := range names {
		names[i] += ":" + strconv.Itoa(int(port))
	}
	return names
}

// URL is the address to open in a browser.
func (s site) URL() string { return "http://" + s.hosts()[0] }

// origins are the origins of the page (RFC 6454 section 6.2).
func (s site) origins() []string { return s.withScheme("http://") }

// sockets are the origins of the chat's WebSocket, for the page's
// Content-Security-Policy.
func (s site) sockets() []string { return s.withScheme("ws://") }

func (s site) withScheme(scheme string) []string {
	urls := s.hosts()
	for i, host := range urls {
		urls[i] = scheme + host
	}
	return urls
}

//go:embed Caddyfile.tmpl
var caddyfileTemplate string

// caddyfile returns the configuration that the demonstration runs, and prints.
func (s site) caddyfile() ([]byte, error) {
	storage, err := quote(s.Storage)
	if err != nil {
		return nil, err
	}
	tmpl, err := template.New("Caddyfile").Parse(caddyfileTemplate)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = tmpl.Execute(&out, map[string]string{
		"Storage":      storage,
		"Addresses":    strings.Join(s.origins(), ", "),
		"Bind":         s.Listen.Addr().String(),
		"ChatPath":     chatPath,
		"RenewPath":    renewPath,
		"EveryPath":    everyPath,
		"Grace":        strconv.Itoa(int(grace.Seconds())),
		"Issuer":       s.Issuer,
		"Audience":     audience,
		"Cookie":       cookieName,
		"Origins":      strings.Join(s.origins(), " "),
		"Chat":         s.Chat,
		"UserHeader":   userHeader,
		"TokenPath":    tokenPath,
		"IssuerAddr":   strings.TrimPrefix(s.Issuer, "http://"),
		"Page":         s.Page,
		"SessionsPath": sessionsPath,
	})
	return out.Bytes(), err
}

// quote returns text as one Caddyfile token. Backquotes keep backslashes as
// they are, as Windows needs it for paths.
func quote(text string) (string, error) {
	if strings.ContainsAny(text, "`{}\n") {
		return "", fmt.Errorf("folder %q has a character that a Caddyfile cannot hold; set TMPDIR to another one", text)
	}
	if strings.ContainsAny(text, " \t\"\\#") {
		return "`" + text + "`", nil
	}
	return text, nil
}
