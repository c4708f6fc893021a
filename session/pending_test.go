package session

import (
	"fmt"
	"slices"
	"sync"
	"testing"
)

// evictions notes who is evicted.
type evictions struct {
	mu  sync.Mutex
	who []string
}

func (e *evictions) of(who string) func() {
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.who = append(e.who, who)
	}
}

func TestPendingEvictsTheOldestOfAnAddress(t *testing.T) {
	var p Pending
	var e evictions
	for i := range 4 {
		p.Add("a", 10, 2, e.of(fmt.Sprint("a", i)))
	}
	p.Add("b", 10, 2, e.of("b0"))
	if want := []string{"a0", "a1"}; !slices.Equal(e.who, want) {
		t.Errorf("evicted %v, want %v", e.who, want)
	}
	if p.Len() != 3 {
		t.Errorf("Len = %d, want 3", p.Len())
	}
}

// Fifty addresses that fill the limit do not push out one that has a single
// socket.
func TestPendingEvictsFromTheAddressThatHasMost(t *testing.T) {
	var p Pending
	var e evictions
	p.Add("honest", 100, 50, e.of("honest"))
	for i := range 1000 {
		p.Add(fmt.Sprint("attacker", i%50), 100, 50, e.of("attacker"))
	}
	p.Add("another", 100, 50, e.of("another"))
	if slices.Contains(e.who, "honest") || slices.Contains(e.who, "another") {
		t.Error("an honest socket was evicted")
	}
	if p.Len() != 100 || len(e.who) != 902 {
		t.Errorf("Len = %d and %d evicted, want 100 and 902", p.Len(), len(e.who))
	}
}

func TestPendingForgetsWhoIsDone(t *testing.T) {
	var p Pending
	var e evictions
	first := p.Add("a", 2, 2, e.of("first"))
	second := p.Add("a", 2, 2, e.of("second"))
	first()
	first()
	p.Add("a", 2, 2, e.of("third"))
	if len(e.who) != 0 || p.Len() != 2 {
		t.Errorf("evicted %v with %d left, want nobody and 2", e.who, p.Len())
	}
	p.Add("a", 2, 2, e.of("fourth"))
	second() // has been evicted: counts no more
	if want := []string{"second"}; !slices.Equal(e.who, want) || p.Len() != 2 {
		t.Errorf("evicted %v with %d left, want %v and 2", e.who, p.Len(), want)
	}
}

func TestPendingUnderLoad(t *testing.T) {
	var p Pending
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			for range 200 {
				done := p.Add(fmt.Sprint(i%7), 20, 5, func() {})
				if n := p.Len(); n > 20 {
					t.Errorf("%d wait, 20 may", n)
				}
				done()
			}
		})
	}
	all.Wait()
	if p.Len() != 0 || len(p.addresses) != 0 {
		t.Errorf("%d left of %d addresses", p.Len(), len(p.addresses))
	}
}
