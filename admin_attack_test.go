package websocketauth

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestAttackAdminMethods: each path takes its methods alone, and says which.
func TestAttackAdminMethods(t *testing.T) {
	t.Parallel()
	methods := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get", "DELETE "}
	paths := map[string][]string{
		"sessions": {"DELETE", "GET"}, "sessions/X": {"DELETE", "GET"}, "message": {"POST"}, "renew": {"POST"},
		"revocations": {"DELETE", "GET", "POST"}, "lockouts": {"DELETE", "GET"}, "keys": {"GET"},
	}
	for path, allowed := range paths {
		for _, method := range methods {
			r := httptest.NewRequest(http.MethodGet, adminPrefix+path, nil)
			r.Method = method
			w := httptest.NewRecorder()
			adminMux().ServeHTTP(w, r)
			taken := w.Code != http.StatusMethodNotAllowed
			if taken != slices.Contains(allowed, method) {
				t.Errorf("%s %s: status %d, although it takes %v", method, path, w.Code, allowed)
			}
			if got := w.Header().Get("Allow"); !taken && got != strings.Join(allowed, ", ") {
				t.Errorf("%s %s: Allow is %q, want %v", method, path, got, allowed)
			}
		}
	}
}

// TestAttackAdminPaths: an id that is none is found nowhere, and never taken
// for the list.
func TestAttackAdminPaths(t *testing.T) {
	t.Parallel()
	_, all := registered(t, 1)
	for _, path := range []string{
		"sessions/", "sessions/%20", "sessions/..%2f", "sessions/%00", "sessions/a/b", "sessions/*", "sessions/%7Bid%7D",
		"sessions/" + strings.Repeat("A", 1<<16), "sessions/?all=true", "", "Sessions", "sessions2", "session",
		"sessions/" + all[0].session.ID[:5],
	} {
		for _, method := range []string{http.MethodGet, http.MethodDelete} {
			target := strings.ReplaceAll(adminPrefix+path, " ", "%20")
			if status, _, body := askMux(method, target, nil, nil); status != http.StatusNotFound {
				t.Errorf("%s %.40q: status %d, want 404: %.100s", method, path, status, body)
			}
		}
	}
	if all[0].info().State == stateClosing {
		t.Error("the socket was ended")
	}
}

// TestAttackAdminQueries: what is unknown, empty, twice or out of bounds is
// refused, and nothing is done.
func TestAttackAdminQueries(t *testing.T) {
	t.Parallel()
	issuer, all := registered(t, 2)
	for _, tt := range []struct{ method, target string }{
		{"GET", "sessions?limit=0"},
		{"GET", "sessions?limit=1001"},
		{"GET", "sessions?limit=-1"},
		{"GET", "sessions?limit=1e3"},
		{"GET", "sessions?limit=99999999999999999999"},
		{"GET", "sessions?limit="},
		{"GET", "sessions?limit=1&limit=2"},
		{"GET", "sessions?user=alice"},
		{"GET", "sessions?Subject=alice"},
		{"GET", "sessions?subject="},
		{"GET", "sessions?subject=%zz"},
		{"GET", "sessions?subject=a;b=c"},
		{"GET", "sessions?all=true"},
		{"GET", "sessions/X?all=true"},
		{"GET", "revocations?limit=5000"},
		{"GET", "revocations?next=*"},
		{"GET", "lockouts?address=example.com"},
		{"GET", "lockouts?address=2001:db8::/32"},
		{"GET", "keys?source=x"},
		{"DELETE", "sessions"},
		{"DELETE", "sessions?all=false"},
		{"DELETE", "sessions?all=1"},
		{"DELETE", "sessions?all=true&all=true"},
		{"DELETE", "sessions?all=true&issuer=" + issuer},
		{"DELETE", "sessions?all=true&id=X"},
		{"DELETE", "sessions?id=X&site=chat"},
		{"DELETE", "sessions?code=1000"},
		{"DELETE", "sessions?subject=&issuer=" + issuer},
		{"DELETE", "sessions?limit=1&issuer=" + issuer},
		{"DELETE", "sessions?issuer=" + issuer + "&issuer="},
		{"DELETE", "sessions?code=999&issuer=" + issuer},
		{"DELETE", "sessions?code=1004&issuer=" + issuer},
		{"DELETE", "sessions?code=1005&issuer=" + issuer},
		{"DELETE", "sessions?code=1006&issuer=" + issuer},
		{"DELETE", "sessions?code=1010&issuer=" + issuer},
		{"DELETE", "sessions?code=1015&issuer=" + issuer},
		{"DELETE", "sessions?code=1016&issuer=" + issuer},
		{"DELETE", "sessions?code=2999&issuer=" + issuer},
		{"DELETE", "sessions?code=5000&issuer=" + issuer},
		{"DELETE", "sessions?code=65536&issuer=" + issuer},
		{"DELETE", "sessions?code=-1&issuer=" + issuer},
		{"DELETE", "sessions?code=0x3e8&issuer=" + issuer},
		{"DELETE", "sessions?code=0&issuer=" + issuer},
		{"DELETE", "sessions?reason=" + strings.Repeat("a", 124) + "&issuer=" + issuer},
		{"DELETE", "sessions?reason=%ff&issuer=" + issuer},
		{"DELETE", "sessions?reason=a%0ab&issuer=" + issuer},
		{"DELETE", "sessions?reason=%1b%5b2J&issuer=" + issuer},
		{"DELETE", "sessions/X?reason=%00"},
		{"POST", "renew"},
		{"POST", "renew?all=yes"},
		{"POST", "message?subject="},
		{"DELETE", "lockouts"},
		{"DELETE", "lockouts?all=false"},
		{"DELETE", "lockouts?all=true&address=192.0.2.1"},
		{"DELETE", "revocations?subject=alice"},
		{"DELETE", "revocations?issuer=x"},
		{"DELETE", "revocations?issuer=x&subject=a&jti=b"},
		{"POST", "revocations?issuer=x"},
	} {
		body := io.Reader(nil)
		if tt.method == http.MethodPost && !strings.HasPrefix(tt.target, "renew") {
			body = strings.NewReader("{}")
		}
		status, _, answer := askMux(tt.method, adminPrefix+tt.target, jsonHeader, body)
		if status != http.StatusBadRequest {
			t.Errorf("%s %.60s: status %d, want 400: %s", tt.method, tt.target, status, answer)
		}
	}
	for _, s := range all {
		if s.info().State == stateClosing {
			t.Error("a socket was ended")
		}
	}
}

// TestAttackAdminAtOnce: of many requests that end the same sockets, each is
// ended by one, whether it is named by a filter or by its id.
func TestAttackAdminAtOnce(t *testing.T) {
	t.Parallel()
	issuer, all := registered(t, 50)
	var total atomic.Int64
	var requests sync.WaitGroup
	for i := range 20 {
		requests.Go(func() {
			targets := []string{"sessions?issuer=" + issuer + "&code=4001&reason=go"}
			if i%2 == 0 {
				targets = nil
				for _, s := range all {
					targets = append(targets, "sessions/"+url.PathEscape(s.session.ID))
				}
			}
			for _, target := range targets {
				status, _, body := askMux(http.MethodDelete, adminPrefix+target, nil, nil)
				var done reached
				if err := json.Unmarshal([]byte(body), &done); err != nil || status != http.StatusOK && status != http.StatusNotFound {
					t.Errorf("%s: status %d, %v: %s", target, status, err, body)
				}
				total.Add(int64(done.Sockets))
			}
		})
	}
	requests.Wait()
	if n := total.Load(); n != int64(len(all)) {
		t.Errorf("%d sockets were ended, %d of them there are", n, len(all))
	}
	for _, s := range all {
		if s.endsAs == nil || s.info().State != stateClosing {
			t.Errorf("%s is %s", s.session.ID, s.info().State)
		}
	}
}

// TestAttackAdminFilterInBody: a filter in a body would be passed over, and
// more be ended than was said.
func TestAttackAdminFilterInBody(t *testing.T) {
	t.Parallel()
	issuer, all := registered(t, 2)
	for _, tt := range []struct{ method, path string }{{"DELETE", "sessions"}, {"POST", "renew"}} {
		body := strings.NewReader(`{"subject":"user 0"}`)
		if status, _, answer := askMux(tt.method, adminPrefix+tt.path+"?issuer="+issuer, nil, body); status != http.StatusBadRequest {
			t.Errorf("%s %s: status %d, want 400: %s", tt.method, tt.path, status, answer)
		}
	}
	if all[1].info().State == stateClosing || !all[1].due.IsZero() {
		t.Error("a socket was ended")
	}
}

// endless is a body without an end, which counts what is read of it.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	e.read += len(p)
	return copy(p, bytes.Repeat([]byte{'a'}, len(p))), nil
}

// TestAttackAdminBodies: of a body that is too long no more is read than tells
// so, and where its length is said nothing.
func TestAttackAdminBodies(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"message?all=true", "revocations"} {
		body := new(endless)
		status, _, _ := askMux(http.MethodPost, adminPrefix+path, jsonHeader, body)
		if status != http.StatusRequestEntityTooLarge || body.read > 256<<10 {
			t.Errorf("%s: an endless body: status %d after %d bytes, want 413", path, status, body.read)
		}
		said := strings.NewReader(strings.Repeat("a", 10<<20))
		status, _, _ = askMux(http.MethodPost, adminPrefix+path, jsonHeader, said)
		if status != http.StatusRequestEntityTooLarge || said.Len() != 10<<20 {
			t.Errorf("%s: 10 MiB: status %d, want 413; %d bytes were not read", path, status, said.Len())
		}
	}
	for name, text := range map[string]string{"empty": "", "no UTF-8": "\xff", "cut": "\xe2\x82"} {
		status, _, _ := askMux(http.MethodPost, adminPrefix+"message?all=true", nil, strings.NewReader(text))
		if status != http.StatusBadRequest {
			t.Errorf("a message that is %s: status %d, want 400", name, status)
		}
	}
}

// TestAttackAdminRevocationJSON: what can be read in two ways, or means
// something else than is there, revokes nothing.
func TestAttackAdminRevocationJSON(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		``, `null`, `[]`, `"x"`, `{`, `{}`, `{}{}`,
		`{"issuer":"x","subject":"a"} {}`, `{"issuer":"x","subject":"a"}x`, "\ufeff" + `{"issuer":"x","subject":"a"}`,
		`{"subject":"a"}`,
		`{"issuer":"x"}`,
		`{"issuer":"x","subject":"a","subject":"b"}`,
		`{"issuer":"x","issuer":"x","subject":"a"}`,
		`{"issuer":"x","subject":"a","\u0073ubject":"b"}`,
		`{"issuer":"x","subject":"a","jti":"b"}`,
		`{"issuer":"x","sid":"a","jti":"b"}`,
		`{"issuer":"x","Subject":"a"}`,
		`{"issuer":"x","sub":"a"}`,
		`{"issuer":"x","subject":"a","all":true}`,
		`{"issuer":"x","subject":"a","expires":"2030-01-01T00:00:00Z"}`,
		`{"issuer":"x","subject":""}`,
		`{"issuer":"x","subject":null}`,
		`{"issuer":"x","subject":1}`,
		`{"issuer":"x","subject":["a"]}`,
		`{"issuer":null,"subject":"a"}`,
		`{"issuer":"x","subject":"a\u0000b"}`,
		`{"issuer":"x","subject":"a\nb"}`,
		`{"issuer":"x","subject":"\ud800"}`,
		"{\"issuer\":\"x\",\"subject\":\"\xff\"}",
		`{"issuer":"x","subject":"a","until":"tomorrow"}`,
		`{"issuer":"x","subject":"a","until":1900000000}`,
		`{"issuer":"x","subject":"a","until":"2001-01-01T00:00:00Z"}`,
		`{"issuer":"x","subject":"a","issued_before":"now"}`,
		// Times that would count as none given: as now, as any, as the default.
		`{"issuer":"x","subject":"a","issued_before":"0001-01-01T00:00:00Z"}`,
		`{"issuer":"x","subject":"a","issued_before":"0001-01-01T01:00:00+01:00"}`,
		`{"issuer":"x","jti":"a","issued_before":"0001-01-01T00:00:00Z"}`,
		`{"issuer":"x","sid":"a","issued_before":"0001-01-01T00:00:00.000Z"}`,
		`{"issuer":"x","jti":"a","until":"0001-01-01T00:00:00Z"}`,
		`{"issuer":"x","subject":"a","issued_before":"1969-12-31T23:59:59Z"}`,
		`{"issuer":"x","subject":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`,
		`{"issuer":"x","subject":"a","reason":"` + strings.Repeat("r", 257) + `"}`,
	} {
		entry, err := parseRevocation([]byte(body))
		if err == nil {
			_, err = entry.completed(time.Now(), time.Hour)
		}
		if err == nil {
			t.Errorf("taken: %.80s", body)
		}
	}
	good := `{"issuer":"","subject":"a"}`
	for kind, want := range map[string]int{
		"": 415, "text/plain": 415, "application/x-www-form-urlencoded": 415, "application/jsonx": 415,
		"text/plain; a=application/json": 415,
	} {
		status, _, _ := askMux(http.MethodPost, adminPrefix+"revocations", http.Header{"Content-Type": {kind}}, strings.NewReader(good))
		if status != want {
			t.Errorf("Content-Type %q: status %d, want %d", kind, status, want)
		}
	}
}
