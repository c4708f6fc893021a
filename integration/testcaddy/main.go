// Command testcaddy is the Caddy of cmd/caddy with modules that only tests
// need: a handler of events, of which Caddy has none of its own, and a handler
// of requests that panics.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-websocket-auth/caddy-websocket-auth"
	_ "github.com/caddy-websocket-auth/caddy-websocket-auth/cmd/caddy/http2xconnect"
)

func init() {
	caddy.RegisterModule(recorder{})
	caddy.RegisterModule(panicker{})
	httpcaddyfile.RegisterHandlerDirective("panics", func(httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		return panicker{}, nil
	})
	httpcaddyfile.RegisterDirectiveOrder("panics", httpcaddyfile.Before, "reverse_proxy")
}

func main() {
	caddycmd.Main()
}

// recorder writes the events that it handles to a file, a line of JSON each.
type recorder struct {
	File string `json:"file,omitempty"`

	// What it does after that: "abort" forbids what has happened, "panic"
	// panics, "hang" waits for the end of the configuration.
	Then string `json:"then,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (recorder) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.record", New: func() caddy.Module { return new(recorder) }}
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	record <file> [abort|panic|hang]
func (h *recorder) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the handler's name
	if !d.Args(&h.File) {
		return d.ArgErr()
	}
	if d.NextArg() {
		h.Then = d.Val()
	}
	return nil
}

// Handle implements caddyevents.Handler.
func (h *recorder) Handle(ctx context.Context, e caddy.Event) error {
	line, err := json.Marshal(map[string]any{"name": e.Name(), "data": e.Data})
	if err != nil {
		return err
	}
	file, err := os.OpenFile(h.File, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(append(line, '\n'))
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	switch h.Then {
	case "abort":
		return caddy.ErrEventAborted
	case "panic":
		panic("a handler's own fault")
	case "hang":
		<-ctx.Done()
	}
	return nil
}

// panicker panics as a handler does that has a fault.
type panicker struct{}

// CaddyModule returns the Caddy module information.
func (panicker) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.panics", New: func() caddy.Module { return new(panicker) }}
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (panicker) ServeHTTP(http.ResponseWriter, *http.Request, caddyhttp.Handler) error {
	panic("a fault of the handler's")
}

// Interface guards
var (
	_ caddyevents.Handler         = (*recorder)(nil)
	_ caddyfile.Unmarshaler       = (*recorder)(nil)
	_ caddyhttp.MiddlewareHandler = panicker{}
)
