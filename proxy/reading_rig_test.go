package proxy

import (
	"bufio"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// testReader judges messages by what they say, unless client or app does.
type testReader struct {
	client, app func(m Message) Verdict
	// foreign says which messages may pass unread; nil that all may.
	foreign func(begin Message) bool

	mu     sync.Mutex // guards the following
	seen   []string   // what was judged
	broken []error
}

// byWord is the verdict of the first word of a message: "now" passes in
// whatever state, "drop" goes nowhere, "instead" makes two of it, the first of
// them now if the next word says so. All else passes when the gate is open.
func byWord(m Message) Verdict {
	switch word, rest, _ := strings.Cut(string(m.Data), " "); word {
	case "now":
		return Verdict{Whole: true, Now: true}
	case "drop":
		return Verdict{}
	case "instead":
		return Verdict{Instead: []Passage{
			{Message: Text("first of " + rest), Now: strings.HasPrefix(rest, "now")},
			{Message: Message{Binary: true, Data: []byte("second of " + rest)}},
		}}
	}
	return Verdict{Whole: true}
}

// Foreign implements Reader.
func (r *testReader) Foreign(begin Message) bool { return r.foreign == nil || r.foreign(begin) }

func (r *testReader) judge(who string, f func(Message) Verdict, m Message) Verdict {
	r.mu.Lock()
	r.seen = append(r.seen, who+" "+string(m.Data))
	r.mu.Unlock()
	if f == nil {
		f = byWord
	}
	return f(m)
}

func (r *testReader) Client(m Message) Verdict { return r.judge("client", r.client, m) }
func (r *testReader) App(m Message) Verdict    { return r.judge("app", r.app, m) }

// brokenEnd is how the tests' sockets end that cannot be read on.
func brokenEnd(err error) End {
	return End{Cause: "broken", Code: ClosePolicyViolation, Reason: err.Error()}
}

func (r *testReader) Broken(err error) End {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broken = append(r.broken, err)
	return brokenEnd(err)
}

// judged returns what was judged since it was last asked.
func (r *testReader) judged() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := r.seen
	r.seen = nil
	return seen
}

// frameLog writes down the frames that one side gets.
type frameLog struct {
	mu     sync.Mutex // guards the following
	frames []string
	err    error // how its connection ended
}

// listen reads frames until the connection ends. A side that closes is
// answered with answer.
func listen(t *testing.T, r *bufio.Reader, masked bool, closed func()) *frameLog {
	l := &frameLog{}
	go func() {
		for {
			first, isMasked, payload, err := readFrame(r)
			if err == nil && isMasked != masked {
				t.Errorf("frame %X: masked %v", first, isMasked)
			}
			l.mu.Lock()
			if l.err = err; err == nil {
				l.frames = append(l.frames, describe(first, payload))
			}
			l.mu.Unlock()
			if err != nil {
				return
			}
			if first == finClose {
				closed()
			}
		}
	}()
	return l
}

// describe shows a frame as the tests write it: a message that is one frame is
// its text, what is more to come of has dots.
func describe(first byte, payload []byte) string {
	words := map[byte]string{
		finText: "", finBinary: "binary ", byte(OpText): "…", byte(OpBinary): "binary …",
		0: "…", 0x80: ".", finPing: "ping ", finPong: "pong ",
	}
	if first == finClose {
		if len(payload) < 2 {
			return "close"
		}
		return strings.TrimSpace(fmt.Sprintf("close %d %s", int(payload[0])<<8|int(payload[1]), payload[2:]))
	}
	word, ok := words[first]
	if !ok {
		return fmt.Sprintf("frame %X", first)
	}
	return word + string(payload)
}

// take returns what has come since it was last asked.
func (l *frameLog) take() []string {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	frames := l.frames
	l.frames = nil
	return frames
}

// readingRig is a rig whose gate reads messages, with two sides that listen
// all the time.
type readingRig struct {
	*rig
	reader   *testReader
	atClient *frameLog
	atApp    *frameLog
	mute     atomic.Bool // nobody answers close frames
	relay    func()
}

// theLimit is the longest message that is read in the tests, in bytes.
const theLimit = 1000

// newReadingRig returns a rig in a bubble. talk is what is unusual about the
// reading.
func newReadingRig(t *testing.T, o rigOptions, talk Reading) *readingRig {
	t.Helper()
	idle := o.idle
	o.idle = true
	base, relay := newRig(t, o)
	r := &readingRig{rig: base, reader: &testReader{}, relay: relay}
	if talk.Reader == nil {
		talk.Reader = r.reader
	}
	if talk.Limit == 0 {
		talk.Limit = theLimit
	}
	if talk.HoldMessages == 0 {
		talk.HoldMessages, talk.HoldBytes = 20, 2*theLimit
	}
	base.gate.read(&talk)
	if !idle {
		relay()
	}
	r.atClient = listen(t, r.clientFrames, false, func() {
		if !r.mute.Load() {
			_, _ = base.client.Write(answerClose)
		}
	})
	r.atApp = listen(t, r.appFrames, true, func() {
		if r.mute.Load() {
			return
		}
		_, _ = base.app.Write(fromApp(finClose, closePayload(CloseGoingAway, "")))
		base.app.Close()
	})
	return r
}

// inReading runs f in all modes, on a clock of its own, with a gate that
// reads.
func inReading(t *testing.T, talk Reading, f func(t *testing.T, r *readingRig)) {
	t.Helper()
	t.Parallel()
	inBubble(t, func(t *testing.T, o rigOptions) { f(t, newReadingRig(t, o, talk)) })
}

// clientSends, appSends: the pieces are sent, as far as the gate takes them.
func (r *readingRig) clientSends(p ...[]byte) {
	go func() {
		for _, piece := range p {
			_, _ = r.client.Write(piece)
		}
	}()
	synctest.Wait()
}

func (r *readingRig) appSends(p ...[]byte) {
	go func() {
		for _, piece := range p {
			_, _ = r.app.Write(piece)
		}
	}()
	synctest.Wait()
}

// atClientIs, atAppIs: the side has got these frames since the last time, and
// no other.
func (r *readingRig) atClientIs(want ...string) {
	r.t.Helper()
	if got := r.atClient.take(); !slices.Equal(got, want) {
		r.t.Errorf("the client got %q, want %q", got, want)
	}
}

func (r *readingRig) atAppIs(want ...string) {
	r.t.Helper()
	if got := r.atApp.take(); !slices.Equal(got, want) {
		r.t.Errorf("the application got %q, want %q", got, want)
	}
}

// judgedIs: these messages were judged since the last time, and no other.
func (r *readingRig) judgedIs(want ...string) {
	r.t.Helper()
	synctest.Wait()
	if got := r.reader.judged(); !slices.Equal(got, want) {
		r.t.Errorf("judged was %q, want %q", got, want)
	}
}

// suspend suspends the gate, which must be open.
func (r *readingRig) suspend() {
	r.t.Helper()
	synctest.Wait()
	if !r.gate.Suspend() || r.gate.State() != StateSuspended {
		r.t.Fatalf("the gate is %v and not suspended", r.gate.State())
	}
}

func (r *readingRig) resume(say ...Message) {
	r.gate.Resume(time.Now().Add(time.Hour), say...)
	synctest.Wait()
}

// endsAt once: how the socket ended, without waiting for anybody.
func (r *readingRig) endsNow(c Cause) {
	r.t.Helper()
	if took := elapsed(func() { r.endsWith(c) }); took != 0 {
		r.t.Errorf("the end took %v", took)
	}
}

// msg and appMsg are messages of one frame.
func msg(s string) []byte    { return fromClient(finText, s) }
func appMsg(s string) []byte { return fromApp(finText, s) }

// overlong returns a message's text that is too long to be read.
func overlong(s string) string { return s + strings.Repeat(".", theLimit) }
