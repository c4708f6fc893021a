package auth

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

func newRedactor(t testing.TB, names ...string) Redactor {
	t.Helper()
	r, err := NewRedactor(names)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// redactURITests: what a URI becomes; "=" stands for unchanged.
var redactURITests = []struct{ name, uri, want string }{
	{"no query", "/chat/room", "="},
	{"empty", "", "="},
	{"harmless query", "/ws?room=1&EIO=4&transport=websocket&x=%2F+y&&z", "="},
	{"harmless with semicolons", "/ws?a=1;b=2;;c", "="},
	{"empty query", "/ws?", "="},
	{"access_token", "/ws?access_token=abc", "/ws?access_token=REDACTED"},
	{"among others", "/ws?a=%41&access_token=abc&b=2", "/ws?a=%41&access_token=REDACTED&b=2"},
	{"twice", "/ws?token=abc&token=def", "/ws?token=REDACTED&token=REDACTED"},
	{"any case", "/ws?ACCESS_Token=abc", "/ws?ACCESS_Token=REDACTED"},
	{"encoded name", "/ws?access%5ftoken=abc", "/ws?access%5ftoken=REDACTED"},
	{"camel case", "/ws?accessToken=abc&apiKey=def", "/ws?accessToken=REDACTED&apiKey=REDACTED"},
	{"structured name", "/ws?auth[token]=abc&user%5Bjwt%5D=def", "/ws?auth[token]=REDACTED&user%5Bjwt%5D=REDACTED"},
	{"all names", "/?token=a&jwt=a&auth=a&authorization=a&apikey=a&api_key=a&id_token=a&ticket=a", "/?token=REDACTED&jwt=REDACTED&auth=REDACTED&authorization=REDACTED&apikey=REDACTED&api_key=REDACTED&id_token=REDACTED&ticket=REDACTED"},
	{"configured name", "/?session_key=a&Session-Key=b", "/?session_key=REDACTED&Session-Key=REDACTED"},
	{"Engine.IO id", "/socket.io/?EIO=4&transport=polling&t=Pq&sid=abc", "/socket.io/?EIO=4&transport=polling&t=Pq&sid=REDACTED"},
	{"Engine.IO id first", "/x?sid=abc&transport=websocket", "/x?sid=REDACTED&transport=websocket"},
	{"Engine.IO id beside the version alone", "/x?sid=abc&EIO=3", "/x?sid=REDACTED&EIO=3"},
	{"Engine.IO id in any case", "/x?eio=4&SID=abc&Sid=def", "/x?eio=4&SID=REDACTED&Sid=REDACTED"},
	{"Engine.IO id, encoded and structured", "/x?%65io=4&s%69d=abc&sid[0]=def&sid%5B%5D=ghi", "/x?%65io=4&s%69d=REDACTED&sid[0]=REDACTED&sid%5B%5D=REDACTED"},
	{"Engine.IO id behind semicolons", "/x?EIO=4;sid=abc;def", "/x?EIO=4;sid=REDACTED;REDACTED"},
	{"Engine.IO id at its path", "/socket.io/?sid=abc", "/socket.io/?sid=REDACTED"},
	{"Engine.IO id at its path, encoded", "/Socket%2eIO/x?sid=abc", "/Socket%2eIO/x?sid=REDACTED"},
	{"Engine.IO id at the path of the engine", "/engine.io/?sid=abc", "/engine.io/?sid=REDACTED"},
	{"Engine.IO id behind a second question mark", "/x?EIO=4&room=1?sid=abc", "/x?EIO=4&room=1?sid=REDACTED"},
	{"Engine.IO id in a whole URL", "https://a.example/socket.io/?EIO=4&transport=polling&sid=abc#x", "https://a.example/socket.io/?EIO=4&transport=polling&sid=REDACTED"},
	{"Engine.IO id in a value", "/login?next=%2Fx%3FEIO%3D4%26sid%3Dabc", "/login?next=REDACTED"},
	{"another sid", "/x?sid=abc&transports=bus&sides=2", "="},
	{"similar names", "/?tokens=a&author=b&keyboard=c&xtoken=d", "="},
	{"no value", "/ws?access_token&token=", "="},
	{"after a semicolon", "/ws?a=1;token=abc;b=2", "/ws?a=1;token=REDACTED;b=2"},
	{"a value with a semicolon", "/ws?token=ab;cd;ef&b=2", "/ws?token=REDACTED;REDACTED;REDACTED&b=2"},
	{"a second question mark", "/ws?room=1?token=abc", "/ws?room=1?token=REDACTED"},
	{"a second question mark first", "/ws?room?token=abc", "/ws?room?token=REDACTED"},
	{"fragment", "/ws#access_token=abc", "/ws#access_token=REDACTED"},
	{"fragment after a query", "/ws?a=1#access_token=abc", "/ws?a=1#access_token=REDACTED"},
	{"fragment in a value", "/ws?token=abc#def", "/ws?token=REDACTED"},
	{"whole URL", "https://app.example.com/chat?token=abc", "https://app.example.com/chat?token=REDACTED"},
	{"JWT under any name", "/ws?x=" + testToken + "&y=1", "/ws?x=REDACTED&y=1"},
	{"JWT without a name", "/ws?" + testToken, "/ws?REDACTED"},
	{"JWT as a name", "/ws?" + testToken + "=1", "/ws?REDACTED=1"},
	{"JWT in the path", "/ws/" + testToken + "/x?a=1", "/ws/REDACTED/x?a=1"},
	{"JWT encoded in the path", "/ws/%65" + testToken[1:] + "/%41", "/ws/REDACTED/%41"},
	{"JWT encoded in a value", "/ws?x=%65" + testToken[1:], "/ws?x=REDACTED"},
	{"JWT with encoded dots", "/ws?x=" + strings.ReplaceAll(testToken, ".", "%2E"), "/ws?x=REDACTED"},
	{"JWT after Bearer", "/ws?x=Bearer%20" + testToken, "/ws?x=Bearer%20REDACTED"},
	{"URL in a value", "/login?next=" + url.QueryEscape("/ws?token=abc") + "&a=1", "/login?next=REDACTED&a=1"},
	{"harmless URL in a value", "/login?next=%2Fws%3Froom%3D1", "="},
	{"URL in a URL in a value", "/?a=" + url.QueryEscape("/?b="+url.QueryEscape("/?token=abc")), "/?a=REDACTED"},
	{"bad escape in a name", "/ws?a=1&access_token%zz=abc", "/ws?REDACTED"},
	{"bad escape in a value", "/ws?a=%&token=abc", "/ws?REDACTED"},
	{"bad escape in the path", "/%zz?token=abc", "/%zz?REDACTED"},
	{"control character", "/ws?a=\x01&token=abc", "/ws?REDACTED"},
	{"too deep", "/?a=" + strings.Repeat("?a=", 20) + "token", "/?a=?a=?a=?a=?REDACTED"},
}

func TestRedactURI(t *testing.T) {
	t.Parallel()
	r := newRedactor(t, "session_key")
	for _, tt := range redactURITests {
		want := tt.want
		if want == "=" {
			want = tt.uri
		}
		if got := r.URI(tt.uri); got != want {
			t.Errorf("%s: URI(%q) = %q, want %q", tt.name, tt.uri, got, want)
		}
	}
}

var redactProtocolTests = []struct{ name, lines, want string }{
	{"none", "chat, superchat", "="},
	{"odd white space", " chat ,,\tsuperchat ,", "="},
	{"registered names", "notificationchannel-netapi-rest.openmobilealliance.org,v12.stomp, graphql-transport-ws", "="},
	{"bearer", "chat, bearer,  opaque ,v2", "chat, bearer,  REDACTED ,v2"},
	{"scheme in odd case", "JWT, opaque", "JWT, REDACTED"},
	{"access_token", "access_token,opaque", "access_token,REDACTED"},
	{"scheme alone", "chat, bearer", "="},
	{"scheme, then the next line", "bearer|opaque, chat", "bearer|REDACTED, chat"},
	{"several schemes", "bearer, token, opaque, chat", "bearer, token, REDACTED, chat"},
	{"two pairs", "bearer, a, bearer, b", "bearer, REDACTED, bearer, REDACTED"},
	{"credential as part of the white space's neighbour", "token,  , a", "token,  , REDACTED"},
	{"kubernetes", "v4, " + kubernetesPrefix + "YWJj", "v4, " + kubernetesPrefix + "REDACTED"},
	{"phoenix", "phoenix, " + phoenixPrefix + "YWJj", "phoenix, " + phoenixPrefix + "REDACTED"},
	{"jupyter", jupyterProtocol + ", " + jupyterPrefix + "abc", jupyterProtocol + ", " + jupyterPrefix + "REDACTED"},
	{"appsync", "graphql-ws, header-eyJh", "graphql-ws, header-REDACTED"},
	{"openai", "realtime, openai-insecure-api-key.sk-1", "realtime, openai-insecure-api-key.REDACTED"},
	{"quarkus", "bearer-token-carrier, quarkus-http-upgrade%23Authorization%23Bearer%20a", "bearer-REDACTED, quarkus-http-upgradeREDACTED"},
	{"configured prefix", "my.key.abc", "my.key.REDACTED"},
	{"prefix in another case", "MY.key.abc", "MY.key.REDACTED"},
	{"bare", testToken, "REDACTED"},
	{"bare among others", "chat, " + testToken + ", v2", "chat, REDACTED, v2"},
	{"too long for a name", strings.Repeat("x", 65), "REDACTED"},
	{"just not too long", strings.Repeat("x", 64), "="},
}

func TestRedactProtocols(t *testing.T) {
	t.Parallel()
	r := newRedactor(t, "my.key.*")
	for _, tt := range redactProtocolTests {
		lines := strings.Split(tt.lines, "|")
		before := slices.Clone(lines)
		want := tt.want
		if want == "=" {
			want = tt.lines
		}
		if got := strings.Join(r.Protocols(lines), "|"); got != want {
			t.Errorf("%s: Protocols(%q) = %q, want %q", tt.name, tt.lines, got, want)
		}
		if !slices.Equal(lines, before) {
			t.Errorf("%s: the lines given were changed", tt.name)
		}
	}
}

func TestRedactText(t *testing.T) {
	t.Parallel()
	r := newRedactor(t)
	spaced := b64(`{ "alg":"none"}`) + ".e30.c2ln"
	lined := b64("{\n\"alg\":\"none\"}") + ".e30.c2ln"
	tests := map[string]string{
		"":                                  "",
		"nothing here, e.g. v1.2.3":         "nothing here, e.g. v1.2.3",
		"www.eyJohn.example.com":            "www.eyJohn.example.com",
		testToken:                           "REDACTED",
		"a " + testToken + " b":             "a REDACTED b",
		`{"t":"` + testToken + `","u":1}`:   `{"t":"REDACTED","u":1}`,
		"x." + testToken:                    "x.REDACTED",
		"v1_" + testToken:                   "v1_REDACTED",
		testToken + "." + testToken:         "REDACTED",
		testToken + " " + testToken:         "REDACTED REDACTED",
		"five parts " + testToken + ".a.b":  "five parts REDACTED",
		"unsigned eyJhbGciOiJub25lIn0.e30.": "unsigned REDACTED",
		"spaced " + spaced:                  "spaced REDACTED",
		"lined " + lined:                    "lined REDACTED",
		"bearer opaque":                     "Bearer REDACTED",
		"Basic of another":                  "Basic of another",
	}
	for text, want := range tests {
		if got := r.Text(text); got != want {
			t.Errorf("Text(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestNewRedactorErrors(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "*", "a b", "a=b", "a,*"} {
		if _, err := NewRedactor([]string{"fine", name}); err == nil {
			t.Errorf("NewRedactor(%q): no error", name)
		}
	}
}

// TestRedactLinear: a hostile URI does not cost more than its length.
func TestRedactLinear(t *testing.T) {
	t.Parallel()
	r := newRedactor(t)
	for _, part := range []string{"eyJ", "eyJhbGciOiJub25lIn0.", "?a=", "%3F", "a=%25&", "&", ";", "token=a;", "/%65", "[a]"} {
		text := "/?" + strings.Repeat(part, 1<<20/len(part))
		start := time.Now()
		r.URI(text)
		r.Protocols([]string{text})
		r.Text(text)
		if took := time.Since(start); took > time.Minute {
			t.Errorf("%q took %v", part, took)
		}
	}
}

// FuzzRedact: no panic, a second pass changes nothing, and a token that was
// in the text is gone.
func FuzzRedact(f *testing.F) {
	for _, tt := range redactURITests {
		f.Add(tt.uri)
	}
	for _, tt := range redactProtocolTests {
		f.Add(tt.lines)
	}
	r := newRedactor(f)
	f.Fuzz(func(t *testing.T, text string) {
		for _, got := range []string{r.URI(text), r.Protocols([]string{text})[0], r.Text(text)} {
			if strings.Contains(got, testToken) {
				t.Errorf("%q still holds the token", got)
			}
		}
		if once := r.URI(text); r.URI(once) != once {
			t.Errorf("URI(%q) = %q, and then %q", text, once, r.URI(once))
		}
		carried := "/ws?a=" + url.QueryEscape(text) + "&access_token=" + url.QueryEscape("secret!"+text)
		if got := r.URI(carried); strings.Contains(got, "secret") && !strings.Contains(text, "secret") {
			t.Errorf("URI(%q) = %q", carried, got)
		}
	})
}

func BenchmarkRedactURI(b *testing.B) {
	r := newRedactor(b)
	for name, uri := range map[string]string{
		"harmless": "/chat/room/17?EIO=4&transport=websocket&lang=en",
		"token":    "/chat?access_token=" + testToken,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.URI(uri)
			}
		})
	}
}
