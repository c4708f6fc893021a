package dialect

// legacyKeepAlive is what becomes of the server's ka while the socket is not
// open: the client closes when they stop. It has none of its own.
func (d *graphQL) legacyKeepAlive() []Part {
	return []Part{{Kind: KeepAlive, Whole: true, ToClient: texts(`{"type":"ka"}`)}}
}

// legacyWords are what subscriptions-transport-ws clients are told: a refused
// connection_init is answered with connection_error, which they hand to the
// application. They come back after each close that is not their own, if they
// are set to reconnect, and then ask for fresh connectionParams; so that the
// gate's own codes serve.
func legacyWords(e Event, f Facts) Words {
	switch e {
	case Refused, Forbidden, Timeout, Unavailable:
		reason := f.Reason
		if reason == "" {
			reason = "refused"
		}
		return Words{Messages: texts(`{"type":"connection_error","payload":{"message":` + quoted(reason) + `}}`)}
	default:
		return Words{}
	}
}
