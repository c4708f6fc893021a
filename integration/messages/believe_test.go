package messages

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// The states in which a message may come.
const (
	believeOpen      = "open"
	believeSuspended = "suspended"
	believeRenewed   = "renewed"
)

// believeTokens are those of one cell of the table, whose sockets are of one
// user.
type believeTokens struct {
	// The user's own, each of which ends later than the one before: that of the
	// login, of a renewal before the message, in the message, and of a renewal
	// behind it.
	first, renewal, own, last string
	others                    string // good, of somebody else
	forged                    string // for an admin, signed with another key
}

// believeForged is one token for all: what makes it bad is its signature.
var believeForged = sync.OnceValue(func() string {
	now := time.Now()
	return rig.Sign(rig.JWT{Key: rig.StrangerKey(), Claims: map[string]any{
		"iss": "https://id.example.com", "aud": "chat", "sub": "admin", "iat": now.Unix(), "exp": now.Add(2 * time.Hour).Unix(),
	}})
})

// TestBelieve: whatever the application could take for a credential, the gate
// has verified, and it is the socket's own; or the application never sees it.
// In every dialect, whatever has logged in, in every state, and whatever the
// message is written like. The table in docs/dialects.md says what is expected.
func TestBelieve(t *testing.T) {
	t.Parallel()
	s := startBelieveSite(t, believeRoutes())
	t.Run("table", s.triesTable)
	t.Run("seen", s.triesSeen)
	t.Run("before login", s.triesBeforeLogin)
	t.Run("data", s.triesData)
}

// triesTable tries every combination.
func (s *believeSite) triesTable(t *testing.T) {
	others := s.Issuer.Token(map[string]any{"sub": "bob", "exp": time.Now().Add(2 * time.Hour).Unix()})
	for _, b := range believeSpeeches {
		for _, pass := range b.passes {
			for _, source := range append([]string{"none"}, b.sources...) {
				for _, state := range []string{believeOpen, believeSuspended, believeRenewed} {
					for _, version := range b.versions(pass, source) {
						t.Run(b.name(pass, false)+"/"+source+"/"+state+"/"+version, func(t *testing.T) {
							t.Parallel()
							c := &believeCase{
								believeSite: s, speech: b, pass: pass, source: source, state: state, version: version,
								route: b.name(pass, state != believeOpen), table: believeTableOf(t)[b.dialect+" "+pass],
							}
							c.tokens = c.newTokens(others)
							c.run(t)
						})
					}
				}
			}
		}
	}
}

// versions are those over which a combination is tried. How messages are read
// does not depend on them, so that one combination is enough for the others.
func (b believeSpeech) versions(pass, source string) []string {
	if b.dialect == "graphql" && pass == "strip" && source == "query" {
		return rig.AllVersions
	}
	return []string{rig.H1}
}

// believeCase is one combination of the table's.
type believeCase struct {
	*believeSite
	speech              believeSpeech
	pass, source, state string
	version             string // of HTTP
	route               string
	table               []believeCell
	tokens              believeTokens
	subject             string
}

// newTokens returns tokens of a user whom only this case has.
func (c *believeCase) newTokens(others string) believeTokens {
	c.subject = "alice-" + c.newRow()
	of := func(hours int) string {
		return rig.Sign(rig.JWT{Alg: "ES256", Claims: c.Issuer.Claims(map[string]any{
			"sub": c.subject, "exp": time.Now().Add(time.Duration(hours) * time.Hour).Unix(),
		})})
	}
	return believeTokens{first: of(1), renewal: of(2), own: of(3), last: of(4), others: others, forged: believeForged()}
}

// believeTry is one message on a socket of its own.
type believeTry struct {
	believeForm
	token string // that the message carries
	want  believeCell
	who   *believer
}

// run opens a socket for each message, brings all into the state and sends.
func (c *believeCase) run(t *testing.T) {
	tries := c.tries()
	for i := range tries {
		tries[i].who = c.enter(t, t.Name()+"/"+tries[i].name)
	}
	if c.state != believeOpen {
		c.suspends(t, c.subject, len(tries))
	}
	for i := range tries {
		try := &tries[i]
		t.Run(try.name, func(t *testing.T) { c.check(t, try) })
	}
}

// enter returns a socket that somebody has logged in.
func (c *believeCase) enter(t *testing.T, name string) *believer {
	t.Helper()
	path, header := "/"+c.route+"/"+c.speech.path, http.Header{}
	if c.speech.path == "" {
		path += "ws"
	}
	with := func(parameter string) {
		mark := "?"
		if strings.Contains(path, "?") {
			mark = "&"
		}
		path += mark + parameter
	}
	row := c.newRow()
	switch c.source {
	case "query":
		with("access_token=" + c.tokens.first)
	case "header":
		header.Set("Authorization", "Bearer "+c.tokens.first)
	case "cookie":
		header.Set("Cookie", "session="+c.tokens.first)
		header.Set("Origin", "http://"+c.Addr)
	case "polling":
		with("sid=" + row)
		url := "http://" + c.Addr + "/" + c.route + "/socket.io/" + rig.Polling(row) + "&row=polled-" + row
		if status := rig.Poll(t, http.MethodPost, url, c.speech.says(c.speech.login, c.tokens.first)); status != http.StatusOK {
			t.Fatalf("%s: the login by polling is answered %d", name, status)
		}
	}
	who := c.believerOf(t, row, c.version, path, header)
	if c.speech.once && c.source != "none" { // nothing may come before the login
		who.connected(t)
		return who
	}
	marker := []byte(c.speech.marker)
	frames := c.speech.frame(c.speech.marker)
	if c.source == "none" {
		login := c.speech.says(c.speech.login, c.tokens.first)
		frames = append(c.speech.frame(login), frames...)
	}
	o := who.outcome(t, marker, frames)
	if !o.lives {
		t.Fatalf("%s: the login ended with %d", name, o.code)
	}
	if c.source == "none" {
		checkSeen(t, c.table[columnLogin], o, c.speech.says(c.speech.login, c.tokens.first), c.tokens.first)
	}
	return who
}

// believeAll says, in the environment, that all forms come everywhere. That
// takes minutes: "make soak" says so.
const believeAll = "WEBSOCKET_AUTH_BELIEVE_ALL"

// tries are the messages that are tried in this case. All forms of them come
// where the query has logged in, in every state, and on an open socket where a
// message has; elsewhere those in which a credential is looked at.
func (c *believeCase) tries() (tries []believeTry) {
	all := os.Getenv(believeAll) != "" || c.source == "query" ||
		c.source == "none" && (c.state == believeOpen || len(c.speech.sources) == 0)
	for n, message := range c.speech.later {
		add := func(who, token string, forms []believeForm, want func(believeForm) believeCell) {
			for _, f := range forms {
				cell := want(f)
				if c.speech.once && c.source == "none" && cell.code != rig.CloseNotUTF8 {
					cell = believeCell{code: rig.ClosePolicy, empty: cell.empty}
				}
				if !cell.empty {
					f.name = fmt.Sprintf("%d %s, %s", n, who, f.name)
					tries = append(tries, believeTry{believeForm: f, token: token, want: cell})
				}
			}
		}
		column := func(f believeForm) believeCell { return c.table[f.column] }
		newer := func(believeForm) believeCell {
			cell := c.table[columnNewer]
			if cell.gone != "" && strings.Contains(message, `"`+cell.gone+`",`) {
				cell.sees = seesNothing
			}
			return cell
		}
		const limit = 1 << 20
		forms := c.speech.plainForms(message, c.tokens.forged)
		if all {
			forms = c.speech.forms(message, c.tokens.forged, c.tokens.own, limit)
		}
		add("forged", c.tokens.forged, forms, column)
		add("somebody else's", c.tokens.others, c.speech.plainForms(message, c.tokens.others), column)
		add("the user's own", c.tokens.own, c.speech.plainForms(message, c.tokens.own), newer)
	}
	return tries
}

// check sends the message of a try, and looks at what comes of it.
func (c *believeCase) check(t *testing.T, try *believeTry) {
	marker := []byte(c.speech.marker)
	if c.state == believeRenewed && !c.renews(t, c.route, try.who, c.tokens.renewal) {
		t.Fatal("there is no socket to renew")
	}
	frames := try.frames
	if c.state == believeSuspended {
		try.who.settles(t, frames)
		c.renews(t, c.route, try.who, c.tokens.last)
		frames = nil
	}
	o := try.who.outcome(t, marker, append(bytes.Clone(frames), c.speech.frame(c.speech.marker)...))
	try.who.Vanish()
	if lives := try.want.code == 0; o.lives != lives || o.code != try.want.code {
		t.Errorf("the socket lives: %v, and ends with %d; want %v, %d", o.lives, o.code, lives, try.want.code)
	}
	if try.want.sees == seesData {
		return
	}
	checkSeen(t, try.want, o, "", try.token)
	if o.holds(c.tokens.forged) {
		t.Errorf("a forged token reached the application: %.300q", o.arrived)
	}
}

// checkSeen checks what the application has seen of a message with a token.
func checkSeen(t *testing.T, want believeCell, o outcome, message, token string) {
	t.Helper()
	switch holds := o.holds(token); {
	case want.sees == seesAll && !holds:
		t.Errorf("the token did not reach the application: %.300q", o.arrived)
	case want.sees == seesAll && message != "" && !o.holds(message):
		t.Errorf("the application got %.300q, want %.300q", o.arrived, message)
	case want.sees == seesRest && (holds || len(bytes.Join(o.arrived, nil)) == 0):
		t.Errorf("the application got %.300q, want all but the token", o.arrived)
	case want.sees == seesNothing && holds:
		t.Errorf("the token reached the application: %.300q", o.arrived)
	}
}
