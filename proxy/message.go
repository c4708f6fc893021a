package proxy

// Message is a whole WebSocket message, unmasked, RFC 6455 section 5.4.
type Message struct {
	// Binary tells the opcode: binary, or else text.
	Binary bool
	// Data is the payload.
	Data []byte
}

// Text returns a text message.
func Text(s string) Message { return Message{Data: []byte(s)} }

// Opcode returns the opcode of the message's first frame.
func (m Message) Opcode() Opcode {
	if m.Binary {
		return OpBinary
	}
	return OpText
}
