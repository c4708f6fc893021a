package websocketauth

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(adminAPI{})
}

// adminAPI is what Caddy's admin API knows of the sockets. It is never cleaned
// up, so it holds nothing: it reads what counts in this process.
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.websocket_auth",
		New: func() caddy.Module { return new(adminAPI) },
	}
}

// adminPrefix is in front of all paths of ours.
const adminPrefix = "/websocket_auth/"

// Routes implements [caddy.AdminRouter]. Caddy checks the host and the origin
// of each request before it gets here.
func (adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: adminPrefix, Handler: caddy.AdminHandlerFunc(unknownPath)},
		{Pattern: adminPrefix + "sessions", Handler: adminMethods{
			http.MethodGet: listSessions, http.MethodDelete: endSessions,
		}},
		{Pattern: adminPrefix + "sessions/{id}", Handler: adminMethods{
			http.MethodGet: getSession, http.MethodDelete: endSession,
		}},
		{Pattern: adminPrefix + "message", Handler: adminMethods{http.MethodPost: sendMessage}},
		{Pattern: adminPrefix + "renew", Handler: adminMethods{http.MethodPost: expireSessions}},
		{Pattern: adminPrefix + "revocations", Handler: adminMethods{
			http.MethodGet: listRevocations, http.MethodPost: addRevocation, http.MethodDelete: removeRevocation,
		}},
		{Pattern: adminPrefix + "lockouts", Handler: adminMethods{
			http.MethodGet: listLockouts, http.MethodDelete: releaseLockouts,
		}},
		{Pattern: adminPrefix + "keys", Handler: adminMethods{http.MethodGet: listKeys}},
	}
}

// unknownPath answers what is no path of ours.
func unknownPath(http.ResponseWriter, *http.Request) error {
	return caddy.APIError{
		HTTPStatus: http.StatusNotFound,
		Message: "no such path: use sessions, sessions/{id}, message, renew, revocations, lockouts or keys below " +
			adminPrefix,
	}
}

// adminMethods serves a path by method. What a function returns is answered as
// JSON.
type adminMethods map[string]func(*http.Request) (any, error)

// ServeHTTP implements [caddy.AdminHandler].
func (m adminMethods) ServeHTTP(w http.ResponseWriter, r *http.Request) error {
	serve, ok := m[r.Method]
	if !ok {
		allowed := slices.Sorted(maps.Keys(m))
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		return caddy.APIError{
			HTTPStatus: http.StatusMethodNotAllowed,
			Message:    "this path takes " + strings.Join(allowed, ", "),
		}
	}
	if r.Method != http.MethodPost {
		if err := noBody(r); err != nil {
			return err
		}
	}
	answer, err := serve(r)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	return json.NewEncoder(w).Encode(answer)
}

// badRequest answers a request that is wrong in itself.
func badRequest(err error) error {
	return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: err}
}

// notFound answers for what is not there.
func notFound(message string) error {
	return caddy.APIError{HTTPStatus: http.StatusNotFound, Message: message}
}

// noBody refuses a body where none is read: a filter in it would be passed
// over, and more meant than was said.
func noBody(r *http.Request) error {
	if r.ContentLength != 0 {
		return badRequest(errors.New("this request takes no body: what it is about goes into the query"))
	}
	return nil
}

// adminBody reads the body of a request, at most limit bytes.
func adminBody(r *http.Request, limit int64) ([]byte, error) {
	tooLong := caddy.APIError{
		HTTPStatus: http.StatusRequestEntityTooLarge,
		Message:    fmt.Sprintf("the body has more than %d bytes", limit),
	}
	if r.ContentLength > limit {
		return nil, tooLong
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	switch {
	case err != nil:
		return nil, badRequest(fmt.Errorf("reading the body: %w", err))
	case int64(len(body)) > limit:
		return nil, tooLong
	}
	return body, nil
}

// currentApp returns the app of the configuration that serves.
func currentApp() (*App, error) {
	if app := apps.newest(); app != nil {
		return app, nil
	}
	return nil, caddy.APIError{
		HTTPStatus: http.StatusServiceUnavailable,
		Message:    "no configuration with websocket_auth is running",
	}
}

// Interface guards
var (
	_ caddy.AdminRouter  = adminAPI{}
	_ caddy.AdminHandler = adminMethods{}
)
