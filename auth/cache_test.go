package auth

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestCacheRemembersUntilTheEnd: one key look-up for many verifications, and
// none is accepted after the end.
func TestCacheRemembersUntilTheEnd(t *testing.T) {
	t.Parallel()
	keys := &countingKeys{KeySet: testKeys(t)}
	v := newJWT(t, func(c *JWTConfig) { c.Keys = keys })
	token := rs256(t, goodClaims(t, nil))
	first, err := v.Verify(t.Context(), token, testNow)
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		id, err := v.Verify(t.Context(), token, testNow.Add(time.Minute))
		if err != nil || id != first {
			t.Fatalf("got %p, %v, want the first identity %p", id, err, first)
		}
	}
	if keys.finds != 1 {
		t.Errorf("%d key look-ups, want 1", keys.finds)
	}
	_, err = v.Verify(t.Context(), token, testNow.Add(5*time.Minute))
	if reasonOf(err) != ReasonExpired {
		t.Errorf("at the end: %v, want expired", err)
	}
	if _, err = v.Verify(t.Context(), token, testNow.Add(-time.Hour)); reasonOf(err) != ReasonNotYetValid {
		t.Errorf("clock set back an hour: %v, want not yet valid", err)
	}
}

// TestCacheForgetsRemovedKeys: a token of a key that is gone is not known
// any more.
func TestCacheForgetsRemovedKeys(t *testing.T) {
	t.Parallel()
	keys := &countingKeys{KeySet: testKeys(t)}
	v := newJWT(t, func(c *JWTConfig) { c.Keys = keys })
	token := rs256(t, goodClaims(t, nil))
	if _, err := v.Verify(t.Context(), token, testNow); err != nil {
		t.Fatal(err)
	}
	keys.gone = true
	if _, err := v.Verify(t.Context(), token, testNow); err != nil {
		t.Fatal(err)
	}
	if keys.finds != 2 {
		t.Errorf("%d key look-ups, want 2: the key is gone", keys.finds)
	}
}

func TestCacheForget(t *testing.T) {
	t.Parallel()
	keys := &countingKeys{KeySet: testKeys(t)}
	v := newJWT(t, func(c *JWTConfig) { c.Keys = keys })
	alice, bob := rs256(t, goodClaims(t, nil)), rs256(t, goodClaims(t, map[string]any{"sub": "bob"}))
	verify := func() {
		t.Helper()
		for _, token := range []string{alice, bob} {
			if _, err := v.Verify(t.Context(), token, testNow); err != nil {
				t.Fatal(err)
			}
		}
	}
	verify()
	if n := v.Forget(func(id *Identity) bool { return id.Subject == "bob" }); n != 1 {
		t.Errorf("forgot %d, want 1", n)
	}
	verify()
	if keys.finds != 3 {
		t.Errorf("%d key look-ups, want 3", keys.finds)
	}
}

// TestCacheKeepsNoRefusal: what was refused once is looked at again.
func TestCacheKeepsNoRefusal(t *testing.T) {
	t.Parallel()
	v := newJWT(t, nil)
	token := rs256(t, goodClaims(t, map[string]any{"nbf": testNow.Unix() + 60}))
	wantReason(t, v, token, ReasonNotYetValid)
	if _, err := v.Verify(t.Context(), token, testNow.Add(time.Minute)); err != nil {
		t.Errorf("a minute later: %v", err)
	}
}

// TestCacheIsBounded: many tokens do not grow it without end, and what has
// ended goes first.
func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	keys := testKeys(t)
	var c tokenCache
	entry := func(until time.Time) *verified {
		return &verified{identity: &Identity{}, validity: validity{until: until}, key: keys.table.keys[0], keys: keys, size: MaxTokenSize}
	}
	for i := range 20_000 {
		c.put(sha(fmt.Sprint(i)), entry(testNow.Add(time.Hour)), testNow)
	}
	tokens, bytes := 0, 0
	for i := range c.shards {
		tokens += len(c.shards[i].tokens)
		bytes += c.shards[i].bytes
	}
	if bytes > maxCachedBytes || tokens != bytes/MaxTokenSize || tokens < maxCachedBytes/MaxTokenSize/2 {
		t.Errorf("%d tokens, %d bytes", tokens, bytes)
	}
	for i := range 20_000 {
		c.put(sha(fmt.Sprint("later", i)), entry(testNow.Add(3*time.Hour)), testNow.Add(2*time.Hour))
	}
	for i := range 20_000 {
		if c.get(sha(fmt.Sprint(i)), testNow.Add(2*time.Hour)) != nil {
			t.Fatal("an ended token is known")
		}
	}
}

// TestCacheHitAllocatesNothing keeps a reconnect storm cheap.
func TestCacheHitAllocatesNothing(t *testing.T) {
	v := newJWT(t, nil)
	token := rs256(t, goodClaims(t, nil))
	ctx := t.Context()
	verify := func() {
		if _, err := v.Verify(ctx, token, testNow); err != nil {
			t.Fatal(err)
		}
	}
	verify()
	if n := testing.AllocsPerRun(100, verify); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestCacheConcurrent(t *testing.T) {
	t.Parallel()
	v := newJWT(t, nil)
	tokens := make([]string, 8)
	for i := range tokens {
		tokens[i] = rs256(t, goodClaims(t, map[string]any{"sub": fmt.Sprint("u", i)}))
	}
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 300 {
				n := (worker + i) % len(tokens)
				id, err := v.Verify(t.Context(), tokens[n], testNow)
				if err != nil || id.Subject != fmt.Sprint("u", n) {
					t.Errorf("token %d: %v, %v", n, id, err)
					return
				}
				if i%50 == 0 {
					v.Forget(func(id *Identity) bool { return id.Subject == "u0" })
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkVerifyKnown(b *testing.B) {
	v := newJWT(b, nil)
	token := rs256(b, goodClaims(b, nil))
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(ctx, token, testNow); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyNewRS256(b *testing.B) {
	v := newJWT(b, nil)
	token := rs256(b, goodClaims(b, nil))
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		v.Forget(func(*Identity) bool { return true })
		if _, err := v.Verify(ctx, token, testNow); err != nil {
			b.Fatal(err)
		}
	}
}

// TestAttackKnownTokenWithMore: bytes behind a known token of the largest
// size do not make it the known token.
func TestAttackKnownTokenWithMore(t *testing.T) {
	t.Parallel()
	v := newJWT(t, nil)
	token := tokenOfSize(t, MaxTokenSize)
	if _, err := v.Verify(t.Context(), token, testNow); err != nil {
		t.Fatal(err, detailOf(err))
	}
	for _, more := range []string{"A", "AAAA", ".", "\x00"} {
		if id, err := v.Verify(t.Context(), token+more, testNow); reasonOf(err) != ReasonMalformed {
			t.Errorf("with %q behind: let in %v, %v", more, id != nil, err)
		}
	}
}

// tokenOfSize returns a good token of exactly size bytes.
func tokenOfSize(t *testing.T, size int) string {
	t.Helper()
	for head := range 4 {
		header := `{"alg":"RS256","kid":"r1"` + strings.Repeat(" ", head) + `}`
		short := len(sign(t, "RS256", rsaKey(), header, goodClaims(t, map[string]any{"pad": ""})))
		for pad := (size-short)*3/4 - 3; pad < (size-short)*3/4+3; pad++ {
			claims := goodClaims(t, map[string]any{"pad": strings.Repeat("x", pad)})
			if token := sign(t, "RS256", rsaKey(), header, claims); len(token) == size {
				return token
			}
		}
	}
	t.Fatalf("no token of %d bytes", size)
	return ""
}
