package dialect

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// MQTTConfig configures MQTT 3.1, 3.1.1 and 5.0. The zero value takes the
// password for the credential and hands everything on as it came.
type MQTTConfig struct {
	// Credential is where CONNECT carries the credential: password (default),
	// username, or auth_data, which is the Authentication Data of MQTT 5.0.
	Credential string
	// AuthMethod is the Authentication Method of MQTT 5.0 with which clients
	// send a credential as Authentication Data, such as OAUTH2-JWT: in CONNECT
	// (instead of the field above) and, to renew it, in AUTH. Other methods
	// are the application's business. Empty means any method with Credential
	// auth_data, and none otherwise.
	AuthMethod string
	// Pass is what happens to the credential once it is good. forward
	// (default): the application gets every packet as it came, answers AUTH
	// packets, and must know AuthMethod if there is one. strip: the field is
	// taken out of CONNECT, and with AuthMethod the method and its data, too;
	// AUTH is answered here.
	Pass string
}

// Where CONNECT may carry a credential.
const (
	mqttInPassword = "password"
	mqttInUser     = "username"
	mqttInAuthData = "auth_data"
)

// mqtt is the dialect.
type mqtt struct {
	credential, method string
	strip              bool
}

// NewMQTT returns the dialect of MQTT over WebSockets: MQTT 3.1.1 section 6,
// MQTT 5.0 section 6. The error is for the operator.
//
// A leading "Bearer " is taken off the credential. A CONNECT that carries both
// Authentication Data of AuthMethod and the other configured field is
// ambiguous. With pass strip a user name stays where only the password goes;
// where only the user name goes MQTT 3 gets an empty one, because it knows no
// password without. A CONNECT on a socket that is open already may carry no
// credential, but if it does that must be good; a second one is refused, and so
// is what servers of MQTT read in different ways. What is no MQTT passes where
// there has been no CONNECT.
//
// Renewal: a client that has named AuthMethod in CONNECT sends AUTH with
// reason 0x19. Others come back with a new connection. With pass strip the
// application's CONNACK names no method, although MQTT-4.12.0-5 demands it:
// mqtt.js takes that, a stricter client needs forward.
//
// Refusals: CONNACK 5 or 0x87 before the application has answered; later, in
// MQTT 5.0 only, DISCONNECT. Where the client shall come back as it is (an
// outage, a stop, a time-out or the end of the credential before CONNACK) it
// is told nothing but the close code: mqtt.js never tries again after a
// CONNACK that refuses.
func NewMQTT(c MQTTConfig) (Dialect, error) {
	d := &mqtt{credential: c.Credential, method: c.AuthMethod}
	switch c.Credential {
	case "":
		d.credential = mqttInPassword
	case mqttInPassword, mqttInUser, mqttInAuthData:
	default:
		return nil, fmt.Errorf("credential %q is not known here: "+
			"write credential password, credential username or credential auth_data", c.Credential)
	}
	if !utf8.ValidString(c.AuthMethod) || strings.ContainsRune(c.AuthMethod, 0) || len(c.AuthMethod) > maxAuthMethod {
		return nil, fmt.Errorf("auth_method %q: write at most %d bytes of UTF-8 without NUL", c.AuthMethod, maxAuthMethod)
	}
	pass, err := checkPass(c.Pass, passForward, passForward, passStrip)
	if err != nil {
		return nil, err
	}
	d.strip = pass == passStrip
	return d, nil
}

// maxAuthMethod is the longest AuthMethod, in bytes. MQTT allows 65535; no
// method that is in use comes near.
const maxAuthMethod = 255

func (d *mqtt) Traits() Traits {
	renew := d.method != "" || d.credential == mqttInAuthData
	return Traits{Login: true, Renew: renew, Subprotocols: []string{"mqtt", "mqttv3.1"}}
}

// serves tells whether an Authentication Method is this dialect's business.
func (d *mqtt) serves(method string) bool {
	if d.method == "" {
		return d.credential == mqttInAuthData
	}
	return method == d.method
}

// methodOf returns the Authentication Method that a CONNECT names, and whether
// that is this dialect's business. One that only some servers would take for
// the configured one is refused, and so is an empty one.
func (d *mqtt) methodOf(p *mqttConnectPacket) (method string, serves bool, err error) {
	if !p.enhanced.method.is() {
		return "", false, nil
	}
	method = string(p.enhanced.method.value)
	serves = d.serves(method)
	if method == "" || !serves && d.method != "" && strings.EqualFold(strings.TrimSpace(method), strings.TrimSpace(d.method)) {
		return "", false, ErrProtocol
	}
	return method, serves, nil
}

func (d *mqtt) Start(Opening) Speaker {
	return &mqttSpeaker{
		d: d, outflow: outflow{given: &mqttScanner{}},
		names: seeker{fold: bytes.ToLower, texts: mqttNames},
	}
}
