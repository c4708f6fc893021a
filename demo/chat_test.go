package demo

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// testTimeout is how long a test waits for something that should come at once,
// on a machine that may be busy.
const testTimeout = time.Minute

func newTestChat(t *testing.T) (*chat, string) {
	t.Helper()
	c := new(chat)
	server := httptest.NewServer(c)
	t.Cleanup(func() {
		server.Close()
		c.Close()
	})
	return c, "ws" + strings.TrimPrefix(server.URL, "http")
}

func dialChat(t *testing.T, url, user string) *websocket.Conn {
	t.Helper()
	conn, _, err := websocket.DefaultDialer.DialContext(t.Context(), url, http.Header{userHeader: {user}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// nextEvent returns the next event of the given type.
func nextEvent(t *testing.T, conn *websocket.Conn, kind string) event {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(testTimeout)); err != nil {
		t.Fatal(err)
	}
	for {
		var e event
		if err := conn.ReadJSON(&e); err != nil {
			t.Fatalf("waiting for %q: %v", kind, err)
		}
		if e.Type == kind {
			return e
		}
	}
}

func TestChatTrustsTheHeader(t *testing.T) {
	t.Parallel()
	_, url := newTestChat(t)
	_, res, err := websocket.DefaultDialer.DialContext(t.Context(), url, nil)
	if err == nil || res == nil || res.StatusCode != http.StatusForbidden {
		t.Fatalf("without %s: %v, %v, want a refusal with 403", userHeader, res, err)
	}

	alice := dialChat(t, url, "alice")
	if welcome := nextEvent(t, alice, "welcome"); welcome.From != "alice" || welcome.Header.Get(userHeader) != "alice" {
		t.Errorf("welcome = %+v, want one for alice that shows her header", welcome)
	}
	bob := dialChat(t, url, "bob")
	nextEvent(t, bob, "welcome")
	if err := bob.WriteMessage(websocket.TextMessage, []byte("hello <b>")); err != nil {
		t.Fatal(err)
	}
	if got := nextEvent(t, alice, "message"); got.From != "bob" || got.Text != "hello <b>" {
		t.Errorf("message = %+v, want bob's", got)
	}
}

// TestChatNumbers: a member can tell that nothing is missing, and which of its
// messages have come back.
func TestChatNumbers(t *testing.T) {
	t.Parallel()
	_, url := newTestChat(t)
	alice := dialChat(t, url, "alice")
	if got := nextEvent(t, alice, "welcome"); got.Number != 0 {
		t.Errorf("the first welcome has number %d, want 0", got.Number)
	}
	bob := dialChat(t, url, "bob")
	if got := nextEvent(t, bob, "welcome"); got.Number != 1 {
		t.Errorf("bob's welcome has number %d, want 1, which alice's arrival had", got.Number)
	}
	for _, text := range []string{`{"id":"a"}`, `{"id":"b","text":"hello"}`} {
		if err := bob.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if got := nextEvent(t, bob, "pong"); got.ID != "a" || got.Number != 0 {
		t.Errorf("answer to a sign of life = %+v, want one without a number", got)
	}
	if got := nextEvent(t, bob, "message"); got.ID != "b" || got.Number != 3 {
		t.Errorf("message = %+v, want b with number 3", got)
	}
	for i, kind := range []string{"joined", "joined", "message"} {
		if got := nextEvent(t, alice, kind); got.Number != i+1 {
			t.Errorf("alice got %s with number %d, want %d", kind, got.Number, i+1)
		}
	}
}

func TestParseSaid(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, message string
		want          said
	}{
		{"whole", `{"id":"1","text":"hello"}`, said{"1", "hello"}},
		{"a sign of life", `{}`, said{}},
		{"plain text", "hello", said{"", "hello"}},
		{"a member that the gate should have taken out", `{"text":"a","token":"b"}`, said{"", `{"text":"a","token":"b"}`}},
		{"a login that the gate should have kept", `{"type":"auth"}`, said{"", `{"type":"auth"}`}},
		{"something behind it", `{"text":"a"} {`, said{"", `{"text":"a"} {`}},
		{"another type", `{"text":1}`, said{"", `{"text":1}`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := parseSaid([]byte(tt.message)); got != tt.want {
				t.Errorf("parseSaid(%s) = %+v, want %+v", tt.message, got, tt.want)
			}
		})
	}
}

func TestChatTellsHowSomebodyLeft(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		leave func(*websocket.Conn) error
		want  int
	}{
		{"with a close frame", func(conn *websocket.Conn) error {
			return conn.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(3000, "over"))
		}, 3000},
		{"with an empty close frame", func(conn *websocket.Conn) error {
			return conn.WriteMessage(websocket.CloseMessage, nil)
		}, websocket.CloseNoStatusReceived},
		{"without a word", (*websocket.Conn).Close, websocket.CloseAbnormalClosure},
		{"thrown out for a long message", func(conn *websocket.Conn) error {
			return conn.WriteMessage(websocket.TextMessage, make([]byte, maxMessage+1))
		}, websocket.CloseAbnormalClosure},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, url := newTestChat(t)
			alice := dialChat(t, url, "alice")
			nextEvent(t, alice, "welcome")
			bob := dialChat(t, url, "bob")
			nextEvent(t, bob, "welcome")
			if err := tt.leave(bob); err != nil {
				t.Fatal(err)
			}
			if got := nextEvent(t, alice, "left"); got.From != "bob" || got.Code != tt.want {
				t.Errorf("left = %+v, want bob with %d", got, tt.want)
			}
		})
	}
}

// TestChatDropsTheSlow: one member that does not read must not hold up the
// others, nor fill the memory.
func TestChatDropsTheSlow(t *testing.T) {
	t.Parallel()
	_, url := newTestChat(t)
	slow := dialChat(t, url, "slow")
	nextEvent(t, slow, "welcome")
	fast := dialChat(t, url, "fast")
	nextEvent(t, fast, "welcome")

	// The fast one reads each of its messages back, and so is never behind.
	// The slow one's share first fills the buffers of two TCP sockets.
	text := make([]byte, maxMessage)
	for range 10_000 {
		if err := fast.WriteMessage(websocket.TextMessage, text); err != nil {
			t.Fatal(err)
		}
		for {
			var e event
			if err := fast.ReadJSON(&e); err != nil {
				t.Fatal(err)
			}
			if e.Type == "left" && e.From == "slow" {
				return
			}
			if e.Type == "message" {
				break
			}
		}
	}
	t.Error("a member that does not read is never dropped")
}

func TestChatClose(t *testing.T) {
	t.Parallel()
	c, url := newTestChat(t)
	alice := dialChat(t, url, "alice")
	nextEvent(t, alice, "welcome")
	c.Close()
	if err := alice.SetReadDeadline(time.Now().Add(testTimeout)); err != nil {
		t.Fatal(err)
	}
	for {
		if _, _, err := alice.ReadMessage(); err != nil {
			if strings.Contains(err.Error(), "timeout") {
				t.Error("the socket lives on after Close")
			}
			break
		}
	}
	if len(c.online) != 0 {
		t.Errorf("%d members after Close", len(c.online))
	}
	late := dialChat(t, url, "bob")
	if _, _, err := late.ReadMessage(); err == nil {
		t.Error("a closed chat welcomes somebody")
	}
}
