package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// The model test draws sockets at random: how both sides send, in which frames
// and pieces, how they stall, and what happens to the gate meanwhile. What it
// checks holds for each of them, per direction: nothing is lost, doubled, out
// of order, past the end, or inside a message. How long it goes on is in
// WEBSOCKET_AUTH_MODEL, a duration. A socket that fails is drawn again with its
// number in WEBSOCKET_AUTH_SEED; what runs at the same time may still take
// turns differently.
func TestModelOfTheGate(t *testing.T) {
	const workers = 2
	if s := os.Getenv("WEBSOCKET_AUTH_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		for range 200 {
			oneOfTheModel(t, seed)
		}
		return
	}
	long := 2 * time.Second
	if s := os.Getenv("WEBSOCKET_AUTH_MODEL"); s != "" {
		var err error
		if long, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	var sockets atomic.Int64
	t.Run("sockets", func(t *testing.T) {
		for i := range workers {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				until := time.Now().Add(long)
				for time.Now().Before(until) && !t.Failed() {
					oneOfTheModel(t, rand.Uint64())
					sockets.Add(1)
				}
			})
		}
	})
	t.Logf("%d sockets", sockets.Load())
}

// oneOfTheModel draws one socket and lets it live.
func oneOfTheModel(t *testing.T, seed uint64) {
	t.Helper()
	lived := false
	defer func() {
		if !lived || t.Failed() {
			fmt.Fprintf(os.Stderr, "the socket was WEBSOCKET_AUTH_SEED=%d\n", seed)
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		m := newModel(t, seed)
		m.live()
	})
	lived = true
}

// model is one socket.
type model struct {
	t               *testing.T
	random          *rand.Rand
	rig             *rig
	relay           func()
	toApp, toClient *flow
	reads, plain    bool
	login           bool // the first message logs in, and goes on
	held            bool // the gate may have held messages, which the end drops
	said            int  // words of the gate's for the client
	told            int  // and for the application

	// loggingIn is set once, by who opens a gate that waits for a login, and
	// loggedIn when it has: to suspend it before would be undone.
	loggingIn, loggedIn atomic.Bool

	epoch  atomic.Int64 // odd while suspended
	ended  atomic.Bool
	broken atomic.Bool
}

func newModel(t *testing.T, seed uint64) *model {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 0))
	m := &model{t: t, random: random, reads: random.IntN(3) > 0}
	o := rigOptions{
		idle: true, stream: random.IntN(4) == 0, plain: random.IntN(2) == 0,
		buffer: []int{0, 0, 7, 100, 32 << 10}[random.IntN(5)],
	}
	m.plain, o.login = o.plain, m.reads && random.IntN(3) == 0
	m.login = o.login
	m.loggingIn.Store(!m.login)
	m.loggedIn.Store(!m.login)
	m.rig, m.relay = newRig(t, o)
	if m.reads {
		m.rig.gate.read(&Reading{
			Reader: m.reader(seed), Pending: m.login, Limit: []int64{10, 500, 6000, 1 << 20}[random.IntN(4)],
			HoldMessages: []int{3, 1000}[random.IntN(2)], HoldBytes: []int64{1000, 1 << 22}[random.IntN(2)],
		})
	}
	m.toApp = m.flow(seed, true, m.rig.client, m.rig.appFrames)
	m.toClient = m.flow(seed, false, m.rig.app, m.rig.clientFrames)
	m.toApp.back, m.toClient.back = m.toClient, m.toApp
	if o.buffer == 7 {
		m.toApp.longest, m.toClient.longest = 3, 3
	}
	return m
}

func (m *model) flow(seed uint64, toApp bool, from net.Conn, to *bufio.Reader) *flow {
	f := &flow{
		m: m, masked: toApp, from: from, to: to, n: m.random.IntN(30), extra: m.random.IntN(5), longest: len(modelSizes),
		lull: []time.Duration{0, time.Millisecond, 50 * time.Millisecond}[m.random.IntN(3)],
		send: rand.New(rand.NewPCG(seed, m.random.Uint64())), take: rand.New(rand.NewPCG(seed, m.random.Uint64())),
		over: make(chan struct{}), sender: make(chan struct{}), taker: make(chan struct{}), closing: make(chan struct{}), signs: map[byte]int{},
	}
	if toApp {
		// Only for a short time: a goroutine that waits for a lock keeps the
		// clock of the bubble from going on, and the lock may be held by one
		// that waits for whoever stalls.
		f.stall = []time.Duration{0, 20 * time.Millisecond}[m.random.IntN(2)]
	}
	return f
}

// farewellWords come before our close frame, or not at all.
var farewellWords = []Message{Text("farewell"), {Binary: true, Data: []byte("farewell, too")}}

// reader lets all pass, some of it as a frame of the gate's own.
func (m *model) reader(seed uint64) Reader {
	judge := func(msg Message) Verdict {
		if (uint64(len(msg.Data))+seed)%3 > 0 {
			return Verdict{Whole: true}
		}
		return Verdict{Instead: []Passage{{Message: msg}}}
	}
	client := func(msg Message) Verdict {
		if m.loggingIn.CompareAndSwap(false, true) {
			m.rig.gate.Resume(time.Now().Add(time.Hour))
			m.loggedIn.Store(true)
		}
		return judge(msg)
	}
	return &modelReader{testReader{client: client, app: judge}, m}
}

type modelReader struct {
	testReader
	m *model
}

// Broken says farewell.
func (r *modelReader) Broken(err error) End {
	r.m.broken.Store(true)
	end := brokenEnd(err)
	end.Farewell = farewellWords
	return end
}

// live has the socket live and end.
func (m *model) live() {
	g := m.rig.gate
	for _, f := range []*flow{m.toApp, m.toClient} {
		go f.run()
		go f.listen()
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		m.closeApp()
	}()
	if m.random.IntN(3) > 0 {
		m.relay()
	}
	for range m.random.IntN(30) {
		if g.Ending() { // else the end is over before anybody copies
			break
		}
		m.disturb(g)
		time.Sleep(time.Duration(m.random.Int64N(int64([]time.Duration{1, time.Millisecond, 20 * time.Millisecond}[m.random.IntN(3)]))))
	}
	drained := m.random.IntN(2) == 0
	if drained {
		m.relay()
		m.resume(g)
		m.drain(g)
	}
	if g.State() == StatePending { // nobody waits for a login for ever
		m.resume(g)
	}
	how := m.finish(g)
	m.relay()
	end := m.rig.end()
	<-m.toApp.taker
	<-m.toClient.taker
	m.rig.client.Close()
	m.rig.app.Close()
	for _, f := range []*flow{m.toApp, m.toClient} {
		f.finish(nil)
		<-f.sender
		<-f.taker
	}
	<-closed
	m.check(how, end)
}

// closeApp ends the application's connection when both sides have closed.
func (m *model) closeApp() {
	<-m.toClient.sender
	if !m.toClient.isFinale() {
		return
	}
	patience := time.NewTimer(5 * time.Second)
	defer patience.Stop()
	select {
	case <-m.toApp.taker:
	case <-m.toApp.closing:
	case <-patience.C:
	}
	m.rig.app.Close()
}

// disturb does one thing that can happen to a gate at any time.
func (m *model) disturb(g *Gate) {
	switch m.random.IntN(8) {
	case 0, 1:
		if m.loggedIn.Load() && g.Suspend() {
			m.epoch.Add(1)
			m.held = true
		}
	case 2, 3:
		m.resume(g)
	case 4:
		words := []Message{Text(fmt.Sprintf("!%d", m.said)), Text(fmt.Sprintf("!%d of two", m.said+1))}
		m.said += len(words)
		if m.random.IntN(2) == 0 {
			g.Say(words...)
		} else {
			g.Queue(words...)
		}
	case 5:
		if m.reads {
			g.SayToApp(Text(fmt.Sprintf("!%d", m.told)))
			m.told++
		}
	case 6:
		g.Ping()
	case 7:
		m.relay()
	}
}

func (m *model) resume(g *Gate) {
	if m.epoch.Load()%2 == 1 {
		m.epoch.Add(1)
	}
	if m.reads {
		opens := m.loggingIn.CompareAndSwap(false, true)
		g.Resume(time.Now().Add(time.Hour), Text(fmt.Sprintf("!%d", m.said)))
		m.said++
		if opens {
			m.loggedIn.Store(true)
		}
	}
}

// drain waits until everything has come, which it must unless the socket ends
// before.
func (m *model) drain(g *Gate) {
	g.Flush()
	for range 20 * 600 {
		if g.Ending() {
			return
		}
		if m.toApp.all(m.told) && m.toClient.all(m.said) {
			m.held = false
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	for _, f := range []*flow{m.toApp, m.toClient} {
		m.t.Errorf("%s hangs: %s", f.name(), f.missing())
	}
}

// finish ends the socket in one of the ways in which sockets end.
func (m *model) finish(g *Gate) string {
	code := closePayload(4000+CloseCode(m.random.IntN(1000)), "bye")
	ways := 8
	if m.plain { // nobody can tell whose close frame it is
		ways = 7
	}
	switch m.random.IntN(ways) {
	case 0:
		m.toApp.finish(fromClient(finClose, code))
		return "client closes"
	case 1:
		m.toClient.finish(fromApp(finClose, code))
		return "application closes"
	case 2:
		m.rig.client.Close()
		return "client gone"
	case 3:
		m.rig.app.Close()
		return "application gone"
	case 4:
		m.toApp.finish(fromClient(0x83, "bad"))
		return "client bad"
	case 5:
		m.toClient.finish(fromApp(0x83, "bad"))
		return "application bad"
	case 7:
		if _, err := g.Write(fromApp(finClose, closePayload(1012, ""))); err != nil {
			m.t.Errorf("reload: %v", err)
		}
		m.ended.Store(g.Ending()) // else it was taken for the application's
		return "reload"
	}
	end := expired
	end.Farewell = farewellWords
	g.End(end)
	m.ended.Store(true)
	return "end"
}

// check judges what each side has got in the end.
func (m *model) check(how string, end End) {
	for _, f := range []*flow{m.toApp, m.toClient} {
		f.mu.Lock()
		wrong, err, isClosed := f.wrong, f.err, f.isClosed
		f.mu.Unlock()
		switch {
		case wrong != "":
			m.t.Errorf("%s: %s (%s, %s)", f.name(), wrong, how, end.Cause)
		case strings.HasSuffix(how, "gone"):
		case m.login && f.masked && !m.rig.served.Load(): // the application is not told of who never came
		case !isClosed:
			m.t.Errorf("%s got no close frame, but %v (%s, %s)", f.name(), err, how, end.Cause)
		case !f.masked && !errors.Is(err, io.EOF):
			m.t.Errorf("the connection of %s ended with %v (%s, %s)", f.name(), err, how, end.Cause)
		}
	}
	m.checkFarewell(how, end)
	for cause, f := range map[Cause]*flow{
		CauseClientClosed: m.toApp, CauseClientBroke: m.toApp,
		CauseUpstreamClosed: m.toClient, CauseUpstreamBroke: m.toClient,
	} {
		if missing := f.missing(); cause == end.Cause && how != "reload" && !m.held && (m.rig.served.Load() || !m.login) && f.isFinale() && missing != "" {
			m.t.Errorf("%s (%s, %s)", missing, how, end.Cause)
		}
	}
}

// checkFarewell: the words of an end come whole, unless a message of the
// application's is in the way.
func (m *model) checkFarewell(how string, end End) {
	f := m.toClient
	f.mu.Lock()
	defer f.mu.Unlock()
	want := 0
	if f.isClosed && len(end.Farewell) > 0 && !f.inside {
		want = len(end.Farewell)
	}
	if f.farewell != want {
		m.t.Errorf("%d words of farewell, want %d, inside a message %v (%s, %s)", f.farewell, want, f.inside, how, end.Cause)
	}
}
