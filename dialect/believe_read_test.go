package dialect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// readProtocol is where applications of a protocol find a credential: it is
// what the decoders of other languages are given, too.
type readProtocol struct {
	// Separator stands between the records of a message.
	Separator string
	// Head is a regular expression for what stands in front of the JSON.
	Head   string
	Shapes []readShape

	head *regexp.Regexp
}

// readShape is one of a protocol's messages that carry a credential.
type readShape struct {
	When   []string // the way to what tells the message apart
	Is     []string // what stands there; empty for any
	Places [][]string
}

// innerJSON is a step into the JSON in a text.
const innerJSON = "~json"

// readProtocols are those of testdata/believe/protocols.json.
var readProtocols = sync.OnceValues(func() (protocols map[string]readProtocol, err error) {
	text, err := os.ReadFile("testdata/believe/protocols.json")
	if err == nil {
		err = json.Unmarshal(text, &protocols)
	}
	for name, p := range protocols {
		p.head = regexp.MustCompile(p.Head)
		protocols[name] = p
	}
	return protocols, err
})

// readers are ways in which applications that are written in Go read JSON.
var readers = []struct {
	name string
	read func(text []byte, path []string) (string, bool)
}{
	{"a map", func(text []byte, path []string) (string, bool) {
		var v any
		if json.Unmarshal(text, &v) != nil {
			return "", false
		}
		return lookIn(v, path)
	}},
	{"a map, of the first value", func(text []byte, path []string) (string, bool) {
		var v any
		if json.NewDecoder(bytes.NewReader(text)).Decode(&v) != nil {
			return "", false
		}
		return lookIn(v, path)
	}},
	{"a struct, step by step", readSteps},
	{"a struct", readStruct},
}

// lookIn follows a path through a decoded value.
func lookIn(v any, path []string) (string, bool) {
	for i, step := range path {
		switch in := v.(type) {
		case map[string]any:
			v = in[step]
		case []any:
			n, err := strconv.Atoi(step)
			if err != nil || n >= len(in) {
				return "", false
			}
			v = in[n]
		case string:
			if step != innerJSON || json.Unmarshal([]byte(in), &v) != nil {
				return "", false
			}
			return lookIn(v, path[i+1:])
		default:
			return "", false
		}
	}
	s, is := v.(string)
	return s, is
}

// readSteps reads as applications do that keep what they do not know yet as a
// json.RawMessage.
func readSteps(text []byte, path []string) (string, bool) {
	raw := json.RawMessage(text)
	for i, step := range path {
		if step == innerJSON {
			var s string
			if json.Unmarshal(raw, &s) != nil {
				return "", false
			}
			return readSteps([]byte(s), path[i+1:])
		}
		if n, err := strconv.Atoi(step); err == nil {
			var list []json.RawMessage
			if decodeFirst(raw, &list) != nil || n >= len(list) {
				return "", false
			}
			raw = list[n]
			continue
		}
		v := reflect.New(structOf(step, reflect.TypeFor[json.RawMessage]()))
		if decodeFirst(raw, v.Interface()) != nil {
			return "", false
		}
		raw = v.Elem().Field(0).Interface().(json.RawMessage)
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return s, err == nil
}

// readStruct reads into a struct with a struct for each member on the way, in
// which decoders put together what they find twice.
func readStruct(text []byte, path []string) (string, bool) {
	if i := slices.Index(path, innerJSON); i >= 0 {
		inner, is := readStruct(text, path[:i])
		if !is {
			return "", false
		}
		return readStruct([]byte(inner), path[i+1:])
	}
	if len(path) > 0 && path[0] >= "0" && path[0] <= "9" {
		return readSteps(text, path) // is no object
	}
	at := reflect.TypeFor[any]()
	for _, step := range slices.Backward(path) {
		if _, err := strconv.Atoi(step); err == nil {
			at = reflect.SliceOf(at)
			continue
		}
		at = structOf(step, at)
	}
	v := reflect.New(at)
	if decodeFirst(text, v.Interface()) != nil {
		return "", false
	}
	in := v.Elem()
	for _, step := range path {
		if n, err := strconv.Atoi(step); err == nil {
			if n >= in.Len() {
				return "", false
			}
			in = in.Index(n)
			continue
		}
		in = in.Field(0)
	}
	return reflect.TypeAssert[string](in)
}

// structOf returns a struct with one member.
func structOf(name string, of reflect.Type) reflect.Type {
	return reflect.StructOf([]reflect.StructField{{Name: "X", Type: of, Tag: reflect.StructTag(`json:"` + name + `"`)}})
}

// decodeFirst decodes the first value of a text.
func decodeFirst(text []byte, v any) error { return json.NewDecoder(bytes.NewReader(text)).Decode(v) }

// believedIn returns the credentials that some application of the protocol
// finds in a message, and who finds them.
func (p readProtocol) believedIn(message []byte) (found map[string]string) {
	found = make(map[string]string)
	records := [][]byte{message}
	switch {
	case p.Separator != "":
		records = bytes.Split(message, []byte(p.Separator))
	case p.Head == "": // applications trim what is nothing but JSON
		records = append(records, bytes.Trim(message, "\ufeff \t\r\n\v\f\x00\x1c\x1d\x1e\x1f\u0085\u00a0\u2028\u3000"))
	}
	for _, record := range records {
		at := p.head.FindIndex(record)
		if at == nil {
			continue
		}
		for _, s := range p.Shapes {
			s.believedIn(record[at[1]:], found)
		}
	}
	return found
}

// believedIn adds to found what applications find in one JSON text.
func (s readShape) believedIn(text []byte, found map[string]string) {
	for _, r := range readers {
		if len(s.Is) > 0 {
			kind, is := r.read(text, s.When)
			if !is || !slices.Contains(s.Is, kind) {
				continue
			}
		}
		for _, place := range s.Places {
			if credential, is := r.read(text, place); is && bearer(credential) != "" {
				found[bearer(credential)] = r.name + " at /" + strings.Join(place, "/")
			}
		}
	}
}

// passage is what goes on of a message, in one message.
type passage struct {
	data     []byte
	verified string // the credential that was, empty if none
}

// passages returns what may reach the application of m, if all credentials
// that are looked at are good.
func passages(st State, parts []Part, m []byte) (out []passage) {
	for _, p := range parts {
		switch {
		case p.Nothing,
			st == Pending && (p.Kind == Data || p.Kind == KeepAlive), // ends the socket, or goes nowhere
			st == Suspended && p.Kind == KeepAlive:
			continue
		case p.Kind == Login:
			st = max(st, Open)
		}
		one := passage{data: p.Message.Data}
		if p.Whole {
			one.data = m
		}
		if p.Kind == Login {
			one.verified = p.Credential
		}
		out = append(out, one)
	}
	return out
}

// unverified returns what some application takes for a credential in a
// passage, and nobody has verified.
func (p readProtocol) unverified(one passage) error {
	for credential, who := range p.believedIn(one.data) {
		if credential != one.verified {
			return fmt.Errorf("%s finds %q in %q; verified is %q", who, credential, one.data, one.verified)
		}
	}
	return nil
}
