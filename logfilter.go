package websocketauth

import (
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/logging"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
)

func init() { caddy.RegisterModule(CredentialFilter{}) }

// CredentialFilter takes credentials out of log fields and leaves the rest
// readable. Caddy logs a request as it was before any handler, so the access
// log and the error log hold whatever token came with the URL or with
// Sec-WebSocket-Protocol, unless this filter is set on those fields, in the
// site's log and in the default one:
//
//	format filter {
//		uri websocket_credential
//		request>uri websocket_credential
//		request>headers>Sec-Websocket-Protocol websocket_credential
//		request>headers>Referer websocket_credential
//		resp_headers>Sec-Websocket-Protocol websocket_credential
//		resp_headers>Location websocket_credential
//	}
//
// It knows JSON Web Tokens by their shape, query parameters by their name in
// any letter case and encoding (`access_token`, `token`, `jwt`, `auth`,
// `authorization`, `apikey`, `ticket` and others), and all forms of
// `from subprotocol` but prefixes, which have to be named. A URL that cannot be
// parsed is cut after its question mark. On any other header, named as a field,
// it takes out the whole value, and so it does with what it does not
// understand.
type CredentialFilter struct {
	// Further query parameters that hold a credential, in any letter case. A
	// name that ends in `*` is the beginning of subprotocols of which the rest
	// is a credential, as in `from subprotocol`.
	Parameters []string `json:"parameters,omitempty"`

	redactor *auth.Redactor
	config   configID // nil until it is counted
}

// CaddyModule returns the Caddy module information.
func (CredentialFilter) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "caddy.logging.encoders.filter.websocket_credential",
		New: func() caddy.Module { return new(CredentialFilter) },
	}
}

// UnmarshalCaddyfile sets up the filter from Caddyfile tokens. Syntax:
//
//	<field> websocket_credential [<parameter>...]
func (f *CredentialFilter) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the filter's name
	f.Parameters = append(f.Parameters, d.RemainingArgs()...)
	if d.NextBlock(0) {
		return d.Err("'websocket_credential' takes no block: write query parameters behind it")
	}
	return nil
}

// Provision sets up the filter, and counts it for the config that it is
// part of.
func (f *CredentialFilter) Provision(ctx caddy.Context) error {
	redactor, err := auth.NewRedactor(f.Parameters)
	if err != nil {
		return err
	}
	f.redactor = &redactor
	f.config = ctx.Done()
	credentialFilters.add(f.config, 1)
	return nil
}

// Cleanup forgets what Provision has counted.
func (f *CredentialFilter) Cleanup() error {
	if f.config == nil { // never counted
		return nil
	}
	credentialFilters.add(f.config, -1)
	f.config = nil
	return nil
}

// Filter returns the field without the credentials in it. What it cannot look
// into, and what makes it panic, is taken out as a whole.
func (f *CredentialFilter) Filter(in zapcore.Field) (out zapcore.Field) {
	defer func() {
		if recover() != nil {
			out = zap.String(in.Key, auth.Redacted)
		}
	}()
	switch in.Type {
	case zapcore.StringType:
		in.String = f.text(in.Key, in.String)
		return in
	case zapcore.ByteStringType:
		return zap.String(in.Key, f.text(in.Key, string(in.Interface.([]byte))))
	case zapcore.StringerType:
		return zap.String(in.Key, f.text(in.Key, in.Interface.(fmt.Stringer).String()))
	case zapcore.ErrorType:
		return zap.String(in.Key, f.text(in.Key, in.Interface.(error).Error()))
	case zapcore.ArrayMarshalerType:
		return f.array(in)
	case zapcore.ObjectMarshalerType:
		return f.object(in)
	case zapcore.SkipType, zapcore.NamespaceType, zapcore.BoolType, zapcore.DurationType,
		zapcore.TimeType, zapcore.TimeFullType, zapcore.Complex64Type, zapcore.Complex128Type,
		zapcore.Float32Type, zapcore.Float64Type, zapcore.UintptrType,
		zapcore.Int8Type, zapcore.Int16Type, zapcore.Int32Type, zapcore.Int64Type,
		zapcore.Uint8Type, zapcore.Uint16Type, zapcore.Uint32Type, zapcore.Uint64Type:
		return in // cannot hold text
	default:
		return zap.String(in.Key, auth.Redacted)
	}
}

// redact returns the provisioned redactor, or for a filter that was made in
// code the one without further parameters.
func (f *CredentialFilter) redact() auth.Redactor {
	if f.redactor != nil {
		return *f.redactor
	}
	redactor, err := auth.NewRedactor(nil)
	if err != nil {
		panic(err) // Filter takes the whole value out
	}
	return redactor
}

// text returns the value of a field of text, which is a URI or some part
// of one.
func (f *CredentialFilter) text(key, value string) string {
	redactor := f.redact()
	switch {
	case strings.EqualFold(key, subprotocolField):
		return redactor.Protocols([]string{value})[0]
	case value != "" && redactor.Secret(key):
		return auth.Redacted
	}
	return redactor.URI(redactor.Text(value))
}

// array returns a field that holds the lines of a header.
func (f *CredentialFilter) array(in zapcore.Field) zapcore.Field {
	lines, ok := in.Interface.(caddyhttp.LoggableStringArray)
	if !ok {
		var err error
		if lines, err = readStrings(in.Key, in.Interface.(zapcore.ArrayMarshaler)); err != nil {
			return zap.String(in.Key, auth.Redacted)
		}
	}
	redacted, ok := f.header(in.Key, lines)
	if !ok {
		// A header that was named on purpose, and about which nothing is
		// known but that it may hold a credential.
		redacted = make([]string, len(lines))
		for i := range lines {
			redacted[i] = auth.Redacted
		}
	}
	return zap.Array(in.Key, caddyhttp.LoggableStringArray(redacted))
}

// readStrings returns the elements of an array whose type is not known. It
// panics if one of them is not text; Filter takes the whole array out then.
func readStrings(key string, array zapcore.ArrayMarshaler) ([]string, error) {
	enc := zapcore.NewMapObjectEncoder()
	if err := enc.AddArray(key, array); err != nil {
		return nil, err
	}
	var lines []string
	for _, element := range enc.Fields[key].([]any) {
		lines = append(lines, element.(string))
	}
	return lines, nil
}

// subprotocolField is the key of the header as RFC 6455 spells it; it is
// compared in any case.
const subprotocolField = "Sec-WebSocket-Protocol"

// header returns the lines of the header name without the credentials in
// them, and reports whether it is one of those that are known to hold other
// things. The lines given belong to the request and are not changed.
func (f *CredentialFilter) header(name string, lines []string) ([]string, bool) {
	redactor := f.redact()
	switch strings.ToLower(name) {
	case "sec-websocket-protocol":
		return redactor.Protocols(lines), true
	case "referer", "origin", "location", "content-location", "uri",
		"x-forwarded-uri", "x-original-uri", "x-original-url", "x-rewrite-url":
		redacted := make([]string, len(lines))
		for i, line := range lines {
			redacted[i] = redactor.URI(line)
		}
		return redacted, true
	}
	return nil, false
}

// object returns a field that holds a whole request or all its headers. Of
// headers that are not known, only what has the shape of a token is taken out.
func (f *CredentialFilter) object(in zapcore.Field) zapcore.Field {
	switch object := in.Interface.(type) {
	case caddyhttp.LoggableHTTPHeader:
		object.Header = f.headers(object.Header)
		return zap.Object(in.Key, object)
	case caddyhttp.LoggableHTTPRequest:
		r := object.WithContext(object.Context()) // a copy
		r.RequestURI = f.text("uri", r.RequestURI)
		r.Header = f.headers(r.Header)
		object.Request = r
		return zap.Object(in.Key, object)
	}
	return zap.String(in.Key, auth.Redacted)
}

// headers returns a copy of h without the credentials in it.
func (f *CredentialFilter) headers(h http.Header) http.Header {
	redactor := f.redact()
	redacted := make(http.Header, len(h))
	for name, lines := range h {
		if known, ok := f.header(name, lines); ok {
			redacted[name] = known
			continue
		}
		for _, line := range lines {
			if redactor.Secret(name) {
				line = auth.Redacted
			}
			redacted[name] = append(redacted[name], redactor.Text(line))
		}
	}
	return redacted
}

// configID tells the configs of this process apart. Caddy makes one context
// for each config that it provisions, and gives it, or a value context made
// from it, to each of its modules; whatever the context was wrapped in, Done
// is the same channel. It says nothing about a context with a cancel function
// of its own, which Caddy makes for no module that this package has.
type configID <-chan struct{}

// filterCounts counts the filters of each config. Counts leave the map with
// the last filter of their config, which Caddy cleans up when the config is
// unloaded or was rejected, so nothing is left of old configs.
type filterCounts struct {
	mu sync.Mutex
	n  map[configID]int // guarded by mu; no zeros
}

// credentialFilters has the filters of all configs that are provisioned.
var credentialFilters = filterCounts{n: make(map[configID]int)}

// add adds delta to the count of the filters of config.
func (c *filterCounts) add(config configID, delta int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n[config] += delta; c.n[config] == 0 {
		delete(c.n, config)
	}
}

// has reports whether config has a filter.
func (c *filterCounts) has(config configID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[config] > 0
}

// credentialFilterConfigured reports whether a log of the config that ctx
// belongs to has a [CredentialFilter]. Caddy sets up logs before apps, so the
// answer is final when a handler is provisioned; ctx must be the context that
// the handler's Provision was given.
func credentialFilterConfigured(ctx caddy.Context) bool {
	return credentialFilters.has(ctx.Done())
}

// Interface guards
var (
	_ caddy.Provisioner      = (*CredentialFilter)(nil)
	_ caddy.CleanerUpper     = (*CredentialFilter)(nil)
	_ caddyfile.Unmarshaler  = (*CredentialFilter)(nil)
	_ logging.LogFieldFilter = (*CredentialFilter)(nil)
)
