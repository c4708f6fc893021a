package websocketauth

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

// The parameters of requests that several paths take.
var (
	identityWords = []string{"issuer", "subject", "jti", "sid"}
	filterWords   = append(slices.Clip(identityWords), "site")
	pageWords     = []string{"limit", "next"}
)

// How many entries a page has.
const (
	defaultPage = 100
	maxPage     = 1000
)

// adminQuery returns the parameters of a request, of which each is one of
// known and given once. An empty one is refused, but for the issuer: it might
// come of a shell's variable that is not set, and mean everything.
func adminQuery(r *http.Request, known ...string) (url.Values, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest(errors.New("the query cannot be read: percent-encode what is no letter or digit"))
	}
	for name, all := range values {
		switch {
		case !slices.Contains(known, name):
			return nil, badRequest(fmt.Errorf("unknown parameter %.32q: use %s", name, listWords(known)))
		case len(all) > 1:
			return nil, badRequest(fmt.Errorf("parameter %s is given twice", name))
		case all[0] == "" && name != "issuer":
			return nil, badRequest(fmt.Errorf("parameter %s is empty: leave it out", name))
		}
	}
	return values, nil
}

// listWords returns words as a text has them.
func listWords(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	last := len(words) - 1
	if last == 0 {
		return words[0]
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// filterOf returns the filter in the parameters.
func filterOf(values url.Values) session.Filter {
	return session.Filter{
		Issuer: values.Get("issuer"), OfIssuer: values.Has("issuer"), Subject: values.Get("subject"),
		TokenID: values.Get("jti"), SessionID: values.Get("sid"), Site: values.Get("site"),
	}
}

// chosen returns the sessions that the parameters name: those of a filter, one
// by its id, or all of them if that is said.
func chosen(values url.Values) ([]live, error) {
	filter := filterOf(values)
	switch {
	case values.Has("all") && values.Get("all") != "true":
		return nil, badRequest(errors.New("parameter all is true, or left out"))
	case values.Has("all") && (!filter.IsZero() || values.Has("id")):
		return nil, badRequest(errors.New("all=true and a filter contradict each other: leave one of them out"))
	case values.Has("id") && !filter.IsZero():
		return nil, badRequest(errors.New("id names one session: leave the other filters out"))
	case values.Has("id"):
		one := liveByID(values.Get("id"))
		if one == nil {
			return nil, errNoSession
		}
		return []live{one}, nil
	case filter.IsZero() && !values.Has("all"):
		return nil, badRequest(fmt.Errorf("no filter: name whom you mean by %s, or all sessions by all=true",
			listWords(filterWords)))
	}
	return livesOf(filter), nil
}

// liveByID returns what the session with this id is, or nil.
func liveByID(id string) live {
	found := sockets.Get(id)
	if found == nil {
		return nil
	}
	one, _ := found.Socket.(live)
	return one
}

// pageLimit returns how many entries the page is to have.
func pageLimit(values url.Values) (int, error) {
	if !values.Has("limit") {
		return defaultPage, nil
	}
	limit, err := strconv.Atoi(values.Get("limit"))
	if err != nil || limit < 1 || limit > maxPage {
		return 0, badRequest(fmt.Errorf("parameter limit is a number from 1 to %d", maxPage))
	}
	return limit, nil
}

// pageOf returns at most limit of all, from behind the entry whose key is
// after on, and the key to go on behind; that is empty on the last page. all
// is in the order of the keys.
func pageOf[T any](all []T, key func(T) string, after string, limit int) (page []T, next string) {
	start, found := 0, false
	if after != "" {
		start, found = slices.BinarySearchFunc(all, after, func(entry T, after string) int {
			return strings.Compare(key(entry), after)
		})
	}
	if found {
		start++
	}
	page = all[start:]
	if len(page) > limit {
		page = page[:limit]
		next = key(page[limit-1])
	}
	return page, next
}
