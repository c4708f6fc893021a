package websocketauth

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
)

const (
	// maxLogoutBody is the longest request body taken, in bytes: the token,
	// with room for parameters that are ignored.
	maxLogoutBody = 16 << 10
	// logoutBodyTimeout is how long the body may take.
	logoutBodyTimeout = 10 * time.Second
)

// badLogoutRequest refuses a request that is not as section 2.5 of OpenID
// Connect Back-Channel Logout 1.0 has it.
func badLogoutRequest(detail string) error { return auth.Refuse(auth.ReasonLogoutRequest, detail) }

// readLogoutToken returns the token that r carries. It reads no more of the
// body than may be there.
func readLogoutToken(w http.ResponseWriter, r *http.Request) (string, error) {
	if r.Method != http.MethodPost {
		return "", auth.Refuse(reasonMethod, "the method is not POST")
	}
	if types := r.Header["Content-Type"]; len(types) != 1 || !isForm(types[0]) {
		return "", badLogoutRequest("the content type is not application/x-www-form-urlencoded")
	}
	// Even without an error, whatever stands there must not count.
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || query.Has("logout_token") {
		return "", badLogoutRequest("the query has a logout_token, or is malformed")
	}
	body, err := readLogoutBody(w, r)
	if err != nil {
		return "", err
	}
	return auth.ParseLogoutForm(body)
}

func isForm(contentType string) bool {
	name, _, err := mime.ParseMediaType(contentType)
	return err == nil && name == "application/x-www-form-urlencoded"
}

// readLogoutBody reads the body, in a bounded time.
func readLogoutBody(w http.ResponseWriter, r *http.Request) (string, error) {
	tooLong := badLogoutRequest("the body is longer than 16 KiB")
	if r.ContentLength > maxLogoutBody {
		return "", tooLong
	}
	// Not every ResponseWriter can; Caddy's can, and bound the time of each
	// read by themselves.
	timeouts := http.NewResponseController(w)
	_ = timeouts.SetReadDeadline(time.Now().Add(logoutBodyTimeout))
	body, err := io.ReadAll(io.LimitReader(r.Body, maxLogoutBody+1))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "", badLogoutRequest("the body took too long")
	}
	if err != nil {
		return "", badLogoutRequest("the body could not be read")
	}
	if len(body) > maxLogoutBody {
		return "", tooLong
	}
	// Else it would end the request, once it has come, while that is answered.
	_ = timeouts.SetReadDeadline(time.Time{})
	return string(body), nil
}
