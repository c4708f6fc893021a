package dialect

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// rule says which messages carry a credential, and where.
type rule struct {
	match      []condition
	credential int // its number in the finder
	pointer    pointer
	pass       string
	// The texts that each such message holds, unless it is written otherwise.
	needles []needle
}

// condition is one that a value must meet.
type condition struct {
	id     int // the value's number in the finder
	values []scalar
}

// scalar is a JSON value that is no array or object.
type scalar struct {
	raw  string // as JSON, for what is no string
	text string // for a string
}

// ruleBuilder collects the pointers of one finder.
type ruleBuilder struct {
	pointers []pointer
}

// add returns the number of a pointer.
func (b *ruleBuilder) add(text string) (int, error) {
	p, err := parsePointer(text)
	if err != nil {
		return 0, err
	}
	if len(p) == 0 {
		return 0, fmt.Errorf("JSON pointer %q is the whole message: write one such as /token", text)
	}
	b.pointers = append(b.pointers, p)
	return len(b.pointers) - 1, nil
}

// conditions returns the conditions of one word.
func (b *ruleBuilder) conditions(word string, list []Condition) ([]condition, error) {
	out := make([]condition, 0, len(list))
	for _, c := range list {
		id, err := b.add(c.Pointer)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", word, err)
		}
		one := condition{id: id}
		for _, v := range c.Values {
			s, err := parseScalar(v)
			if err != nil {
				return nil, fmt.Errorf("%s %s: %w", word, c.Pointer, err)
			}
			one.values = append(one.values, s)
		}
		out = append(out, one)
	}
	return out, nil
}

// rule returns the rule of a login or renewal.
func (b *ruleBuilder) rule(c JSONRenewal) (*rule, error) {
	r := new(rule)
	var err error
	if r.pass, err = checkPass(c.Pass, passConsume, passConsume, passForward, passStrip); err != nil {
		return nil, err
	}
	if r.match, err = b.conditions("match", c.Match); err != nil {
		return nil, err
	}
	if r.credential, err = b.add(c.Credential); err != nil {
		return nil, fmt.Errorf("credential: %w", err)
	}
	r.pointer = b.pointers[r.credential]
	for _, m := range r.match {
		if len(m.values) == 1 && m.values[0].raw == "" {
			r.need(m.values[0].text)
		}
	}
	return r, nil
}

// need notes that a message must hold a text, if that can be written in one way
// only, but for the escapes that writesOtherwise knows. Names are no such
// texts: some decoders take them in any case.
func (r *rule) need(text string) {
	if !strings.ContainsAny(text, `"\/`) && strings.IndexFunc(text, isControl) < 0 {
		r.needles = append(r.needles, newNeedle(text))
	}
}

// parseScalar reads a value of the configuration: as a JSON scalar, else as
// text.
func parseScalar(text string) (scalar, error) {
	v := jsontext.Value(text)
	if !v.IsValid() {
		return scalar{text: text}, nil
	}
	v = bytes.TrimSpace(v)
	switch v[0] {
	case '{', '[':
		return scalar{}, fmt.Errorf("value %s is no scalar: point to one of its members", text)
	case '"':
		s, err := jsontext.AppendUnquote(nil, v)
		return scalar{text: string(s)}, err
	default:
		return scalar{raw: string(v)}, nil
	}
}

// is tells whether the value in data is the scalar.
func (v scalar) is(data []byte, s span) bool {
	if v.raw == "" {
		return s.equals(data, v.text)
	}
	raw := string(s.raw(data))
	return raw == v.raw || sameNumber(raw, v.raw)
}

// sameNumber tells whether two JSON texts are the same number, as 1 and 1.0
// are. Beyond 2^53 different numbers may become the same, so none do.
func sameNumber(a, b string) bool {
	x, err := strconv.ParseFloat(a, 64)
	if err != nil || math.Abs(x) >= 1<<53 {
		return false
	}
	y, err := strconv.ParseFloat(b, 64)
	return err == nil && x == y
}

// holds tells whether the value meets the condition.
func (c condition) holds(data []byte, found []span) bool {
	s := found[c.id]
	if !s.is() || len(c.values) == 0 {
		return s.is()
	}
	for _, v := range c.values {
		if v.is(data, s) {
			return true
		}
	}
	return false
}

// couldHold tells the same of ambiguous data, for any of those who read it.
func (c condition) couldHold(data []byte, found []span) bool {
	s := found[c.id]
	if c.holds(data, found) || s.many {
		return true
	}
	for _, v := range c.values {
		if v.raw == "" && s.couldBe(data, v.text) {
			return true
		}
	}
	return false
}

// holds tells whether the rule is meant.
func (r *rule) holds(data []byte, found []span) bool {
	for _, c := range r.match {
		if !c.holds(data, found) {
			return false
		}
	}
	return true
}

// couldHold tells the same of ambiguous data, for any of those who read it.
func (r *rule) couldHold(data []byte, found []span) bool {
	for _, c := range r.match {
		if !c.couldHold(data, found) {
			return false
		}
	}
	return true
}

// couldBeMeant tells whether a message that is not ambiguous, and for which the
// rule does not hold, is still one of the rule's to an application that compares
// loosely, as JavaScript's == does: 2 is "2" to that, and ["auth"] is "auth".
func (r *rule) couldBeMeant(data []byte, found []span) bool {
	if !found[r.credential].is() {
		return false
	}
	for _, c := range r.match {
		if !c.holds(data, found) && !c.holdsLoosely(data, found) {
			return false
		}
	}
	return true
}

// holdsLoosely tells whether the value meets the condition, or could if its type
// did not matter.
func (c condition) holdsLoosely(data []byte, found []span) bool {
	s := found[c.id]
	if !s.is() {
		return false
	}
	got, isText := s.text(data)
	if !isText {
		got = string(s.raw(data))
	}
	for _, v := range c.values {
		want := v.raw + v.text // one of which is empty
		if got == want || sameNumber(got, want) || got != "" && got[0] == '[' && strings.Contains(got, want) {
			return true
		}
	}
	return false
}

// possible tells, at almost no cost, whether the rule can hold for a message
// that is not written otherwise.
func (r *rule) possible(data []byte) bool {
	for _, n := range r.needles {
		if !n.in(data) {
			return false
		}
	}
	return true
}

// anyHolds tells whether one of the conditions holds.
func anyHolds(conditions []condition, data []byte, found []span) bool {
	for _, c := range conditions {
		if c.holds(data, found) {
			return true
		}
	}
	return false
}
