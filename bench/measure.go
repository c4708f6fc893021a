package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/gorilla/websocket"
)

const (
	// messageSockets talk at once while messages are measured: enough to
	// keep Caddy at work, few enough that it never queues.
	messageSockets = 8
	// usedSize is what each socket carries before the second look at the
	// memory.
	usedSize = 64 << 10
	// turns are how often the sides change within a round, for each metric:
	// often, since the speed of a shared machine changes from second to
	// second.
	turns = 16
)

// bench has what all rounds share.
type bench struct {
	program string // the Caddy under test
	dir     string // where its files go
	issuer  *issuer
	backend string // address of the echo server
	guarded string // the guarded side's Caddyfile
	plan    plan
	// seen is a token that every Caddy meets before anything is measured,
	// fresh are batches that no Caddy has met. Each Caddy lives for one
	// round, so they serve in every round.
	seen  string
	fresh [turns / 2][]string
	// renewals are batches of one user's, each ending later than the last.
	renewals [turns / 2][]string
	// users are the tokens of the sockets whose memory is measured.
	users []string
}

// plan is how much is measured.
type plan struct {
	sockets      int           // for memory and the ending
	rounds       int           // of the CPU metrics
	memoryRounds int           // of the memory metrics
	slice        time.Duration // of messages, in each turn
	handshakes   int           // in each turn
}

// prepare makes the tokens.
func (b *bench) prepare() (err error) {
	end := time.Now().Add(2 * time.Hour)
	if b.seen, err = b.issuer.token("RS256", "known", end); err != nil {
		return err
	}
	for i := range b.fresh {
		if b.fresh[i], err = b.issuer.tokens("RS256", b.plan.handshakes, end); err != nil {
			return err
		}
		if b.renewals[i], err = b.issuer.renewals(b.plan.handshakes/2, "known", end.Add(time.Duration(i+1)*time.Hour)); err != nil {
			return err
		}
	}
	b.users, err = b.issuer.tokens("ES256", b.plan.sockets, end)
	return err
}

// side is one of the two Caddys during a round.
type side struct {
	caddy   *caddy
	driver  *driver
	guarded bool
	conns   []*websocket.Conn
	// talking are sockets whose messages are read, by their path.
	talking map[string][]*websocket.Conn
}

func (s *side) stop() {
	closeAll(s.conns)
	for _, conns := range s.talking {
		closeAll(conns)
	}
	s.caddy.stop()
}

// start runs a fresh Caddy and warms it up: code pages, keys, the token.
func (b *bench) start(ctx context.Context, caddyfile string, readBuffer int) (*side, error) {
	c, err := startCaddy(ctx, b.program, b.dir, caddyfile, b.backend, b.issuer.url)
	if err != nil {
		return nil, err
	}
	s := &side{caddy: c, driver: newDriver(c.site, readBuffer), guarded: caddyfile != plainCaddyfile}
	if err := b.warmUp(ctx, s); err != nil {
		s.stop()
		return nil, fmt.Errorf("warming up: %w\n%s", err, c.lastLog())
	}
	return s, nil
}

func (b *bench) warmUp(ctx context.Context, s *side) error {
	if err := s.driver.handshakes(ctx, slices.Repeat([]string{b.seen}, 100)); err != nil {
		return err
	}
	conns, err := s.driver.openAll(ctx, slices.Repeat([]string{b.seen}, messageSockets))
	if err != nil {
		return err
	}
	defer closeAll(conns)
	for _, size := range messageSizes {
		if _, err := pingPong(conns, size, 50*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// refusesStrangers checks that the guarded side is guarded at all: a
// benchmark of a directive that does nothing would look splendid.
func (b *bench) refusesStrangers(ctx context.Context, s *side) error {
	conn, err := s.driver.dial(ctx, "not.a.token")
	if err == nil {
		_ = conn.Close()
		return errors.New("the guarded Caddy let a bad token in: nothing to measure")
	}
	if answer, ok := errors.AsType[*statusError](err); !ok || answer.status != http.StatusUnauthorized {
		return fmt.Errorf("the guarded Caddy should answer a bad token with 401: %w", err)
	}
	return nil
}

var messageSizes = []int{64, 2 << 10, 16 << 10, 256 << 10}

// cpuMetric is something whose cost in CPU time is compared.
type cpuMetric struct {
	name  string
	goal  float64
	extra float64 // in nanoseconds
	// work does it on a side and returns how often. batch says which of the
	// batches of fresh tokens to take.
	work func(ctx context.Context, b *bench, s *side, batch int) (int, error)
}

func cpuMetrics() []cpuMetric {
	var metrics []cpuMetric
	for _, size := range messageSizes {
		metrics = append(metrics, cpuMetric{
			name: "CPU per proxied message, " + sizeName(size),
			goal: 1.02,
			work: func(_ context.Context, b *bench, s *side, _ int) (int, error) {
				return pingPong(s.conns, size, b.plan.slice)
			},
		})
	}
	metrics = append(metrics, talkMetrics()...)
	return append(metrics,
		cpuMetric{
			name: "CPU per handshake, token seen before",
			goal: 1.05,
			work: func(ctx context.Context, b *bench, s *side, _ int) (int, error) {
				n := b.plan.handshakes
				return n, s.driver.handshakes(ctx, slices.Repeat([]string{b.seen}, n))
			},
		},
		cpuMetric{
			name: "CPU per handshake, RS256 token never seen",
			goal: 1.25,
			work: func(ctx context.Context, b *bench, s *side, batch int) (int, error) {
				tokens := b.fresh[batch]
				return len(tokens), s.driver.handshakes(ctx, tokens)
			},
		},
	)
}

func sizeName(bytes int) string {
	if bytes < 1<<10 {
		return fmt.Sprintf("%d B", bytes)
	}
	return fmt.Sprintf("%d KiB", bytes>>10)
}

// cpuRound measures every metric once on two fresh Caddys and appends to the
// rows, which are in the order of the metrics.
func (b *bench) cpuRound(ctx context.Context, metrics []cpuMetric, rows []row) error {
	alone, err := b.start(ctx, plainCaddyfile, usedSize)
	if err != nil {
		return err
	}
	defer alone.stop()
	guarded, err := b.start(ctx, b.guarded, usedSize)
	if err != nil {
		return err
	}
	defer guarded.stop()
	if b.guarded != plainCaddyfile {
		if err := b.refusesStrangers(ctx, guarded); err != nil {
			return err
		}
	}
	for _, s := range []*side{alone, guarded} {
		s.conns, err = s.driver.openAll(ctx, slices.Repeat([]string{b.seen}, messageSockets))
		if err != nil {
			return err
		}
		if err := b.startTalking(ctx, s); err != nil {
			return err
		}
	}
	for i, m := range metrics {
		got, err := b.inTurn(ctx, m, alone, guarded)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		rows[i].samples = append(rows[i].samples, got)
	}
	return nil
}

// inTurn lets the sides work in turn, each second pair the other way round, so
// that a drift of the machine's speed falls on both alike.
func (b *bench) inTurn(ctx context.Context, m cpuMetric, alone, guarded *side) (sample, error) {
	var aloneSum, guardedSum account
	for turn := range turns {
		s, sum := alone, &aloneSum
		if turn%4 == 1 || turn%4 == 2 {
			s, sum = guarded, &guardedSum
		}
		if err := b.measure(ctx, m, s, turn/2, sum); err != nil {
			return sample{}, err
		}
	}
	return sample{aloneSum.each(), guardedSum.each()}, nil
}

// account sums up what a side has used for how much.
type account struct {
	cpu  time.Duration
	done int
}

// each returns the nanoseconds of CPU that one piece of work has cost.
func (a account) each() float64 { return float64(a.cpu) / float64(a.done) }

// measure lets the side work for one turn and adds what that cost to sum.
func (b *bench) measure(ctx context.Context, m cpuMetric, s *side, batch int, sum *account) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	before, err := cpuTime(s.caddy.pid())
	if err != nil {
		return err
	}
	n, err := m.work(ctx, b, s, batch)
	if err != nil {
		return err
	}
	// What goes on behind the last answer belongs to it.
	if err := pause(ctx, 10*time.Millisecond); err != nil {
		return err
	}
	after, err := cpuTime(s.caddy.pid())
	if err != nil {
		return err
	}
	sum.cpu += after - before
	sum.done += n
	return nil
}

// memoryRound measures the memory of both sides and appends to the two rows:
// idle sockets, and the same after each has carried a message.
func (b *bench) memoryRound(ctx context.Context, idle, used *row) error {
	aloneIdle, aloneUsed, err := b.memory(ctx, plainCaddyfile)
	if err != nil {
		return err
	}
	guardedIdle, guardedUsed, err := b.memory(ctx, b.guarded)
	if err != nil {
		return err
	}
	idle.samples = append(idle.samples, sample{aloneIdle, guardedIdle})
	used.samples = append(used.samples, sample{aloneUsed, guardedUsed})
	return nil
}

// memory returns the resident bytes per socket of a fresh Caddy.
func (b *bench) memory(ctx context.Context, caddyfile string) (idle, used float64, err error) {
	s, err := b.start(ctx, caddyfile, 1<<10)
	if err != nil {
		return 0, 0, err
	}
	defer s.stop()
	base, err := s.caddy.settledBytes(ctx)
	if err != nil {
		return 0, 0, err
	}
	perSocket := func() (float64, error) {
		size, err := s.caddy.settledBytes(ctx)
		return float64(size-base) / float64(len(b.users)), err
	}

	// Garbage is collected on the way, or the figure would say how far the
	// heap happened to overshoot.
	for tokens := range slices.Chunk(b.users, max(1, len(b.users)/20)) {
		conns, err := s.driver.openAll(ctx, tokens)
		if err != nil {
			return 0, 0, fmt.Errorf("%w\n%s", err, s.caddy.lastLog())
		}
		s.conns = append(s.conns, conns...)
		if err := s.caddy.collect(ctx); err != nil {
			return 0, 0, err
		}
	}
	if idle, err = perSocket(); err != nil {
		return 0, 0, err
	}

	for conns := range slices.Chunk(s.conns, max(1, len(s.conns)/20)) {
		if err := exchangeAll(conns, usedSize); err != nil {
			return 0, 0, err
		}
		if err := s.caddy.collect(ctx); err != nil {
			return 0, 0, err
		}
	}
	used, err = perSocket()
	return idle, used, err
}
