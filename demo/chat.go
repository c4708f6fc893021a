package demo

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

const (
	// chatPath is where the chat's WebSocket is.
	chatPath = "/chat"
	// renewPath is where it is for tokens that can be renewed.
	renewPath = chatPath + "/renew"
	// everyPath is where it is for tokens in every message.
	everyPath = chatPath + "/every"
	// userHeader is the header that the chat believes.
	userHeader = "X-User"
	// maxMessage is the longest message that the chat takes, in bytes.
	maxMessage = 4 << 10
	// backlog is how many events a member may be behind before it is dropped.
	backlog = 64
	// chatWriteTimeout bounds one write to a member.
	chatWriteTimeout = 5 * time.Second
)

// said is what a member sends, as a JSON text message. One without a text is a
// sign of life, which the chat answers.
type said struct {
	ID   string `json:"id"` // the member's name for it
	Text string `json:"text"`
}

// event is what the chat sends, as a JSON text message.
type event struct {
	Type string    `json:"type"` // welcome, message, joined, left or pong
	From string    `json:"from"`
	Text string    `json:"text,omitempty"`
	At   time.Time `json:"at"`
	// Number counts what everybody gets; that of a welcome is the last one
	// before it. By it a member sees that nothing is missing.
	Number int `json:"number,omitempty"`
	// ID is that of what was said.
	ID string `json:"id,omitempty"`
	// Code is the close code with which a member left, as the chat saw it.
	Code int `json:"code,omitempty"`
	// Request and Header are the handshake as it reached the chat. A real app
	// would not tell; this one shows that the token stayed outside.
	Request string      `json:"request,omitempty"`
	Header  http.Header `json:"header,omitempty"`
}

// chat is the legacy application: one room, no idea of tokens, and a header
// in front of it that it trusts. The zero value is ready; it is safe for
// concurrent use.
type chat struct {
	upgrader websocket.Upgrader
	members  sync.WaitGroup

	mu     sync.Mutex // guards what follows
	online map[*member]struct{}
	number int // of the last event that everybody got
	closed bool
}

// member is one socket. out is closed, under the chat's lock, when it leaves.
type member struct {
	user string
	conn *websocket.Conn
	out  chan []byte
}

func (c *chat) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user := r.Header.Get(userHeader)
	if user == "" {
		http.Error(w, "who are you?", http.StatusForbidden)
		return
	}
	conn, err := c.upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // Upgrade has answered
	}
	m := &member{user: user, conn: conn, out: make(chan []byte, backlog)}
	welcome := event{
		Type: "welcome", From: user, At: time.Now(),
		Request: r.Method + " " + r.RequestURI, Header: r.Header,
	}
	if !c.join(m, welcome) {
		conn.Close()
		return
	}
	defer c.members.Done()
	code := c.read(m)
	c.leave(m, code)
}

// read passes on what a member says until it is gone, and returns the close
// code of its close frame, or 1006 (RFC 6455 section 7.1.5) if there was none.
func (c *chat) read(m *member) int {
	m.conn.SetReadLimit(maxMessage)
	for {
		kind, text, err := m.conn.ReadMessage()
		if closed, ok := errors.AsType[*websocket.CloseError](err); ok {
			return closed.Code
		}
		if err != nil {
			return websocket.CloseAbnormalClosure
		}
		if kind == websocket.TextMessage {
			c.hear(m, parseSaid(text))
		}
	}
}

// hear passes on what m has said. Only m's reader may call it.
func (c *chat) hear(m *member, s said) {
	if s.Text == "" {
		m.send(encode(event{Type: "pong", From: m.user, ID: s.ID, At: time.Now()}))
		return
	}
	c.broadcast(event{Type: "message", From: m.user, Text: s.Text, ID: s.ID, At: time.Now()})
}

// parseSaid takes everything that is not as it should be for a text of its
// own, so that everybody sees what has come through the gate.
func parseSaid(message []byte) said {
	var s said
	decoder := json.NewDecoder(bytes.NewReader(message))
	decoder.DisallowUnknownFields()
	if decoder.Decode(&s) == nil {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			return s
		}
	}
	return said{Text: string(message)}
}

// join lets a member in, unless the chat is closed. If it returns true, the
// caller must call leave, and then members.Done.
func (c *chat) join(m *member, welcome event) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	if c.online == nil {
		c.online = make(map[*member]struct{})
	}
	c.members.Add(2) // the reader and the writer
	go c.write(m)
	c.online[m] = struct{}{}
	welcome.Number = c.number
	m.send(encode(welcome))
	c.broadcastLocked(event{Type: "joined", From: m.user, At: welcome.At})
	return true
}

func (c *chat) leave(m *member, code int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.online, m)
	close(m.out)
	c.broadcastLocked(event{Type: "left", From: m.user, Code: code, At: time.Now()})
}

func (c *chat) broadcast(e event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broadcastLocked(e)
}

func (c *chat) broadcastLocked(e event) {
	c.number++
	e.Number = c.number
	data := encode(e)
	for m := range c.online {
		m.send(data)
	}
}

// send queues one event. It does not wait: who cannot keep up is dropped, and
// its reader then takes it out of the room.
func (m *member) send(data []byte) {
	select {
	case m.out <- data:
	default:
		m.conn.Close()
	}
}

// write sends a member its events, until it has left the room.
func (c *chat) write(m *member) {
	defer c.members.Done()
	defer m.conn.Close()
	for data := range m.out {
		// A broken connection shows in the reader, which ends this loop.
		_ = m.conn.SetWriteDeadline(time.Now().Add(chatWriteTimeout))
		_ = m.conn.WriteMessage(websocket.TextMessage, data)
	}
}

// Close throws everybody out and waits until they are gone.
func (c *chat) Close() {
	c.mu.Lock()
	c.closed = true
	for m := range c.online {
		m.conn.Close()
	}
	c.mu.Unlock()
	c.members.Wait()
}

// encode cannot fail: an event holds nothing that JSON does not know.
func encode(e event) []byte {
	data, _ := json.Marshal(e)
	return data
}
