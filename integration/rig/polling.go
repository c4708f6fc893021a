package rig

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
)

// Polled are the lines of a site whose clients may log in by polling, with
// more lines.
func Polled(lines ...string) SiteOptions {
	return SiteOptions{
		Directives: "from header\nfrom first_message {\nwithin 10s\nearly\n}\ndialect socketio\nhttp authenticate\n" +
			strings.Join(lines, "\n"),
		Proxy: "stream_close_delay 1h\nheader_up X-Session {http.websocket_auth.session}",
	}
}

// Polling is the query of a request of the polling transport, for the
// connection with the id sid unless that is empty.
func Polling(sid string) string {
	if sid == "" {
		return "?EIO=4&transport=polling"
	}
	return "?EIO=4&transport=polling&sid=" + sid
}

// Poll sends a request without a credential in its head, and returns the
// status.
func Poll(t testing.TB, method, url, body string) int {
	t.Helper()
	return PollWith(t.Context(), t, method, url, body)
}

// PollWith is Poll with a context. It returns 0 if there is no answer.
func PollWith(ctx context.Context, t testing.TB, method, url, body string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return 0
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Error(err)
	}
	return resp.StatusCode
}

// LoginPacket is the CONNECT packet of Socket.IO with a token.
func LoginPacket(token string) string { return `40{"token":"` + token + `"}` }
