package dialect

import (
	"errors"
	"testing"
)

func newTransport(t *testing.T, path string) PollingTransport {
	t.Helper()
	d, err := NewSocketIO(SocketIOConfig{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	transport, ok := d.(PollingTransport)
	if !ok {
		t.Fatalf("%T is no transport", d)
	}
	return transport
}

// TestAttackPollingPathSpelling: whatever a server could take for the path of
// the transport is known for it, and nothing else.
func TestAttackPollingPathSpelling(t *testing.T) {
	t.Parallel()
	d, nested := newTransport(t, ""), newTransport(t, "/a/Socket.IO/")
	for _, path := range []string{
		"/socket.io/", "/socket.io", "/socket.io/x", "//socket.io//", "/./socket.io/", "/x/socket.io/", "/x/../socket.io/",
		"/socket.io/..", "/SOCKET.IO/", "/socket%2eio/", "/socket%252eio/", "/socket.io;v=1/", "/x;/socket.io", `\socket.io\`,
		"/ socket.io /", "/socket%2fio/../socket.io/", "/%2525252573ocket.io/",
	} {
		if !d.MayPoll(path) {
			t.Errorf("MayPoll(%q) is false", path)
		}
	}
	for _, path := range []string{"", "/", "/socket", "/socket/io/", "/socket.iox/", "/xsocket.io/", "/api/v1/messages", "/%zz"} {
		if d.MayPoll(path) {
			t.Errorf("MayPoll(%q) is true", path)
		}
	}
	for path, want := range map[string]bool{
		"/a/socket.io/": true, "/a/x/../socket.io/": true, "/a//socket.io": true, "/x/a/socket.io/y": true,
		"/socket.io/": false, "/a/x/socket.io/": false,
	} {
		if got := nested.MayPoll(path); got != want {
			t.Errorf("under another path MayPoll(%q) = %v, want %v", path, got, want)
		}
	}
}

// TestAttackPollingQuery: a query is read if every parser of every server reads
// it alike.
func TestAttackPollingQuery(t *testing.T) {
	t.Parallel()
	d := newTransport(t, "")
	for query, want := range map[string]PollingQuery{
		"":                        {},
		"room=1&&x=%2F+y&z":       {},
		"EIO=4&transport=polling": {Named: true, Any: true, Version: "4", Transport: "polling"},
		"t=abc&sid=a-_.~9":        {Any: true, ID: "a-_.~9"},
		"EIO=4&transport=polling&t=Pq.7&sid=lv_VI97HAXpY6yYWAAAC&b64=1": {
			Named: true, Any: true, Version: "4", Transport: "polling", ID: "lv_VI97HAXpY6yYWAAAC",
		},
		"user=a@b.c&q=a=b==&next=/x?y": {},
		"j=0":                          {Any: true, JSONP: true},
		"J=0":                          {Any: true, JSONP: true},
	} {
		got, err := d.ReadQuery(query)
		if err != nil || got != want {
			t.Errorf("ReadQuery(%q) = %+v, %v, want %+v", query, got, err, want)
		}
	}
	for _, query := range []string{
		"EIO=4&EIO=4", "EIO=4&EIO=3", "EIO=4&eio=3", "eio=4", "Eio=4", "EIO[]=4", "EIO%5B%5D=4", "%45IO=4", "EIO%00=4", "EIO =4",
		"EIO=4;EIO=3", "a=1;EIO=3", "EIO=4&sid=a&sid=b", "EIO=4&sid=a&SID=b", "sid[]=a", "sid[x]=a", "sid%5b0]=a", "sid=a%62",
		"sid=a+b", "sid=a%2Bb", "sid=", "sid", "sid=a=b", "sid=a/b", "transport=", "EIO=%34", "EIO=4%20", "EIO=４", "ＥIO=4", "ſid=a",
		"transport=polling&Transport=websocket", "transport=polling&transport=polling", "transport[]=polling", "a=%", "a=%zz",
		"a=\x00", "a=b#c", "a=b\\c", "+EIO=4", "?EIO=4", "%26EIO=4", "a[b]=c", "a=\"", "a=<", "a=ä",
	} {
		if got, err := d.ReadQuery(query); !errors.Is(err, ErrProtocol) {
			t.Errorf("ReadQuery(%q) = %+v, %v, want an ErrProtocol", query, got, err)
		}
	}
	for _, query := range []string{"eio=4", "EIO[]=4", "%45IO=4", "x=1;EIO=4", "?EIO=4", "EIO", "a%26EIO=4", "EIO.x=4", "EIO=%zz"} {
		if got, _ := d.ReadQuery(query); !got.Named {
			t.Errorf("ReadQuery(%q): the version is not seen", query)
		}
	}
}
