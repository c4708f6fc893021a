package session

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var moment = time.Unix(1_800_000_000, 0)

// inSeconds returns a time near moment.
func inSeconds(s int) time.Time { return moment.Add(time.Duration(s) * time.Second) }

func TestRevocationCheck(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		r    Revocation
		ok   bool
	}{
		{"nothing", Revocation{Issuer: "i", Until: moment}, false},
		{"a token", Revocation{TokenID: "t", Until: moment}, true},
		{"a session", Revocation{Issuer: "i", SessionID: "s", Until: moment}, true},
		{"a subject", Revocation{Subject: "u", IssuedBefore: moment, Until: moment}, true},
		{"a subject at any time", Revocation{Subject: "u", Until: moment}, false},
		{"two things", Revocation{TokenID: "t", SessionID: "s", Until: moment}, false},
		{"without end", Revocation{TokenID: "t"}, false},
		{"until no year can say", Revocation{TokenID: "t", Until: time.Date(9999, 12, 31, 23, 59, 59, 0, time.FixedZone("", -3600))}, false},
		{"until the last year", Revocation{TokenID: "t", Until: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)}, true},
		{"issued before all years", Revocation{TokenID: "t", IssuedBefore: time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC), Until: moment}, false},
		{"NUL in the issuer", Revocation{Issuer: "a\x00b", TokenID: "t", Until: moment}, false},
		{"NUL in the subject", Revocation{Subject: "a\x00b", IssuedBefore: moment, Until: moment}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if err := tt.r.Check(); (err == nil) != tt.ok {
				t.Errorf("Check(%+v) = %v", tt.r, err)
			}
		})
	}
}

func TestRevocationMeans(t *testing.T) {
	t.Parallel()
	token := Revocation{Issuer: "i", TokenID: "t"}
	subject := Revocation{Issuer: "i", Subject: "u", IssuedBefore: moment}
	tests := []struct {
		name string
		r    Revocation
		id   Identity
		want bool
	}{
		{"the token", token, Identity{Issuer: "i", TokenID: "t", Subject: "u"}, true},
		{"another token", token, Identity{Issuer: "i", TokenID: "T", Subject: "u"}, false},
		{"no token id", token, Identity{Issuer: "i", Subject: "u"}, false},
		{"of another issuer", token, Identity{Issuer: "j", TokenID: "t"}, false},
		{"of no issuer", token, Identity{TokenID: "t"}, false},
		{"a subject called like it", token, Identity{Issuer: "i", Subject: "t"}, false},
		{"no issuer meant", Revocation{TokenID: "t"}, Identity{TokenID: "t"}, true},
		{"no issuer meant, but there", Revocation{TokenID: "t"}, Identity{Issuer: "i", TokenID: "t"}, false},
		{"issued before", subject, Identity{Issuer: "i", Subject: "u", IssuedAt: inSeconds(-1)}, true},
		{"issued in the same second", subject, Identity{Issuer: "i", Subject: "u", IssuedAt: moment.Add(999 * time.Millisecond)}, true},
		{"issued after", subject, Identity{Issuer: "i", Subject: "u", IssuedAt: inSeconds(1)}, false},
		{"issued nobody knows when", subject, Identity{Issuer: "i", Subject: "u"}, true},
		{"another subject", subject, Identity{Issuer: "i", Subject: "v"}, false},
		{"the session", Revocation{Issuer: "i", SessionID: "s"}, Identity{Issuer: "i", SessionID: "s"}, true},
		{"another session", Revocation{Issuer: "i", SessionID: "s"}, Identity{Issuer: "i", SessionID: "r"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := tt.r.Means(tt.id); got != tt.want {
				t.Errorf("Means = %v, want %v", got, tt.want)
			}
			tt.r.Until = inSeconds(100)
			var all Revocations
			all.Add(tt.r, moment)
			if _, got := all.Find(tt.id, moment); got != tt.want {
				t.Errorf("Find = %v, want %v", got, tt.want)
			}
		})
	}
}

// What is said of one thing only grows, whatever the order it is said in.
func TestRevocationsGrow(t *testing.T) {
	t.Parallel()
	subject := func(before, until int, reason string) Revocation {
		return Revocation{Subject: "u", IssuedBefore: inSeconds(before), Until: inSeconds(until), Reason: reason}
	}
	all := []Revocation{subject(10, 500, "a"), subject(30, 100, "b"), subject(20, 300, ""), subject(5, 50, "")}
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		var set Revocations
		for _, r := range all {
			set.Add(r, moment)
		}
		got := set.All(moment)
		if len(got) != 1 || !got[0].IssuedBefore.Equal(inSeconds(30)) || !got[0].Until.Equal(inSeconds(500)) || got[0].Reason == "" {
			t.Fatalf("after %v: %v", all, got)
		}
	}
	var set Revocations
	set.Add(Revocation{TokenID: "t", IssuedBefore: inSeconds(5), Until: inSeconds(50)}, moment)
	if !set.Add(Revocation{TokenID: "t", Until: inSeconds(40)}, moment) {
		t.Error("a revocation of any time changes nothing")
	}
	if set.Add(Revocation{TokenID: "t", IssuedBefore: inSeconds(20), Until: inSeconds(40)}, moment) {
		t.Error("what is known already counts as a change")
	}
	if got := set.All(moment)[0]; !got.IssuedBefore.IsZero() || !got.Until.Equal(inSeconds(50)) {
		t.Errorf("became %v, want any time until 50 s", got)
	}
}

func TestRevocationsEnd(t *testing.T) {
	t.Parallel()
	var set Revocations
	id := Identity{TokenID: "t"}
	r := Revocation{TokenID: "t", Until: inSeconds(10)}
	if set.Add(r, inSeconds(10)) {
		t.Error("added what has ended")
	}
	if !set.Add(r, moment) {
		t.Error("not added")
	}
	for _, at := range []int{0, 9} {
		if _, found := set.Find(id, inSeconds(at)); !found {
			t.Errorf("not found at %d s", at)
		}
	}
	if _, found := set.Find(id, inSeconds(10)); found || len(set.All(inSeconds(10))) != 0 {
		t.Error("counts after its end")
	}
	// What has ended says nothing of what comes after.
	again := Revocation{TokenID: "t", IssuedBefore: inSeconds(15), Until: inSeconds(30)}
	if !set.Add(again, inSeconds(20)) || !set.All(inSeconds(20))[0].IssuedBefore.Equal(inSeconds(15)) {
		t.Errorf("became %v, want %v", set.All(inSeconds(20)), again)
	}
	if !set.Remove(again.Key()) || set.Remove(again.Key()) {
		t.Error("Remove is wrong about what there was")
	}
	if _, found := set.Find(id, inSeconds(20)); found {
		t.Error("counts after it was removed")
	}
}

// What has ended does not stay in memory for ever.
func TestEndedRevocationsAreForgotten(t *testing.T) {
	t.Parallel()
	var set Revocations
	most := 0
	for i := range 20_000 {
		set.Add(Revocation{TokenID: fmt.Sprint(i), Until: inSeconds(i + 10)}, inSeconds(i))
		most = max(most, set.Len())
	}
	if most > 200 {
		t.Errorf("up to %d are kept of 10 that count", most)
	}
}

// Parts of a key cannot be shifted into each other.
func TestRevocationKeys(t *testing.T) {
	t.Parallel()
	seen := make(map[string]Revocation)
	texts := []string{"", "a", "b", "ab", "a:b", "jti", "sid", "subject"}
	for _, issuer := range texts {
		for _, text := range texts[1:] {
			for _, r := range []Revocation{
				{Issuer: issuer, Subject: text}, {Issuer: issuer, TokenID: text}, {Issuer: issuer, SessionID: text},
			} {
				if other, ok := seen[r.Key()]; ok {
					t.Errorf("%+v and %+v have one key", r, other)
				}
				seen[r.Key()] = r
				if strings.Count(r.Key(), "\x00") != 2 {
					t.Errorf("the key %q has not three parts", r.Key())
				}
			}
		}
	}
}

func TestRevocationsInOrder(t *testing.T) {
	t.Parallel()
	var set Revocations
	for i := range 50 {
		set.Add(Revocation{TokenID: fmt.Sprint(i * 7 % 50), Until: inSeconds(10)}, moment)
	}
	first := set.All(moment)
	if len(first) != 50 || !slices.IsSortedFunc(first, func(a, b Revocation) int { return strings.Compare(a.Key(), b.Key()) }) {
		t.Errorf("%d, or not in order", len(first))
	}
}

// The filter of a revocation means the sessions that it may end, and no others.
func TestRevocationFilter(t *testing.T) {
	t.Parallel()
	var registry Registry
	for i, id := range []Identity{
		{Issuer: "i", Subject: "u", TokenID: "t"}, {Issuer: "j", Subject: "u", TokenID: "t"}, {Subject: "u"}, {Issuer: "i", Subject: "t"},
	} {
		s := &Session{ID: fmt.Sprint(i)}
		registry.Add(s)
		registry.Identify(s, id)
	}
	for _, tt := range []struct {
		r    Revocation
		want string
	}{
		{Revocation{Issuer: "i", Subject: "u"}, "0"},
		{Revocation{Issuer: "j", TokenID: "t"}, "1"},
		{Revocation{Subject: "u"}, "2"},
		{Revocation{Issuer: "k", Subject: "u"}, ""},
		{Revocation{Issuer: "i", SessionID: "t"}, ""},
	} {
		if got := ids(registry.Find(tt.r.Filter())); got != tt.want {
			t.Errorf("%+v ends %q, want %q", tt.r, got, tt.want)
		}
	}
}

func TestRevocationsUnderLoad(t *testing.T) {
	t.Parallel()
	var set Revocations
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 500 {
				r := Revocation{TokenID: fmt.Sprint(n % 20), Until: inSeconds(n + 10)}
				set.Add(r, moment)
				set.Find(Identity{TokenID: r.TokenID}, moment)
				if i == 0 && n%100 == 0 {
					set.All(moment)
				}
			}
		})
	}
	all.Wait()
	if got := len(set.All(moment)); got != 20 {
		t.Errorf("%d count, want 20", got)
	}
}
