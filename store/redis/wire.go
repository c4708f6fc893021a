package redis

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

// Sizes in bytes that ours never exceed, so that what does is not read.
const (
	maxValue   = 64 << 10 // of a revocation's field, and of its value
	maxMessage = 2*maxValue + 1024
	maxAddress = 128
)

// maxLockout bounds what is believed of a lockout's end.
const maxLockout = 366 * 24 * time.Hour

// value is a revocation in the hash and in messages. Times are Unix
// milliseconds, which the scripts compare as numbers.
type value struct {
	Version int `json:"version"`
	// Changed is the position of the message that told of it, and By who sent
	// that; in the hash only.
	Changed string `json:"changed,omitempty"`
	By      string `json:"by,omitempty"`
	// Removed: it counted once. Only the times are there then.
	Removed      bool   `json:"removed,omitempty"`
	Until        int64  `json:"until"`
	IssuedBefore *int64 `json:"issued_before,omitempty"`
	Of           of     `json:"of,omitzero"`
	Reason       string `json:"reason,omitempty"`
}

// of is what a revocation means.
type of struct {
	Issuer    string `json:"issuer"`
	Subject   string `json:"subject,omitempty"`
	TokenID   string `json:"jti,omitempty"`
	SessionID string `json:"sid,omitempty"`
}

// operation is a change that a node makes, in the form of the apply script.
type operation struct {
	kind                string // "revoke", "unrevoke", "refill"
	field               string
	issuedBefore, until string
	of, reason          string

	// Of the queue's, guarded by its lock; number and seen do not change.
	number       uint64
	seen         string   // the position that the node had read
	acknowledged bool     // by Redis, at this position
	position     position // of its message
	crossed      bool     // the node was told otherwise after its own change
	done         chan struct{}
	err          error // once done is closed
}

// arguments returns the operation as arguments of the script.
func (o *operation) arguments() []any {
	return []any{o.kind, o.number, o.field, o.seen, o.issuedBefore, o.until, o.of, o.reason}
}

// fieldOf returns the printable form of a key: a revocation's field.
func fieldOf(key string) (string, error) {
	parts := strings.Split(key, "\x00")
	if len(parts) != 3 || parts[0] != "subject" && parts[0] != "jti" && parts[0] != "sid" {
		return "", errors.New("not the key of a revocation")
	}
	field := parts[0] + ":" + url.QueryEscape(parts[1]) + ":" + url.QueryEscape(parts[2])
	if len(field) > maxValue {
		return "", errors.New("the revocation is too long to be shared")
	}
	return field, nil
}

// keyOf is the reverse of fieldOf.
func keyOf(field string) (string, error) {
	parts := strings.Split(field, ":")
	for i := range parts {
		var err error
		if parts[i], err = url.QueryUnescape(parts[i]); err != nil {
			return "", errors.New("not the field of a revocation")
		}
	}
	key := strings.Join(parts, "\x00")
	if again, err := fieldOf(key); err != nil || again != field {
		return "", errors.New("not the field of a revocation")
	}
	return key, nil
}

// encode returns the operation that shares r, which must have passed Check. An
// error says that r cannot be shared.
func encode(kind string, r session.Revocation) (*operation, error) {
	field, err := fieldOf(r.Key())
	if err != nil {
		return nil, err
	}
	o := &operation{kind: kind, field: field, done: make(chan struct{})}
	// Up to the next millisecond, or we would forget early.
	o.until = strconv.FormatInt(r.Until.Add(time.Millisecond-1).UnixMilli(), 10)
	if !r.IssuedBefore.IsZero() {
		o.issuedBefore = strconv.FormatInt(r.IssuedBefore.UnixMilli(), 10)
	}
	if o.of, err = marshal(of{r.Issuer, r.Subject, r.TokenID, r.SessionID}); err != nil {
		return nil, err
	}
	if o.reason, err = marshal(r.Reason); err != nil {
		return nil, err
	}
	// As the scripts write it; what others could not read is refused here.
	text := `{"version":1,"until":` + o.until + `,"of":` + o.of + `,"reason":` + o.reason
	if o.issuedBefore != "" {
		text += `,"issued_before":` + o.issuedBefore
	}
	v, err := decode(text + "}")
	if err != nil || len(text) > maxValue-256 || !utf8.ValidString(r.Reason) {
		return nil, errors.New("the revocation is too long to be shared, or has text that is not UTF-8")
	}
	if back, err := v.revocation(field); err != nil || back.Key() != r.Key() {
		return nil, errors.New("the revocation has text that cannot be shared")
	}
	return o, nil
}

func marshal(v any) (string, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(v)
	return strings.TrimSuffix(text.String(), "\n"), err
}

// decode reads a value strictly.
func decode(text string) (value, error) {
	var v value
	if len(text) > maxValue {
		return v, errors.New("too long")
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&v); err != nil {
		return v, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return v, errors.New("something follows the value")
	}
	if v.Version != 1 {
		return v, fmt.Errorf("version %d", v.Version)
	}
	const most = 1 << 53 // as a double has it
	if v.Until < -most || v.Until > most || v.IssuedBefore != nil && (*v.IssuedBefore < -most || *v.IssuedBefore > most) {
		return v, errors.New("no such time")
	}
	return v, nil
}

// revocation returns what a value says that lies in a field.
func (v value) revocation(field string) (session.Revocation, error) {
	r := session.Revocation{
		Issuer: v.Of.Issuer, Subject: v.Of.Subject, TokenID: v.Of.TokenID, SessionID: v.Of.SessionID,
		Until: time.UnixMilli(v.Until), Reason: v.Reason,
	}
	if v.IssuedBefore != nil {
		r.IssuedBefore = time.UnixMilli(*v.IssuedBefore)
	}
	if err := r.Check(); err != nil {
		return r, err
	}
	if is, err := fieldOf(r.Key()); err != nil || is != field {
		return r, errors.New("lies in the field of another")
	}
	return r, nil
}

// position is that of a message in the stream.
type position struct{ ms, n uint64 }

func parsePosition(text string) (position, error) {
	ms, n, _ := strings.Cut(text, "-")
	var p position
	var err, err2 error
	p.ms, err = strconv.ParseUint(ms, 10, 64)
	p.n, err2 = strconv.ParseUint(n, 10, 64)
	return p, errors.Join(err, err2)
}

func (p position) String() string {
	return strconv.FormatUint(p.ms, 10) + "-" + strconv.FormatUint(p.n, 10)
}

// after tells whether p comes after other.
func (p position) after(other position) bool {
	return p.ms > other.ms || p.ms == other.ms && p.n > other.n
}

// message is what the stream tells.
type message struct {
	kind    string // "revoke", "unrevoke", "lockout", "release", "epoch"
	origin  string
	number  uint64
	field   string
	revoked session.Revocation
	address string
	until   time.Time
}

// parseMessage reads the fields of a message strictly. now bounds the end of a
// lockout.
func parseMessage(fields []string, now time.Time) (message, error) {
	named := make(map[string]string, len(fields)/2)
	for i := 0; i+1 < len(fields); i += 2 {
		named[fields[i]] = fields[i+1]
	}
	if len(fields)%2 != 0 || len(named) != len(fields)/2 {
		return message{}, errors.New("a field is there twice or has no value")
	}
	m := message{kind: named["kind"], origin: named["origin"]}
	var err error
	switch m.kind {
	case "epoch":
	case "revoke", "unrevoke":
		err = m.parseChange(named)
	case "lockout", "release":
		m.address = named["address"]
		m.until, err = parseLockout(m.address, named["until"], now)
	default:
		err = errors.New("unknown kind")
	}
	return m, err
}

func (m *message) parseChange(named map[string]string) (err error) {
	m.field = named["key"]
	if m.number, err = strconv.ParseUint(named["op"], 10, 64); err != nil {
		return err
	}
	if m.kind == "unrevoke" {
		_, err = keyOf(m.field)
		return err
	}
	v, err := decode(named["value"])
	if err != nil {
		return err
	}
	if v.Removed {
		return errors.New("revokes what is removed")
	}
	m.revoked, err = v.revocation(m.field)
	return err
}

// parseLockout reads until when an address is locked out.
func parseLockout(address, until string, now time.Time) (time.Time, error) {
	ms, err := strconv.ParseInt(until, 10, 64)
	at := time.UnixMilli(ms)
	if err != nil || !validAddress(address) || at.After(now.Add(maxLockout)) {
		return time.Time{}, errors.New("not a lockout")
	}
	return at, nil
}

func validAddress(address string) bool {
	return address != "" && len(address) <= maxAddress && utf8.ValidString(address) &&
		!strings.ContainsFunc(address, unicode.IsControl)
}
