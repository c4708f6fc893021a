package dialect

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestTemplate(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 500)
	facts := Facts{
		Now: now, ExpiresAt: now.Add(90*time.Second + 900*time.Millisecond),
		Reason: "expired", Subject: "a\"\n<\xff\u2028", Session: "s1",
	}
	const message = `{"id":7,"p":{"q":["x",{"y":null}]},"a/b":"\u0041"}`
	for _, tc := range []struct{ text, want string }{
		{`{"type":"auth_ok","expires_in":{expires_in}}`, `{"type":"auth_ok","expires_in":90}`},
		{`{expires_at}`, `1700000090`},
		{`[{reason},{session}]`, `["expired","s1"]`},
		{`{"s":{subject}}`, `{"s":"a\"\n<` + "\uFFFD\u2028" + `"}`},
		{`{"id":{message.id},"x":{message.p.q.0},"y":{message./p/q/1}}`, `{"id":7,"x":"x","y":{"y":null}}`},
		{`{message./a~1b} {message.a/b}`, `"\u0041" "\u0041"`},
		{`{message.none}`, `null`},
		{`{"a":{}} {"b":{"c":1}} { reason }`, `{"a":{}} {"b":{"c":1}} { reason }`},
		{`plain`, `plain`},
		{`{"a":"\"{"}`, `{"a":"\"{"}`},
		{`42{reason`, `42{reason`},
	} {
		tpl, err := parseTemplate(tc.text)
		if err != nil {
			t.Errorf("parseTemplate(%s): %v", tc.text, err)
			continue
		}
		said := tpl.say(facts, []byte(message), "\x1e")
		if len(said) != 1 || string(said[0].Data) != tc.want+"\x1e" || said[0].Binary {
			t.Errorf("%s says %v, want %q", tc.text, said, tc.want)
		}
		if got := tpl.usesMessage(); got != strings.Contains(tc.text, "{message") {
			t.Errorf("%s usesMessage = %v", tc.text, got)
		}
	}
}

func TestTemplateWithoutFacts(t *testing.T) {
	t.Parallel()
	tpl, err := parseTemplate(`[{expires_in},{expires_at},{reason},{subject},{session},{message.id}]`)
	if err != nil {
		t.Fatal(err)
	}
	said := tpl.say(Facts{}, nil, "")
	if got := string(said[0].Data); got != `[null,null,"","","",null]` {
		t.Errorf("says %s", got)
	}
	if ended := (Facts{Now: time.Unix(9, 0), ExpiresAt: time.Unix(5, 0)}); string(tpl.say(ended, nil, "")[0].Data) != `[0,5,"","","",null]` {
		t.Errorf("says %s", tpl.say(ended, nil, "")[0].Data)
	}
	// What two parsers would read in two ways is not repeated.
	if got := string(tpl.say(Facts{}, []byte(`{"id":1,"id":2}`), "")[0].Data); !strings.HasSuffix(got, ",null]") {
		t.Errorf("says %s", got)
	}
	for _, silent := range []*template{nil, {}} {
		if said := silent.say(Facts{}, nil, "\n"); said != nil || silent.usesMessage() || silent.shows(nil) != nil {
			t.Errorf("silence says %v", said)
		}
	}
}

func TestTemplateErrors(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ text, want string }{
		{`{"in":{expire_in}}`, "unknown placeholder {expire_in}: there are {expires_in}, "},
		{`{http.auth.user.id}`, "unknown placeholder {http.auth.user.id}"},
		{`{"s":"{subject}"}`, "placeholder {subject} stands between quotes"},
		{`{"s":"\"{subject}"}`, "placeholder {subject} stands between quotes"},
		{`{message}`, "unknown placeholder {message}"},
		{`{message./a~}`, "placeholder {message./a~}: JSON pointer"},
	} {
		if _, err := parseTemplate(tc.text); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("parseTemplate(%s): %v, want %q", tc.text, err, tc.want)
		}
	}
	tpl, err := parseTemplate(`{message.p.q}`)
	if err != nil {
		t.Fatal(err)
	}
	for at, shown := range map[string]bool{"/p": true, "/p/q": true, "/p/q/r": true, "/p/r": false, "/q": false, "": true} {
		if err := tpl.shows(mustPointers(t, at)[0]); (err != nil) != shown {
			t.Errorf("shows(%s): %v", at, err)
		}
	}
}

// FuzzTemplate has a stranger choose all that is put in: the result of a
// template that is JSON stays JSON, of the same shape.
func FuzzTemplate(f *testing.F) {
	f.Add("alice", `{"id":7}`)
	f.Add(`"}`, `{"id":"\"}"}`)
	f.Add("\xff\x00", `{"id":{"a":[1]}}x`)
	tpl, err := parseTemplate(`{"a":{reason},"b":{subject},"c":{session},"d":{message.id}}`)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text, message string) {
		said := tpl.say(Facts{Reason: text, Subject: text, Session: text}, []byte(message), "")
		var got struct {
			A, B, C string
			D       any
		}
		dec := json.NewDecoder(strings.NewReader(string(said[0].Data)))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&got); err != nil {
			t.Fatalf("%q, %q: says %q: %v", text, message, said[0].Data, err)
		}
		if want := strings.ToValidUTF8(text, "\uFFFD"); got.A != want || got.B != want || got.C != want {
			t.Fatalf("%q becomes %q", text, got)
		}
	})
}
