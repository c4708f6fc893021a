package websocketauth

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"go.uber.org/zap"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/dialect"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// brokenSpeaker panics in all it does, as one that is no part of this module
// may.
type brokenSpeaker struct{}

func (brokenSpeaker) Client(dialect.State, proxy.Message) ([]dialect.Part, error) { panic("client") }
func (brokenSpeaker) App(dialect.State, proxy.Message) ([]dialect.Part, error)    { panic("app") }
func (brokenSpeaker) Say(dialect.Event, dialect.Facts) dialect.Words              { panic("say") }
func (brokenSpeaker) Idle() bool                                                  { panic("idle") }
func (brokenSpeaker) Foreign(proxy.Message) bool                                  { panic("foreign") }

func (brokenSpeaker) Follow([]byte) { panic("follow") }

func (brokenSpeaker) AtBorder() bool                         { panic("border") }
func (brokenSpeaker) SkipClient(dialect.State, []byte) error { panic("skip") }
func (brokenSpeaker) SkipApp([]byte)                         { panic("skip") }

// TestPanicInDialect: a dialect that panics, wherever it is asked, ends the
// socket, and no lock stays behind that would keep it from ending.
func TestPanicInDialect(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]func(skippedConversation){
		"client": func(c skippedConversation) {
			if v := c.Client(proxy.Text("x")); v.Whole || len(v.Instead) > 0 {
				t.Errorf("a message passes: %+v", v)
			}
		},
		"foreign": func(c skippedConversation) {
			if c.Foreign(proxy.Text("x")) {
				t.Error("a message passes unread")
			}
		},
		"app": func(c skippedConversation) {
			if v := c.App(proxy.Text("x")); v.Whole || len(v.Instead) > 0 {
				t.Errorf("a message passes: %+v", v)
			}
		},
		"follow":      func(c skippedConversation) { c.Follow([]byte("x")) },
		"border":      func(c skippedConversation) { c.AtBorder() },
		"skip client": func(c skippedConversation) { _ = c.SkipClient([]byte("x")) },
		"skip app":    func(c skippedConversation) { c.SkipApp([]byte("x")) },
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		s := &socket{
			handler: &Handler{logger: zap.NewNop(), state: new(handlerState)},
			request: &request{kind: kindUpgrade}, handshake: r, speaker: brokenSpeaker{},
		}
		ask(skippedConversation{followedConversation{&conversation{s: s}, brokenSpeaker{}}, brokenSpeaker{}})
		if !s.mu.TryLock() {
			t.Errorf("%s: the socket stays locked", name)
			continue
		}
		if !s.over || s.endsAs == nil {
			t.Errorf("%s: the socket goes on", name)
		}
		s.mu.Unlock()
	}
}
