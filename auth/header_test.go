package auth

import (
	"strings"
	"testing"
)

func TestBearerSource(t *testing.T) {
	t.Parallel()
	const key = "Authorization: "
	tests := []struct {
		name   string
		lines  []string
		want   string
		reason Reason
		rest   []string
	}{
		{"bearer", []string{key + "Bearer abc"}, "abc", "", nil},
		{"any case", []string{key + "bEaReR abc"}, "abc", "", nil},
		{"several spaces", []string{key + "Bearer   abc"}, "abc", "", nil},
		{"all of token68", []string{key + "Bearer aZ09-._~+/=="}, "aZ09-._~+/==", "", nil},
		{"odd spelling of the name", []string{"authorization: Bearer abc"}, "abc", "", nil},
		{"two spellings", []string{"authorization: Bearer abc", key + "Bearer abc"}, "", ReasonAmbiguous, nil},
		{"two lines", []string{key + "Bearer abc", key + "Bearer def"}, "", ReasonAmbiguous, nil},
		{"bearer and basic", []string{key + "Basic YTpi", key + "Bearer abc"}, "", ReasonAmbiguous, []string{"Basic YTpi"}},
		{"two in one line", []string{key + "Bearer abc, Bearer def"}, "", ReasonMalformed, nil},
		{"parameters", []string{key + `Bearer token="abc"`}, "", ReasonMalformed, nil},
		{"equals sign inside", []string{key + "Bearer a=b"}, "", ReasonMalformed, nil},
		{"only padding", []string{key + "Bearer =="}, "", ReasonMalformed, nil},
		{"tab", []string{key + "Bearer\tabc"}, "", ReasonMalformed, nil},
		{"comma", []string{key + "Bearer,abc"}, "", ReasonMalformed, nil},
		{"no token", []string{key + "Bearer"}, "", "", nil},
		{"no token but a space", []string{key + "Bearer "}, "", "", nil},
		{"another scheme stays", []string{key + "Basic YTpi"}, "", "", []string{"Basic YTpi"}},
		{"a longer scheme stays", []string{key + "BearerX abc"}, "", "", []string{"BearerX abc"}},
		{"two of other schemes stay", []string{key + "Basic YTpi", key + "Digest x"}, "", "", []string{"Basic YTpi", "Digest x"}},
		{"another header stays", []string{"Proxy-Authorization: Bearer abc"}, "", "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSource(t)(NewHeaderSource(""))
			r := newUpgrade(t, "/", tt.lines...)
			got, err := s.Find(r)
			checkReason(t, err, tt.reason)
			if got.Credential != tt.want {
				t.Errorf("credential = %q, want %q", got.Credential, tt.want)
			}
			s.Strip(r)
			if rest := headerLines(r.Header, "Authorization"); strings.Join(rest, "|") != strings.Join(tt.rest, "|") {
				t.Errorf("left is %q, want %q", rest, tt.rest)
			}
		})
	}
}

func TestHeaderSource(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		lines  []string
		want   string
		reason Reason
	}{
		{"raw", []string{"X-Token: abc"}, "abc", ""},
		{"with bearer", []string{"X-Token: bearer abc"}, "abc", ""},
		{"token that begins with bearer", []string{"X-Token: bearer.abc"}, "bearer.abc", ""},
		{"odd spelling", []string{"x-TOKEN: abc"}, "abc", ""},
		{"spaces around", []string{"X-Token:  abc "}, "abc", ""},
		{"empty", []string{"X-Token: "}, "", ""},
		{"two lines", []string{"X-Token: a", "X-Token: b"}, "", ReasonAmbiguous},
		{"two spellings", []string{"X-Token: a", "x-token: b"}, "", ReasonAmbiguous},
		{"two in one line", []string{"X-Token: a, b"}, "", ReasonMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSource(t)(NewHeaderSource("x-token"))
			r := newUpgrade(t, "/", append(tt.lines, "X-Token-Other: c", "Authorization: Bearer d")...)
			got, err := s.Find(r)
			checkReason(t, err, tt.reason)
			if got.Credential != tt.want {
				t.Errorf("credential = %q, want %q", got.Credential, tt.want)
			}
			s.Strip(r)
			if rest := headerLines(r.Header, "X-Token"); len(rest) > 0 || len(r.Header) != 2 {
				t.Errorf("left is %v", r.Header)
			}
		})
	}
}

func TestNewHeaderSourceErrors(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"X Token":                "use letters",
		"X-Tok\u00e9n":           "use letters",
		"cookie":                 "use from cookie",
		"Sec-WebSocket-Protocol": "use from subprotocol",
		"upgrade":                "the request needs it",
		"host":                   "the request needs it",
		"Origin":                 "the request needs it",
	}
	for name, want := range tests {
		_, err := NewHeaderSource(name)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) &&
			!strings.Contains(err.Error(), "X-Tok") {
			t.Errorf("NewHeaderSource(%q): %v, want %q", name, err, want)
		}
	}
	if s := newSource(t)(NewHeaderSource("authorization")); s != (bearerSource{}) {
		t.Errorf("authorization is taken as a plain header")
	}
}
