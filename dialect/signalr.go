package dialect

import (
	"bytes"
	"encoding/json"
	"sync/atomic"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// SignalRConfig is how the dialect signalr is configured. It has no words.
type SignalRConfig struct{}

// NewSignalR returns the dialect of ASP.NET Core SignalR, Hub Protocol 1 and 2,
// in JSON and in MessagePack. No message of it carries a credential: clients
// send theirs with the negotiation and with the handshake of the socket. What
// the dialect adds is a socket that lives on while a new credential is awaited
// over HTTP, and an end after which clients with automatic reconnect come back
// with a new one. It returns no error.
func NewSignalR(SignalRConfig) (Dialect, error) { return signalR{}, nil }

// signalR is stateless.
type signalR struct{}

func (signalR) Traits() Traits { return Traits{Fallback: true} }

func (signalR) Start(Opening) Speaker { return &signalRSpeaker{} }

// hub is the protocol that the client has chosen.
type hub int32

const (
	hubUnread  hub = iota // the client has said nothing yet
	hubUnknown            // what it has said is no handshake
	hubJSON
	hubMessagePack
)

// recordEnd ends each JSON record of SignalR, and stands between the packets
// of an Engine.IO payload.
const recordEnd = 0x1e

// Hub Protocol, message type 6: a sign of life, of both sides.
const (
	signalRPing     = `{"type":6}` + "\x1e"
	signalRPingPack = "\x02\x91\x06"
)

// signalRSpeaker follows one socket.
type signalRSpeaker struct{ hub atomic.Int32 }

// Idle is true once the client has chosen a protocol.
func (s *signalRSpeaker) Idle() bool { return hub(s.hub.Load()) != hubUnread }

// Foreign is true: no message carries a credential.
func (s *signalRSpeaker) Foreign(proxy.Message) bool { return true }

func (s *signalRSpeaker) Client(st State, m proxy.Message) ([]Part, error) {
	if !s.Idle() {
		s.hub.Store(int32(hubOf(m.Data)))
	}
	if st != Suspended {
		return asWhole, nil
	}
	return signalRParts(m, func(p *Part, ping []proxy.Message) { p.ToApp = ping }), nil
}

func (s *signalRSpeaker) App(st State, m proxy.Message) ([]Part, error) {
	if st != Suspended {
		return asWhole, nil
	}
	return signalRParts(m, func(p *Part, ping []proxy.Message) { p.ToClient = ping }), nil
}

// hubOf reads the handshake, {"protocol":"json","version":1} and 0x1e, which is
// JSON text for either protocol, in a text message or a binary one.
func hubOf(first []byte) hub {
	record, _, whole := bytes.Cut(first, []byte{recordEnd})
	var handshake struct {
		Protocol string `json:"protocol"`
	}
	if !whole || json.Unmarshal(record, &handshake) != nil {
		return hubUnknown
	}
	switch handshake.Protocol {
	case "json":
		return hubJSON
	case "messagepack":
		return hubMessagePack
	default:
		return hubUnknown
	}
}

// signalRParts tells the pings of m from all else. answer puts the gate's own
// ping on the side to which that of m does not go: each side then sees the
// signs of life that the other gives.
func signalRParts(m proxy.Message, answer func(*Part, []proxy.Message)) []Part {
	next, ping := nextJSONRecord, proxy.Text(signalRPing)
	if m.Binary {
		next, ping = nextPackedRecord, proxy.Message{Binary: true, Data: []byte(signalRPingPack)}
	}
	var parts []Part
	rest := m.Data
	for len(rest) > 0 {
		n, isPing := next(rest)
		switch last := len(parts) - 1; {
		case isPing:
			p := Part{Kind: KeepAlive, Message: proxy.Message{Binary: m.Binary, Data: bytes.Clone(rest[:n])}}
			answer(&p, []proxy.Message{ping})
			parts = append(parts, p)
		case last >= 0 && parts[last].Kind == Data:
			parts[last].Message.Data = append(parts[last].Message.Data, rest[:n]...)
		default:
			parts = append(parts, Part{Message: proxy.Message{Binary: m.Binary, Data: bytes.Clone(rest[:n])}})
		}
		rest = rest[n:]
	}
	if len(parts) == 0 || len(parts) == 1 && parts[0].Kind == Data {
		return asWhole
	}
	return parts
}

// nextJSONRecord returns the length of the first record of data, which is not
// empty, with its end, and whether it is a ping.
func nextJSONRecord(data []byte) (n int, isPing bool) {
	end := bytes.IndexByte(data, recordEnd)
	if end < 0 {
		return len(data), false
	}
	return end + 1, isJSONPing(data[:end])
}

// isJSONPing tells whether record is {"type":6}, with white space or without.
// There is none in the strings that it compares.
func isJSONPing(record []byte) bool {
	const longest = 64
	if len(record) > longest {
		return false
	}
	bare := bytes.Map(func(r rune) rune {
		switch r {
		case ' ', '\t', '\r', '\n':
			return -1
		}
		return r
	}, record)
	return string(bare) == signalRPing[:len(signalRPing)-1]
}

// maxPackedLength is what the length of a packed record may take: 7 bits in
// each of 5 bytes, the least significant first.
const maxPackedLength = 5

// nextPackedRecord returns the length of the first record of data, which is not
// empty, with the length in front, and whether it is a ping. What is not whole
// is all of data.
func nextPackedRecord(data []byte) (n int, isPing bool) {
	size := uint64(0)
	for i := 0; i < maxPackedLength && i < len(data); i++ {
		size |= uint64(data[i]&0x7f) << (7 * i)
		if data[i]&0x80 != 0 {
			continue
		}
		head := i + 1
		if size > uint64(len(data)-head) {
			break
		}
		n = head + int(size) // no more than len(data)
		return n, string(data[head:n]) == signalRPingPack[1:]
	}
	return len(data), false
}

// Say ends a socket with the close message, Hub Protocol type 7. After one
// that allows to reconnect, clients with automatic reconnect negotiate anew,
// for which they ask for a new credential; after another they give up. The
// close code means nothing to them.
func (s *signalRSpeaker) Say(e Event, _ Facts) Words {
	var why string
	reconnect := true
	switch e {
	case Refused:
		why, reconnect = "Unauthorized", false
	case Forbidden:
		why, reconnect = "Forbidden", false
	case Expired:
		why = "The credential has expired"
	case Revoked:
		why = "The credential has been revoked"
	case Timeout:
		why = "The credential was not renewed in time"
	case Unavailable, Stop, Failed:
		why = "The connection was closed"
	default:
		return Words{}
	}
	switch hub(s.hub.Load()) {
	case hubJSON:
		return Words{Messages: []proxy.Message{signalRClose(why, reconnect)}}
	case hubMessagePack:
		return Words{Messages: []proxy.Message{signalRClosePack(why, reconnect)}}
	default:
		return signalRBeforeHandshake(why, reconnect)
	}
}

// signalRClose returns the close message in JSON.
func signalRClose(why string, reconnect bool) proxy.Message {
	if reconnect {
		return proxy.Text(`{"type":7,"error":"` + why + `","allowReconnect":true}` + "\x1e")
	}
	return proxy.Text(`{"type":7,"error":"` + why + `"}` + "\x1e")
}

// signalRClosePack returns the close message in MessagePack: an array of 7, a
// text of less than 256 bytes, and a boolean.
func signalRClosePack(why string, reconnect bool) proxy.Message {
	const array3, str8, no, yes = 0x93, 0xd9, 0xc2, 0xc3
	last := byte(no)
	if reconnect {
		last = yes
	}
	record := append([]byte{array3, 7, str8, byte(len(why))}, why...)
	record = append(record, last)
	// The length is one byte as long as it is below 128.
	return proxy.Message{Binary: true, Data: append([]byte{byte(len(record))}, record...)}
}

// signalRBeforeHandshake is what a client is told that awaits the answer to
// its handshake: a refusal, or nothing, since the answer has no word for a
// second try.
func signalRBeforeHandshake(why string, reconnect bool) Words {
	if reconnect {
		return Words{}
	}
	return Words{Messages: []proxy.Message{proxy.Text(`{"error":"` + why + `"}` + "\x1e")}}
}
