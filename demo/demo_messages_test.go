package demo

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// person is a socket to the chat, on which the token may travel in messages.
type person struct {
	testDemo
	conn  *websocket.Conn
	token string
	heard []string // what people have said, in order
}

// gateEvent is what the gate says by itself; for the chat's events only Type
// and Text count.
type gateEvent struct {
	Type   string `json:"type"`
	Reason string `json:"reason"`
	ID     string `json:"id"`
	Text   string `json:"text"`
	Grace  int    `json:"grace"`
}

// testMessages is about tokens in messages, one after the other: they share
// a room, and count what is said in it.
func (d testDemo) testMessages() {
	d.t.Helper()
	d.t.Run("first message", func(t *testing.T) {
		d.with(t).testRenewal(noCarrier, func(p *person) {
			p.logIn()
			p.await("auth_ok")
		})
	})
	d.t.Run("renewal of a handshake's token", func(t *testing.T) {
		d.with(t).testRenewal(testCarriers["query"], func(*person) {})
	})
	d.t.Run("every message", func(t *testing.T) { d.with(t).testEvery() })
	d.t.Run("somebody else's renewal", func(t *testing.T) { d.with(t).testForeignRenewal() })
	d.t.Run("no login", func(t *testing.T) {
		p := d.with(t).person(renewPath, noCarrier, "alice", 60)
		p.write(map[string]string{"text": "hello"})
		if code := closeCode(t, p.conn); code != expiredCode {
			t.Errorf("close code = %d, want %d", code, expiredCode)
		}
	})
}

// testRenewal has alice's token end. What she and bob say meanwhile is held
// until she has a new one.
func (d testDemo) testRenewal(carry carrier, logIn func(*person)) {
	d.t.Helper()
	alice := d.person(renewPath, carry, "alice", shortly())
	logIn(alice)
	alice.await("welcome")
	bob := d.person(chatPath, testCarriers["bearer"], "bob", 60)
	bob.await("welcome")

	alice.await("auth_required")
	if got := alice.await("auth_expired"); got.Grace != int(grace/time.Second) {
		d.t.Errorf("grace = %d, want %v", got.Grace, grace)
	}
	alice.write(map[string]string{"text": "one"})
	bob.write(map[string]string{"text": "two"})
	bob.await("message")
	alice.token = d.take("alice", 60)
	alice.logIn()
	if got := alice.next(); got.Type != "auth_ok" {
		d.t.Errorf("between the end and the renewal came %+v", got)
	}
	for _, p := range []*person{alice, bob} {
		for len(p.heard) < 2 {
			p.await("message")
		}
		if want := []string{"two", "one"}; !slices.Equal(p.heard, want) {
			d.t.Errorf("heard %q, want %q", p.heard, want)
		}
	}
}

// testEvery has each message carry its token: one without a good one goes
// nowhere, and its sender is told which it was.
func (d testDemo) testEvery() {
	d.t.Helper()
	alice := d.person(everyPath, noCarrier, "alice", 3)
	old := alice.token
	alice.say("", "", old)
	alice.await("auth_ok")
	alice.await("welcome")
	alice.await("pong")
	alice.say("1", "one", old)
	alice.await("message")

	for _, bad := range []string{"", spoil(old), d.take("bob", 60)} {
		alice.say("2", "with a bad token", bad)
		if got := alice.await("auth_error"); got.ID != "2" || got.Reason == "" {
			d.t.Errorf("a message with a bad token is answered with %+v", got)
		}
	}
	alice.await("auth_expired")
	alice.say("3", "with an old token", old)
	if got := alice.await("auth_error"); got.ID != "3" {
		d.t.Errorf("a message with an old token is answered with %+v", got)
	}
	alice.say("4", "two", d.take("alice", 60))
	alice.await("message")
	if want := []string{"one", "two"}; !slices.Equal(alice.heard, want) {
		d.t.Errorf("said was %q, want %q", alice.heard, want)
	}
}

// testForeignRenewal: bob's token is good, and not for alice's socket.
func (d testDemo) testForeignRenewal() {
	d.t.Helper()
	alice := d.person(renewPath, testCarriers["bearer"], "alice", 60)
	alice.await("welcome")
	alice.token = d.take("bob", 60)
	alice.logIn()
	if got := alice.await("auth_error"); got.Reason != "forbidden" {
		d.t.Errorf("somebody else's token is answered with %+v", got)
	}
	alice.write(map[string]string{"text": "still here"})
	alice.await("message")
}

// person opens a socket with a token of so many seconds.
func (d testDemo) person(path string, carry carrier, user string, seconds int) *person {
	d.t.Helper()
	d.path = path
	token := d.take(user, seconds)
	return &person{testDemo: d, token: token, conn: d.dial(carry, token)}
}

// logIn sends the token, as the page does for a login and for a renewal.
func (p *person) logIn() {
	p.t.Helper()
	p.write(map[string]string{"type": "auth", "token": p.token})
}

// say sends a message that carries a token, unless that is empty.
func (p *person) say(id, text, token string) {
	p.t.Helper()
	message := map[string]string{"id": id, "text": text}
	if token != "" {
		message["token"] = token
	}
	p.write(message)
}

func (p *person) write(message map[string]string) {
	p.t.Helper()
	if err := p.conn.WriteJSON(message); err != nil {
		p.t.Fatal(err)
	}
}

// next returns the next message, and notes what was said.
func (p *person) next() gateEvent {
	p.t.Helper()
	if err := p.conn.SetReadDeadline(time.Now().Add(testTimeout)); err != nil {
		p.t.Fatal(err)
	}
	_, data, err := p.conn.ReadMessage()
	if err != nil {
		p.t.Fatal(err)
	}
	for _, token := range p.issued.all() {
		if strings.Contains(string(data), token) {
			p.t.Error("a token has come back")
		}
	}
	var e gateEvent
	if err := json.Unmarshal(data, &e); err != nil {
		p.t.Fatal(err)
	}
	if e.Type == "message" {
		p.heard = append(p.heard, e.Text)
	}
	return e
}

// await returns the next message of the given type.
func (p *person) await(kind string) gateEvent {
	p.t.Helper()
	for {
		if e := p.next(); e.Type == kind {
			return e
		}
	}
}

// all returns the tokens that were taken so far.
func (i *tokens) all() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.list)
}
