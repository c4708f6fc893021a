package websocketauth

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

// What may become of a message without a good credential.
const (
	onBadDrop  = "drop"
	onBadTell  = "tell"
	onBadClose = "close"
)

// Defaults and limits of credentials in messages. Everybody may open a socket
// and let it wait, so what it costs until then is bounded.
const (
	defaultWithin    = 5 * time.Second
	maxWithin        = time.Minute
	defaultFirstSize = 16 << 10
	defaultEverySize = 1 << 20
	minMessageSize   = 1 << 10
	maxMessageSize   = 16 << 20
)

// firstMessage is a login by message, from first_message or every_message.
type firstMessage struct {
	source  string        // first_message or every_message
	within  time.Duration // from the handshake to the end of the login
	maxSize int64         // of the login in bytes
	// openSize is that of each message after it, with everyMessage. Who has not
	// logged in can be anybody, and there can be many of them.
	openSize int64
	early    bool // the application is connected before login
}

// everyMessage is a credential in each message.
type everyMessage struct {
	onBad string // drop, tell or close
}

// provisionMessages returns what is configured of credentials in messages, nil
// where nothing is.
func provisionMessages(configured []Source) (*firstMessage, *everyMessage, error) {
	var first *firstMessage
	var every *everyMessage
	for _, s := range configured {
		if !s.inMessages() {
			continue
		}
		if err := s.checkMessages(); err != nil {
			return nil, nil, err
		}
		if first != nil {
			return nil, nil, errors.New("from every_message takes the login too: remove from first_message")
		}
		first = &firstMessage{source: s.Source, within: time.Duration(s.Within), maxSize: s.MaxSize, early: s.Early}
		if first.within == 0 {
			first.within = defaultWithin
		}
		if s.Source == sourceEveryMessage {
			every = &everyMessage{onBad: s.OnBad}
			if every.onBad == "" {
				every.onBad = onBadClose
			}
		}
		if every != nil {
			first.openSize = cmp.Or(first.maxSize, defaultEverySize)
		}
		first.maxSize = cmp.Or(first.maxSize, defaultFirstSize)
	}
	return first, every, nil
}

// inMessages tells whether the credential travels in messages, not in the
// request.
func (s Source) inMessages() bool {
	return s.Source == sourceFirstMessage || s.Source == sourceEveryMessage
}

// messageWord returns one of the words that are given and that only sources in
// messages have, or "".
func (s Source) messageWord() string {
	switch {
	case s.Within != 0:
		return "within"
	case s.MaxSize != 0:
		return "max_size"
	case s.Early:
		return "early"
	case s.OnBad != "":
		return "on_bad"
	}
	return ""
}

// checkMessages refuses what no other source is needed to judge.
func (s Source) checkMessages() error {
	within := time.Duration(s.Within)
	switch {
	case len(s.Names) > 0 || len(s.Forms) > 0:
		return fmt.Errorf("from %s takes neither names nor forms: the dialect says where the credential is", s.Source)
	case within < 0 || within > maxWithin:
		return fmt.Errorf("within %s is not above 0 and at most %s: a socket that has not logged in is open to everybody", within, maxWithin)
	case s.MaxSize != 0 && (s.MaxSize < minMessageSize || s.MaxSize > maxMessageSize):
		return fmt.Errorf("max_size %d is not from 1KiB to 16MiB", s.MaxSize)
	case s.Early && s.Source == sourceEveryMessage:
		return errors.New("from every_message takes no early: it is for first_message")
	case s.OnBad != "" && s.Source == sourceFirstMessage:
		return errors.New("from first_message takes no on_bad: it is for every_message")
	}
	switch s.OnBad {
	case "", onBadDrop, onBadTell, onBadClose:
		return nil
	}
	return fmt.Errorf("on_bad '%s' is unknown: use drop, tell or close", s.OnBad)
}
