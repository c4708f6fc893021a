package auth

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"
)

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// std64 is what a Phoenix client does: btoa without padding.
func std64(s string) string { return base64.RawStdEncoding.EncodeToString([]byte(s)) }

const odd = "opaque/+token?~" // needs both alphabets' own letters

// subprotocolTests are all forms and what comes near them. The offer is split
// into header lines at "|".
var subprotocolTests = []struct {
	name   string
	forms  string // empty for all of them
	offer  string
	want   string
	answer string
	reason Reason
	rest   string
}{
	{"no credential", "", "chat, superchat", "", "", "", "chat, superchat"},
	{"nothing ours, odd bytes", "", " chat ,,superchat,", "", "", "", " chat ,,superchat,"},

	{"bearer", "", "bearer, abc", "abc", "bearer", "", ""},
	{"bearer in odd case", "", "BeArEr, abc", "abc", "BeArEr", "", ""},
	{"access_token", "", "access_token, abc", "abc", "access_token", "", ""},
	{"token", "", "Token, abc", "abc", "Token", "", ""},
	{"jwt", "", "jwt, abc", "abc", "jwt", "", ""},
	{"bearer with a JWT", "", "bearer, " + testToken, testToken, "bearer", "", ""},
	{"bearer before others", "", "bearer, abc, chat, v2", "abc", "bearer", "", "chat, v2"},
	{"bearer after others", "", "chat, v2, bearer, abc", "abc", "bearer", "", "chat, v2"},
	{"bearer between others", "", "chat, bearer, abc, v2", "abc", "bearer", "", "chat, v2"},
	{"bearer over two lines", "", "bearer|abc", "abc", "bearer", "", ""},
	{"bearer with odd lines", "", "chat,|,bearer , |\tabc", "abc", "bearer", "", "chat"},
	{"bearer with nothing after it", "", "chat, bearer", "", "", "", "chat, bearer"},
	{"two schemes, one token", "", "bearer, token, abc, chat", "abc", "token", "", "chat"},
	{"two bearers", "", "bearer, abc, bearer, def, chat", "", "bearer", ReasonAmbiguous, "chat"},
	{"two bearers, none configured", "kubernetes", "bearer, abc, bearer, def, chat", "", "", ReasonAmbiguous, "bearer, abc, bearer, def, chat"},
	{"two bearers over two lines, none configured", "kubernetes", "bearer, abc|jwt|def", "", "", ReasonAmbiguous, "bearer, abc|jwt|def"},
	{"two bearers, the first of another form", "bare", "bearer, " + testToken + ", bearer, def", "", "bearer", ReasonAmbiguous, "bearer, bearer, def"},
	{"two bearers, the second of another form", "bare", "bearer, def, bearer, " + testToken, "", "bearer", ReasonAmbiguous, "bearer, def, bearer"},
	{"two bearers, the first of another form, tried before", "bare bearer", "bearer, " + testToken + ", token, def", "", "bearer", ReasonAmbiguous, "bearer"},
	{"two bearers, the first with a prefix", "my.* bearer", "bearer, my.abc, bearer, def", "", "bearer", ReasonAmbiguous, "bearer"},
	{"two bearers, one with a prefix", "my.*", "bearer, my.abc, bearer, def", "", "bearer", ReasonAmbiguous, "bearer, bearer, def"},
	{"a bearer beside a prefix", "my.*", "my.abc, bearer, def", "", "bearer", ReasonAmbiguous, "bearer, def"},
	{"a bearer beside another form", "kubernetes", "bearer, def, " + kubernetesPrefix + b64("abc"), "", "bearer", ReasonAmbiguous, "bearer, def"},
	{"a bearer that is one of another form", "my.*", "bearer, my.abc, chat", "abc", "bearer", "", "bearer, chat"},
	{"token repeated", "", "bearer, abc, abc, chat", "abc", "bearer", "", "chat"},
	{"bearer not configured", "bare", "bearer, abc", "", "", "", "bearer, abc"},

	{"kubernetes", "", "v4.channel.k8s.io, " + kubernetesPrefix + b64("abc"), "abc", "v4.channel.k8s.io", "", "v4.channel.k8s.io"},
	{"kubernetes first", "", kubernetesPrefix + b64(testToken) + ", v4, v5", testToken, "v4", "", "v4, v5"},
	{"kubernetes alone", "", kubernetesPrefix + b64("abc"), "abc", "", "", ""},
	{"kubernetes twice", "", "v4, " + kubernetesPrefix + b64("a") + ", " + kubernetesPrefix + b64("a"), "", "v4", ReasonAmbiguous, "v4"},
	{"kubernetes bad base64", "", "v4, " + kubernetesPrefix + "a+/b", "", "v4", ReasonMalformed, "v4"},
	{"kubernetes not UTF-8", "", "v4, " + kubernetesPrefix + b64("\xff\xfe"), "", "v4", ReasonMalformed, "v4"},
	{"kubernetes CR LF inside", "", "v4, " + kubernetesPrefix + b64("a\r\nX: y"), "", "v4", ReasonMalformed, "v4"},
	{"kubernetes empty", "", "v4, " + kubernetesPrefix, "", "v4", "", "v4"},

	{"phoenix", "", "phoenix, " + phoenixPrefix + std64(testToken), testToken, "phoenix", "", "phoenix"},
	{"phoenix url alphabet", "", "phoenix, " + phoenixPrefix + b64(odd), odd, "phoenix", "", "phoenix"},
	{"phoenix standard alphabet", "", "phoenix, " + phoenixPrefix + std64(odd), odd, "phoenix", "", "phoenix"},
	{"phoenix after another", "", "v2, " + phoenixPrefix + b64("abc") + ", phoenix", "abc", "phoenix", "", "v2, phoenix"},
	{"phoenix without its name", "", "v2, " + phoenixPrefix + b64("abc"), "abc", "v2", "", "v2"},
	{"phoenix bad base64", "", "phoenix, " + phoenixPrefix + "!", "", "phoenix", ReasonMalformed, "phoenix"},

	{"jupyter", "", jupyterProtocol + ", " + jupyterPrefix + "abc", "abc", jupyterProtocol, "", ""},
	{"jupyter with another", "", jupyterProtocol + ", v1.kernel, " + jupyterPrefix + "a%2Db", "a-b", "v1.kernel", "", "v1.kernel"},
	{"jupyter alone", "", jupyterPrefix + "abc", "abc", "", "", ""},
	{"jupyter bare name", "", jupyterProtocol, "", "", "", jupyterProtocol},
	{"jupyter bad encoding", "", jupyterProtocol + ", " + jupyterPrefix + "%zz", "", jupyterProtocol, ReasonMalformed, ""},

	{"appsync", "", "graphql-ws, header-" + b64(`{"Authorization":"abc","host":"h"}`), "abc", "graphql-ws", "", "graphql-ws"},
	{"appsync with bearer", "", "graphql-ws, header-" + b64(`{"Authorization":"Bearer abc"}`), "abc", "graphql-ws", "", "graphql-ws"},
	{"appsync events", "", "x, header-" + b64(`{"Authorization":"abc"}`) + ", aws-appsync-event-ws", "abc", "aws-appsync-event-ws", "", "x, aws-appsync-event-ws"},
	{"appsync without its protocol", "", "x, header-" + b64(`{"Authorization":"abc"}`), "abc", "x", "", "x"},
	{"appsync api key", "", "graphql-ws, header-" + b64(`{"host":"h","x-api-key":"k"}`), "", "graphql-ws", "", "graphql-ws"},
	{"appsync signature", "", "graphql-ws, header-" + b64(`{"Authorization":"AWS4-HMAC-SHA256 Credential=x"}`), "", "graphql-ws", ReasonMalformed, "graphql-ws"},
	{"appsync number", "", "graphql-ws, header-" + b64(`{"Authorization":1}`), "", "graphql-ws", ReasonMalformed, "graphql-ws"},
	{"appsync array", "", "graphql-ws, header-" + b64(`["Authorization"]`), "", "graphql-ws", ReasonMalformed, "graphql-ws"},
	{"appsync bad base64", "", "graphql-ws, header-%%", "", "graphql-ws", ReasonMalformed, "graphql-ws"},
	{"appsync other member", "", "graphql-ws, header-" + b64(`{"authorization":"abc"}`), "", "graphql-ws", "", "graphql-ws"},
	{"a header of somebody else", "", "header-v1, chat", "", "", "", "header-v1, chat"},

	{"bare", "", testToken, testToken, testToken, "", ""},
	{"bare with others", "", "chat, " + testToken + ", v2", testToken, "chat", "", "chat, v2"},
	{"bare without a signature", "", "chat, " + b64(`{"alg":"none"}`) + ".e30.", b64(`{"alg":"none"}`) + ".e30.", "chat", "", "chat"},
	{"bare twice", "", testToken + ", " + testToken, "", testToken, ReasonAmbiguous, ""},
	{"bare without alg", "", b64(`{"typ":"JWT"}`) + ".e30.c2ln", "", "", "", b64(`{"typ":"JWT"}`) + ".e30.c2ln"},
	{"bare of two parts", "", b64(`{"alg":"x"}`) + ".e30", "", "", "", b64(`{"alg":"x"}`) + ".e30"},
	{"bare of five parts", "", b64(`{"alg":"x"}`) + ".a.b.c.d", "", "", "", b64(`{"alg":"x"}`) + ".a.b.c.d"},
	{"bare array", "", b64(`["alg"]`) + ".e30.c2ln", "", "", "", b64(`["alg"]`) + ".e30.c2ln"},
	{"a version is no token", "", "v1.2.3", "", "", "", "v1.2.3"},

	{"prefix", "key.*", "realtime, key.abc", "abc", "realtime", "", "realtime"},
	{"prefix alone", "key.*", "key.abc", "abc", "key.abc", "", ""},
	{"prefix with beta tag", "openai-insecure-api-key.*", "realtime, openai-insecure-api-key.sk-1, beta", "sk-1", "realtime", "", "realtime, beta"},
	{"prefix in another case", "key.*", "KEY.abc", "", "", "", "KEY.abc"},
	{"prefix twice", "key.*", "key.a, key.b", "", "key.a", ReasonAmbiguous, ""},
	{"prefix not by default", "", "realtime, key.abc", "", "", "", "realtime, key.abc"},

	{"two forms", "", "bearer, abc, chat, " + testToken, "", "bearer", ReasonAmbiguous, "chat"},
	{"bare before bearer", "bare bearer", "bearer, abc, " + testToken, "", testToken, ReasonAmbiguous, ""},
	{"a prefix may take what bare would", "ey* bare", testToken, testToken[2:], testToken, "", ""},
	{"an answer must be a token", "bearer kubernetes", "a b, " + kubernetesPrefix + b64("abc") + ", chat", "abc", "chat", "", "a b, chat"},
}

func TestSubprotocolSource(t *testing.T) {
	t.Parallel()
	for _, tt := range subprotocolTests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSource(t)(NewSubprotocolSource(strings.Fields(tt.forms)))
			r := newUpgrade(t, "/")
			r.Header[subprotocolHeader] = strings.Split(tt.offer, "|")
			got, err := s.Find(r)
			checkReason(t, err, tt.reason)
			if got.Credential != tt.want || got.Answer != tt.answer {
				t.Errorf("Find = %q, answer %q; want %q, answer %q", got.Credential, got.Answer, tt.want, tt.answer)
			}
			s.Strip(r)
			lines, ok := r.Header[subprotocolHeader]
			if rest := strings.Join(lines, "|"); rest != tt.rest || ok != (tt.rest != "") {
				t.Errorf("left is %q, want %q", rest, tt.rest)
			}
		})
	}
}

// TestSubprotocolSpelling: a handler before this one may have set RFC 6455's
// own spelling of the header, which the upstream gets, but http.Header.Get
// does not see.
func TestSubprotocolSpelling(t *testing.T) {
	t.Parallel()
	s := newSource(t)(NewSubprotocolSource(nil))
	for _, key := range []string{"Sec-WebSocket-Protocol", "sec-websocket-protocol", "SEC-WEBSOCKET-PROTOCOL"} {
		r := newUpgrade(t, "/", key+": bearer, abc, chat", "Sec-Websocket-Protocol: v2")
		got, err := s.Find(r)
		checkReason(t, err, "")
		if got.Credential != "abc" {
			t.Errorf("%s: credential = %q", key, got.Credential)
		}
		s.Strip(r)
		if len(r.Header) != 1 || r.Header.Get(subprotocolHeader) != "v2, chat" {
			t.Errorf("%s: left is %v", key, r.Header)
		}
	}
}

// TestSubprotocolLinear: long lists and many lines take no longer than their
// length deserves. (npm ws had CVE-2024-37890 and CVE-2021-32640.)
func TestSubprotocolLinear(t *testing.T) {
	t.Parallel()
	s := newSource(t)(NewSubprotocolSource(append(SubprotocolForms(), "key.*")))
	elements := []string{
		"a", "", "bearer", "bearer,a", jupyterProtocol, jupyterPrefix, phoenixPrefix + "YQ",
		"header-e30", "key.a", "eyJhbGciOiJub25lIn0.a.b", "graphql-ws,header-!",
	}
	for _, element := range elements {
		lines := make([]string, 1000)
		for i := range lines {
			lines[i] = strings.Repeat(element+",", 1024/(len(element)+1))
		}
		r := &http.Request{Header: http.Header{subprotocolHeader: lines}}
		start := time.Now()
		_, _ = s.Find(r)
		s.Strip(r)
		if took := time.Since(start); took > time.Minute {
			t.Errorf("%q took %v", element, took)
		}
	}
}

func TestNewSubprotocolSourceErrors(t *testing.T) {
	t.Parallel()
	tests := map[string][]string{
		`unknown subprotocol form "Bearer": known are bearer, kubernetes, phoenix, jupyter, appsync, bare, and <prefix>*`: {"Bearer"},
		`"nope"`:                      {"bearer", "nope"},
		`"bare" is given twice`:       {"bare", "bearer", "bare"},
		`"*" would take every`:        {"*"},
		`"a b*" cannot begin`:         {"a b*"},
		`"a,*" cannot begin`:          {"a,*"},
		`unknown subprotocol form ""`: {""},
	}
	for want, forms := range tests {
		if _, err := NewSubprotocolSource(forms); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("NewSubprotocolSource(%q): %v, want %s", forms, err, want)
		}
	}
}

// FuzzSubprotocol: whatever is offered, nothing panics, a second look finds
// nothing, and what goes upstream holds no credential and nothing that was
// not offered.
func FuzzSubprotocol(f *testing.F) {
	for _, tt := range subprotocolTests {
		f.Add(strings.ReplaceAll(tt.offer, "|", "\n"), tt.forms)
	}
	f.Fuzz(func(t *testing.T, offer, forms string) {
		s, err := NewSubprotocolSource(strings.Fields(forms))
		if err != nil {
			return
		}
		r := &http.Request{Header: http.Header{subprotocolHeader: strings.Split(offer, "\n")}}
		offered := Protocols(r.Header)
		found, err := Sources{s}.Take(r)
		rest := Protocols(r.Header)
		if (err == nil) != (found.Credential != "") {
			t.Fatalf("Take = %+v, %v", found, err)
		}
		isOffered := make(map[string]bool)
		for _, protocol := range offered {
			isOffered[protocol] = true
		}
		if found.Answer != "" && !isOffered[found.Answer] {
			t.Errorf("answers %q, which was not offered", found.Answer)
		}
		for _, protocol := range rest {
			if !isOffered[protocol] {
				t.Errorf("%q goes upstream, but was not offered", protocol)
			}
			if protocol == found.Credential {
				t.Errorf("the credential goes upstream: %q", protocol)
			}
		}
		if forms == "" {
			checkNothingCarried(t, rest)
		}
	})
}

// checkNothingCarried fails if one of protocols is a carrier of a default
// form. It knows them by their text, not by the code under test.
func checkNothingCarried(t *testing.T, protocols []string) {
	t.Helper()
	for _, protocol := range protocols {
		for _, prefix := range []string{
			"base64url.bearer.authorization.k8s.io.", "base64url.bearer.phx.",
			"v1.token.websocket.jupyter.org.", "eyJhbGciOi",
		} {
			if strings.HasPrefix(protocol, prefix) && strings.Count(protocol, ".") >= 2 &&
				(prefix != "eyJhbGciOi" || looksLikeJWT(protocol)) {
				t.Errorf("a carrier goes upstream: %q", protocol)
			}
		}
	}
}
