// Command bench compares Caddy with websocket_auth to Caddy alone, as ratios
// of CPU time and memory, and prints Markdown tables. Linux only.
//
//	go run ./bench [--quick] [--rounds N] [--sockets N]
//
// It builds cmd/caddy once and runs it twice at a time: with reverse_proxy
// alone, and with websocket_auth and the options that the README recommends.
// Both get the same bytes from the same driver in turn and pass them to the
// same echo server; driver, echo server and each Caddy are processes of their
// own. What is compared is what the kernel has accounted to the Caddys, so
// the others only cost time. All traffic stays on loopback.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == backendRole {
		exitOn(runBackend())
		return
	}
	opts := parseFlags()
	exitOn(supported())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exitOn(run(ctx, opts))
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type options struct {
	quick   bool
	same    bool
	caddy   string
	rounds  int
	sockets int
}

func parseFlags() options {
	var o options
	flag.BoolVar(&o.quick, "quick", false, "under a minute, less exact")
	flag.BoolVar(&o.same, "same", false, "run Caddy alone on both sides: shows how far chance goes")
	flag.StringVar(&o.caddy, "caddy", "", "measure this `program` instead of building cmd/caddy")
	flag.IntVar(&o.rounds, "rounds", 0, "rounds of the CPU measurements; a third as many for memory (default 9, quick 3)")
	flag.IntVar(&o.sockets, "sockets", 0, "sockets for memory and the common end, at most 9500 (default 8000, quick 1000)")
	flag.Parse()
	return o
}

// plan returns how much to measure.
func (o options) plan() (plan, error) {
	p := plan{sockets: 8000, rounds: 9, slice: 200 * time.Millisecond, handshakes: 400}
	if o.quick {
		p = plan{sockets: 1000, rounds: 3, slice: 50 * time.Millisecond, handshakes: 100}
	}
	if o.rounds != 0 {
		p.rounds = o.rounds
	}
	if o.sockets != 0 {
		p.sockets = o.sockets
	}
	// Caddy needs two descriptors a socket, of 20000 at most.
	if p.rounds < 1 || p.sockets < 1 || p.sockets > 9500 {
		return plan{}, fmt.Errorf("rounds must be at least 1, and sockets from 1 to 9500")
	}
	p.memoryRounds = (p.rounds + 2) / 3
	return p, nil
}

func run(ctx context.Context, opts options) error {
	started := time.Now()
	b, cleanUp, err := setUp(ctx, opts)
	defer cleanUp()
	if err != nil {
		return err
	}

	metrics := cpuMetrics()
	rows := make([]row, 0, len(metrics)+2)
	for _, m := range metrics {
		rows = append(rows, row{name: m.name, unit: microseconds, goal: m.goal, extra: m.extra})
	}
	for i := range b.plan.rounds {
		progress("CPU, round %d of %d", i+1, b.plan.rounds)
		if err := b.cpuRound(ctx, metrics, rows); err != nil {
			return err
		}
	}

	idle := row{name: "resident memory per idle socket", unit: kibibytes, goal: 0.80}
	used := row{name: "the same after a message of 64 KiB on each", unit: kibibytes, goal: 0.60}
	for i := range b.plan.memoryRounds {
		progress("memory of %d sockets, round %d of %d", b.plan.sockets, i+1, b.plan.memoryRounds)
		if err := b.memoryRound(ctx, &idle, &used); err != nil {
			return err
		}
	}
	writeTable(os.Stdout, append(rows, idle, used))

	if !opts.same {
		progress("%d sockets that end together", b.plan.sockets)
		end, err := b.endTogether(ctx)
		if err != nil {
			return err
		}
		fmt.Println()
		writeEnding(os.Stdout, end)
	}
	fmt.Printf("\n%s; Caddy %s, %s, %d CPUs; %v.\n", machine(), caddyVersion(ctx),
		runtime.Version(), runtime.NumCPU(), time.Since(started).Round(time.Second))
	return nil
}

// setUp builds Caddy and starts what both sides share. cleanUp must be called
// also after an error.
func setUp(ctx context.Context, opts options) (b *bench, cleanUp func(), err error) {
	var undo []func()
	cleanUp = func() {
		for i := range undo {
			undo[len(undo)-1-i]()
		}
	}
	b = &bench{program: opts.caddy, guarded: guardedCaddyfile}
	if opts.same {
		b.guarded = plainCaddyfile
	}
	if b.plan, err = opts.plan(); err != nil {
		return nil, cleanUp, err
	}
	if b.dir, err = os.MkdirTemp("", "websocket-auth-bench-"); err != nil {
		return nil, cleanUp, err
	}
	undo = append(undo, func() { _ = os.RemoveAll(b.dir) })
	if b.program == "" {
		progress("building cmd/caddy")
		if b.program, err = buildCaddy(ctx, b.dir); err != nil {
			return nil, cleanUp, err
		}
	}
	if b.issuer, err = newIssuer(); err != nil {
		return nil, cleanUp, err
	}
	undo = append(undo, b.issuer.close)
	var stopBackend func()
	if b.backend, stopBackend, err = startBackend(); err != nil {
		return nil, cleanUp, err
	}
	undo = append(undo, stopBackend)
	progress("signing tokens")
	return b, cleanUp, b.prepare()
}

// caddyVersion is the version of Caddy in go.mod.
func caddyVersion(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Version}}",
		"github.com/caddyserver/caddy/v2").Output()
	if err != nil {
		return "of unknown version"
	}
	return strings.TrimSpace(string(out))
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}
