package websocketauth

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

const (
	// maxRevocation is how long the JSON of a revocation may be, in bytes: no
	// claim of a token is longer.
	maxRevocation = 16 << 10
	// maxRevocationReason is how long a note may be, in bytes.
	maxRevocationReason = 256
	// adminRevokeTimeout bounds the wait for the storage and the store.
	adminRevokeTimeout = 10 * time.Second
)

// revocationPage is a part of the list of revocations.
type revocationPage struct {
	Revocations []revocationEntry `json:"revocations"`
	Total       int               `json:"total"`
	Next        string            `json:"next"`
}

// revoked answers a new revocation.
type revoked struct {
	Revocation revocationEntry `json:"revocation"`
	Sockets    int             `json:"sockets"` // that it has ended on this node
}

func listRevocations(r *http.Request) (any, error) {
	values, err := adminQuery(r, slices.Concat(identityWords, pageWords)...)
	if err != nil {
		return nil, err
	}
	limit, err := pageLimit(values)
	if err != nil {
		return nil, err
	}
	after, err := base64.RawURLEncoding.DecodeString(values.Get("next"))
	if err != nil {
		return nil, badRequest(errors.New("parameter next is that of the page before"))
	}
	all := slices.DeleteFunc(revocations.All(time.Now()), func(r session.Revocation) bool {
		return !namedBy(values, r)
	})
	found, next := pageOf(all, session.Revocation.Key, string(after), limit)
	page := revocationPage{
		Revocations: make([]revocationEntry, 0, len(found)), Total: len(all),
		Next: base64.RawURLEncoding.EncodeToString([]byte(next)),
	}
	for _, r := range found {
		page.Revocations = append(page.Revocations, entryOf(r))
	}
	return page, nil
}

// namedBy tells whether the parameters name r.
func namedBy(values url.Values, r session.Revocation) bool {
	texts := [...]string{r.Issuer, r.Subject, r.TokenID, r.SessionID}
	for i, name := range identityWords {
		if values.Has(name) && values.Get(name) != texts[i] {
			return false
		}
	}
	return true
}

func addRevocation(r *http.Request) (any, error) {
	if _, err := adminQuery(r); err != nil {
		return nil, err
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, caddy.APIError{
			HTTPStatus: http.StatusUnsupportedMediaType, Message: "the Content-Type of a revocation is application/json",
		}
	}
	body, err := adminBody(r, maxRevocation)
	if err != nil {
		return nil, err
	}
	entry, err := parseRevocation(body)
	if err != nil {
		return nil, badRequest(err)
	}
	app, err := currentApp()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	revocation, err := entry.completed(now, app.Longest())
	if err != nil {
		return nil, badRequest(err)
	}
	// What has begun is brought to its end, also if nobody waits for the answer.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), adminRevokeTimeout)
	defer cancel()
	ended, err := app.Revoke(ctx, revocation)
	if err != nil {
		return nil, caddy.APIError{
			HTTPStatus: http.StatusServiceUnavailable,
			Err:        fmt.Errorf("revoking: %w", err),
			Message: fmt.Sprintf("the revocation counts on this node, where it has ended %d sockets, but other nodes, "+
				"or this one after a restart, may not know of it: the log says why; try again", ended),
		}
	}
	return revoked{entryOf(revocation), ended}, nil
}

// parseRevocation reads a revocation. A member that is unknown or there twice
// is an error, since what was meant might be a narrower or a wider one.
func parseRevocation(body []byte) (revocationEntry, error) {
	members, err := auth.DecodeObject(body)
	if err != nil {
		return revocationEntry{}, fmt.Errorf("the body %w", err)
	}
	var e revocationEntry
	texts := map[string]*string{
		"issuer": &e.Issuer, "subject": &e.Subject, "jti": &e.TokenID, "sid": &e.SessionID, "reason": &e.Reason,
	}
	for name, value := range members {
		text, isText := value.(string)
		field, known := texts[name]
		switch {
		case !known && name != "until" && name != "issued_before":
			return e, fmt.Errorf("unknown member %.32q: use issuer, subject, jti, sid, issued_before, until or reason", name)
		case !isText:
			return e, fmt.Errorf("member %s is no text", name)
		case text == "" && name != "issuer":
			return e, fmt.Errorf("member %s is empty: leave it out", name)
		case known:
			if strings.ContainsFunc(text, unicode.IsControl) {
				return e, fmt.Errorf("member %s has control characters", name)
			}
			*field = text
			continue
		}
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return e, fmt.Errorf("member %s is no time such as 2030-01-31T12:00:00Z", name)
		}
		// The year 1 would count as none given, and what was not said be done.
		if at.Unix() < 0 {
			return e, fmt.Errorf("member %s is before 1970, when no token was issued or good: leave it out, or correct it", name)
		}
		if name == "until" {
			e.Until = at
		} else {
			e.IssuedBefore = &at
		}
	}
	if _, named := members["issuer"]; !named {
		return e, errors.New("member issuer is missing: it is the iss of the tokens, or \"\" for those without one")
	}
	return e, nil
}

// completed returns the revocation with what e leaves open: until the longest
// token has ended, and of a subject all that was issued before now.
func (e revocationEntry) completed(now time.Time, longest time.Duration) (session.Revocation, error) {
	r := e.revocation()
	if r.Until.IsZero() {
		r.Until = now.Add(longest).UTC().Truncate(time.Second).Add(time.Second)
	}
	if r.Subject != "" && r.IssuedBefore.IsZero() {
		r.IssuedBefore = now.UTC()
	}
	switch err := r.Check(); {
	case err != nil:
		return r, err
	case !r.Until.After(now):
		return r, errors.New("until is over: nothing would be revoked")
	case len(r.Reason) > maxRevocationReason:
		return r, fmt.Errorf("a reason has at most %d bytes", maxRevocationReason)
	}
	return r, nil
}

func removeRevocation(r *http.Request) (any, error) {
	values, err := adminQuery(r, identityWords...)
	if err != nil {
		return nil, err
	}
	if !values.Has("issuer") {
		return nil, badRequest(errors.New("parameter issuer is missing: give it empty for tokens without one"))
	}
	named := session.Revocation{
		Issuer: values.Get("issuer"), Subject: values.Get("subject"),
		TokenID: values.Get("jti"), SessionID: values.Get("sid"),
		// Times do not tell one from another.
		IssuedBefore: time.Now(), Until: time.Now(),
	}
	if err := named.Check(); err != nil {
		return nil, badRequest(err)
	}
	app, err := currentApp()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), adminRevokeTimeout)
	defer cancel()
	known, err := app.Unrevoke(ctx, named.Key())
	switch {
	case err != nil:
		return nil, caddy.APIError{
			HTTPStatus: http.StatusServiceUnavailable,
			Err:        fmt.Errorf("taking back a revocation: %w", err),
			Message: "the revocation counts no more on this node, but other nodes, or this one after a restart, " +
				"may not know of it: the log says why; try again",
		}
	case !known:
		return nil, notFound("there is no such revocation")
	}
	return struct {
		Removed int `json:"removed"`
	}{1}, nil
}
