package websocketauth

import (
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestAttackLogoutFlood: forged tokens cost a bounded number of signature
// checks, and one client's do not keep the provider out.
func TestAttackLogoutFlood(t *testing.T) {
	t.Parallel()
	g := newLogoutRig(t)
	if w := g.send(t, logoutRequest(logoutForm(g.token(nil)))); w.Code != 200 { // has the keys fetched
		t.Fatal(w.Code)
	}
	signature := base64.RawURLEncoding.EncodeToString(make([]byte, 64))
	forged := func() string {
		token := g.token(nil)
		return token[:strings.LastIndexByte(token, '.')+1] + signature
	}
	start := time.Now()
	count := make(map[int]int)
	flood := func(n int, client func(i int) string) {
		for i := range n {
			w := g.send(t, from(logoutRequest(logoutForm(forged())), client(i)))
			count[w.Code]++
			if w.Code == 429 && w.Header().Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		}
	}
	flood(200, func(i int) string { return fmt.Sprintf("2001:db8::%x", i) }) // one network
	if w := g.send(t, from(logoutRequest(logoutForm(g.token(nil))), "192.0.2.1")); w.Code != 200 {
		t.Errorf("the provider meanwhile: status %d %s", w.Code, w.Body)
	}
	seconds := int(time.Since(start)/time.Second) + 2
	if count[400] > seconds*maxForgedOfClient || count[400] == 0 || count[429] == 0 || count[400]+count[429] != 200 {
		t.Errorf("answers %v in %d seconds", count, seconds)
	}
	clear(count)
	start = time.Now()
	flood(400, func(i int) string { return fmt.Sprintf("198.51.100.%d", i%200) })
	seconds = int(time.Since(start)/time.Second) + 2
	if count[400] > seconds*maxForged || count[429] == 0 {
		t.Errorf("answers %v in %d seconds", count, seconds)
	}
}

// TestLogoutOfAll: a provider that ends all its sessions at once is served,
// though it is one client.
func TestLogoutOfAll(t *testing.T) {
	t.Parallel()
	g := newLogoutRig(t)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				if w := g.send(t, from(logoutRequest(logoutForm(g.token(nil))), "192.0.2.1")); w.Code != 200 {
					t.Errorf("status %d %s", w.Code, w.Body)
				}
			}
		})
	}
	all.Wait()
	if n := len(g.all()); n != 400 {
		t.Errorf("%d logouts done, want 400", n)
	}
}

// TestFloodLimit counts in each second, for each client and for all, and keeps
// nothing of the second before.
func TestFloodLimit(t *testing.T) {
	t.Parallel()
	var f floodLimit
	now := time.Unix(1000, 0)
	spend := func(client string) (n int) {
		for f.allow(client, now) && n < 1000 {
			f.fail(client, now)
			n++
		}
		return n
	}
	if n := spend("a"); n != maxForgedOfClient {
		t.Errorf("%d of one client, want %d", n, maxForgedOfClient)
	}
	total := maxForgedOfClient
	for i := range 1000 {
		total += spend(fmt.Sprint("b", i))
	}
	if total != maxForged || f.allow("c", now) || len(f.byClient) > maxForged {
		t.Errorf("%d in all of %d clients, want %d", total, len(f.byClient), maxForged)
	}
	now = now.Add(time.Second)
	if !f.allow("a", now) || len(f.byClient) != 0 {
		t.Error("the next second begins with what was before")
	}
	now = now.Add(-time.Hour) // clocks get set
	if !f.allow("a", now) {
		t.Error("refused after the clock was set back")
	}
}

// TestAttackLogoutFloodOfMany: who would keep somebody logged in forges tokens
// from many addresses. A provider that is known is heard nonetheless, also
// after a reload.
func TestAttackLogoutFloodOfMany(t *testing.T) {
	t.Parallel()
	g := newLogoutRig(t)
	next := newLogoutRigOf(t, g.provider, `{"issuer":"`+g.provider.URL+`","audiences":["app"]}`)
	next.state.flood = g.state.flood
	provider := func(g *logoutRig) int {
		return g.send(t, from(logoutRequest(logoutForm(g.token(nil))), "2001:db8::1")).Code
	}
	if status := provider(g); status != 200 {
		t.Fatal(status)
	}
	for _, g := range []*logoutRig{g, next} {
		// Each second anew: until one has passed without a turn, nothing is shown.
		for shown := false; !shown; {
			second := time.Now().Unix()
			for i := range maxForged {
				g.state.flood.fail(fmt.Sprint("b", i), time.Unix(second, 0))
			}
			known := provider(g)
			stranger := g.send(t, from(logoutRequest(logoutForm(g.token(nil))), fmt.Sprint("192.0.2.", second%250))).Code
			if shown = time.Now().Unix() == second; shown && (known != 200 || stranger != 429) {
				t.Errorf("provider %d, want 200; stranger %d, want 429", known, stranger)
			}
		}
	}
}

// TestFloodLimitKnowsProviders: they are not kept out by others, but bounded in
// number, and what is forged at their address counts.
func TestFloodLimitKnowsProviders(t *testing.T) {
	t.Parallel()
	var f floodLimit
	now := time.Unix(1000, 0)
	f.succeed("p")
	for i := range 2 * maxProviders {
		f.succeed(fmt.Sprint(i))
	}
	if len(f.providers) > maxProviders {
		t.Errorf("%d providers are known", len(f.providers))
	}
	for i := range maxForged {
		f.fail(fmt.Sprint("b", i), now)
	}
	if !f.allow("p", now) || f.allow("q", now) {
		t.Errorf("known %v, want true; stranger %v, want false", f.allow("p", now), f.allow("q", now))
	}
	for range maxForgedOfClient {
		f.fail("p", now)
	}
	if f.allow("p", now) {
		t.Error("what is forged at a provider's address does not count")
	}
}
