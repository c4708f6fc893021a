package websocketauth

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// sessionPage is a part of the list of sessions.
type sessionPage struct {
	Sessions []sessionInfo `json:"sessions"`
	Total    int           `json:"total"` // of all pages
	Next     string        `json:"next"`  // where the next page begins; empty on the last
}

// reached says how many sockets something was done to.
type reached struct {
	Sockets int `json:"sockets"`
}

// errNoSession answers for an id that no live socket has.
var errNoSession = notFound("no live session has this id")

func listSessions(r *http.Request) (any, error) {
	values, err := adminQuery(r, slices.Concat(filterWords, pageWords)...)
	if err != nil {
		return nil, err
	}
	limit, err := pageLimit(values)
	if err != nil {
		return nil, err
	}
	found, total, next := sockets.Page(filterOf(values), values.Get("next"), limit)
	page := sessionPage{Sessions: make([]sessionInfo, 0, len(found)), Total: total, Next: next}
	for _, one := range found {
		if s, ok := one.Socket.(live); ok {
			page.Sessions = append(page.Sessions, s.info())
		}
	}
	return page, nil
}

func getSession(r *http.Request) (any, error) {
	if _, err := adminQuery(r); err != nil {
		return nil, err
	}
	s := liveByID(r.PathValue("id"))
	if s == nil {
		return nil, errNoSession
	}
	return s.info(), nil
}

func endSession(r *http.Request) (any, error) {
	values, err := adminQuery(r, "code", "reason")
	if err != nil {
		return nil, err
	}
	code, err := closeCodeOf(values)
	if err != nil {
		return nil, err
	}
	s := liveByID(r.PathValue("id"))
	if s == nil || !s.endByAdmin(code, values.Get("reason")) {
		return nil, errNoSession
	}
	return reached{1}, nil
}

func endSessions(r *http.Request) (any, error) {
	values, err := adminQuery(r, slices.Concat(filterWords, []string{"id", "all", "code", "reason"})...)
	if err != nil {
		return nil, err
	}
	code, err := closeCodeOf(values)
	if err != nil {
		return nil, err
	}
	meant, err := chosen(values)
	if err != nil {
		return nil, err
	}
	var done reached
	for _, s := range meant {
		if s.endByAdmin(code, values.Get("reason")) {
			done.Sockets++
		}
	}
	return done, nil
}

// closeCodeOf returns the close code that the parameters ask for, CloseNone if
// they do not, and checks the reason.
func closeCodeOf(values url.Values) (proxy.CloseCode, error) {
	code := proxy.CloseNone
	checked := endAdmin.Code
	if values.Has("code") {
		n, err := strconv.ParseUint(values.Get("code"), 10, 16)
		if err != nil {
			return code, badRequest(errors.New("parameter code is a number such as 1000 or 4000"))
		}
		code = proxy.CloseCode(n)
		checked = code
	}
	reason := values.Get("reason")
	if err := proxy.CheckClose(checked, reason); err != nil {
		return code, badRequest(err)
	}
	if strings.ContainsFunc(reason, unicode.IsControl) {
		return code, badRequest(errors.New("parameter reason has control characters"))
	}
	return code, nil
}
