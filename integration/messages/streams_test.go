package messages

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// streamDialect is a dialect whose packets or frames pay no heed to where a
// WebSocket message ends.
type streamDialect struct {
	name, protocol string
	opcode         byte
	// login returns what logs in with a credential, without one where that is
	// empty, and with so much padding.
	login func(credential string, padding int) string
	// data returns something that is sent after it, with so much content.
	data func(content int) string
}

// streamDialects are all of them.
var streamDialects = []streamDialect{
	{"mqtt", "mqtt", rig.OpBinary, mqttLogin, mqttPublish},
	{"stomp", "v12.stomp", rig.OpText, stompLogin, stompSend},
}

// mqttPart returns a text with its length in front.
func mqttPart(s string) string {
	return string(binary.BigEndian.AppendUint16(nil, uint16(len(s)))) + s
}

// mqttLogin returns a CONNECT of MQTT 3.1.1 with a password.
func mqttLogin(password string, padding int) string {
	flags, end := "\x04", ""
	if password != "" {
		flags, end = "\xC4", mqttPart("user")+mqttPart(password)
	}
	will := mqttPart("will") + mqttPart(strings.Repeat("x", padding))
	return mqttPacket("\x10", mqttPart("MQTT")+"\x04"+flags+"\x00\x3C"+mqttPart("client")+will+end)
}

func mqttPublish(content int) string {
	return mqttPacket("\x30", mqttPart("topic")+strings.Repeat("x", content))
}

// mqttPacket returns a packet of MQTT.
func mqttPacket(kind, body string) string {
	length := ""
	for n := len(body); ; n >>= 7 {
		if n < 128 {
			return kind + length + string([]byte{byte(n)}) + body
		}
		length += string([]byte{byte(n) | 0x80})
	}
}

// stompLogin returns a CONNECT of STOMP with a passcode.
func stompLogin(passcode string, padding int) string {
	frame := "CONNECT\naccept-version:1.2\nx-padding:" + strings.Repeat("x", padding) + "\n"
	if passcode != "" {
		frame += "passcode:" + passcode + "\n"
	}
	return frame + "\n\x00"
}

func stompSend(content int) string {
	return "SEND\ndestination:/topic\n\n" + strings.Repeat("x", content) + "\x00"
}

// streamSite is a site that takes a token from the query, and from a message.
func startStreamSite(t *testing.T, d streamDialect, pass string) *rig.PeerSite {
	t.Helper()
	return rig.StartPeerSite(t, rig.SiteOptions{
		Directives: "from query\nfrom first_message\nhttp reject\ndialect " + d.name + " {\npass " + pass + "\n}",
	}, nil)
}

// opensAs opens a socket with a token of alice's in the query.
func opensAs(t *testing.T, s *rig.PeerSite, d streamDialect) (*rig.Conn, *rig.Peer) {
	t.Helper()
	header := map[string][]string{"Sec-Websocket-Protocol": {d.protocol}}
	c := s.Open(t, "h1", "/?access_token="+s.Issuer.Token(), header)
	return c, s.Socket(t)
}

// sends sends messages of the dialect's.
func (d streamDialect) sends(t *testing.T, c *rig.Conn, messages ...string) {
	t.Helper()
	var all []byte
	for _, message := range messages {
		all = append(all, rig.ClientFrame(0x80|d.opcode, []byte(message))...)
	}
	if err := c.WriteRaw(all); err != nil {
		t.Fatalf("the client sending messages: %v", err)
	}
}

// forEachStreamDialect runs f for each dialect and pass, on a site of its own.
func forEachStreamDialect(t *testing.T, f func(t *testing.T, s *rig.PeerSite, d streamDialect, pass string)) {
	t.Helper()
	for _, d := range streamDialects {
		for _, pass := range []string{"forward", "strip"} {
			t.Run(d.name+"/"+pass, func(t *testing.T) {
				t.Parallel()
				f(t, startStreamSite(t, d, pass), d, pass)
			})
		}
	}
}

// TestAttackSecondCredential: whoever has a good token in the request cannot
// make the application take it for somebody else by a login within the
// protocol, in however many messages it comes and whatever is beside it.
func TestAttackSecondCredential(t *testing.T) {
	t.Parallel()
	forEachStreamDialect(t, func(t *testing.T, s *rig.PeerSite, d streamDialect, _ string) {
		bad := map[string]string{
			"forged":         rig.Sign(rig.JWT{Key: rig.StrangerKey(), Claims: s.Issuer.Claims(map[string]any{"sub": "admin"})}),
			"somebody else":  s.Issuer.Token(map[string]any{"sub": "mallory"}),
			"expired":        s.Issuer.Token(map[string]any{"exp": 1}),
			"not even a JWT": "secret",
		}
		for name, token := range bad {
			login := d.login(token, 0)
			for how, messages := range map[string][]string{
				"at once":                {login},
				"byte by byte":           strings.Split(login, ""),
				"behind another":         {d.login("", 0) + login},
				"in the next message":    {d.login("", 0), login},
				"behind data":            {d.login("", 0) + d.data(5) + login},
				"longer than is read":    {d.login(token, 20<<10)},
				"long, behind data":      {d.login("", 0), d.data(20<<10) + login},
				"long, and a second one": {d.login("", 0), d.login(token, 20<<10)},
			} {
				c, p := opensAs(t, s, d)
				d.sends(t, c, messages...)
				if got := hearsUntil(t, p, token); strings.Contains(got, token) {
					t.Errorf("%s, %s: the application got the credential: %.200q", name, how, got)
				}
				c.Vanish()
			}
		}
	})
}

// hearsUntil returns all that comes until the socket ends or token has come.
func hearsUntil(t *testing.T, p *rig.Peer, token string) string {
	t.Helper()
	var all strings.Builder
	timer := time.NewTimer(rig.Patience)
	defer timer.Stop()
	for !strings.Contains(all.String(), token) {
		select {
		case message, ok := <-p.Got:
			if !ok {
				return all.String()
			}
			all.WriteString(message)
		case <-timer.C:
			t.Fatalf("the socket did not end within %v", rig.Patience)
		}
	}
	return all.String()
}

// TestOwnSecondCredential: the same user's newer token goes on as pass says,
// and so does a login that has no credential. What follows passes, however
// long it is.
func TestOwnSecondCredential(t *testing.T) {
	t.Parallel()
	forEachStreamDialect(t, func(t *testing.T, s *rig.PeerSite, d streamDialect, pass string) {
		newer := s.Issuer.Expiring(time.Now().Add(2 * time.Hour))
		c, p := opensAs(t, s, d)
		login := d.login(newer, 0)
		d.sends(t, c, login)
		got := rig.Receive(t, "login at the application", p.Got, rig.Patience)
		switch {
		case pass == "forward" && got != login:
			t.Errorf("the application got %q, want %q", got, login)
		case pass == "strip" && (got == "" || strings.Contains(got, newer)):
			t.Errorf("the application got %q, want a login without the token", got)
		}
		passes(t, d, c, p)

		c, p = opensAs(t, s, d)
		d.sends(t, c, d.login("", 0))
		p.Hears(t, d.login("", 0))
		passes(t, d, c, p)
	})
}

// passes expects that data passes, short and long, and heart-beats.
func passes(t *testing.T, d streamDialect, c *rig.Conn, p *rig.Peer) {
	t.Helper()
	beat := map[string]string{"mqtt": "\xC0\x00", "stomp": "\n"}[d.name]
	for _, message := range []string{d.data(5), beat, d.data(2 << 20), beat, ""} {
		d.sends(t, c, message)
		if got := rig.Receive(t, "data at the application", p.Got, rig.Patience); got != message {
			t.Fatalf("the application got %d bytes, want %d", len(got), len(message))
		}
	}
	c.Vanish()
}

// TestStreamForeignData: what is no message of the protocol passes on a socket
// that the request has logged in.
func TestStreamForeignData(t *testing.T) {
	t.Parallel()
	forEachStreamDialect(t, func(t *testing.T, s *rig.PeerSite, d streamDialect, _ string) {
		c, p := opensAs(t, s, d)
		audio := bytes.Repeat([]byte{0xFC, 0, 0x7F, 0x80, '\n', 0}, 100)
		for _, m := range []struct {
			opcode byte
			data   string
		}{
			{rig.OpText, "PING"},
			{rig.OpText, ""},
			{rig.OpBinary, ""},
			{rig.OpBinary, string(audio)},
			{rig.OpText, "ls -l\r\n\x1b[A\x03"},
			{rig.OpBinary, "\x1b[200~echo hi\x1b[201~\n"},
		} {
			if err := c.Write(m.opcode, []byte(m.data)); err != nil {
				t.Fatal(err)
			}
			p.Hears(t, m.data)
		}
		c.Vanish()
	})
}
