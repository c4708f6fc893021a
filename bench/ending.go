package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/gorilla/websocket"
)

// closeUnauthorized is the close code of a token that has ended.
const closeUnauthorized = 3000

// openPerSecond is the slowest rate of opening sockets that the ending
// allows for.
const openPerSecond = 400

// endTogether opens sockets whose tokens all end at one moment, and watches
// how each of them ends.
func (b *bench) endTogether(ctx context.Context) (ending, error) {
	s, err := b.start(ctx, b.guarded, 1<<10)
	if err != nil {
		return ending{}, err
	}
	defer s.stop()

	n := b.plan.sockets
	lead := time.Duration(n)*time.Second/openPerSecond + 5*time.Second
	end := time.Now().Add(lead).Truncate(time.Second)
	tokens, err := b.issuer.tokens("ES256", n, end)
	if err != nil {
		return ending{}, err
	}
	if s.conns, err = s.driver.openAll(ctx, tokens); err != nil {
		return ending{}, fmt.Errorf("%w\n%s", err, s.caddy.lastLog())
	}
	if time.Now().After(end) {
		return ending{}, fmt.Errorf("opening %d sockets took longer than %v", n, lead)
	}

	outcomes := make([]outcome, n)
	err = parallel(n, n, func(i int) error {
		outcomes[i] = watch(s.conns[i], end.Add(patience))
		return nil
	})
	if err != nil {
		return ending{}, err
	}
	return tally(outcomes, end), ctx.Err()
}

// outcome is how one socket ended.
type outcome struct {
	// code is that of the close frame; 0 if none came.
	code int
	// at is when the close frame was read.
	at time.Time
	// clean says that the connection ended without a reset.
	clean bool
}

// watch reads until the socket ends.
func watch(conn *websocket.Conn, deadline time.Time) outcome {
	var o outcome
	if err := conn.SetReadDeadline(deadline); err != nil {
		return o
	}
	for {
		_, _, err := conn.NextReader() // answers a close frame with its like
		if err == nil {
			continue
		}
		o.at = time.Now()
		closed, ok := errors.AsType[*websocket.CloseError](err)
		if !ok || closed.Code == websocket.CloseAbnormalClosure {
			return o
		}
		o.code = closed.Code
		_, err = io.Copy(io.Discard, conn.NetConn())
		o.clean = err == nil
		return o
	}
}

// tally counts the outcomes of sockets whose tokens ended at end.
func tally(outcomes []outcome, end time.Time) ending {
	e := ending{sockets: len(outcomes)}
	for _, o := range outcomes {
		switch {
		case o.code == 0 || !o.clean:
			e.reset++
			continue
		case o.code == closeUnauthorized:
			e.closed++
		default:
			e.other++
		}
		late := o.at.Sub(end)
		if e.closed+e.other == 1 {
			e.first, e.last = late, late
		}
		e.first, e.last = min(e.first, late), max(e.last, late)
	}
	return e
}
