// Package http2xconnect turns on WebSockets over HTTP/2 (RFC 8441) in the
// program that imports it.
//
// Go's HTTP/2 servers offer extended CONNECT only if GODEBUG holds
// http2xconnect=1 when the net/http and golang.org/x/net/http2 packages are
// initialised; a //go:debug line does not know that word, and main is too
// late. An imported package is early enough: packages are initialised in the
// order of their import paths as soon as their own imports are, and "github.com"
// sorts before "golang.org" and "net". So this package must import nothing
// that needs either of the two.
package http2xconnect

import (
	"os"
	"strings"
)

// word is the setting's name in GODEBUG.
const word = "http2xconnect"

func init() {
	// The error is left alone: without the setting HTTP/2 clients open their
	// WebSockets over HTTP/1.1, as they do with Caddy alone.
	_ = os.Setenv("GODEBUG", extend(os.Getenv("GODEBUG")))
}

// extend returns GODEBUG's value with extended CONNECT switched on. All other
// settings stay as they are, and so does an operator's own word on this one.
func extend(godebug string) string {
	for setting := range strings.SplitSeq(godebug, ",") {
		if name, _, _ := strings.Cut(setting, "="); name == word {
			return godebug
		}
	}
	if godebug == "" {
		return word + "=1"
	}
	return godebug + "," + word + "=1"
}
