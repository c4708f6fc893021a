package proxy

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// The example of RFC 6455 section 1.3.
const (
	exampleKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	exampleAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// upgrade returns a proper HTTP/1.1 handshake, changed by change.
func upgrade(change func(*http.Request)) *http.Request {
	r := &http.Request{
		Method: http.MethodGet, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Host: "chat.example.com",
		Header: http.Header{
			"Connection":            {"keep-alive, Upgrade"},
			"Upgrade":               {"websocket"},
			"Sec-Websocket-Key":     {exampleKey},
			"Sec-Websocket-Version": {"13"},
		},
		Body: http.NoBody,
	}
	if change != nil {
		change(r)
	}
	return r
}

// extended returns the handshake of HTTP/2 or HTTP/3 as Go's servers give it.
func extended(major int, change func(*http.Request)) *http.Request {
	r := &http.Request{
		Method: http.MethodConnect, ProtoMajor: major, Host: "chat.example.com",
		Header: http.Header{"Sec-Websocket-Version": {"13"}},
	}
	switch major {
	case 2:
		r.Proto = "HTTP/2.0"
		r.Header[extendedProtocol] = []string{"websocket"}
	case 3:
		r.Proto = "websocket"
	}
	if change != nil {
		change(r)
	}
	return r
}

func set(key string, values ...string) func(*http.Request) {
	return func(r *http.Request) {
		if len(values) == 0 {
			delete(r.Header, key)
			return
		}
		r.Header[key] = values
	}
}

func TestClassify(t *testing.T) {
	t.Parallel()
	plain := func(r *http.Request) { delete(r.Header, "Upgrade") }
	major := func(n int) func(*http.Request) { return func(r *http.Request) { r.ProtoMajor = n } }
	proto := func(s string) func(*http.Request) { return func(r *http.Request) { r.Proto = s } }
	tests := []struct {
		name string
		r    *http.Request
		want Kind
	}{
		{"HTTP/1.1", upgrade(nil), KindWebSocket},
		{"any case", upgrade(set("Upgrade", "WebSocket")), KindWebSocket},
		{"capitals", upgrade(set("Upgrade", "WEBSOCKET")), KindWebSocket},
		{"spaces around", upgrade(set("Upgrade", " websocket\t")), KindWebSocket},
		{"POST", upgrade(func(r *http.Request) { r.Method = http.MethodPost }), KindWebSocket},
		{"no Connection", upgrade(set("Connection")), KindWebSocket},
		{"no upgrade", upgrade(plain), KindPlain},
		{"no upgrade on HTTP/2", upgrade(func(r *http.Request) { plain(r); major(2)(r) }), KindPlain},
		{"h2c", upgrade(set("Upgrade", "h2c")), KindPlain},
		{"list", upgrade(set("Upgrade", "websocket, h2c")), KindTunnel},
		{"list, websocket last", upgrade(set("Upgrade", "foo, websocket")), KindTunnel},
		{"two lines", upgrade(set("Upgrade", "websocket", "h2c")), KindTunnel},
		{"twice websocket", upgrade(set("Upgrade", "websocket", "websocket")), KindTunnel},
		{"with a version", upgrade(set("Upgrade", "WebSocket/13")), KindTunnel},
		{"empty", upgrade(set("Upgrade", "")), KindPlain},
		{"a letter that folds to s", upgrade(set("Upgrade", "web\u017focket")), KindTunnel},
		{"a letter that folds to k", upgrade(set("Upgrade", "websoc\u212aet")), KindTunnel},
		{"a space that is none", upgrade(set("Upgrade", "websocket\u00a0")), KindTunnel},
		{"upgrade on HTTP/2", upgrade(major(2)), KindTunnel},
		{"upgrade on HTTP/3", upgrade(major(3)), KindTunnel},
		{":protocol without CONNECT", upgrade(func(r *http.Request) { plain(r); set(extendedProtocol, "websocket")(r) }), KindTunnel},
		{"HTTP/2", extended(2, nil), KindWebSocket},
		{"HTTP/2, any case", extended(2, set(extendedProtocol, "WebSocket")), KindWebSocket},
		{"HTTP/2, other protocol", extended(2, set(extendedProtocol, "connect-udp")), KindTunnel},
		{"HTTP/2, two protocols", extended(2, set(extendedProtocol, "websocket", "connect-udp")), KindTunnel},
		{"HTTP/2, plain CONNECT", extended(2, set(extendedProtocol)), KindTunnel},
		{"HTTP/1.1 CONNECT", extended(1, set(extendedProtocol, "websocket")), KindTunnel},
		{"HTTP/3", extended(3, nil), KindWebSocket},
		{"HTTP/3, any case", extended(3, proto("WebSocket")), KindWebSocket},
		{"HTTP/3, other protocol", extended(3, proto("connect-ip")), KindTunnel},
		{"HTTP/3, webtransport", extended(3, proto("webtransport")), KindTunnel},
		{"HTTP/3, plain CONNECT", extended(3, proto("HTTP/3.0")), KindTunnel},
		{"HTTP/3, no CONNECT any more", extended(3, func(r *http.Request) { r.Method = http.MethodGet }), KindTunnel},
		{"HTTP/3 with HTTP/2's header", extended(3, func(r *http.Request) { proto("HTTP/3.0")(r); set(extendedProtocol, "websocket")(r) }), KindTunnel},
	}
	for _, tt := range tests {
		if got := Classify(tt.r); got != tt.want {
			t.Errorf("%s: Classify = %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestCheckRequest(t *testing.T) {
	t.Parallel()
	method := func(m string) func(*http.Request) { return func(r *http.Request) { r.Method = m } }
	tests := []struct {
		name   string
		r      *http.Request
		status int // 0: nothing is wrong
	}{
		{"HTTP/1.1", upgrade(nil), 0},
		{"HTTP/2", extended(2, nil), 0},
		{"HTTP/3", extended(3, nil), 0},
		{"HTTP/1.2", upgrade(func(r *http.Request) { r.ProtoMinor = 2 }), 0},
		{"Connection on two lines", upgrade(set("Connection", "keep-alive", "upgrade")), 0},
		{"spaces around the key", upgrade(set("Sec-Websocket-Key", " "+exampleKey+" ")), 0},
		{"POST", upgrade(method(http.MethodPost)), 400},
		{"HEAD", upgrade(method(http.MethodHead)), 400},
		{"get", upgrade(method("get")), 400},
		{"HTTP/1.0", upgrade(func(r *http.Request) { r.ProtoMinor = 0 }), 400},
		{"no Host", upgrade(func(r *http.Request) { r.Host = "" }), 400},
		{"no Connection", upgrade(set("Connection")), 400},
		{"Connection without upgrade", upgrade(set("Connection", "keep-alive")), 400},
		{"Connection with a longer word", upgrade(set("Connection", "upgrades")), 400},
		{"a body", upgrade(func(r *http.Request) { r.ContentLength = 5 }), 400},
		{"a body of unknown length", upgrade(func(r *http.Request) { r.ContentLength = -1 }), 400},
		{"chunks", upgrade(func(r *http.Request) { r.TransferEncoding = []string{"chunked"} }), 400},
		{"no key", upgrade(set("Sec-Websocket-Key")), 400},
		{"two keys", upgrade(set("Sec-Websocket-Key", exampleKey, exampleKey)), 400},
		{"key in two spellings", upgrade(set("Sec-WebSocket-Key", exampleKey)), 400},
		{"empty key", upgrade(set("Sec-Websocket-Key", "")), 400},
		{"key of 15 bytes", upgrade(set("Sec-Websocket-Key", "dGhlIHNhbXBsZSBub25j")), 400},
		{"key of 17 bytes", upgrade(set("Sec-Websocket-Key", "dGhlIHNhbXBsZSBub25jZWU=")), 400},
		{"key without padding", upgrade(set("Sec-Websocket-Key", strings.TrimRight(exampleKey, "="))), 400},
		{"key in the other alphabet", upgrade(set("Sec-Websocket-Key", "__________________________==")), 400},
		{"no version", upgrade(set("Sec-Websocket-Version")), 400},
		{"two versions", upgrade(set("Sec-Websocket-Version", "13", "13")), 400},
		{"version 8", upgrade(set("Sec-Websocket-Version", "8")), 426},
		{"versions in a list", upgrade(set("Sec-Websocket-Version", "13, 8")), 426},
		{"version 013", upgrade(set("Sec-Websocket-Version", "013")), 426},
		{"HTTP/2, no version", extended(2, set("Sec-Websocket-Version")), 400},
		{"HTTP/2, version 8", extended(2, set("Sec-Websocket-Version", "8")), 426},
		{"HTTP/3, version 8", extended(3, set("Sec-Websocket-Version", "8")), 426},
	}
	for _, tt := range tests {
		err := CheckRequest(tt.r)
		switch {
		case tt.status == 0 && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.status != 0 && (err == nil || err.Status != tt.status):
			t.Errorf("%s: %v, want status %d", tt.name, err, tt.status)
		case err != nil && (err.Error() == "" || strings.Contains(err.Error(), exampleKey)):
			t.Errorf("%s: error %q", tt.name, err)
		}
	}
}

// goodAnswer is what an application answers to upgrade.
func goodAnswer() http.Header {
	return http.Header{
		"Upgrade":              {"websocket"},
		"Connection":           {"Upgrade"},
		"Sec-Websocket-Accept": {exampleAccept},
	}
}

func TestOfferCheck(t *testing.T) {
	t.Parallel()
	with := func(key string, values ...string) http.Header {
		h := goodAnswer()
		delete(h, key)
		if len(values) > 0 {
			h[key] = values
		}
		return h
	}
	const protocol, extensions, accept = "Sec-Websocket-Protocol", "Sec-Websocket-Extensions", "Sec-Websocket-Accept"
	tests := []struct {
		name string
		h    http.Header
		want answer
		bad  bool
	}{
		{"good", goodAnswer(), answer{}, false},
		{"any case", with("Upgrade", "WebSocket"), answer{}, false},
		{"several in Connection", with("Connection", "keep-alive, upgrade"), answer{}, false},
		{"offered protocol", with(protocol, "chat"), answer{protocol: "chat"}, false},
		{"the other protocol", with(protocol, " superchat "), answer{protocol: "superchat"}, false},
		{"protocol in RFC 6455's spelling", with("Sec-WebSocket-Protocol", "chat"), answer{protocol: "chat"}, false},
		{"empty protocol", with(protocol, ""), answer{}, false},
		{"deflate", with(extensions, "permessage-deflate; server_no_context_takeover"), answer{deflate: true}, false},
		{"deflate in capitals", with(extensions, "Permessage-Deflate"), answer{deflate: true}, false},
		{"another offered extension", with(extensions, "x-foo"), answer{}, false},
		{"both extensions", with(extensions, "x-foo, permessage-deflate"), answer{deflate: true}, false},

		{"no Upgrade", with("Upgrade"), answer{}, true},
		{"h2c", with("Upgrade", "h2c"), answer{}, true},
		{"a list", with("Upgrade", "websocket, h2c"), answer{}, true},
		{"two Upgrades", with("Upgrade", "websocket", "websocket"), answer{}, true},
		{"no Connection", with("Connection"), answer{}, true},
		{"Connection: close", with("Connection", "close"), answer{}, true},
		{"no accept", with(accept), answer{}, true},
		{"wrong accept", with(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOp="), answer{}, true},
		{"accept in another case", with(accept, strings.ToLower(exampleAccept)), answer{}, true},
		{"empty accept", with(accept, ""), answer{}, true},
		{"the key itself", with(accept, exampleKey), answer{}, true},
		{"two accepts", with(accept, exampleAccept, exampleAccept), answer{}, true},
		{"accepts in two spellings", with("Sec-WebSocket-Accept", exampleAccept), answer{}, true},
		{"protocol that was not offered", with(protocol, "evil"), answer{}, true},
		{"protocol in another case", with(protocol, "Chat"), answer{}, true},
		{"two protocols", with(protocol, "chat, superchat"), answer{}, true},
		{"two protocols on two lines", with(protocol, "chat", "superchat"), answer{}, true},
		{"the same twice", with(protocol, "chat", "chat"), answer{}, true},
		{"protocols in two spellings", func() http.Header {
			h := with(protocol, "chat")
			h["Sec-WebSocket-Protocol"] = []string{"evil"}
			return h
		}(), answer{}, true},
		{"extension that was not offered", with(extensions, "permessage-bzip2"), answer{}, true},
		{"one of two not offered", with(extensions, "permessage-deflate, evil"), answer{}, true},
		{"a second line not offered", with(extensions, "permessage-deflate", "evil"), answer{}, true},
	}
	o := newOffer(http.Header{
		"Sec-Websocket-Key":        {exampleKey},
		"Sec-Websocket-Protocol":   {"chat, superchat"},
		"Sec-Websocket-Extensions": {"permessage-deflate; client_max_window_bits", "x-foo"},
	})
	for _, tt := range tests {
		got, err := o.check(tt.h)
		if got != tt.want || (err != nil) != tt.bad {
			t.Errorf("%s: %+v, %v; want %+v, an error: %v", tt.name, got, err, tt.want, tt.bad)
		}
		if err != nil && strings.Contains(err.Error(), "evil") {
			t.Errorf("%s: the error repeats the application's words: %v", tt.name, err)
		}
	}
}

// Nothing may be answered to one who offered nothing.
func TestOfferOfNothing(t *testing.T) {
	t.Parallel()
	o := newOffer(upgrade(nil).Header)
	for _, key := range []string{"Sec-Websocket-Protocol", "Sec-Websocket-Extensions"} {
		h := goodAnswer()
		h[key] = []string{"permessage-deflate"}
		if _, err := o.check(h); err == nil {
			t.Errorf("%s was accepted", key)
		}
	}
	// An application cannot be talked into the key of no request.
	h := goodAnswer()
	h["Sec-Websocket-Accept"] = []string{acceptKey("")}
	if _, err := o.check(h); err == nil {
		t.Error("the answer to an empty key was accepted")
	}
}

func TestAcceptKey(t *testing.T) {
	t.Parallel()
	if got := acceptKey(exampleKey); got != exampleAccept {
		t.Errorf("acceptKey = %q, want %q", got, exampleAccept)
	}
}

// Whatever a request was, once disarmed it opens no tunnel.
func TestDisarm(t *testing.T) {
	t.Parallel()
	everything := func(r *http.Request) {
		for _, key := range []string{
			"Upgrade", "Connection", "upgrade", extendedProtocol, "Sec-WebSocket-Key", "Sec-Websocket-Protocol",
			"sec-websocket-extensions", "SEC-WEBSOCKET-VERSION",
		} {
			r.Header[key] = []string{"websocket"}
		}
		r.Header["X-Kept"] = []string{"yes"}
		r.ContentLength = 5
	}
	for _, r := range []*http.Request{
		upgrade(everything), extended(1, everything), extended(2, everything), extended(3, everything),
		extended(2, func(r *http.Request) { everything(r); r.Header[extendedProtocol] = []string{"connect-udp"} }),
		extended(3, func(r *http.Request) { everything(r); r.Proto = "connect-ip" }),
	} {
		was := r.Proto
		Disarm(r)
		if got := Classify(r); got != KindPlain {
			t.Errorf("%s: still %v", was, got)
		}
		if keys := slices.Collect(maps.Keys(r.Header)); !slices.Equal(keys, []string{"X-Kept"}) {
			t.Errorf("%s: headers left: %v", was, keys)
		}
		if r.Method != http.MethodGet || r.ProtoMajor == 3 && r.Proto != "HTTP/3.0" {
			t.Errorf("%s: it is now %s %s", was, r.Method, r.Proto)
		}
	}
}

func TestCanonicalHeaders(t *testing.T) {
	t.Parallel()
	h := http.Header{
		"Sec-WebSocket-Protocol": {"chat"},
		"Sec-WebSocket-Accept":   {exampleAccept},
		"X-WebSocket":            {"kept"},
		"Sec-Websocket-Protocol": {"superchat"},
	}
	canonicalHeaders(h)
	want := http.Header{
		"Sec-Websocket-Protocol": {"superchat", "chat"},
		"Sec-Websocket-Accept":   {exampleAccept},
		"X-WebSocket":            {"kept"},
	}
	if !maps.EqualFunc(h, want, slices.Equal) {
		t.Errorf("got %v, want %v", h, want)
	}
}

func TestFirstProtocol(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		values []string
		want   string
	}{
		{nil, ""},
		{[]string{""}, ""},
		{[]string{"chat"}, "chat"},
		{[]string{" , chat , superchat"}, "chat"},
		{[]string{",", "superchat"}, "superchat"},
	} {
		if got := FirstProtocol(http.Header{"Sec-Websocket-Protocol": tt.values}); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.values, got, tt.want)
		}
	}
}

func TestUpstreamError(t *testing.T) {
	t.Parallel()
	cause := errors.New("the cause")
	err := &UpstreamError{Err: cause}
	if !errors.Is(err, cause) || err.Error() != "bad handshake: the cause" {
		t.Errorf("%v", err)
	}
}

func FuzzHandshakeAnswer(f *testing.F) {
	f.Add("websocket", "Upgrade", exampleAccept, "chat", "permessage-deflate", "chat, superchat", "permessage-deflate; x=1")
	f.Add("h2c", "close", "", "evil", "evil", "", "")
	f.Add("websocket", "upgrade,,", exampleAccept, "chat,superchat", `foo; a="b, c"`, " chat ,", "foo")
	f.Fuzz(func(t *testing.T, upgraded, connection, accept, protocol, extension, offered, extensions string) {
		o := newOffer(http.Header{
			"Sec-Websocket-Key":        {exampleKey},
			"Sec-Websocket-Protocol":   {offered},
			"Sec-Websocket-Extensions": {extensions},
		})
		a, err := o.check(http.Header{
			"Upgrade": {upgraded}, "Connection": {connection}, "Sec-Websocket-Accept": {accept},
			"Sec-Websocket-Protocol": {protocol}, "Sec-Websocket-Extensions": {extension},
		})
		if err != nil {
			if a != (answer{}) {
				t.Fatalf("%+v with error %v", a, err)
			}
			return
		}
		switch {
		case !strings.Contains(accept, exampleAccept):
			t.Fatalf("accept %q was accepted", accept)
		case !strings.EqualFold(strings.TrimSpace(upgraded), "websocket"):
			t.Fatalf("upgrade to %q was accepted", upgraded)
		case a.protocol != "" && !strings.Contains(offered, a.protocol):
			t.Fatalf("%q was not in %q", a.protocol, offered)
		case a.protocol == "" && strings.ContainsFunc(protocol, func(r rune) bool { return r != ',' && !unicode.IsSpace(r) }):
			t.Fatalf("protocol %q was answered and not seen", protocol)
		case a.deflate && !strings.Contains(strings.ToLower(extensions), "permessage-deflate"):
			t.Fatalf("deflate was not in %q", extensions)
		}
	})
}
