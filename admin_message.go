package websocketauth

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

const (
	// maxAdminMessage is how long a message to the clients may be, in bytes.
	maxAdminMessage = 64 << 10
	// maxFlushing is how many clients are waited for at a time: those that do
	// not read may hold a message up for as long as they may hold any.
	maxFlushing = 1024
)

// chosenWords name the sockets that a request is for.
var chosenWords = append(slices.Clip(filterWords), "id", "all")

func sendMessage(r *http.Request) (any, error) {
	values, err := adminQuery(r, chosenWords...)
	if err != nil {
		return nil, err
	}
	body, err := adminBody(r, maxAdminMessage)
	switch {
	case err != nil:
		return nil, err
	case len(body) == 0:
		return nil, badRequest(errors.New("the body is empty: it is the message"))
	case !utf8.Valid(body):
		return nil, badRequest(errors.New("the body is not UTF-8: it is sent as a text message"))
	}
	meant, err := chosen(values)
	if err != nil {
		return nil, err
	}
	message := proxy.Message{Data: body}
	return forEachLive(r.Context(), meant, func(s live) (*proxy.Gate, bool) {
		g := s.queue(message)
		return g, g != nil
	})
}

func expireSessions(r *http.Request) (any, error) {
	if err := noBody(r); err != nil {
		return nil, err
	}
	values, err := adminQuery(r, chosenWords...)
	if err != nil {
		return nil, err
	}
	meant, err := chosen(values)
	if err != nil {
		return nil, err
	}
	return forEachLive(r.Context(), meant, live.expireNow)
}

// forEachLive calls act, which does not wait, for all sessions and has the
// gates that it returns flushed. That may go on after the return: each flush is
// a goroutine of its own, which ends at the latest when the client is given up.
// When ctx ends, because whoever has asked is gone, the rest is left alone. It
// answers for how many act was true.
func forEachLive(ctx context.Context, all []live, act func(live) (*proxy.Gate, bool)) (any, error) {
	var done reached
	slots := make(chan struct{}, maxFlushing)
	for _, one := range all {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil, caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: ctx.Err()}
		}
		g, acted := act(one)
		if acted {
			done.Sockets++
		}
		s, ok := one.(*socket)
		if !ok || g == nil {
			<-slots
			continue
		}
		go func() {
			defer func() { <-slots }()
			s.flush(g)
		}()
	}
	return done, nil
}
