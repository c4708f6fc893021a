package dialect

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// STOMPConfig configures STOMP 1.0 to 1.2. The zero value looks at the headers
// that are in use, and takes the credential out.
type STOMPConfig struct {
	// Credential are the headers of CONNECT and STOMP frames that may carry
	// the credential, in any case. Default: Authorization, passcode,
	// access_token and token.
	Credential []string
	// Pass is what happens to the credential once it is good: forward hands
	// the frame on as it came, strip (default) cuts all headers out that
	// Credential names.
	Pass string
}

// stomp is the dialect.
type stomp struct {
	names map[string]bool
	strip bool
	// marks are what no credential can be without: the names with their colon,
	// as stompFold leaves them.
	marks [][]byte
}

// NewSTOMP returns the dialect of STOMP over WebSockets. The error is for the
// operator.
//
// A leading "Bearer " is taken off the credential. A login in which two of the
// headers hold one is ambiguous: where clients send a passcode for the broker
// beside a token, name the token's header alone. A login on a socket that is
// open already must be good as well; a second one is refused, and so is what
// servers of STOMP read in different ways. What is no STOMP passes where there
// has been no login within it.
//
// STOMP has no word for a renewal. A refusal is an ERROR frame; the end of a
// credential is said by the close code alone, so that clients come back
// without showing an error.
func NewSTOMP(c STOMPConfig) (Dialect, error) {
	if len(c.Credential) == 0 {
		c.Credential = []string{"Authorization", "passcode", "access_token", "token"}
	}
	d := &stomp{names: make(map[string]bool, len(c.Credential))}
	for _, name := range c.Credential {
		key := stompName(name)
		switch {
		case key == "":
			return nil, errors.New("credential: the name of a header is empty: write one such as Authorization")
		case strings.ContainsAny(name, ":\r\n\\\x00"):
			return nil, fmt.Errorf("credential %q: write the name of a header, without colon, backslash or line end", name)
		case !stompPlainName(name):
			return nil, fmt.Errorf("credential %q: write the name of a header in ASCII", name)
		case stompReserved[key]:
			return nil, fmt.Errorf("credential %q: the protocol itself uses this header: write another", name)
		case d.names[key]:
			return nil, fmt.Errorf("credential %q is given twice: names are the same in any case", name)
		}
		d.names[key] = true
		d.marks = append(d.marks, stompFold([]byte(key+":")))
	}
	pass, err := checkPass(c.Pass, passStrip, passForward, passStrip)
	if err != nil {
		return nil, err
	}
	d.strip = pass == passStrip
	return d, nil
}

// stompReserved are the headers of a login that cannot carry a credential.
var stompReserved = map[string]bool{
	"accept-version": true, "host": true, "heart-beat": true, "content-length": true, "content-type": true,
}

// sockJSPaths are those of the transports of SockJS that are no WebSockets.
var sockJSPaths = []string{"xhr", "xhr_send", "xhr_streaming", "jsonp", "jsonp_send", "eventsource", "htmlfile"}

func (d *stomp) Traits() Traits {
	return Traits{Login: true, Unread: sockJSPaths, Subprotocols: []string{"v12.stomp", "v11.stomp", "v10.stomp"}}
}

func (d *stomp) Start(Opening) Speaker {
	return &stompSpeaker{
		d: d, outflow: outflow{given: &stompScanner{}}, scan: stompScanner{client: true},
		marks: seeker{fold: stompFold, texts: d.marks},
	}
}

// stompErrors are the sentences for the ends of which a client is told.
var stompErrors = map[Event]string{
	Refused:     "the credential is missing or was refused",
	Forbidden:   "the credential does not permit this",
	Revoked:     "the credential is no longer valid",
	Timeout:     "no credential came in time",
	Unavailable: "the credential cannot be verified at present",
}

// Say says an ERROR frame where there is something that a user can act on, and
// ends the socket for which a login was refused, as a server does.
func (s *stompSpeaker) Say(e Event, f Facts) Words {
	switch e { //nolint:exhaustive // the others change nothing here
	case Suspend, Renewed:
		s.mu.Lock()
		s.turned()
		s.mu.Unlock()
	}
	code := proxy.CloseNone
	if _, login := f.Context.(stompContext); login && e == NotRenewed {
		e, code = Refused, proxy.CloseUnauthorized
	}
	sentence, ok := stompErrors[e]
	if !ok {
		return Words{}
	}
	message := sentence
	if f.Reason != "" {
		message = stompEscape.Replace(f.Reason)
	}
	return Words{Code: code, Messages: []proxy.Message{proxy.Text("ERROR\nmessage:" + message +
		"\ncontent-type:text/plain\ncontent-length:" + strconv.Itoa(len(sentence)) +
		"\n\n" + sentence + "\x00")}}
}

// stompEscape escapes the value of a header: STOMP 1.2, "Value Encoding". A
// NUL, for which there is no escape, is left out.
var stompEscape = strings.NewReplacer("\\", `\\`, "\r", `\r`, "\n", `\n`, ":", `\c`, "\x00", "")
