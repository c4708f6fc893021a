package websocketauth

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// isPrivate tells whether nobody between the client and this machine could
// read r: it came over TLS, from this machine, or from a trusted proxy that
// says that it came to it over TLS.
func isPrivate(r *http.Request) bool {
	if r.TLS != nil {
		return true
	}
	if fromTrustedProxy(r) {
		return proxyScheme(r) == "https"
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		// A Unix socket: its peer is on this machine. Go's server knows no
		// other peer without a port.
		return r.RemoteAddr == "" || strings.HasPrefix(r.RemoteAddr, "@") || strings.HasPrefix(r.RemoteAddr, "/")
	}
	return isLoopback(host)
}

// scheme returns the scheme that the client's page used, for comparing
// origins.
func scheme(r *http.Request) string {
	if r.TLS != nil || fromTrustedProxy(r) && proxyScheme(r) == "https" {
		return "https"
	}
	return "http"
}

// fromTrustedProxy tells whether Caddy trusts the peer's X-Forwarded headers.
func fromTrustedProxy(r *http.Request) bool {
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	return trusted
}

// proxyScheme returns what the trusted proxy says. Several values are none.
func proxyScheme(r *http.Request) string {
	if values := r.Header["X-Forwarded-Proto"]; len(values) == 1 {
		return strings.ToLower(values[0])
	}
	return ""
}

// clientIP returns the client's address as Caddy sees it, with trusted proxies
// taken into account.
func clientIP(r *http.Request) string {
	ip, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	if host, _, err := net.SplitHostPort(ip); err == nil {
		return host
	}
	return ip
}

// clientNetwork returns what counts as one client of several addresses: IPv6
// by /64, which is what one subscriber has.
func clientNetwork(ip string) string {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return ip
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is4() {
		return addr.String()
	}
	prefix, err := addr.Prefix(64)
	if err != nil {
		return ip
	}
	return prefix.String()
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.Unmap().IsLoopback()
}
