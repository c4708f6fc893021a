package dialect

import "github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"

// mqttCodes are the codes for an event in each packet that may tell of it. 0
// is silence.
type mqttCodes struct {
	// connack3 is the return code of MQTT 3.1.1 section 3.2.2.3, connack5 and
	// disconnect are reason codes of MQTT 5.0 section 3.2.2.2 and 3.14.2.1.
	connack3, connack5, disconnect byte
}

// mqttNotAuthorized is a reason code of CONNACK and DISCONNECT.
const mqttNotAuthorized = 0x87

// mqttWords are the codes for each end. CONNACK is for what a client should
// not try again unchanged, because mqtt.js then does not; after a DISCONNECT
// it does.
var mqttWords = map[Event]mqttCodes{
	Refused:     {connack3: 5, connack5: mqttNotAuthorized, disconnect: mqttNotAuthorized},
	Forbidden:   {connack3: 5, connack5: mqttNotAuthorized, disconnect: mqttNotAuthorized},
	Revoked:     {connack3: 5, connack5: mqttNotAuthorized, disconnect: mqttNotAuthorized},
	Expired:     {disconnect: mqttNotAuthorized},
	Timeout:     {disconnect: mqttNotAuthorized},
	Unavailable: {disconnect: 0x89}, // server busy
	Stop:        {disconnect: 0x8b}, // server shutting down
	Failed:      {disconnect: 0x80}, // unspecified error
}

// Say answers AUTH: a renewal that is good, unless the application does, and
// one that is not, after which the server must close: MQTT-4.12.1-2. A CONNECT
// that is not good ends an open socket as one that is not. All else is said at
// the end: MQTT knows no prompt, and the application answers CONNECT.
func (s *mqttSpeaker) Say(e Event, f Facts) Words {
	answered := s.answered()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e { //nolint:exhaustive // the others change nothing here
	case Suspend, Renewed:
		s.turned()
		s.pings = 0
	}
	_, auth := f.Context.(mqttAuthContext)
	switch {
	case auth && e == Renewed && s.d.strip:
		return Words{Messages: []proxy.Message{mqttAuthenticated(s.method)}}
	case auth && e == NotRenewed:
		words := mqttSay(mqttNotAuthorized, mqttDisconnect, mqttNotAuthorized, 0)
		words.Code = proxy.CloseUnauthorized
		return words
	}
	end := proxy.CloseNone
	if _, connect := f.Context.(mqttConnectContext); connect && e == NotRenewed {
		e, end = Refused, proxy.CloseUnauthorized
	}
	words := s.end(mqttWords[e], answered)
	words.Code = end
	return words
}

// end returns how the codes for an end are told.
func (s *mqttSpeaker) end(codes mqttCodes, answered bool) Words {
	switch {
	case s.level == 0:
		return Words{}
	case !answered && s.level == mqtt50:
		return mqttSay(codes.connack5, mqttConnack, 0, codes.connack5, 0)
	case !answered:
		return mqttSay(codes.connack3, mqttConnack, 0, codes.connack3)
	case s.level == mqtt50:
		return mqttSay(codes.disconnect, mqttDisconnect, codes.disconnect, 0)
	default: // a server of MQTT 3 can only close
		return Words{}
	}
}

// mqttSay returns a packet as words, if there is a code for it.
func mqttSay(code, first byte, body ...byte) Words {
	if code == 0 {
		return Words{}
	}
	return Words{Messages: []proxy.Message{{Binary: true, Data: mqttPacket(first, body)}}}
}

// mqttMessages returns a packet in a message of its own.
func mqttMessages(packet ...byte) []proxy.Message {
	return []proxy.Message{{Binary: true, Data: packet}}
}

// mqttAuthenticated returns AUTH with reason success: MQTT 5.0 section 4.12.1.
func mqttAuthenticated(method string) proxy.Message {
	property := append([]byte{mqttAuthMethod}, mqttBytes(method)...)
	body := append([]byte{0}, mqttNumber(len(property))...)
	return proxy.Message{Binary: true, Data: mqttPacket(mqttAuth, append(body, property...))}
}
