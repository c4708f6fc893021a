package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// patience bounds every single wait for the other end.
const patience = 20 * time.Second

// driver opens sockets to one Caddy. The token travels in the query, also to
// Caddy alone, so that both read the same bytes.
type driver struct {
	site   string
	dialer websocket.Dialer
}

// oneFrame is how long a message may be that goes out in one frame, as from a
// browser.
const oneFrame = 32 << 10

// newDriver returns a driver whose sockets have read buffers of the size.
func newDriver(site string, readBuffer int) *driver {
	return &driver{site: site, dialer: websocket.Dialer{
		HandshakeTimeout: patience,
		ReadBufferSize:   readBuffer,
		WriteBufferSize:  oneFrame,
		WriteBufferPool:  new(sync.Pool),
	}}
}

func (d *driver) dial(ctx context.Context, token string) (*websocket.Conn, error) {
	return d.dialPath(ctx, "/chat?room=1&access_token="+url.QueryEscape(token))
}

// dialPath opens a socket on a path, with query.
func (d *driver) dialPath(ctx context.Context, path string) (*websocket.Conn, error) {
	target := "ws://" + d.site + path
	//nolint:bodyclose // gorilla/websocket: "callers do not need to close the body"
	conn, resp, err := d.dialer.DialContext(ctx, target, nil)
	if resp != nil && errors.Is(err, websocket.ErrBadHandshake) {
		return nil, &statusError{resp.StatusCode}
	}
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	return conn, nil
}

// statusError is a handshake that was answered with another status than 101.
type statusError struct{ status int }

func (e *statusError) Error() string {
	return fmt.Sprintf("the handshake was answered with status %d", e.status)
}

// openAll opens one socket per token, some at a time.
func (d *driver) openAll(ctx context.Context, tokens []string) ([]*websocket.Conn, error) {
	conns := make([]*websocket.Conn, len(tokens))
	err := parallel(len(tokens), 16, func(i int) (err error) {
		conns[i], err = d.dial(ctx, tokens[i])
		return err
	})
	if err != nil {
		closeAll(conns)
		return nil, err
	}
	return conns, nil
}

// closeAll drops the sockets without a word.
func closeAll(conns []*websocket.Conn) {
	for _, conn := range conns {
		if conn != nil {
			_ = conn.Close()
		}
	}
}

// handshakes opens and properly closes one socket per token, four at a time.
func (d *driver) handshakes(ctx context.Context, tokens []string) error {
	return parallel(len(tokens), 4, func(i int) error {
		conn, err := d.dial(ctx, tokens[i])
		if err != nil {
			return err
		}
		return hangUp(conn)
	})
}

// hangUp closes the socket as RFC 6455, 7.1.1 wants it, and returns when the
// server has ended the connection.
func hangUp(conn *websocket.Conn) error {
	defer conn.Close()
	bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	if err := conn.WriteControl(websocket.CloseMessage, bye, time.Now().Add(patience)); err != nil {
		return fmt.Errorf("closing: %w", err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, _, err := conn.NextReader(); !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
		return fmt.Errorf("closing: %w", err)
	}
	if _, err := io.Copy(io.Discard, conn.NetConn()); err != nil {
		return fmt.Errorf("waiting for the end of the connection: %w", err)
	}
	return nil
}

// exchange sends the message on the socket and reads the echo.
func exchange(conn *websocket.Conn, message *websocket.PreparedMessage, size int) error {
	if err := conn.WritePreparedMessage(message); err != nil {
		return fmt.Errorf("sending: %w", err)
	}
	_, r, err := conn.NextReader()
	if err != nil {
		return fmt.Errorf("receiving: %w", err)
	}
	n, err := io.Copy(io.Discard, r)
	if err != nil {
		return fmt.Errorf("receiving: %w", err)
	}
	if n != int64(size) {
		return fmt.Errorf("sent %d bytes, got %d back", size, n)
	}
	return nil
}

// pingPong sends messages of the size on all sockets at once for as long as
// d, each when the echo of the one before has come, so that every message
// costs Caddy a read and a write. It returns the number of messages that
// passed, both directions counted.
func pingPong(conns []*websocket.Conn, size int, d time.Duration) (int, error) {
	message, err := websocket.NewPreparedMessage(websocket.BinaryMessage, make([]byte, size))
	if err != nil {
		return 0, err
	}
	end := time.Now().Add(d)
	counts := make([]int, len(conns))
	err = parallel(len(conns), len(conns), func(i int) error {
		deadline := end.Add(patience)
		if err := conns[i].SetReadDeadline(deadline); err != nil {
			return err
		}
		if err := conns[i].SetWriteDeadline(deadline); err != nil {
			return err
		}
		for time.Now().Before(end) {
			if err := exchange(conns[i], message, size); err != nil {
				return err
			}
			counts[i] += 2
		}
		return nil
	})
	total := 0
	for _, n := range counts {
		total += n
	}
	return total, err
}

// exchangeAll sends one message of the size on each socket, some at a time.
func exchangeAll(conns []*websocket.Conn, size int) error {
	message, err := websocket.NewPreparedMessage(websocket.BinaryMessage, make([]byte, size))
	if err != nil {
		return err
	}
	return parallel(len(conns), 8, func(i int) error {
		if err := conns[i].SetReadDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		return exchange(conns[i], message, size)
	})
}

// parallel calls f for 0 to n-1 from the given number of goroutines and
// returns the first error; what was not begun by then is left out.
func parallel(n, workers int, f func(i int) error) error {
	work := make(chan int)
	stop := make(chan struct{})
	var (
		once  sync.Once
		first error
		wg    sync.WaitGroup
	)
	for range min(n, workers) {
		wg.Go(func() {
			for i := range work {
				if err := f(i); err != nil {
					once.Do(func() { first = err; close(stop) })
					return
				}
			}
		})
	}
feed:
	for i := range n {
		select {
		case work <- i:
		case <-stop:
			break feed
		}
	}
	close(work)
	wg.Wait()
	return first
}
