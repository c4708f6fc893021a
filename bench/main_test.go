package main

import "testing"

func TestPlan(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name                          string
		opts                          options
		sockets, rounds, memoryRounds int // 0 sockets: an error
	}{
		{"default", options{}, 8000, 9, 3},
		{"quick", options{quick: true}, 1000, 3, 1},
		{"what is asked for wins", options{quick: true, rounds: 4, sockets: 50}, 50, 4, 2},
		{"more sockets than descriptors", options{sockets: 9501}, 0, 0, 0},
		{"no socket", options{sockets: -1}, 0, 0, 0},
		{"no round", options{rounds: -1}, 0, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p, err := tc.opts.plan()
			if (err != nil) != (tc.sockets == 0) {
				t.Fatalf("plan: %v", err)
			}
			if p.sockets != tc.sockets || p.rounds != tc.rounds || p.memoryRounds != tc.memoryRounds {
				t.Errorf("plan = %+v", p)
			}
		})
	}
}
