package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
)

const (
	// sessionsPath is where the page looks after the sockets.
	sessionsPath = "/sessions"
	// logoutPath is where it logs somebody out everywhere.
	logoutPath = sessionsPath + "/logout"
	// maxSessions is how many sockets the page is shown.
	maxSessions = 100
	// adminPath is in front of the paths of the admin API.
	adminPath = "/websocket_auth/"
)

// operator is what somebody who looks after the sockets does by Caddy's admin
// API. The page gets no more of it than this: the demonstration's Caddy has no
// admin API that listens, and the operator calls its handlers within the
// process. It is safe for concurrent use.
type operator struct {
	issuer string // the iss claim of the tokens
	admin  *http.ServeMux
}

// session is a live socket, as the admin API has it and the page gets it.
type session struct {
	ID         string     `json:"id"`
	Site       string     `json:"site"`
	Subject    string     `json:"subject"`
	State      string     `json:"state"`
	ValidUntil *time.Time `json:"valid_until"` // nil before login
	BytesIn    int64      `json:"bytes_in"`
	BytesOut   int64      `json:"bytes_out"`
}

// sessionList is the oldest of the live sockets, and how many there are.
type sessionList struct {
	Sessions []session `json:"sessions"`
	Total    int       `json:"total"`
}

// newOperator makes an operator over the sockets of this process.
func newOperator(issuer string) (*operator, error) {
	module, err := caddy.GetModule("admin.api.websocket_auth")
	if err != nil {
		return nil, fmt.Errorf("finding the admin API: %w", err)
	}
	router, ok := module.New().(caddy.AdminRouter)
	if !ok {
		return nil, errors.New("finding the admin API: the module has no routes")
	}
	o := &operator{issuer: issuer, admin: http.NewServeMux()}
	for _, route := range router.Routes() {
		o.admin.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := route.Handler.ServeHTTP(w, r); err != nil {
				failAdmin(w, err)
			}
		})
	}
	return o, nil
}

// failAdmin answers what a handler of the admin API has not.
func failAdmin(w http.ResponseWriter, err error) {
	status, message := http.StatusInternalServerError, err.Error()
	if known, ok := errors.AsType[caddy.APIError](err); ok {
		status = known.HTTPStatus
		if known.Message != "" {
			message = known.Message
		}
	}
	http.Error(w, message, status)
}

// handler serves the page.
func (o *operator) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+sessionsPath, o.list)
	mux.HandleFunc("DELETE "+sessionsPath+"/{id}", o.end)
	mux.HandleFunc("POST "+logoutPath, o.logOut)
	// No other page in the same browser may end anything.
	return http.NewCrossOriginProtection().Handler(mux)
}

// list answers with the live sockets.
func (o *operator) list(w http.ResponseWriter, r *http.Request) {
	found := sessionList{Sessions: []session{}}
	path := fmt.Sprintf("sessions?limit=%d", maxSessions)
	o.pass(w, o.ask(r.Context(), http.MethodGet, path, nil, &found), found)
}

// end ends one socket. Its token is as good as before.
func (o *operator) end(w http.ResponseWriter, r *http.Request) {
	var done struct {
		Sockets int `json:"sockets"`
	}
	path := "sessions/" + url.PathEscape(r.PathValue("id"))
	o.pass(w, o.ask(r.Context(), http.MethodDelete, path, nil, &done), done)
}

// logOut revokes all tokens that the form's user has got so far, which ends
// the sockets that were opened with them.
func (o *operator) logOut(w http.ResponseWriter, r *http.Request) {
	user := r.PostFormValue("user")
	if !slices.Contains(users, user) {
		http.Error(w, "user must be one of "+strings.Join(users, ", "), http.StatusBadRequest)
		return
	}
	var done struct {
		Sockets int `json:"sockets"`
	}
	revocation := map[string]string{"issuer": o.issuer, "subject": user, "reason": "logged out everywhere"}
	o.pass(w, o.ask(r.Context(), http.MethodPost, "revocations", revocation, &done), done)
}

// pass answers the page with what the admin API has said.
func (o *operator) pass(w http.ResponseWriter, err error, answer any) {
	w.Header().Set("Cache-Control", "no-store")
	if refused, ok := errors.AsType[*adminError](err); ok && refused.status >= http.StatusBadRequest {
		http.Error(w, refused.message, refused.status)
		return
	}
	if err != nil {
		http.Error(w, "the admin API cannot be asked", http.StatusInternalServerError)
		return
	}
	writeJSON(w, answer)
}

// adminError is an answer of the admin API that is no success.
type adminError struct {
	status  int
	message string
}

func (e *adminError) Error() string { return fmt.Sprintf("admin API: %d: %s", e.status, e.message) }

// ask does a request to the admin API, with body as JSON unless it is nil, and
// decodes what is answered. It returns an *adminError if that is no success.
func (o *operator) ask(ctx context.Context, method, path string, body, answer any) error {
	var sent io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		sent = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(ctx, method, adminPath+path, sent) //nolint:gosec // it stays in the process
	if err != nil {
		return err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	w := reply{header: make(http.Header), status: http.StatusOK}
	o.admin.ServeHTTP(&w, r)
	if w.status != http.StatusOK {
		return &adminError{status: w.status, message: strings.TrimSpace(w.body.String())}
	}
	return json.Unmarshal(w.body.Bytes(), answer)
}

// reply is an answer that stays within the process.
type reply struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *reply) Header() http.Header                  { return w.header }
func (w *reply) WriteHeader(status int)               { w.status = status }
func (w *reply) Write(data []byte) (n int, err error) { return w.body.Write(data) }
