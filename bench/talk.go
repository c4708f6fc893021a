package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// Where credentials travel in messages. Caddy alone passes them on, and the
// application echoes them; so each answer, whoever gives it, is one message.
const (
	firstPath   = "/first"
	renewPath   = "/renew"
	everyPath   = "/every"
	graphQLPath = "/graphql"
)

// login is a message that logs in or renews.
func login(token string) []byte { return []byte(`{"type":"auth","token":"` + token + `"}`) }

// everyMessage is a message with its credential, of an application that sends
// one in each.
func everyMessage(token string) []byte {
	return []byte(`{"id":7,"op":"say","room":"lobby","text":"` + strings.Repeat("hello ", 20) + `","token":"` + token + `"}`)
}

// graphQLLogin is what a client of graphql-ws begins with.
func graphQLLogin(token string) []byte {
	return []byte(`{"type":"connection_init","payload":{"token":"` + token + `"}}`)
}

// graphQLNext is a message of such a client, of about size bytes.
func graphQLNext(size int) []byte {
	const begin = `{"id":"7","type":"subscribe","payload":{"query":"subscription { said(room: 1) { text } }","variables":{"text":"`
	return []byte(begin + strings.Repeat("hello ", max(0, size-len(begin))/6) + `"}}}`)
}

// plainMessage is a message of the application's own, of about size bytes.
func plainMessage(size int) []byte {
	const begin = `{"type":"say","id":7,"room":"lobby","lines":["hello"`
	return []byte(begin + strings.Repeat(`,"hello, and hello again"`, max(0, size-len(begin))/25) + `]}`)
}

// readMetrics are those of messages without a credential, on sockets that one
// has been found in: all their messages are read.
func readMetrics() (metrics []cpuMetric) {
	for _, kind := range []struct {
		dialect, path string
		message       []byte
	}{
		{"json", firstPath, plainMessage(200)},
		{"json", firstPath, plainMessage(16 << 10)},
		{"graphql", graphQLPath, graphQLNext(200)},
		{"graphql", graphQLPath, graphQLNext(16 << 10)},
	} {
		metrics = append(metrics, cpuMetric{
			name: fmt.Sprintf("CPU per message and its echo after a login by message, %s, %s", kind.dialect, sizeName(len(kind.message))),
			work: func(_ context.Context, b *bench, s *side, _ int) (int, error) {
				return sayAgain(s.talking[kind.path], kind.message, b.plan.slice)
			},
		})
	}
	return metrics
}

// talkMetrics are those of messages that are read.
func talkMetrics() []cpuMetric {
	return append(readMetrics(), []cpuMetric{
		{
			name: "CPU per handshake with login by the first message, token seen before",
			goal: 1.25,
			work: func(ctx context.Context, b *bench, s *side, _ int) (int, error) {
				n := b.plan.handshakes
				message := login(b.seen)
				return n, parallel(n, 4, func(int) error {
					conn, err := s.driver.dialPath(ctx, firstPath)
					if err != nil {
						return err
					}
					if err := say(conn, message); err != nil {
						_ = conn.Close()
						return err
					}
					return hangUp(conn)
				})
			},
		},
		{
			name:  "CPU per renewal, RS256 token never seen",
			extra: 200e3,
			work: func(_ context.Context, b *bench, s *side, batch int) (int, error) {
				tokens := b.renewals[batch]
				conns := s.talking[renewPath]
				return len(tokens), parallel(len(conns), len(conns), func(i int) error {
					for k := i; k < len(tokens); k += len(conns) {
						if err := say(conns[i], login(tokens[k])); err != nil {
							return err
						}
					}
					return nil
				})
			},
		},
		{
			name:  "CPU per message that carries a known token",
			extra: 3e3,
			work: func(_ context.Context, b *bench, s *side, _ int) (int, error) {
				return sayAgain(s.talking[everyPath], everyMessage(b.seen), b.plan.slice)
			},
		},
	}...)
}

// startTalking opens the sockets whose messages are read, and logs in.
func (b *bench) startTalking(ctx context.Context, s *side) error {
	s.talking = make(map[string][]*websocket.Conn)
	for path, hello := range map[string][]byte{
		firstPath: login(b.seen), renewPath: login(b.seen), everyPath: everyMessage(b.seen), graphQLPath: graphQLLogin(b.seen),
	} {
		for range messageSockets {
			conn, err := s.driver.dialPath(ctx, path)
			if err != nil {
				return err
			}
			s.talking[path] = append(s.talking[path], conn)
			if err := say(conn, hello); err != nil {
				return fmt.Errorf("logging in at %s: %w", path, err)
			}
			// The gate says that the login was good, and the application gets
			// the message, too.
			if path == everyPath && s.guarded {
				if err := listen(conn); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// say sends a text message and reads one answer.
func say(conn *websocket.Conn, message []byte) error {
	if err := conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if err := conn.WriteMessage(websocket.TextMessage, message); err != nil {
		return fmt.Errorf("sending: %w", err)
	}
	return listen(conn)
}

// listen reads one message.
func listen(conn *websocket.Conn) error {
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, r, err := conn.NextReader()
	if err != nil {
		return fmt.Errorf("receiving: %w", err)
	}
	n, err := io.Copy(io.Discard, r)
	if err == nil && n == 0 {
		err = errors.New("received an empty message")
	}
	return err
}

// sayAgain sends the message on all sockets at once for as long as d, each
// when the answer to the one before has come. It returns how often.
func sayAgain(conns []*websocket.Conn, message []byte, d time.Duration) (int, error) {
	end := time.Now().Add(d)
	counts := make([]int, len(conns))
	err := parallel(len(conns), len(conns), func(i int) error {
		for time.Now().Before(end) {
			if err := say(conns[i], message); err != nil {
				return err
			}
			counts[i]++
		}
		return nil
	})
	total := 0
	for _, n := range counts {
		total += n
	}
	return total, err
}
