package dialect

import (
	"bytes"
	"errors"
	"unicode/utf8"
)

// Poller is a dialect whose clients may log in by a plain HTTP request, before
// they open a socket or instead.
type Poller interface {
	// Polls tells whether requests to path, as it is written in them, are
	// those of the transport and nothing else of the application's.
	Polls(path string) bool
	// PollingLogin looks for a credential in the body of a POST request. It
	// returns the credential and what is to be sent on in the body's place,
	// which is the body itself if found is false. The errors are
	// [ErrAmbiguous] and [ErrProtocol]; the request must be refused then.
	PollingLogin(body []byte) (credential string, forward []byte, found bool, err error)
}

// Polls compares exactly: servers take what else begins like this for their
// own, or for another part of the application, each in its way.
func (d *socketIO) Polls(path string) bool { return path == d.path }

// PollingLogin reads a payload of Engine.IO 4: packets with 0x1e between them,
// binary ones as b and base64. It may hold several CONNECT packets, of
// different namespaces, but not of different credentials. The payloads of
// Engine.IO 3 and of JSONP have no credential that is found.
func (d *socketIO) PollingLogin(body []byte) (credential string, forward []byte, found bool, err error) {
	var all carried
	packets := bytes.Split(body, []byte{recordEnd})
	for i, packet := range packets {
		if !isConnect(packet) {
			continue
		}
		c, err := d.readConnect(packet)
		switch {
		case err != nil:
			return "", nil, false, err
		case !c.there:
			continue
		}
		if all, err = all.or(c.carried); err != nil {
			return "", nil, false, err
		}
		packets[i] = c.rest
	}
	if !all.there || !d.strip {
		return all.text, body, all.there, nil
	}
	return all.text, bytes.Join(packets, []byte{recordEnd}), true, nil
}

// connectPacket is a CONNECT packet, Socket.IO protocol 5.
type connectPacket struct {
	carried
	namespace namespace
	rest      []byte // a copy of the packet, without the credential
}

// isConnect tells whether a server can take packet for a CONNECT packet. To
// Socket.IO's own parser white space of any kind is the number 0, as to all of
// JavaScript.
func isConnect(packet []byte) bool {
	if len(packet) < len(socketIOConnect) || packet[0] != socketIOConnect[0] {
		return false
	}
	kind := packet[1]
	return kind == socketIOConnect[1] || kind <= ' ' || kind >= utf8.RuneSelf
}

// readConnect reads a packet for which isConnect holds. What real clients never
// send is an error, because servers read it in various ways: their parser
// skips digits and white space in front of the object, for instance.
func (d *socketIO) readConnect(packet []byte) (connectPacket, error) {
	var c connectPacket
	object, plain := bytes.CutPrefix(packet, []byte(socketIOConnect))
	if !plain {
		return c, ErrProtocol
	}
	if len(object) > 0 && object[0] == '/' {
		name, rest, _ := bytes.Cut(object, []byte{','})
		c.namespace, object = namespace(name), rest
	}
	if len(object) == 0 {
		return c, nil
	}
	if object[0] != '{' {
		return c, ErrProtocol
	}
	found, err := d.auth.find(object)
	if errors.Is(err, errNotJSON) {
		return c, ErrProtocol
	}
	if err != nil {
		return c, err
	}
	if c.carried, err = d.auth.credential(object, found); err != nil {
		return c, err
	}
	head := packet[:len(packet)-len(object)]
	c.rest = append(bytes.Clone(head), d.auth.cut(object, found)...)
	return c, nil
}
