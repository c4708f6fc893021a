package websocketauth

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
)

const (
	// placeholderUser is the key that Caddy's access log takes user_id from.
	placeholderUser   = "http.auth.user.id"
	placeholderPrefix = "http.websocket_auth."
	claimsPrefix      = "claims."
)

// addPlaceholders makes r's placeholders resolve, whatever becomes of it: an
// unknown placeholder would be sent to the application as it stands, and an
// unset header would be the client's own.
func (q *request) addPlaceholders(outer *request) {
	if outer != nil {
		q.shown = outer.shown
	} else {
		q.shown = new(atomic.Pointer[request])
		q.repl.Map(q.resolve)
	}
	if outer == nil || q.kind != kindPassed {
		q.shown.Store(q)
	}
	if q.kind == kindPassed {
		if _, known := q.repl.Get(placeholderUser); known {
			return // of another authentication
		}
	}
	q.repl.Set(placeholderUser, "")
}

// resolve is a caddy.ReplacerFunc. Claims are data: they are not looked at
// again, and no control character gets out of here.
func (q *request) resolve(key string) (any, bool) {
	name, ok := strings.CutPrefix(key, placeholderPrefix)
	if !ok {
		return nil, false
	}
	q = q.shown.Load()
	q.mu.Lock()
	id, reason := q.identity, q.reason
	q.mu.Unlock()
	if name == "error" {
		return string(reason), true
	}
	if name == "session" {
		return q.session, true
	}
	if id == nil {
		return "", true
	}
	if path, ok := strings.CutPrefix(name, claimsPrefix); ok {
		return claimPlaceholder(id.Claims, path), true
	}
	return auth.HeaderSafe(q.plainPlaceholder(id, name)), true
}

// plainPlaceholder returns what is known beside the claims.
func (q *request) plainPlaceholder(id *auth.Identity, name string) string {
	switch name {
	case "subject":
		return id.Subject
	case "issuer":
		return id.Issuer
	case "jti":
		return id.TokenID
	case "sid":
		return id.SessionID
	case "scopes":
		return strings.Join(id.Scopes, " ")
	case "verifier":
		return id.Verifier
	case "source":
		return q.source
	case "expires_at":
		return id.ValidUntil.UTC().Format(time.RFC3339)
	}
	return ""
}

func claimPlaceholder(claims auth.Claims, path string) string {
	parsed, err := auth.ParseClaimPath(path)
	if err != nil {
		return ""
	}
	value, ok := claims.Lookup(parsed)
	if !ok {
		return ""
	}
	return auth.HeaderSafe(auth.ClaimText(value))
}
