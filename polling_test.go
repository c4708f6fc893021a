package websocketauth

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

// polledOf returns a login that nobody knows of yet.
func polledOf(id string, who *auth.Identity, now time.Time) *polledLogin {
	h := &Handler{logger: zap.NewNop()}
	l := &polledLogin{key: polledKey{polledConn: polledConn{id: id}}, handler: h, identity: who, since: now, policies: []session.Policy{h.policy}}
	l.session = session.Session{ID: id, Opened: now, Socket: l, Close: func() {}}
	return l
}

// logsIn has an identity log in for a connection.
func (p *polledClients) logsIn(t *testing.T, id string, who *auth.Identity, now time.Time) *polledLogin {
	t.Helper()
	l, err := p.put(polledOf(id, who, now), now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.end(l, causeStopped, nil) }) // no timer is left
	return l
}

// One identity that logs in for many made-up connections pushes out its own.
func TestPolledClientsAreBounded(t *testing.T) {
	now := time.Now()
	login := func(p *polledClients, id, subject string, until time.Time) {
		t.Helper()
		p.logsIn(t, id, &auth.Identity{Subject: subject, ValidUntil: until}, now)
	}
	var p polledClients
	login(&p, "honest", "bob", now.Add(time.Hour))
	for i := range 3 * maxPolledOfOne {
		login(&p, fmt.Sprint("made-up-", i), "mallory", now.Add(time.Hour))
	}
	if n := len(p.known); n != maxPolledOfOne+1 {
		t.Errorf("%d are known, want %d", n, maxPolledOfOne+1)
	}
	if p.get(polledKey{polledConn: polledConn{id: "honest"}}) == nil || p.get(polledKey{polledConn: polledConn{id: "made-up-0"}}) != nil {
		t.Error("not the oldest of the same identity was forgotten")
	}
	for i := range 2 * maxPolled {
		login(&p, fmt.Sprint("many-", i), fmt.Sprint("user-", i), now.Add(time.Hour))
	}
	if len(p.known) > maxPolled || len(p.owned) > maxPolled {
		t.Errorf("%d of %d are known, at most %d may be", len(p.known), len(p.owned), maxPolled)
	}
}

// What has ended is forgotten whole: owners that come once and never again
// must not add up.
func TestPolledClientsForgetOwners(t *testing.T) {
	now := time.Now()
	var p polledClients
	for i := range 1000 {
		who := &auth.Identity{Subject: fmt.Sprint("user-", i), ValidUntil: now.Add(time.Minute)}
		l := p.logsIn(t, fmt.Sprint("once-", i), who, now)
		if _, err := p.state(l, now.Add(time.Minute)); reasonOf(err) != auth.ReasonExpired {
			t.Fatalf("a login has outlived its credential: %v", err)
		}
	}
	if len(p.known) != 0 || len(p.owned) != 0 {
		t.Errorf("%d logins of %d owners are left", len(p.known), len(p.owned))
	}
	p.owners.expire(now.Add(time.Hour))
	if len(p.owners.known) != 0 || len(p.owners.owned) != 0 || p.owners.order.Len() != 0 {
		t.Errorf("%d connections of %d owners are left", len(p.owners.known), len(p.owners.owned))
	}
}

// TestAttackPolledOtherAfterEnd: the application may still take a connection
// for that of somebody whose login was ended. Nobody else can log in on it until
// it must have forgotten, however the login has ended.
func TestAttackPolledOtherAfterEnd(t *testing.T) {
	now := time.Now()
	alice := &auth.Identity{Subject: "alice", ValidUntil: now.Add(time.Hour)}
	bob := &auth.Identity{Subject: "bob", ValidUntil: now.Add(time.Hour)}
	var p polledClients
	l := p.logsIn(t, "one", alice, now)
	if _, err := p.put(polledOf("one", bob, now), now); reasonOf(err) != reasonOtherIdentity {
		t.Errorf("while alice is logged in: %v", err)
	}
	p.end(l, causeClientGone, nil)
	if _, err := p.put(polledOf("one", bob, now), now); reasonOf(err) != reasonOtherIdentity {
		t.Errorf("after alice's end: %v", err)
	}
	if err := p.endOf(l.key, now); reasonOf(err) != auth.ReasonMissing {
		t.Errorf("requests are refused with %v", err)
	}
	l = p.logsIn(t, "one", alice, now)
	if err := p.endOf(l.key, now); err != nil {
		t.Errorf("alice has logged in again, and is refused: %v", err)
	}
	p.end(l, causeClientGone, nil)
	p.logsIn(t, "one", bob, now.Add(2*keepOwner))
}

// TestAttackPolledFlush: whoever ends many logins of their own does not have the
// first of them forgotten, nor those of others.
func TestAttackPolledFlush(t *testing.T) {
	now := time.Now()
	mallory := &auth.Identity{Subject: "mallory", ValidUntil: now.Add(time.Hour)}
	other := &auth.Identity{Subject: "mallory's other", ValidUntil: now.Add(time.Hour)}
	var p polledClients
	p.end(p.logsIn(t, "first", mallory, now), causeClientGone, nil)
	for i := range maxOwnedByOne - 1 {
		l, err := p.put(polledOf(fmt.Sprint("flood-", i), mallory, now), now)
		if err != nil {
			t.Fatal(err)
		}
		p.end(l, causeClientGone, nil)
	}
	if _, err := p.put(polledOf("one more", mallory, now), now); reasonOf(err) != reasonTooMany {
		t.Errorf("one more login: %v", err)
	}
	if _, err := p.put(polledOf("first", other, now), now); reasonOf(err) != reasonOtherIdentity {
		t.Errorf("the first is forgotten: %v", err)
	}
	for i := range 2 * maxOwned {
		p.owners.add(polledConn{id: fmt.Sprint(i)}, polledOwner{subject: fmt.Sprint(i)}, nil, now)
	}
	if n := len(p.owners.known); n > maxOwned || n != p.owners.order.Len() {
		t.Errorf("%d connections are known, at most %d may be", n, maxOwned)
	}
}

// Users whose tokens have no subject are told apart by their names: they do not
// push out each other.
func TestPolledClientsWithoutSubject(t *testing.T) {
	now := time.Now()
	var p polledClients
	for i := range 2 * maxPolledOfOne {
		id := &auth.Identity{Issuer: "issuer", User: fmt.Sprint("user-", i), ValidUntil: now.Add(time.Hour)}
		p.logsIn(t, fmt.Sprint("of-", i), id, now)
	}
	if n := len(p.known); n != 2*maxPolledOfOne {
		t.Errorf("%d are known, want all %d", n, 2*maxPolledOfOne)
	}
}

// TestPolledLoginEnds: a login ends with its credential, by max_session, or when
// its client has gone. What is under way is cut then, and not before.
func TestPolledLoginEnds(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		policy       session.Policy
		valid, want  time.Duration
		used         bool
		reason       auth.Reason
		renewedAfter time.Duration
	}{
		"expiry":                   {valid: 10 * time.Minute, want: 10 * time.Minute, used: true, reason: auth.ReasonExpired},
		"expiry, which is ignored": {session.Policy{IgnoreExpiry: true}, time.Minute, time.Minute, true, auth.ReasonExpired, 0},
		"max_session":              {session.Policy{Max: 5 * time.Minute}, time.Hour, 5 * time.Minute, true, auth.ReasonMissing, 0},
		"max_session, renewed":     {session.Policy{Max: 5 * time.Minute}, 2 * time.Minute, 5 * time.Minute, true, auth.ReasonMissing, time.Minute},
		"renewed":                  {session.Policy{}, 2 * time.Minute, time.Hour + time.Minute, true, auth.ReasonExpired, time.Minute},
		"nobody polls":             {session.Policy{}, time.Hour, polledIdle, false, auth.ReasonMissing, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var p polledClients
				began := time.Now()
				l := p.logsIn(t, "ends", &auth.Identity{Subject: "alice", ValidUntil: began.Add(tt.valid)}, began)
				if err := p.limit(l, tt.policy); err != nil {
					t.Fatal(err)
				}
				cut := make(chan error, 1)
				if tt.used {
					if _, err := p.enter(l, l.handler, func(err error) { cut <- err }); err != nil {
						t.Fatal(err)
					}
				}
				if tt.renewedAfter > 0 {
					time.Sleep(tt.renewedAfter)
					p.logsIn(t, "ends", &auth.Identity{Subject: "alice", ValidUntil: time.Now().Add(time.Hour)}, time.Now())
				}
				time.Sleep(tt.want - time.Since(began) - time.Nanosecond)
				synctest.Wait()
				if _, err := p.state(l, time.Now()); err != nil || len(cut) > 0 {
					t.Fatalf("ended before its time: %v", err)
				}
				time.Sleep(time.Nanosecond)
				synctest.Wait()
				if p.get(l.key) != nil {
					t.Error("it lives on")
				}
				if _, err := p.state(l, time.Now()); reasonOf(err) != tt.reason {
					t.Errorf("its requests are refused with %v, want %s", err, tt.reason)
				}
				if tt.used {
					if err := <-cut; reasonOf(err) != tt.reason {
						t.Errorf("the request was cut with %v", err)
					}
				}
			})
		})
	}
}

// TestPolledLoginOverEarly: a login that is ended after it was registered and
// before it counts does not count, and lets nobody wait in vain.
func TestPolledLoginOverEarly(t *testing.T) {
	t.Parallel()
	now := time.Now()
	var p polledClients
	l := polledOf("early", &auth.Identity{Subject: "alice", ValidUntil: now.Add(time.Hour)}, now)
	revoked := auth.Refuse(reasonRevoked, "revoked")
	p.end(l, endRevoked.Cause, revoked)
	if _, err := p.put(l, now); !errors.Is(err, revoked) {
		t.Errorf("put: %v", err)
	}
	if p.get(l.key) != nil {
		t.Error("it is known")
	}
	if _, err := p.enter(l, l.handler, nil); !errors.Is(err, revoked) {
		t.Errorf("enter: %v", err)
	}
}

// blindVerifier cannot tell anything without the credential.
type blindVerifier struct{}

func (blindVerifier) Verify(context.Context, string, time.Time) (*auth.Identity, error) {
	return nil, errors.New("asked for the credential")
}

// TestPolledGuestVerifier: a login counts under a verifier that is no part of
// this module and cannot tell what has become of it, in the configuration that
// has let it in, and in no other.
func TestPolledGuestVerifier(t *testing.T) {
	t.Parallel()
	now := time.Now()
	var p polledClients
	l := p.logsIn(t, "guest", &auth.Identity{Verifier: "guest", Subject: "alice", ValidUntil: now.Add(time.Hour)}, now)
	h := &Handler{verifiers: []namedVerifier{{Verifier: blindVerifier{}, name: "guest"}}}
	if _, err := h.judgePolled(t.Context(), l); err != nil {
		t.Errorf("refused: %v", err)
	}
	if first, second := trustOf(h.verifiers), trustOf(h.verifiers); first == second {
		t.Error("two loads of the same words are the same")
	}
}

// TestPolledRenewal: another credential of the same identity counts if it ends
// later, one of another is refused, and nothing brings a login back to life.
func TestPolledRenewal(t *testing.T) {
	t.Parallel()
	now := time.Now()
	of := func(subject string, in time.Duration) *auth.Identity {
		return &auth.Identity{Subject: subject, ValidUntil: now.Add(in)}
	}
	var p polledClients
	l := p.logsIn(t, "renewed", of("alice", time.Hour), now)
	for _, tt := range []struct {
		id      *auth.Identity
		renewed bool
		reason  auth.Reason
		until   time.Duration
	}{
		{of("alice", time.Minute), true, "", time.Hour},
		{of("bob", 2*time.Hour), true, reasonOtherIdentity, time.Hour},
		{of("alice", 2*time.Hour), true, "", 2 * time.Hour},
	} {
		renewed, err := p.renew(l, tt.id)
		if renewed != tt.renewed || err == nil != (tt.reason == "") || err != nil && reasonOf(err) != tt.reason {
			t.Errorf("%s: %v, %v", tt.id.Subject, renewed, err)
		}
		if got, err := p.state(l, now); err != nil || !got.ValidUntil.Equal(now.Add(tt.until)) || got.Subject != "alice" {
			t.Errorf("after %s: %+v, %v", tt.id.Subject, got, err)
		}
	}
	p.end(l, causeAdmin, nil)
	if renewed, err := p.renew(l, of("alice", 3*time.Hour)); renewed || err != nil {
		t.Errorf("after the end: %v, %v", renewed, err)
	}
	if _, err := p.state(l, now); err == nil {
		t.Error("it lives")
	}
}

// TestPolledUnsettled: while the request of a login is served, handlers behind
// may write what a check of it would read. It is judged when they are done.
func TestPolledUnsettled(t *testing.T) {
	t.Parallel()
	now := time.Now()
	var p polledClients
	l := p.logsIn(t, "unsettled", &auth.Identity{Subject: "alice", ValidUntil: now.Add(time.Hour)}, now)
	l.handler = &Handler{recheck: true, logger: zap.NewNop()}
	l.by = new(request)
	l.recheckBy(&App{rechecks: new(atomic.Bool)}) // would look at the request, which is not there
	if _, err := p.state(l, now); err != nil {
		t.Errorf("judged: %v", err)
	}
	if p.settle(l, new(request)) || l.settled {
		t.Error("settled by another request")
	}
	if !p.settle(l, l.by) || !l.settled {
		t.Error("not settled by its own")
	}
}

// TestPolledTakeoverRenewed: a socket that has taken over may be renewed after
// the time of the login is up, and renews that before. A login that is over is
// taken over by nobody else.
func TestPolledTakeoverRenewed(t *testing.T) {
	t.Parallel()
	now := time.Now()
	of := func(in time.Duration) *auth.Identity {
		return &auth.Identity{Subject: "alice", ValidUntil: now.Add(in)}
	}
	var p polledClients
	l := p.logsIn(t, "renewed", of(time.Hour), now)
	s, other := new(socket), new(socket)
	for _, id := range []*auth.Identity{l.identity, of(2 * time.Hour)} {
		if err := p.takeOver(l, s, id); err != nil {
			t.Fatal(err)
		}
	}
	if id, err := p.state(l, now.Add(90*time.Minute)); err != nil || !id.ValidUntil.Equal(now.Add(2*time.Hour)) {
		t.Errorf("the login was not renewed: %+v, %v", id, err)
	}
	if _, err := p.state(l, now.Add(2*time.Hour)); reasonOf(err) != auth.ReasonExpired {
		t.Errorf("after its time: %v", err)
	}
	if err := p.takeOver(l, s, of(3*time.Hour)); err != nil {
		t.Errorf("the socket is not renewed: %v", err)
	}
	if err := p.takeOver(l, other, of(3*time.Hour)); reasonOf(err) != auth.ReasonExpired {
		t.Errorf("another socket: %v", err)
	}
	p.handBack(l, s, true)
	if p.get(l.key) != nil {
		t.Error("the login is back")
	}
}
