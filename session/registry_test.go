package session

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/internal/pace"
)

// ids returns the ids of sessions, in order.
func ids(sessions []*Session) string {
	var all []string
	for _, s := range sessions {
		all = append(all, s.ID)
	}
	return strings.Join(all, " ")
}

// who returns the identity of the i-th of many: 50 sessions a subject, 5 a sid.
func who(i int) Identity {
	return Identity{
		Issuer: "https://id.example", Subject: fmt.Sprint("subject", i/50), TokenID: fmt.Sprint("token", i),
		SessionID: fmt.Sprint("sid", i/5), IssuedAt: moment,
	}
}

func TestRegistryFind(t *testing.T) {
	t.Parallel()
	var r Registry
	for i, s := range []struct {
		site string
		id   Identity
	}{
		{"x", Identity{Issuer: "i", Subject: "u", TokenID: "t0", SessionID: "s"}},
		{"y", Identity{Issuer: "i", Subject: "u", TokenID: "t1"}},
		{"x", Identity{Issuer: "j", Subject: "u", TokenID: "t0", SessionID: "s"}},
		{"x", Identity{Subject: "u"}},
		{"y", Identity{}},
	} {
		added := &Session{ID: fmt.Sprint(i), Site: s.site}
		if !r.Add(added) {
			t.Fatal("not added")
		}
		r.Identify(added, s.id)
	}
	r.Add(&Session{ID: "5", Site: "x"}) // of whom nobody is known
	for _, tt := range []struct {
		f    Filter
		want string
	}{
		{Filter{}, "0 1 2 3 4 5"},
		{Filter{Site: "x"}, "0 2 3 5"},
		{Filter{Subject: "u"}, "0 1 2 3"},
		{Filter{Subject: "u", TokenID: "t0"}, "0 2"},
		{Filter{Subject: "v"}, ""},
		{Filter{Issuer: "i", OfIssuer: true}, "0 1"},
		{Filter{OfIssuer: true}, "3 4"}, // of 5 it is not known
		{Filter{OfIssuer: true, Site: "x"}, "3"},
		{Filter{OfIssuer: true, Subject: "u"}, "3"},
		{Filter{Issuer: "i", OfIssuer: true, Subject: "u"}, "0 1"},
		{Filter{Issuer: "i", OfIssuer: true, Subject: "u", Site: "y"}, "1"},
		{Filter{Issuer: "i", OfIssuer: true, Subject: "u", TokenID: "t0"}, "0"},
		{Filter{Issuer: "i", OfIssuer: true, Subject: "v", TokenID: "t0"}, ""},
		{Filter{Issuer: "j", OfIssuer: true, SessionID: "s"}, "2"},
		{Filter{TokenID: "t0"}, "0 2"},
		{Filter{SessionID: "s"}, "0 2"},
		{Filter{Issuer: "k", OfIssuer: true, TokenID: "t0"}, ""},
	} {
		if got := ids(r.Find(tt.f)); got != tt.want {
			t.Errorf("Find(%+v) = %q, want %q", tt.f, got, tt.want)
		}
	}
}

// After a renewal a session is found as who it is, not as who it was.
func TestRegistryIdentifyAgain(t *testing.T) {
	t.Parallel()
	var r Registry
	s, other := &Session{ID: "a"}, &Session{ID: "b"}
	r.Add(s)
	r.Add(other)
	r.Identify(s, Identity{Issuer: "i", Subject: "u", TokenID: "t0"})
	r.Identify(other, Identity{Issuer: "i", Subject: "u", TokenID: "t9"})
	r.Identify(s, Identity{Issuer: "i", Subject: "u", TokenID: "t1"})
	for text, want := range map[string]string{"t0": "", "t1": "a", "t9": "b"} {
		if got := ids(r.Find(Filter{Issuer: "i", OfIssuer: true, TokenID: text})); got != want {
			t.Errorf("%s finds %q, want %q", text, got, want)
		}
	}
	if got := ids(r.Find(Filter{Issuer: "i", OfIssuer: true, Subject: "u"})); got != "a b" {
		t.Errorf("the subject finds %q, want both", got)
	}
	r.Remove(s)
	r.Remove(s)
	r.Identify(s, Identity{Issuer: "i", Subject: "u"}) // too late
	if got := ids(r.Find(Filter{Issuer: "i", OfIssuer: true, Subject: "u"})); got != "b" || r.Len() != 1 || r.Get("a") != nil || r.Get("b") != other {
		t.Errorf("after its end the subject finds %q of %d", got, r.Len())
	}
}

// The indexes agree with a search of everything, whatever happens in whatever
// order.
func TestRegistryAgainstModel(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	var r Registry
	live := make(map[*Session]Identity)
	var order []*Session
	letters := []string{"", "a", "b", "c"}
	pick := func() string { return letters[random.IntN(len(letters))] }
	for step := range 3000 {
		switch n := random.IntN(3); {
		case n == 0 || len(order) == 0:
			s := &Session{ID: fmt.Sprint(step)}
			r.Add(s)
			order = append(order, s)
		case n == 1:
			s := order[random.IntN(len(order))]
			live[s] = Identity{Issuer: pick(), Subject: pick(), TokenID: pick(), SessionID: pick()}
			r.Identify(s, live[s])
		case len(order) > 20 || random.IntN(4) == 0:
			i := random.IntN(len(order))
			r.Remove(order[i])
			delete(live, order[i])
			order = slices.Delete(order, i, i+1)
		}
		f := Filter{Issuer: pick(), OfIssuer: random.IntN(2) == 0, Subject: pick(), TokenID: pick(), SessionID: pick()}
		var want []*Session
		for _, s := range order {
			id, identified := live[s]
			if (!f.OfIssuer || identified && id.Issuer == f.Issuer) && (f.Subject == "" || id.Subject == f.Subject) &&
				(f.TokenID == "" || id.TokenID == f.TokenID) && (f.SessionID == "" || id.SessionID == f.SessionID) {
				want = append(want, s)
			}
		}
		if got := ids(r.Find(f)); got != ids(want) {
			t.Fatalf("step %d: Find(%+v) = %q, want %q", step, f, got, ids(want))
		}
	}
	for _, s := range order {
		r.Remove(s)
	}
	if r.Len() != 0 || r.first != nil || r.last != nil || len(r.subjects.first)+len(r.tokens.first)+len(r.sids.first) != 0 {
		t.Error("something is left when all have ended")
	}
}

func TestRegistryPages(t *testing.T) {
	t.Parallel()
	var r Registry
	all := make([]*Session, 25)
	for i := range all {
		all[i] = &Session{ID: fmt.Sprint(i)}
		r.Add(all[i])
		r.Identify(all[i], who(i))
	}
	var got []*Session
	next, pages := "", 0
	for {
		page, total, following := r.Page(Filter{}, next, 10)
		got = append(got, page...)
		pages++
		if total != 25-pages+1 && total != 25 {
			t.Errorf("total = %d", total)
		}
		if next = following; next == "" {
			break
		}
		// One that has been listed ends: no other is left out or comes twice.
		r.Remove(all[(pages-1)*10+9])
	}
	if ids(got) != ids(all) || pages != 3 {
		t.Errorf("%d pages: %s", pages, ids(got))
	}
	if page, _, next := r.Page(Filter{}, "!", 10); len(page) != 0 || next != "" {
		t.Error("there is something after a place that cannot be")
	}
	if page, total, next := r.Page(Filter{Issuer: "https://id.example", OfIssuer: true, TokenID: "token3"}, "", 10); len(page) != 1 || total != 1 || next != "" {
		t.Error("a single one is not a page")
	}
}

// 100,000 sessions take at most 1 KiB each.
func TestRegistryMemory(t *testing.T) {
	const n = 100_000
	identities := make([]Identity, n) // what it keeps of them is counted below
	for i := range identities {
		identities[i] = who(i)
	}
	var r Registry
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range n {
		s := &Session{ID: fmt.Sprintf("%026d", i), Site: "site", Opened: moment}
		r.Add(s)
		r.Identify(s, identities[i])
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	texts := 0
	for _, id := range identities {
		texts += len(id.Issuer) + len(id.Subject) + len(id.TokenID) + len(id.SessionID)
	}
	each := (int64(after.HeapAlloc) - int64(before.HeapAlloc) + int64(texts)) / n
	t.Logf("%d bytes a session", each)
	if each > 1024 || r.Len() != n {
		t.Errorf("%d sessions take %d bytes each, want at most 1024", r.Len(), each)
	}
	runtime.KeepAlive(&r)
}

// A page is found without a list of all: of 100,000 sessions a page costs
// little more than what is on it.
func TestRegistryPageIsNotAList(t *testing.T) {
	var r Registry
	for i := range 100_000 {
		r.Add(&Session{ID: fmt.Sprint(i)})
	}
	var before, after runtime.MemStats
	for _, next := range []string{"", strconv.FormatUint(50_000, 36)} {
		runtime.ReadMemStats(&before)
		page, total, _ := r.Page(Filter{}, next, 100)
		runtime.ReadMemStats(&after)
		if len(page) != 100 || total != r.Len() {
			t.Errorf("%d of %d", len(page), total)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > 64<<10 {
			t.Errorf("a page of 100 after %q takes %d bytes", next, took)
		}
	}
}

// Who stays while a list is read page by page is in it once, whoever comes,
// goes, logs in or renews meanwhile.
func TestRegistryPagesWhileSessionsComeAndGo(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		var r Registry
		alice := Identity{Issuer: "i", Subject: "alice", TokenID: "t"}
		var others, all []*Session
		staying := make(map[*Session]bool)
		add := func() {
			s := &Session{ID: fmt.Sprint(len(all))}
			r.Add(s)
			all = append(all, s)
			if random.IntN(2) == 0 {
				r.Identify(s, alice)
			}
			others = append(others, s)
		}
		for range 40 {
			add()
		}
		f := Filter{Subject: "alice"}
		if random.IntN(2) == 0 {
			f = Filter{}
		}
		for _, s := range r.Find(f) {
			if staying[s] = random.IntN(2) == 0; staying[s] {
				others = slices.DeleteFunc(others, func(other *Session) bool { return other == s })
			}
		}
		seen := make(map[*Session]int)
		for next := ""; ; {
			page, _, following := r.Page(f, next, 1+random.IntN(7))
			for _, s := range page {
				seen[s]++
			}
			if next = following; next == "" {
				break
			}
			for range random.IntN(4) {
				if len(others) > 0 && len(all) < 100 {
					i := random.IntN(len(others))
					r.Remove(others[i])
					others = slices.Delete(others, i, i+1)
					add()
				}
				renewed := alice
				renewed.TokenID = fmt.Sprint(random.Int())
				for s, stays := range staying {
					if stays && random.IntN(10) == 0 {
						r.Identify(s, renewed)
					}
				}
			}
		}
		for s, stays := range staying {
			if stays && seen[s] != 1 {
				t.Fatalf("%s of %d is in the list %d times", s.ID, len(all), seen[s])
			}
		}
		for s, n := range seen {
			if n > 1 {
				t.Fatalf("%s is in the list %d times", s.ID, n)
			}
		}
	}
}

// BenchmarkRegistryPage is a page of a thousand among 100,000 sessions.
func BenchmarkRegistryPage(b *testing.B) {
	var r Registry
	for i := range 100_000 {
		s := &Session{ID: fmt.Sprint(i)}
		r.Add(s)
		r.Identify(s, who(i))
	}
	for name, after := range map[string]string{"first": "", "last": strconv.FormatUint(99_000, 36)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.Page(Filter{}, after, 1000)
			}
		})
	}
}

// Who is looked for by subject, jti or sid, with the issuer or without, is
// found without looking at all: two thousand searches among 100,000 take less
// than twenty of all of them.
func TestRegistryDoesNotScan(t *testing.T) { pace.Try(t, registryDoesNotScan) }

func registryDoesNotScan(t testing.TB) {
	var r Registry
	const n = 100_000
	for i := range n {
		site := "site"
		if i/50 == 7 {
			site = "other"
		}
		s := &Session{ID: fmt.Sprint(i), Site: site}
		r.Add(s)
		r.Identify(s, who(i))
	}
	start := time.Now()
	for range 20 {
		if got := len(r.Find(Filter{Site: "other"})); got != 50 {
			t.Fatalf("%d found", got)
		}
	}
	scans := time.Since(start)
	start = time.Now()
	for _, f := range []Filter{{Issuer: "https://id.example", OfIssuer: true}, {}} {
		for i := range 334 {
			subject, token, sid := f, f, f
			subject.Subject, token.TokenID, sid.SessionID = fmt.Sprint("subject", i), fmt.Sprint("token", i*50), fmt.Sprint("sid", i*10)
			if a, b, c := len(r.Find(subject)), len(r.Find(token)), len(r.Find(sid)); a != 50 || b != 1 || c != 5 {
				t.Fatalf("%d: %d, %d and %d found", i, a, b, c)
			}
			if page, total, _ := r.Page(subject, "", 10); len(page) != 10 || total != 50 {
				t.Fatalf("%d: %d of %d on a page", i, len(page), total)
			}
		}
	}
	if took := time.Since(start); took > scans {
		t.Errorf("2700 searches took %v, 20 scans %v", took, scans)
	}
	// Ending those of a subject does not scan, either.
	start = time.Now()
	for i := range 200 {
		for _, s := range r.Find(Filter{Subject: fmt.Sprint("subject", i)}) {
			r.Remove(s)
		}
	}
	if took := time.Since(start); took > scans {
		t.Errorf("10,000 removals took %v, 20 scans %v", took, scans)
	}
	if r.Len() != n-10_000 {
		t.Errorf("%d are left", r.Len())
	}
}

// Of sessions that are registered before they are checked, none slips past a
// revocation that comes at the same moment.
func TestRevokeInTheMomentOfOpening(t *testing.T) {
	t.Parallel()
	for i := range 1000 {
		var registry Registry
		var revocations Revocations
		id := Identity{Issuer: "i", Subject: "u", TokenID: fmt.Sprint(i), IssuedAt: inSeconds(-5)}
		r := Revocation{Issuer: "i", Subject: "u", IssuedBefore: moment, Until: inSeconds(100)}
		s := &Session{ID: "a"}
		var refused, ended bool
		var both sync.WaitGroup
		both.Go(func() {
			registry.Add(s)
			registry.Identify(s, id)
			_, refused = revocations.Find(id, moment)
		})
		both.Go(func() {
			revocations.Add(r, moment)
			ended = len(registry.Find(r.Filter())) == 1
		})
		both.Wait()
		if !refused && !ended {
			t.Fatalf("%d: open although revoked", i)
		}
	}
}

func TestRegistryUnderLoad(t *testing.T) {
	t.Parallel()
	var r Registry
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 300 {
				s := &Session{ID: fmt.Sprint(i, "-", n)}
				r.Add(s)
				r.Identify(s, who(n))
				r.Find(Filter{Issuer: "https://id.example", OfIssuer: true, Subject: who(n).Subject})
				r.Page(Filter{}, "", 5)
				r.Identify(s, who(n+1))
				if n%2 == 0 {
					r.Remove(s)
				}
			}
		})
	}
	all.Wait()
	if r.Len() != 8*150 || len(r.Find(Filter{})) != 8*150 {
		t.Errorf("%d are left, want %d", r.Len(), 8*150)
	}
}

// A session that gives way to another one and comes back is found as before, and
// keeps its place among those of its subject.
func TestRegistryAddAgain(t *testing.T) {
	t.Parallel()
	var r Registry
	of := Identity{Issuer: "i", Subject: "u"}
	all := []*Session{{ID: "0"}, {ID: "1"}, {ID: "2"}}
	for _, s := range all {
		r.Add(s)
		r.Identify(s, of)
	}
	r.Remove(all[0])
	if got := ids(r.Find(Filter{Subject: "u"})); got != "1 2" {
		t.Errorf("without it: %s", got)
	}
	if !r.Add(all[0]) {
		t.Fatal("not added")
	}
	r.Identify(all[0], of)
	if got := ids(r.Find(Filter{Subject: "u"})); got != "1 2 0" {
		t.Errorf("found: %s", got)
	}
	if got := ids(r.Before(all[2])); got != "0 1" {
		t.Errorf("before the last: %s", got)
	}
	for _, s := range all {
		s.Close = func() { go r.Remove(s) }
	}
	if left := r.Drain(0, time.Minute); left != 0 {
		t.Errorf("%d are left", left)
	}
	if r.Add(all[0]) {
		t.Error("added after the end")
	}
}
